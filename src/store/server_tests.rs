//! What only a server has: lanes with owners, fences, and plans that stay flat.

use std::time::Duration;

use super::{
    Access, Batch, Candidate, Connection, NewRecord, Place, Store, StoreError, replica::TOGETHER, server::MIGRATIONS,
    testing,
};
use crate::lease::DUTY;

fn endpoint(url: &str) -> super::Endpoint {
    let Ok(Place::Server(endpoint)) = Place::server(url) else { panic!("an address") };
    *endpoint
}

fn record() -> Batch {
    let record = NewRecord { target: 1, urgent: false, sent_at: 5, payload: b"{}".to_vec().into() };
    Batch { now_ms: 10, records: vec![record], ..Batch::default() }
}

#[tokio::test]
async fn one_replica_is_on_duty_and_the_next_follows_at_once_when_it_ends() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let (one, two) = (Candidate::connect(&place).expect("one"), Candidate::connect(&place).expect("two"));
    let length = Duration::from_secs(60);
    let first = one.try_duty(length).expect("asked").expect("nobody is on duty");
    let holder = two.try_duty(length).expect("asked").err().expect("the first one is");
    assert!(holder.ends_with(&format!(":{}", std::process::id())), "{holder}");
    let refused = Store::open(Place::Server(Box::new(place.clone())), Access::Router).err().expect("refused");
    assert!(refused.to_string().contains(&holder), "{refused}");
    assert_eq!(first.targets().expect("a command's view").len(), 0);
    first.replica().expect("a replica").leave();
    let second = two.try_duty(length).expect("asked").expect("free at once");
    assert_eq!(second.duty().expect("on duty").fence(), first.duty().expect("was").fence() + 1);
}

#[tokio::test]
async fn a_replica_whose_lease_is_gone_writes_and_sends_nothing_more() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let (one, two) = (Candidate::connect(&place).expect("one"), Candidate::connect(&place).expect("two"));
    let first = one.try_duty(Duration::from_secs(600)).expect("asked").expect("nobody is on duty");
    first.commit(record()).await.expect("on duty");
    // As if it had been stopped for longer than its lease.
    server.sql(&place.to_string(), "UPDATE leases SET expires_at = clock_timestamp()").expect("expired");
    let second = two.try_duty(Duration::from_secs(600)).expect("asked").expect("it is over");
    let refused = first.commit(record()).await.expect_err("no more");
    assert!(matches!(refused, StoreError::TakenOver { .. }), "{refused}");
    assert!(!first.duty().expect("was").lost().await.is_empty());
    let sends = first.duty().expect("was").may_send(Duration::ZERO);
    assert!(tokio::time::timeout(Duration::from_millis(50), sends).await.is_err(), "nothing goes out any more");
    second.duty().expect("on duty").may_send(Duration::from_secs(1)).await;
    second.commit(record()).await.expect("on duty");
    assert_eq!(second.read_records(1, 0, i64::MAX, 10, usize::MAX).expect("read").len(), 2);
}

fn joined(place: &super::Endpoint) -> Store {
    Candidate::connect(place).expect("connected").join(Duration::from_secs(600)).expect("asked").expect("joined")
}

