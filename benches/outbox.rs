//! Rows through the outbox: committed in batches of 100 on disk (`synchronous=FULL`), then settled by a lane.
//!
//! `cargo bench --bench outbox`: `items/s` are rows a second. `TMPDIR` says which disk is measured.

use std::sync::Arc;

use divan::{Bencher, counter::ItemsCount};
use findings_router::store::{Access, Batch, NewRecord, Store};
use tokio::{runtime::Runtime, sync::mpsc};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 100;
const BATCHES: usize = 500;
/// Of an ordinary check with its decision.
const PAYLOAD: usize = 2_000;

fn main() {
    divan::main();
}

/// `in_flight`: batches that are on their way to the disk together (one: each waits for the one before it).
#[divan::bench(args = [1, 4, 16], sample_count = 10)]
fn insert_and_settle(bencher: Bencher<'_, '_>, in_flight: usize) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("router.db"), Access::Router).expect("a store");
    let target = runtime.block_on(store.register_targets(vec!["siem".to_owned()])).expect("registered")[0].1;
    let payload: Arc<[u8]> = vec![b'x'; PAYLOAD].into();
    bencher.counter(ItemsCount::new(BATCH * BATCHES)).bench_local(|| {
        runtime.block_on(async {
            let (settle, mut settled) = mpsc::channel::<Vec<i64>>(64);
            let lane = tokio::spawn({
                let store = store.clone();
                async move {
                    let mut calls = tokio::task::JoinSet::new();
                    while let Some(rows) = settled.recv().await {
                        while calls.len() >= 4 {
                            calls.join_next().await;
                        }
                        let store = store.clone();
                        calls.spawn(async move { store.settle_records(rows, Vec::new(), 0).await.expect("settled") });
                    }
                    while calls.join_next().await.is_some() {}
                }
            });
            let mut commits = tokio::task::JoinSet::new();
            for _ in 0..BATCHES {
                while commits.len() >= in_flight {
                    commits.join_next().await;
                }
                let (store, settle, payload) = (store.clone(), settle.clone(), Arc::clone(&payload));
                commits.spawn(async move {
                    let record = NewRecord { target, urgent: false, sent_at: 1, payload };
                    let records = (0..BATCH).map(|_| record.share()).collect();
                    let batch = Batch { now_ms: 1, records, ..Batch::default() };
                    let rows = store.commit(batch).await.expect("committed").records;
                    settle.send(rows).await.expect("the lane is there");
                });
            }
            while commits.join_next().await.is_some() {}
            drop(settle);
            lane.await.expect("settled");
        });
    });
}
