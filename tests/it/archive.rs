//! The archive of checks: whole after the router was killed, and read by a replay as it is.

use std::path::PathBuf;

use crate::support::{Bench, check, until};

const T: i64 = 1_795_000_000_000;

fn files(bench: &Bench) -> Vec<(String, u64)> {
    let folder = bench.folder().join("archive");
    let entries = std::fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let mut files: Vec<_> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| {
            let size = entry.metadata().map_or(0, |data| data.len());
            (entry.file_name().to_string_lossy().into_owned(), size)
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_killed_leaves_an_archive_that_a_replay_reads_and_nothing_is_missing_in_it() {
    let bench = Bench::start().await;
    let path: PathBuf = bench.folder().join("router.yaml");
    let text = std::fs::read_to_string(&path).expect("router.yaml");
    let target = "targets:\n  archive: { type: archive, path: ./archive, rotate: { max_bytes: 2000 } }\n";
    std::fs::write(&path, text.replacen("targets:\n", target, 1)).expect("written");
    bench.script("archive", "fn route(finding) { [ send(\"archive\") ] }");
    let count = 600;
    for number in 0..count / 2 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    let mut router = bench.spawn();
    until("something is archived", || files(&bench).iter().any(|(_, size)| *size > 0)).await;
    router.kill().expect("killed");
    router.wait().expect("gone");
    for number in count / 2..count {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
    }
    bench.settle().await;
    let files = files(&bench);
    assert!(files.len() > 1, "rotated: {files:?}");
    assert!(files.iter().all(|(name, _)| name.ends_with(".jsonl.zst")), "all are finished: {files:?}");
    let routes = bench.folder().join("next");
    std::fs::create_dir_all(&routes).expect("a folder");
    std::fs::write(routes.join("a.rhai"), "fn route(f) { if f.failed { [send(\"soc\")] } else { [] } }")
        .expect("written");
    let archive = bench.folder().join("archive").display().to_string();
    let next = routes.display().to_string();
    let report = bench.json(&["routes", "replay", &archive, "--routes", &next]).await;
    assert_eq!(report["archive"]["changes"]["opened"], count);
    assert_eq!(report["archive"]["damage"], serde_json::json!([]));
    assert_eq!(report["archive"]["rejected"], 0);
    assert_eq!(report["appear"]["total"], count);
}