#[tokio::test]
async fn lanes_have_owners_of_their_own_and_each_writes_under_its_own_number() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let (one, two) = (joined(&place), joined(&place));
    let (first, second) = (one.replica().expect("a replica"), two.replica().expect("a replica"));
    let soc = one.under(first.take(1).expect("asked").expect("free"));
    let devs = two.under(second.take(2).expect("asked").expect("free"));
    assert!(second.take(1).expect("asked").is_err(), "the first one owns it");
    soc.settle_records(vec![7], Vec::new(), 0).await.expect("its own");
    devs.settle_records(vec![8], Vec::new(), 0).await.expect("its own");
    let view = first.look().expect("looked");
    assert_eq!((view.owners.len(), view.replicas.len()), (2, 1), "both have this process's name: {view:?}");
    // The first one stands still for longer than its lease: of what it owned, only that lane is lost to it.
    server.sql(&place.to_string(), "UPDATE leases SET expires_at = clock_timestamp() WHERE lane = 1").expect("expired");
    let taken = two.under(second.take(1).expect("asked").expect("it is over"));
    let refused = soc.settle_records(vec![7], Vec::new(), 0).await.expect_err("no more");
    assert!(matches!(refused, StoreError::TakenOver { .. }), "{refused}");
    assert!(soc.duty().expect("was").is_over() && !devs.duty().expect("owned").is_over());
    taken.settle_records(vec![7], Vec::new(), 0).await.expect("its own now");
    one.settle_records(vec![9], Vec::new(), 0).await.expect("what is written in nobody's name is not refused");
    second.give_back(devs.duty().expect("owned"));
    assert!(first.take(2).expect("asked").is_ok(), "free at once");
}

/// One job of a lane that is lost stands in the same transaction as others: it is refused alone.
#[tokio::test]
async fn what_is_refused_for_one_lane_is_written_for_the_others_of_the_same_process() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let store = joined(&place);
    let replica = store.replica().expect("a replica");
    let decides = store.under(replica.take(DUTY).expect("asked").expect("free"));
    let lane = store.under(replica.take(1).expect("asked").expect("free"));
    server.sql(&place.to_string(), "UPDATE leases SET fence = 99, holder = 'other:1' WHERE lane = 1").expect("taken");
    let mut written = 0;
    for _ in 0..20 {
        let (refused, committed) =
            tokio::join!(lane.settle_records(vec![1_000], Vec::new(), 0), decides.commit(record()));
        assert!(refused.is_err_and(|error| error.to_string().contains("other:1")));
        written += committed.expect("on duty").records.len();
    }
    assert_eq!(store.read_records(1, 0, i64::MAX, 100, usize::MAX).expect("read").len(), written);
}

/// What a router of a version before does for its turn, and what it writes under.
const OLD_TURN: &str = "UPDATE router SET holder = 'old:1', fence = fence + 1, since = clock_timestamp(),
    expires_at = clock_timestamp() + INTERVAL '600 seconds'
    WHERE id = 1 AND (expires_at IS NULL OR expires_at < clock_timestamp()) RETURNING fence";

/// A router of a version before lanes is on duty for everything, and knows of none: it and the replicas that share them keep away from
/// each other, by the one row that it knows.
#[tokio::test]
async fn routers_of_the_version_before_and_replicas_that_share_lanes_never_work_at_once() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let turn = || server.sql(&place.to_string(), OLD_TURN).expect("asked");
    let before = &MIGRATIONS[..2];
    let _old = Candidate::knowing(&place, before).expect("an old one starts first");
    assert!(!turn().is_empty(), "it is on duty");
    let new = Candidate::connect(&place).expect("brings the schema up to date beside it");
    let length = Duration::from_secs(600);
    assert_eq!(new.join(length).expect("asked").err().as_deref(), Some("old:1"));
    let refused = Candidate::knowing(&place, before).err().expect("an old one that starts is refused");
    assert!(matches!(refused, StoreError::TooNew { .. }), "{refused}");
    server.sql(&place.to_string(), "UPDATE router SET expires_at = clock_timestamp()").expect("the old one ends");
    let store = new.join(length).expect("asked").expect("joined");
    let replica = store.replica().expect("a replica");
    let lane = store.under(replica.take(1).expect("asked").expect("free"));
    assert!(turn().is_empty(), "old ones wait while any replica is there");
    let second = joined(&place);
    // Replicas are told apart by their processes, and these two are in one.
    let there = "INSERT INTO replicas VALUES ('other:1', clock_timestamp() + INTERVAL '600 seconds')";
    server.sql(&place.to_string(), there).expect("another one");
    replica.leave();
    assert!(turn().is_empty(), "another one is still there");
    let refused = lane.settle_records(vec![1], Vec::new(), 0).await;
    assert!(refused.is_ok(), "nobody else owns it, so nothing is wrong with that: {refused:?}");
    second.replica().expect("a replica").take(1).expect("asked").expect("free");
    assert!(lane.settle_records(vec![1], Vec::new(), 0).await.is_err());
    // All of them are gone without a word, for longer than their leases.
    let expire = "UPDATE router SET expires_at = clock_timestamp()";
    server.sql(&place.to_string(), expire).expect("expired");
    assert!(!turn().is_empty(), "the old one may");
    let refused = second.commit(record()).await.expect_err("nothing is written beside it");
    assert!(matches!(&refused, StoreError::TakenOver { holder } if holder == "old:1"), "{refused}");
    assert!(second.replica().expect("was").take(2).is_err());
    let holder = server.sql(&place.to_string(), "SELECT holder FROM router").expect("asked");
    assert_eq!(holder.trim(), "old:1");
    assert_ne!(holder.trim(), TOGETHER);
}

