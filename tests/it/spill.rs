//! Backlogs larger than a lane may hold, and kills in the middle of packing and unpacking them.

use rusqlite::OpenFlags;
use simulators::{Fault, FaultKind};

use crate::support::{Bench, Running, check, until};

const T: i64 = 1_795_000_000_000;
/// Of about 1.5 kB each.
const COUNT: usize = 1_500;

fn fill(bench: &Bench) {
    for number in 0..COUNT {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "SUCCESS", T));
    }
}

fn down(bench: &Bench) {
    bench.sims.splunk.fault(Fault::always("collector", FaultKind::answer(503, "{\"code\":9,\"text\":\"busy\"}")));
}

fn kill(mut router: Running) {
    router.kill().expect("killed");
    router.wait().expect("ended");
}

/// Rows that are packed, and the bytes they take; rows that are not, and theirs.
fn stored(bench: &Bench) -> ((i64, i64), (i64, i64)) {
    let path = bench.folder().join("state/router.db");
    let read = || {
        let store = rusqlite::Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let pair = |sql: &str| store.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok::<_, rusqlite::Error>((
            pair("SELECT COALESCE(SUM(rows), 0), COALESCE(SUM(LENGTH(payload)), 0) FROM packs")?,
            pair("SELECT COUNT(*), COALESCE(SUM(LENGTH(payload)), 0) FROM records")?,
        ))
    };
    read().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_spills_takes_more_than_it_may_hold_compressed_and_survives_kills() {
    let bench = Bench::start().await;
    bench.configure(", backlog: { max_bytes: 100KB, when_full: spill }, probe_interval: 200ms");
    down(&bench);
    fill(&bench);
    let log = bench.folder().join("log");
    let first = bench.spawn_logging(&log);
    until("some are packed", || stored(&bench).0.0 > 100).await;
    kill(first);
    let second = bench.spawn_logging(&log);
    until("the queue is empty, though the lane is full", || bench.sims.aws.depth(&bench.queue) == (0, 0)).await;
    until("most are packed", || stored(&bench).1.1 < 200_000).await;
    let ((rows, packed), (plain_rows, plain)) = stored(&bench);
    assert_eq!(usize::try_from(rows + plain_rows).ok(), Some(COUNT), "each is there once");
    assert!(packed / rows * 5 < plain / plain_rows, "{packed} bytes for {rows}, {plain} for {plain_rows}");
    let targets = bench.json(&["targets", "list"]).await;
    let backlog = |name: &str| {
        targets.as_array().into_iter().flatten().find(|one| one["name"] == name).and_then(|one| one["backlog"].as_u64())
    };
    assert_eq!(backlog("siem"), Some(COUNT as u64), "{targets}");
    kill(second);
    // While it unpacks and delivers, a third is killed.
    bench.sims.splunk.clear_faults();
    bench.sims.splunk.fault(Fault::always("collector", FaultKind::Delay(30)));
    let third = bench.spawn();
    until("some arrived", || bench.sims.splunk.distinct() > COUNT as u64 / 3).await;
    kill(third);
    bench.sims.splunk.clear_faults();
    bench.settle().await;
    assert_eq!(bench.sims.splunk.distinct(), COUNT as u64);
    assert_eq!(stored(&bench), ((0, 0), (0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_pauses_the_sources_where_it_may_not_spill() {
    let bench = Bench::start().await;
    bench.configure(", backlog: { max_bytes: 20KB }");
    down(&bench);
    fill(&bench);
    let log = bench.folder().join("log");
    let router = bench.spawn_logging(&log);
    let said = |text: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    until("the operator is told", || said("the source pauses") && said("the lane of siem is full")).await;
    until("what was taken is stored", || bench.sims.aws.depth(&bench.queue).1 == 0).await;
    let (left, _) = bench.sims.aws.depth(&bench.queue);
    assert!(left > 0, "the rest stays in the queue");
    bench.sims.splunk.clear_faults();
    until("all arrive", || bench.sims.splunk.distinct() == COUNT as u64).await;
    assert!(said("there is room again"));
    kill(router);
}
