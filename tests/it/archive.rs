//! The archive of checks: whole after the router was killed, and read by a replay as it is.

use std::path::PathBuf;

use simulators::{Fault, FaultKind};

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

const BUCKET: &str = "s3: { bucket: acme-checks, prefix: checks/ }";

/// Every check goes to the archive, whose finished files go to a bucket.
async fn with_bucket() -> Bench {
    let bench = Bench::start().await;
    let path: PathBuf = bench.folder().join("router.yaml");
    let text = std::fs::read_to_string(&path).expect("router.yaml");
    let target =
        format!("targets:\n  archive: {{ type: archive, path: ./archive, rotate: {{ max_bytes: 200 }}, {BUCKET} }}\n");
    std::fs::write(&path, text.replacen("targets:\n", &target, 1)).expect("written");
    bench.script("archive", "fn route(finding) { [ send(\"archive\") ] }");
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_killed_while_it_puts_a_file_loses_nothing_and_the_bucket_feeds_a_replay() {
    let bench = with_bucket().await;
    bench.sims.aws.create_bucket("acme-checks");
    // The first put is applied, and nobody hears of it.
    bench.sims.aws.fault(Fault::times("PUT /acme-checks/checks/", 1, FaultKind::HangAfter));
    let count = 600;
    let mut fed = 0;
    let mut feed = |more: usize| {
        for number in fed..fed + more {
            bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
        }
        fed += more;
    };
    feed(200);
    let mut router = bench.spawn();
    until("something is archived", || files(&bench).iter().any(|(_, size)| *size > 0)).await;
    feed(200);
    until("the first file is put", || bench.sims.aws.faulted_count() == 1).await;
    router.kill().expect("killed");
    router.wait().expect("gone");
    assert!(files(&bench).iter().any(|(name, _)| name.ends_with(".zst")), "it stays until the put is acknowledged");
    feed(200);
    bench.settle().await;
    assert_eq!(files(&bench), [], "an orderly end leaves nothing here");
    let objects = bench.sims.aws.objects("acme-checks");
    let copy = bench.folder().join("copy");
    std::fs::create_dir_all(&copy).expect("a folder");
    for (key, bytes) in &objects {
        let name = key.strip_prefix("checks/").expect("the prefix");
        std::fs::write(copy.join(name), bytes).expect("written");
    }
    std::fs::write(bench.folder().join("routes/archive.rhai"), "fn route(f) { [ send(\"soc\") ] }").expect("written");
    let report = bench.json(&["routes", "replay", "./copy", "--routes", "./routes"]).await;
    assert!(objects.len() > 1, "{}", objects.len());
    assert_eq!(report["archive"]["changes"]["opened"], count, "{}", report["archive"]);
    assert_eq!(report["archive"]["damage"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_can_not_be_used_is_refused_before_the_router_starts() {
    let bench = with_bucket().await;
    let probe = bench.output(&["check", "--probe"]).await;
    let said = [probe.stdout, probe.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(probe.status.code() == Some(1) && said.contains("NoSuchBucket") && said.contains("s3.bucket"), "{said}");
    bench.sims.aws.create_bucket("acme-checks");
    let probe = bench.output(&["check", "--probe"]).await;
    let said = String::from_utf8_lossy(&probe.stdout);
    assert!(probe.status.success() && said.contains("s3://acme-checks/checks/ is there"), "{said}");
    let path = bench.folder().join("router.yaml");
    let text = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, text.replace("acme-checks", "Acme_Checks")).expect("written");
    let check = bench.output(&["check"]).await;
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(
        check.status.code() == Some(2) && said.contains("no bucket's name") && said.contains("router.yaml:"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_old_enough_goes_to_the_bucket_though_nothing_comes_any_more() {
    let bench = with_bucket().await;
    bench.sims.aws.create_bucket("acme-checks");
    let path: PathBuf = bench.folder().join("router.yaml");
    let text = std::fs::read_to_string(&path).expect("router.yaml");
    std::fs::write(&path, text.replace("max_bytes: 200 }", "max_age: 200ms }")).expect("written");
    bench.sims.aws.send(&bench.queue, &check("one", "FAILURE", T));
    let _router = bench.spawn();
    until("the bucket has it while the router is idle", || bench.sims.aws.objects("acme-checks").len() == 1).await;
    until("and the folder is empty", || files(&bench).is_empty()).await;
}
