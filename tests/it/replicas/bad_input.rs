//! Input that a file takes and a server does not.

use super::Site;
use crate::support::{check, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_no_index_takes_is_shortened_or_parked_and_holds_nothing_up() {
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    // Random, so that the server can't make it shorter.
    let long = |length: usize| std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>();
    let account = check("a", "SUCCESS", 1_795_000_000_000).replace("\"e1234fad\"", &format!("\"{}\"", long(4_000)));
    for message in
        [account, check(&long(60_000), "FAILURE", 1_795_000_000_000), check("root", "FAILURE", 1_795_000_000_000)]
    {
        site.bench.sims.aws.send(&site.bench.queue, &message);
    }
    let (running, _) = site.replica();
    let sims = &site.bench.sims;
    until("the others arrive", || sims.jira.issues().len() == 2 && sims.splunk.distinct() == 2).await;
    let letters = site.bench.json(&["dead-letters", "list"]).await;
    assert!(letters[0]["reason"].as_str().is_some_and(|why| why.contains("accountId is longer than")), "{letters}");
    assert!(running.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_the_database_of_another_installation_is_refused_by_name() {
    let Some(server) = simulators::postgres::shared() else { return };
    let site = Site::on(server).await;
    std::fs::write(site.bench.folder().join("state.ndjson"), "{}\n").expect("a file");
    let import = ["findings", "import", "state.ndjson", "--as-known"];
    let output = site.bench.output(&import).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("another installation"), "the first one leaves its name, before any router ran: {said}");
    server.sql(&site.url, "UPDATE installation SET name = 'theirs'").expect("written");
    let output = site.bench.output(&import).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("belongs to another installation: theirs"), "{said}");
}
