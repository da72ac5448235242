//! A database on a server: its schema, and the one row that every writer locks.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use super::{
    Place, Store, StoreError,
    open::matches_version,
    replica::{NOW, Replica},
    sql::{Connection, Endpoint, Error, Link, OptionalExtension, Result as SqlResult, Session},
};
use crate::{clock, lease::DUTY};

/// Schema versions in order; the row of `router` counts how many were applied. Each leaves alone what the routers before it read and
/// write: they go on while an update rolls over the replicas.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("server_1.sql"),
    include_str!("server_2.sql"),
    include_str!("server_3.sql"),
    include_str!("server_4.sql"),
    include_str!("server_5.sql"),
];

/// One row. Whoever writes anything locks it first: so numbers are given in the order of the commits, which lanes rely on, and
/// nobody writes under a number that is over. Versions before the third of the schema have one holder of everything, which stands
/// here; from then on the replicas hold it together, and `leases` says who owns which lane.
const ROUTER: &str = "CREATE TABLE IF NOT EXISTS router (id BIGINT PRIMARY KEY, schema_version BIGINT NOT NULL,
  holder TEXT NOT NULL, fence BIGINT NOT NULL, since TIMESTAMPTZ, expires_at TIMESTAMPTZ)";

/// Tables that are vacuumed often: their rows come and go. A server that only speaks PostgreSQL may have no such setting, so these are
/// wishes.
const BUSY: [&str; 8] = ["recent", "records", "deliveries", "holds", "sightings", "leases", "replicas", "commits"];
const OFTEN: &str = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000";
/// A record takes 2 kB, where PostgreSQL begins to compress: that took a third of its time for rows that are gone in a second.
const AS_IT_IS: (&str, &str) = ("records", "toast_tuple_target = 8160");

/// Lanes read on from the last number that they saw.
const IN_ADVANCE: &str = "it gives numbers out of their order, since each connection is given some in advance, and lanes would pass \
  over rows; set the cache of its sequences to 1 (ALTER SEQUENCE ... CACHE 1; YugabyteDB: ysql_sequence_cache_minval=1)";

/// A router that may get its turn.
pub struct Candidate {
    link: Arc<Link>,
    endpoint: Arc<Endpoint>,
    session: Connection,
    name: String,
}

