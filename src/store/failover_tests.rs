//! A server that is the primary no more, or that has other defaults than ours.

use super::{Access, Batch, Endpoint, NewRecord, Place, Store, testing};

fn record() -> Batch {
    let record = NewRecord { target: 1, urgent: false, sent_at: 5, payload: b"{}".to_vec().into() };
    Batch { now_ms: 10, records: vec![record], ..Batch::default() }
}

fn place(url: &str) -> Place {
    Place::Server(Box::new(Endpoint::parse(url).expect("an address")))
}

/// The name still leads to the old node, which is a standby now: it must not be worked with, and the new primary be found as soon as
/// the name leads there.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_leads_to_a_standby_is_not_kept() {
    let Some(primary) = simulators::postgres::own() else { return };
    let url = primary.database().expect("a database");
    let standby = primary.standby().expect("a standby");
    let far = primary.address().to_owned();
    let line = simulators::line::Line::to(far.clone()).await.expect("a line");
    let store = Store::open(place(&url.replace(&far, &line.address().to_string())), Access::Router).expect("opened");
    store.commit(record()).await.expect("committed");
    line.lead_to(standby.address().to_owned());
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'findings-router'";
    let mut tries = 0;
    loop {
        primary.sql(&url, end).expect("ended");
        let refused = store.commit(record()).await.err().map(|error| error.to_string()).unwrap_or_default();
        let read = store.read_records(1, 0, i64::MAX, 10, usize::MAX);
        if refused.contains("name the primary") && read.is_err() {
            break;
        }
        tries += 1;
        assert!(tries < 50, "the standby was worked with: {refused} {read:?}");
    }
    line.lead_to(far);
    let mut tries = 0;
    while store.commit(record()).await.is_err() || store.read_records(1, 0, i64::MAX, 10, usize::MAX).is_err() {
        tries += 1;
        assert!(tries < 20, "it does not go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_server_takes_no_writes_any_more_is_made_anew() {
    let Some(opened) = testing::server() else { return };
    opened.write(|session| session.control("SET default_transaction_read_only = on")).await.expect("as if demoted");
    let refused = opened.commit(record()).await.expect_err("it takes no writes").to_string();
    assert!(refused.contains("25006") && refused.contains("name the primary"), "{refused}");
    opened.commit(record()).await.expect("on a connection that is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_transactions_see_each_other_is_not_left_to_the_database() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let name = url.rsplit('/').next().expect("a name");
    let strict = format!("ALTER DATABASE {name} SET default_transaction_isolation = serializable");
    server.sql(name, &strict).expect("altered");
    let store = Store::open(place(&url), Access::Router).expect("opened");
    let level = store.read(|session| session.query_row("SHOW transaction_isolation", [], |row| row.get::<String>(0)));
    assert_eq!(level.expect("read"), "read committed");
}