#[test]
fn replicas_that_start_at_once_make_one_schema() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| Candidate::connect(&place).map(drop))).collect();
        for started in starts {
            started.join().expect("no panic").expect("connected");
        }
    });
}

#[test]
fn a_database_of_another_installation_is_refused_by_name() {
    let Some(server) = simulators::postgres::shared() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let (ours, theirs) = (Candidate::connect(&place).expect("one"), Candidate::connect(&place).expect("two"));
    ours.claim("https://sqs/1/checks").expect("the first one");
    ours.claim("https://sqs/1/checks").expect("a replica of it");
    let refused = theirs.claim("https://sqs/2/checks").expect_err("another one").to_string();
    assert!(refused.contains("belongs to another installation: https://sqs/1/checks"), "{refused}");
    assert!(refused.contains("set `installation: https://sqs/1/checks`"), "{refused}");
}

#[tokio::test]
async fn a_command_beside_the_router_gives_numbers_in_the_order_of_the_commits() {
    let Some(opened) = testing::server() else { return };
    let Place::Server(endpoint) = &*opened.place else { panic!("a server") };
    let command = Candidate::connect(endpoint).expect("connected").beside().expect("opened");
    let mut last = 0;
    for _ in 0..20 {
        let (mine, theirs) = tokio::join!(opened.commit(record()), command.commit(record()));
        let mut numbers = [mine.expect("mine").records[0], theirs.expect("theirs").records[0]];
        numbers.sort_unstable();
        assert!(numbers[0] > last);
        last = numbers[1];
    }
}