impl Candidate {
    /// Connects, and brings the schema up to date.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, StoreError> {
        Self::knowing(endpoint, MIGRATIONS)
    }

    /// The same for a router of which these are all the versions of the schema.
    pub(super) fn knowing(endpoint: &Endpoint, migrations: &[&str]) -> Result<Self, StoreError> {
        let candidate = Self::reach(endpoint)?;
        migrate(&candidate.session, endpoint, migrations)?;
        Ok(candidate)
    }

    /// Connects, and leaves the schema as it is.
    pub(super) fn of_a_command(endpoint: &Endpoint) -> Result<Self, StoreError> {
        let candidate = Self::reach(endpoint)?;
        let failed = |error: Error| StoreError::Server { place: endpoint.to_string(), detail: error.to_string() };
        let session = &candidate.session;
        let found = if is_there(session).map_err(failed)? { version(session, "").map_err(failed)? } else { None };
        matches_version(found.unwrap_or(0), MIGRATIONS.len(), &endpoint.to_string())?;
        Ok(candidate)
    }

    fn reach(endpoint: &Endpoint) -> Result<Self, StoreError> {
        let failed = |error: Error| StoreError::Server { place: endpoint.to_string(), detail: error.to_string() };
        let link = Link::start().map_err(failed)?;
        let shared = Arc::new(endpoint.clone());
        let session = Session::connect(Arc::clone(&link), Arc::clone(&shared)).map_err(failed)?;
        let session = Connection::Postgres(Box::new(session));
        clock::follow(session.query_row(&format!("SELECT {NOW}"), [], |row| row.get(0)).map_err(failed)?);
        Ok(Self { link, endpoint: shared, session, name: name() })
    }

    /// Refuses the database of another installation, whose findings and tickets would get mixed up with this one's. The first that
    /// comes leaves its name.
    pub fn claim(&self, installation: &str) -> Result<(), StoreError> {
        self.session.ensure()?;
        let first = "INSERT INTO installation (id, name) VALUES (1, ?1) ON CONFLICT DO NOTHING";
        self.session.execute(first, [installation])?;
        let owner =
            self.session.query_row("SELECT name FROM installation WHERE id = 1", [], |row| row.get::<String>(0))?;
        if owner == installation {
            return Ok(());
        }
        Err(StoreError::Foreign { place: self.endpoint.to_string(), owner, installation: installation.to_owned() })
    }

    fn another(&self) -> Result<Session, StoreError> {
        Ok(Session::connect(Arc::clone(&self.link), Arc::clone(&self.endpoint))?)
    }

    fn place(&self) -> Place {
        Place::Server(Box::new((*self.endpoint).clone()))
    }

    /// Only to read with.
    pub(super) fn reader(self) -> Connection {
        self.session
    }

    /// The store for a command, whoever owns what.
    pub(super) fn beside(self) -> Result<Store, StoreError> {
        let (place, reader) = (self.place(), self.another()?);
        Store::over(place, self.session, Connection::Postgres(Box::new(reader)), (None, None))
    }

    /// The store for a replica that owns nothing yet, whose leases are so long; otherwise who works on the database alone.
    pub fn join(&self, length: Duration) -> Result<Result<Store, String>, StoreError> {
        self.session.ensure()?;
        let session = Connection::Postgres(Box::new(self.another()?));
        let replica = match Replica::join(session, self.name.clone(), length)? {
            Ok(replica) => replica,
            Err(holder) => return Ok(Err(holder)),
        };
        let (writer, reader) = (self.another()?, self.another()?);
        let (writer, reader) = (Connection::Postgres(Box::new(writer)), Connection::Postgres(Box::new(reader)));
        if !numbers_in_order(&writer, &reader)? {
            return Err(StoreError::Server { place: self.endpoint.to_string(), detail: IN_ADVANCE.to_owned() });
        }
        Store::over(self.place(), writer, reader, (None, Some(replica))).map(Ok)
    }

    /// The store, if nobody else is on duty; otherwise who is.
    pub fn try_duty(&self, length: Duration) -> Result<Result<Store, String>, StoreError> {
        let store = match self.join(length)? {
            Ok(store) => store,
            Err(holder) => return Ok(Err(holder)),
        };
        let Some(replica) = store.replica() else { return Err(StoreError::Closed) };
        let duty = replica.take(DUTY)?;
        Ok(duty.map(|duty| store.under(duty)))
    }
}

/// Host and process, as `targets list` and the log name a replica. In a container that is process 1, and all of them may be told the
/// same name of the host: there, a number drawn at the start tells them apart.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match std::process::id() {
        1 => format!("{host}:1-{:04x}", RandomState::new().build_hasher().finish() & 0xffff),
        process => format!("{host}:{process}"),
    }
}

/// Milliseconds that this machine runs: also while a process is stopped or the machine sleeps, and whatever its clock is set to.
pub(super) fn uptime_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    // Counts on while the machine sleeps, other than Linux's clock of that name.
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

fn is_there(session: &Connection) -> SqlResult<bool> {
    let sql = "SELECT COUNT(*) FROM information_schema.tables
      WHERE table_schema = current_schema() AND table_name = 'router'";
    Ok(session.query_row(sql, [], |row| row.get::<i64>(0))? > 0)
}

