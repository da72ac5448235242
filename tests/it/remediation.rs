//! Failing checks to a topic of remediation functions.

use crate::support::{Bench, check};

const T: i64 = 1_795_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_check_is_published_once_for_the_remediation_functions() {
    let bench = Bench::start().await;
    let topic = bench.sims.aws.create_topic("remediate");
    let folder = bench.folder();
    std::fs::create_dir(folder.join("routes")).expect("a folder");
    std::fs::write(folder.join("routes/fix.rhai"), "fn route(finding) { send(\"fix\") }").expect("a script");
    let yaml = format!(
        "store: sqlite:./state/router.db
routes: ./routes
sources:
  checks: {{ type: sqs, queue_url: \"{}\", wait_time: 1s, visibility_timeout: 5s }}
targets:
  fix: {{ type: sns, topic_arn: \"{topic}\", dry_run: true }}
",
        bench.queue
    );
    std::fs::write(folder.join("router.yaml"), yaml).expect("router.yaml");

    let probe = bench.output(&["check", "--probe"]).await;
    assert!(probe.status.success(), "{}", String::from_utf8_lossy(&probe.stdout));
    for _ in 0..2 {
        bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
        bench.sims.aws.send(&bench.queue, &check("fine", "SUCCESS", T));
        bench.settle().await;
    }
    let published = bench.sims.aws.published();
    assert_eq!(published.len(), 1, "{published:?}");
    let message: serde_json::Value = serde_json::from_str(&published[0].message).expect("JSON");
    let router = message["router"].clone();
    let mut received = message;
    received.as_object_mut().expect("an object").remove("router");
    let sent: serde_json::Value = serde_json::from_str(&check("root", "FAILURE", T)).expect("JSON");
    assert_eq!(received, sent, "Conformity's own shape");
    assert_eq!((&router["change"], &router["dry_run"]), (&"opened".into(), &true.into()), "{router}");
    assert_eq!(published[0].attributes["status"], "FAILURE");
}