/// Plans of what a lane asks again and again must use an index, however long the queue.
#[tokio::test]
async fn what_lanes_ask_goes_down_an_index_in_a_long_queue() {
    let Some(opened) = testing::server() else { return };
    let long = std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some();
    let rows: i64 = if long { 1_000_000 } else { 50_000 };
    let filled = opened.write(move |transaction| {
        transaction.execute(
            "INSERT INTO records (target, urgent, at, sent_at, codec, payload)
             SELECT n % 3, CASE WHEN n % 1000 = 0 THEN 1 ELSE 0 END, n, n, 0, 'x' FROM generate_series(1, ?1) n",
            [rows],
        )?;
        transaction.execute(
            "INSERT INTO holds (finding, script, due_at, reason) SELECT n, 's', n, 'r' FROM generate_series(1, 50000) n",
            [],
        )?;
        transaction.execute(
            "INSERT INTO deliveries (target, key, finding, account, priority, wanted, revision, state, due_at, attempts, at,
               sent_at, event_id, payload)
             SELECT CASE WHEN n % 100 = 0 THEN 1 ELSE 2 END, n, n, 'a', CASE WHEN n % 1000 = 0 THEN 90 ELSE 50 END, 'open', 1, 'waiting', n, 0, n, n, 'e', '{}'
             FROM generate_series(1, 50000) n",
            [],
        )?;
        transaction.execute(
            "INSERT INTO decisions (finding, at, event_id, change, trace) SELECT n, n, 'e', 'opened', '{}'
             FROM generate_series(1, 50000) n",
            [],
        )?;
        for table in ["deliveries", "decisions"] {
            transaction.control(&format!("ANALYZE {table}"))?;
        }
        transaction.control("ANALYZE records")?;
        transaction.control("ANALYZE holds")
    });
    filled.await.expect("filled");
    let counted = format!("SELECT COUNT(*), MIN(id) FROM records WHERE target = 1 AND id >= {}", rows - 1_000);
    for (query, index) in [
        (&*counted, "records_"),
        ("DELETE FROM records WHERE id = ANY('{7,9}')", "records_pkey"),
        ("SELECT id FROM records WHERE id >= 10 AND id < 40000 AND target = 1 ORDER BY id LIMIT 500", "records_"),
        ("SELECT id FROM records WHERE target = 1 AND urgent = 1 AND id >= 5 ORDER BY id LIMIT 100", "records_"),
        ("SELECT MIN(due_at) FROM holds", "holds_by_due"),
        ("SELECT id FROM findings WHERE hash = 7 AND check_id = 'c'", "findings_by_hash"),
        ("DELETE FROM records WHERE id = 7", "records_pkey"),
        ("SELECT id FROM deliveries WHERE target = 1 AND id > 9000 ORDER BY id", "deliveries_by_target"),
        (
            "SELECT id FROM deliveries WHERE target = 1 AND priority >= 90 AND id <= 49000 ORDER BY id LIMIT 1000",
            "deliveries_urgent",
        ),
        ("SELECT 1 FROM deliveries WHERE finding = 7", "deliveries_by_finding"),
        (
            "SELECT id FROM (SELECT id, at FROM decisions ORDER BY id LIMIT 5000) AS oldest WHERE at < 9",
            "decisions_pkey",
        ),
    ] {
        let plan: Vec<String> = opened
            .read(|connection| {
                connection.prepare(&format!("EXPLAIN {query}"))?.query_map([], |row| row.get(0))?.collect()
            })
            .expect("explained");
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{query}\n{plan}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_said_in_words() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let name = url.rsplit('/').next().expect("a name");
    let said = |url: &str| match Store::open(Place::Server(Box::new(endpoint(url))), Access::Router) {
        Ok(_) => panic!("opened {url}"),
        Err(error) => error.to_string(),
    };
    assert!(said(&server.url_of("nowhere")).contains("create it first"), "{}", said(&server.url_of("nowhere")));
    let closed = said("postgres://postgres@127.0.0.1:1/x");
    assert!(closed.contains("refused") && closed.contains("127.0.0.1:1"), "{closed}");
    server.sql(name, "CREATE ROLE reader LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC").expect("a role");
    server.sql(name, "CREATE ROLE guarded LOGIN PASSWORD 'right'").expect("a role");
    let password = said(&url.replace("postgres@", "guarded:wrong@"));
    assert!(password.contains("user and password stand in `store:`") && !password.contains("wrong@"), "{password}");
    let rights = said(&url.replace("postgres@", "reader@"));
    assert!(rights.contains("permission denied") && rights.contains("create tables"), "{rights}");
    server.sql(name, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).expect("read-only");
    assert!(said(&url).contains("name the primary"), "{}", said(&url));
    server.sql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only")).expect("reset");
    drop(Candidate::connect(&endpoint(&url)).expect("opened"));
    server.sql(name, "UPDATE router SET schema_version = 99").expect("newer");
    assert!(said(&url).contains("newer findings-router"), "{}", said(&url));
}

