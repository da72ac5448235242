//! A database on a server: its schema, and the one row that says who is on duty.

use std::{sync::Arc, time::Duration};

use super::{
    Duty, Place, Store, StoreError,
    sql::{Connection, Endpoint, Error, Link, OptionalExtension, Result as SqlResult, Session, params},
};
use crate::{clock, lease::Lease};

/// Schema versions in order; the row of `router` counts how many were applied. Each leaves alone what the routers before it read and
/// write: they go on while an update rolls over the replicas.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("server_1.sql"), include_str!("server_2.sql")];

/// One row. Whoever writes anything locks it first: so numbers are given in the order of the commits, which lanes rely on, and
/// nobody writes under a number that is over.
const ROUTER: &str = "CREATE TABLE IF NOT EXISTS router (id BIGINT PRIMARY KEY, schema_version BIGINT NOT NULL,
  holder TEXT NOT NULL, fence BIGINT NOT NULL, since TIMESTAMPTZ, expires_at TIMESTAMPTZ)";

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
        let failed = |error: Error| StoreError::Server { place: endpoint.to_string(), detail: error.to_string() };
        let link = Link::start().map_err(failed)?;
        let shared = Arc::new(endpoint.clone());
        let session = Session::connect(Arc::clone(&link), Arc::clone(&shared)).map_err(failed)?;
        let session = Connection::Postgres(Box::new(session));
        clock::follow(session.query_row(&format!("SELECT {NOW}"), [], |row| row.get(0)).map_err(failed)?);
        migrate(&session, endpoint, migrations)?;
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

    /// The store for a command, whoever is on duty.
    pub(super) fn beside(self) -> Result<Store, StoreError> {
        let (place, reader) = (self.place(), self.another()?);
        Store::over(place, self.session, Connection::Postgres(Box::new(reader)), (None, None))
    }

    /// The store, if nobody else is on duty; otherwise who is.
    pub fn try_duty(&self, length: Duration) -> Result<Result<Store, String>, StoreError> {
        self.session.ensure()?;
        let lease = match acquire(&self.session, &self.name, length)? {
            Ok(lease) => lease,
            Err(holder) => return Ok(Err(holder)),
        };
        let duty = Duty::keep(lease, length, self.another()?, self.name.clone())?;
        let (writer, reader) = (self.another()?, self.another()?);
        let (writer, reader) = (Connection::Postgres(Box::new(writer)), Connection::Postgres(Box::new(reader)));
        Store::over(self.place(), writer, reader, (None, Some(duty))).map(Ok)
    }
}

/// Host and process, as `targets list` and the log name a replica.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
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

/// Brings the schema up to the last of these `migrations`.
fn migrate(session: &Connection, endpoint: &Endpoint, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = |error: Error| StoreError::Server { place: endpoint.to_string(), detail: error.to_string() };
    // Two replicas that start at once may both try; the one that loses finds it done.
    let there = session.query_row("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'router'", [], |row| row.get::<i64>(0));
    if there.map_err(failed)? == 0
        && let Err(error) = session.control(ROUTER)
        && !error.is_already_there()
    {
        return Err(failed(error));
    }
    let known = migrations.len();
    let version = |session: &Connection, how: &str| -> SqlResult<Option<usize>> {
        let query = format!("SELECT schema_version FROM router WHERE id = 1{how}");
        let found = session.query_row(&query, [], |row| row.get::<i64>(0)).optional()?;
        Ok(found.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    };
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

/// First statement of every transaction that writes.
pub(super) fn lock(session: &Session, duty: Option<&Duty>) -> Result<(), StoreError> {
    let statement = session.prepare("SELECT fence, holder FROM router WHERE id = 1 FOR UPDATE")?;
    let mut rows = session.query(&statement, &[])?;
    let row = rows.next()?.ok_or(Error::NoRows)?;
    let (fence, holder): (i64, String) = (row.try_get(0).map_err(Error::from)?, row.try_get(1).map_err(Error::from)?);
    // To the end, so that the next statement does not find this one still at work.
    while rows.next()?.is_some() {}
    match duty {
        Some(duty) if duty.fence() != fence => {
            duty.taken_over(holder.clone());
            Err(StoreError::TakenOver { holder })
        }
        Some(_) | None => Ok(()),
    }
}

/// The database's clock, milliseconds since the epoch.
const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
const LATER: &str = "clock_timestamp() + CAST(?1 AS DOUBLE PRECISION) * INTERVAL '1 second'";

/// Takes the duty, if nobody has it; otherwise who does.
fn acquire(session: &Connection, name: &str, length: Duration) -> Result<Result<Lease, String>, StoreError> {
    let asked = uptime_ms();
    let granted = session
        .query_row(
            &format!(
                "UPDATE router SET holder = ?2, fence = fence + 1, since = clock_timestamp(), expires_at = {LATER}
                 WHERE id = 1 AND (expires_at IS NULL OR expires_at < clock_timestamp()) RETURNING fence, {NOW}"
            ),
            params![length.as_secs_f64(), name],
            |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)),
        )
        .optional()?;
    if let Some((fence, now)) = granted {
        clock::follow(now);
        return Ok(Ok(Lease::granted(fence, length, asked)));
    }
    Ok(Err(session.query_row("SELECT holder FROM router WHERE id = 1", [], |row| row.get(0))?))
}

/// Asks for more time; otherwise who has taken over.
pub(super) fn renew(session: &Session, fence: i64, length: Duration) -> Result<Result<Lease, String>, StoreError> {
    session.ensure()?;
    let asked = uptime_ms();
    let sql = format!("UPDATE router SET expires_at = {LATER} WHERE id = 1 AND fence = ?2 RETURNING {NOW}");
    let mut granted = session.query(&session.prepare(&sql)?, &[length.as_secs_f64().into(), fence.into()])?;
    if let Some(row) = granted.next()? {
        clock::follow(row.try_get(0).map_err(Error::from)?);
        // To its end: only then the update is done.
        while granted.next()?.is_some() {}
        return Ok(Ok(Lease::granted(fence, length, asked)));
    }
    let mut rows = session.query(&session.prepare("SELECT holder FROM router WHERE id = 1")?, &[])?;
    let holder = rows.next()?.and_then(|row| row.try_get::<_, String>(0).ok()).unwrap_or_default();
    Ok(Err(holder))
}

/// The duty is free at once.
pub(super) fn release(session: &Session, fence: i64) -> Result<(), StoreError> {
    session.ensure()?;
    let sql = "UPDATE router SET expires_at = clock_timestamp() WHERE id = 1 AND fence = ?1";
    session.execute(&session.prepare(sql)?, &[fence.into()])?;
    Ok(())
}

/// Who is on duty, for people.
pub(super) struct OnDuty {
    pub holder: String,
    /// Milliseconds since the epoch.
    pub since: i64,
    pub left_ms: i64,
}

/// `None` in a file, and where nobody is on duty.
pub(super) fn on_duty(connection: &Connection) -> SqlResult<Option<OnDuty>> {
    let Connection::Postgres(_) = connection else { return Ok(None) };
    connection
        .query_row(
            "SELECT holder, CAST(EXTRACT(EPOCH FROM since) * 1000 AS BIGINT),
               CAST(EXTRACT(EPOCH FROM expires_at - clock_timestamp()) * 1000 AS BIGINT)
             FROM router WHERE id = 1 AND expires_at > clock_timestamp()",
            [],
            |row| Ok(OnDuty { holder: row.get(0)?, since: row.get(1)?, left_ms: row.get(2)? }),
        )
        .optional()
}