/// The version of the schema; `how` the row is locked.
fn version(session: &Connection, how: &str) -> SqlResult<Option<usize>> {
    let query = format!("SELECT schema_version FROM router WHERE id = 1{how}");
    let found = session.query_row(&query, [], |row| row.get::<i64>(0)).optional()?;
    Ok(found.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

/// Brings the schema up to the last of these `migrations`.
fn migrate(session: &Connection, endpoint: &Endpoint, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = |error: Error| StoreError::Server { place: endpoint.to_string(), detail: error.to_string() };
    // Two replicas that start at once may both try; the one that loses finds it done.
    if !is_there(session).map_err(failed)?
        && let Err(error) = session.control(ROUTER)
        && !error.is_already_there()
    {
        return Err(failed(error));
    }
    let known = migrations.len();
    if version(session, "").map_err(failed)? == Some(known) {
        return Ok(());
    }
    session
        .execute(
            "INSERT INTO router (id, schema_version, holder, fence) VALUES (1, 0, '', 0) ON CONFLICT DO NOTHING",
            [],
        )
        .map_err(failed)?;
    session.control("BEGIN").map_err(failed)?;
    let migrated = (|| {
        let found = version(session, " FOR UPDATE")?.unwrap_or(0);
        if found > known {
            return Ok(Err(found));
        }
        for migration in &migrations[found..] {
            session.control(migration)?;
        }
        for (table, wish) in BUSY.map(|table| (table, OFTEN)).into_iter().chain([AS_IT_IS]) {
            session.control("SAVEPOINT wish")?;
            if let Err(error) = session.control(&format!("ALTER TABLE {table} SET ({wish})")) {
                tracing::debug!(error = %error, table, "the database keeps the table as it likes");
                session.control("ROLLBACK TO SAVEPOINT wish")?;
            }
            session.control("RELEASE SAVEPOINT wish")?;
        }
        session.execute("UPDATE router SET schema_version = ?1 WHERE id = 1", [i64::try_from(known).unwrap_or(0)])?;
        session.control("COMMIT")?;
        Ok(Ok(()))
    })();
    if !matches!(migrated, Ok(Ok(()))) {
        let _ = session.control("ROLLBACK");
    }
    match migrated {
        Ok(Ok(())) => Ok(()),
        Ok(Err(found)) => Err(StoreError::TooNew { path: endpoint.to_string().into(), found, known }),
        Err(error) => Err(failed(error)),
    }
}

/// Whether whoever asks later gets the higher number, on whichever connection. Asked of a table whose numbers nobody sees.
fn numbers_in_order(one: &Connection, other: &Connection) -> SqlResult<bool> {
    let sql = "SELECT nextval(pg_get_serial_sequence('recent', 'id'))";
    let next = |session: &Connection| session.query_row(sql, [], |row| row.get::<i64>(0));
    let (first, second, third) = (next(one)?, next(other)?, next(one)?);
    Ok(first < second && second < third)
}

/// Locks the one row that every writer locks; the number and the name that stand in it.
pub(super) const LOCK: &str = "SELECT fence, holder FROM router WHERE id = 1 FOR UPDATE";

pub(super) fn lock(connection: &Connection) -> SqlResult<(i64, String)> {
    connection.query_row(LOCK, [], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Who owns a lane, for people.
pub(super) struct Owner {
    pub holder: String,
    /// Milliseconds since the epoch.
    pub since: i64,
    pub left_ms: i64,
}

/// The owners of the lanes whose leases are not over; none in a file.
pub(super) fn owners(connection: &Connection) -> SqlResult<HashMap<i64, Owner>> {
    let Connection::Postgres(_) = connection else { return Ok(HashMap::new()) };
    connection
        .prepare_cached(
            "SELECT lane, holder, CAST(EXTRACT(EPOCH FROM since) * 1000 AS BIGINT),
               CAST(EXTRACT(EPOCH FROM expires_at - clock_timestamp()) * 1000 AS BIGINT)
             FROM leases WHERE expires_at > clock_timestamp()",
        )?
        .query_map([], |row| {
            Ok((row.get(0)?, Owner { holder: row.get(1)?, since: row.get(2)?, left_ms: row.get(3)? }))
        })?
        .collect()
}