#[test]
fn an_address_that_can_t_be_used_is_refused_without_its_password() {
    for (address, problem) in [
        ("postgres://u:secret@db.example.com", "names no database"),
        ("postgres://u:secret@/x", "host"),
        ("postgres://u:secret@h/x?sslmode=perhaps", "sslmode"),
        ("postgres://u:secret@h/x?sslrootcert=/nowhere.pem", "/nowhere.pem"),
        ("postgres://u:secret@h/x?iam=eu-west-1", "no password"),
        ("postgres://u@h/x?iam=Europe!", "no region"),
    ] {
        let said = Place::server(address).expect_err("refused");
        assert!(said.contains(problem) && !said.contains("secret"), "{address}: {said}");
    }
    let place = Place::server("postgres://u:secret@db.example.com/x").expect("an address");
    assert!(!format!("{place} {place:?}").contains("secret"));
}

#[tokio::test]
async fn a_store_goes_on_by_itself_after_its_database_was_restarted() {
    let Some(server) = simulators::postgres::own() else { return };
    let place = endpoint(&server.database().expect("a database"));
    let store = Store::open(Place::Server(Box::new(place)), Access::Router).expect("opened");
    store.commit(record()).await.expect("committed");
    server.restart().expect("restarted");
    let mut tries = 0;
    while store.commit(record()).await.is_err() {
        tries += 1;
        assert!(tries < 20, "it does not go on");
    }
    while store.read_records(1, 0, i64::MAX, 10, usize::MAX).map_or(0, |rows| rows.len()) != 2 {
        tries += 1;
        assert!(tries < 20, "it does not read");
    }
}

#[test]
fn connections_to_files_are_not_servers() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("router.db"), Access::Router).expect("opened");
    assert!(store.duty().is_none() && store.path().is_some());
    assert!(store.read(|connection| Ok(matches!(connection, Connection::Sqlite(_)))).expect("read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_got_lost_is_neither_made_twice_nor_taken_for_failed() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let place = endpoint(&url);
    let at = url::Url::parse(&url).expect("an address");
    let far = format!("{}:{}", at.host_str().expect("a host"), at.port().expect("a port"));
    let line = simulators::line::Line::to(far.clone()).await.expect("a line");
    let store = joined(&endpoint(&url.replace(&far, &line.address().to_string())));
    line.lose_answer_to("COMMIT");
    let committed = store.commit(record()).await.expect("it came through, and the server says so");
    assert_eq!(committed.records.len(), 1, "and the lane is told of it");
    assert_eq!(server.sql(&place.to_string(), "SELECT count(*) FROM records").expect("counted"), "1");
    store.commit(record()).await.expect("the store goes on, on a connection that is new");
    assert_eq!(server.sql(&place.to_string(), "SELECT count(*) FROM records").expect("counted"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_take_over_was_committed_without_an_answer_is_owned() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let at = url::Url::parse(&url).expect("an address");
    let far = format!("{}:{}", at.host_str().expect("a host"), at.port().expect("a port"));
    let line = simulators::line::Line::to(far.clone()).await.expect("a line");
    let store = joined(&endpoint(&url.replace(&far, &line.address().to_string())));
    line.lose_answer_to("COMMIT");
    let replica = store.replica().expect("a replica");
    let duty = replica.take(1).expect("the server says what became of it").expect("it is this one's");
    store.under(duty).settle_records(vec![7], Vec::new(), 0).await.expect("its own");
}

#[test]
fn replicas_that_ended_without_a_word_are_forgotten_after_a_day() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    drop(Candidate::connect(&endpoint(&url)).expect("makes the tables"));
    let gone = "INSERT INTO replicas VALUES ('long-gone:1', clock_timestamp() - INTERVAL '25 hours'),
      ('gone:1', clock_timestamp() - INTERVAL '1 hour')";
    server.sql(&url, gone).expect("written");
    let _store = joined(&endpoint(&url));
    let names = server.sql(&url, "SELECT name FROM replicas WHERE expires_at < clock_timestamp()").expect("read");
    assert_eq!(names.trim(), "gone:1");
}
