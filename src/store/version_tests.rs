//! Stores of a version before, and commands of a newer one beside the router that works on them.

use std::time::Duration;

use super::{Access, Batch, Candidate, Endpoint, NewRecord, Place, Store, server::MIGRATIONS};

fn said(place: &Place) -> String {
    Store::open(place, Access::Command).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_command_leaves_the_schema_of_a_file_as_it_is_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.db");
    drop(Store::open(path.clone(), Access::Router).expect("a router makes it"));
    let place = Place::Sqlite(path.clone());
    assert_eq!(said(&place), "", "its commands open it");
    let file = rusqlite::Connection::open(&path).expect("opened");
    let version = || file.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).expect("read");
    let before = version() - 1;
    file.pragma_update(None, "user_version", before).expect("as an older router left it");
    let refused = said(&place);
    assert!(refused.contains(&format!("has schema {before}")) && refused.contains("start the new router"), "{refused}");
    assert_eq!(version(), before);
}

#[test]
fn a_command_leaves_the_schema_of_a_database_as_it_is_and_says_what_to_do() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let endpoint = Endpoint::parse(&url).expect("an address");
    let place = Place::Server(Box::new(endpoint.clone()));
    let refused = said(&place);
    assert!(refused.contains("was never used by a router"), "{refused}");
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(server.sql(&url, tables).expect("read").trim(), "0", "it made none");
    let before = MIGRATIONS.len() - 1;
    drop(Candidate::knowing(&endpoint, &MIGRATIONS[..before]).expect("an older router works on it"));
    let refused = said(&place);
    assert!(refused.contains(&format!("has schema {before}")) && refused.contains("start the new router"), "{refused}");
    let version = "SELECT schema_version FROM router";
    assert_eq!(server.sql(&url, version).expect("read").trim(), before.to_string());
    drop(Candidate::connect(&endpoint).expect("the new router starts"));
    assert_eq!(said(&place), "");
}

#[test]
fn tables_whose_rows_come_and_go_are_vacuumed_often_where_the_server_can_be_told() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let endpoint = Endpoint::parse(&url).expect("an address");
    // Knows of no lanes yet: for its tables that are not there the wish is refused, and nothing else.
    drop(Candidate::knowing(&endpoint, &MIGRATIONS[..2]).expect("the migration goes through"));
    let often =
        "SELECT count(*) FROM pg_class WHERE array_to_string(reloptions, ',') LIKE '%vacuum_scale_factor=0.02%'";
    assert_eq!(server.sql(&url, often).expect("read").trim(), "5");
    drop(Candidate::connect(&endpoint).expect("brings the schema up to date"));
    assert_eq!(server.sql(&url, often).expect("read").trim(), "8");
}

#[test]
fn a_database_that_gives_numbers_in_advance_is_refused_with_what_to_set() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let endpoint = Endpoint::parse(&url).expect("an address");
    let join = || Candidate::connect(&endpoint).expect("connected").join(Duration::from_secs(60));
    drop(join().expect("asked").expect("joined"));
    server.sql(&url, "ALTER SEQUENCE recent_id_seq CACHE 100").expect("as YugabyteDB does by itself");
    let refused = join().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("ysql_sequence_cache_minval"), "{refused}");
    server.sql(&url, "ALTER SEQUENCE recent_id_seq CACHE 1").expect("as it says");
    drop(join().expect("asked").expect("joined"));
}

#[tokio::test]
async fn records_are_kept_as_they_are_since_they_are_soon_gone() {
    let Some(server) = simulators::postgres::shared() else { return };
    let url = server.database().expect("a database");
    let store = Candidate::connect(&Endpoint::parse(&url).expect("an address"));
    let store = store.expect("connected").join(Duration::from_secs(60)).expect("asked").expect("joined");
    let payload = "the same words ".repeat(300).into_bytes().into();
    let record = NewRecord { target: 1, urgent: false, sent_at: 5, payload };
    store.commit(Batch { now_ms: 10, records: vec![record], ..Batch::default() }).await.expect("committed");
    let sizes = "SELECT pg_column_size(payload) >= LENGTH(payload) FROM records";
    assert_eq!(server.sql(&url, sizes).expect("read").trim(), "t", "they are not compressed");
}
