//! Jobs that share a transaction.

use std::sync::mpsc;

use super::{
    Store, StoreError,
    sql::{self, Connection},
    testing::stores,
};

fn add(transaction: &Connection, name: &str) -> sql::Result<()> {
    transaction.execute("INSERT INTO targets (name) VALUES (?1)", [name]).map(drop)
}

/// Fails once part of it is done.
fn add_twice(transaction: &Connection, name: &str) -> sql::Result<()> {
    add(transaction, name)?;
    add(transaction, name)
}

/// The same, told late: a server is not waited for.
fn add_twice_in_one_breath(transaction: &Connection, name: &str) -> sql::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO targets (name) VALUES (?1)")?;
    insert.execute_each([[name], [name]])?;
    insert.execute_each([[format!("{name} and more")]])
}

fn names(store: &Store) -> Vec<String> {
    let rows = store.read(|connection| {
        let mut names = connection.prepare_cached("SELECT name FROM targets ORDER BY name")?;
        names.query_map([], |row| row.get::<String>(0))?.collect()
    });
    rows.expect("names")
}

/// Work that waits for a word, so that what is said meanwhile shares its transaction.
fn slow(store: &Store) -> (impl Future<Output = Result<(), StoreError>>, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let work = store.write(move |transaction| {
        let _ = wait.recv();
        add(transaction, "slow")
    });
    (work, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_undoes_only_itself_wherever_it_stands() {
    for store in stores() {
        assert!(store.write(|transaction| add_twice(transaction, "alone")).await.is_err());
        assert_eq!(names(&store), [""; 0]);
        let (first, go) = slow(&store);
        let (first, second, third, ()) = tokio::join!(
            first,
            store.write(|transaction| add_twice(transaction, "second")),
            store.write(|transaction| add(transaction, "third")),
            async { go.send(()).expect("it waits") },
        );
        assert!(first.is_ok() && second.is_err() && third.is_ok(), "{first:?} {second:?} {third:?}");
        assert_eq!(names(&store), ["slow", "third"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_waited_for_fails_for_whoever_wrote_it_and_says_why() {
    for store in stores() {
        let (first, go) = slow(&store);
        let (first, second, third, fourth, ()) = tokio::join!(
            first,
            store.write(|transaction| add_twice_in_one_breath(transaction, "second")),
            store.write(|transaction| {
                add_twice_in_one_breath(transaction, "third")?;
                add(transaction, "third, waited for")
            }),
            store.write(|transaction| {
                let mut insert = transaction.prepare_cached("INSERT INTO targets (name) VALUES (?1)")?;
                insert.execute_each((0..600).map(|number| [format!("{number}")]))
            }),
            async { go.send(()).expect("it waits") },
        );
        assert!(first.is_ok() && fourth.is_ok(), "{first:?} {fourth:?}");
        for refused in [second, third] {
            let said = refused.expect_err("refused").to_string().to_lowercase();
            assert!(said.contains("unique") && !said.contains("aborted"), "{said}");
        }
        assert_eq!(names(&store).len(), 601);
        let alone = store.write(|transaction| add_twice_in_one_breath(transaction, "alone")).await;
        assert!(alone.expect_err("refused").to_string().to_lowercase().contains("unique"));
        assert_eq!(names(&store).len(), 601);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_without_a_savepoint_that_fails_is_told_to_everyone_of_its_transaction() {
    for store in stores() {
        let (first, go) = slow(&store);
        let (first, second, third, ()) = tokio::join!(
            first,
            store.write_plainly(|transaction| add_twice(transaction, "second")),
            store.write(|transaction| add(transaction, "third")),
            async { go.send(()).expect("it waits") },
        );
        assert!(first.is_err() && second.is_err() && third.is_ok(), "{first:?} {second:?} {third:?}");
        assert_eq!(names(&store), ["third"]);
    }
}

/// As SQLite does by itself where the disk is full: what comes after must not become a transaction of its own.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_whole_transaction_is_undone_nothing_of_it_is_kept_and_everyone_is_told() {
    let store = &stores()[0];
    let (first, go) = slow(store);
    let (first, second, third, ()) = tokio::join!(
        first,
        store.write(|transaction| {
            transaction.control("ROLLBACK")?;
            add_twice(transaction, "second")
        }),
        store.write(|transaction| add(transaction, "third")),
        async { go.send(()).expect("it waits") },
    );
    assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
    let kept = if third.is_ok() { vec!["third"] } else { vec![] };
    let after: Vec<_> = names(store).into_iter().filter(|name| name != "second").collect();
    assert_eq!(after, kept, "what is said of it is true");
    store.write(|transaction| add(transaction, "later")).await.expect("the store goes on");
}
