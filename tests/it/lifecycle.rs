//! What time and people do to tickets and messages while their check goes on failing.

use serde_json::Value;

use crate::support::{Bench, application_check, check, until};

const T: i64 = 1_795_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_no_becomes_a_silence_that_ends_and_reopens_the_ticket() {
    let bench = Bench::start().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    assert!(bench.sims.jira.set_status("SOC-1", "Risk accepted"));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T + 1));
    bench.settle().await;
    let listed = bench.json(&["silences", "list"]).await;
    let silence = &listed[0];
    assert_eq!((&silence["author"], &silence["state"]), (&"SOC-1".into(), &"active".into()), "{listed}");
    assert_eq!(silence["reason"], r#"closed as "Risk accepted" in SOC-1"#);
    assert_eq!(silence["targets"], serde_json::json!(["soc"]));
    assert_eq!(silence["matchers"], serde_json::json!(["check_id=ccc:e1234fad:IAM-001:IAM:global:root"]));
    let lasts = silence["expires_at"].as_i64().unwrap_or(0) - silence["created_at"].as_i64().unwrap_or(0);
    // It counts from the answer of JIRA on, a moment before it was written.
    assert_eq!((lasts + 60_000) / 86_400_000, 90);
    // It counts: new versions of the check change nothing, and there is one silence.
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T + 2));
    bench.settle().await;
    assert_eq!(bench.sims.jira.issues()[0].status, "Risk accepted");
    assert_eq!(bench.json(&["silences", "list"]).await.as_array().map(Vec::len), Some(1));
    // An operator ends it before its time: the ticket is reopened by itself.
    bench.json(&["silences", "expire", "1", "--author", "bob"]).await;
    let mut router = bench.spawn();
    until("the ticket to be open again", || bench.sims.jira.issues()[0].status == "To Do").await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    let issues = bench.sims.jira.issues();
    assert_eq!(issues.len(), 1);
    assert!(issues[0].comment_texts().concat().contains("is over, and the check still fails"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_names_the_ticket_of_the_same_finding_and_the_ticket_links_to_its_reasons() {
    let bench = Bench::start().await;
    bench.settings("explain_url: 'https://findings.example/{check_id}'");
    bench.script("both", r#"fn route(f) { if f.failed { [send("soc", #{}), send("devs", #{})] } }"#);
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T + 1));
    bench.settle().await;
    let messages = bench.sims.slack.messages();
    assert_eq!(messages.len(), 1, "updated in place");
    assert!(messages[0].body.to_string().contains("Ticket: SOC-1"), "{:?}", messages[0].body);
    let link = bench.sims.jira.requests().into_iter().find(|call| call.path.ends_with("/remotelink")).expect("a link");
    assert!(link.body.contains("https://findings.example/ccc"), "{}", link.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_stands_is_reminded_of_by_itself_and_once_over_restarts() {
    let bench = Bench::start().await;
    bench.configure(", sla: { VERY_HIGH: 1s }");
    let path = bench.folder().join("router.yaml");
    // Only targets of people know reminders.
    let yaml = std::fs::read_to_string(&path).expect("router.yaml");
    let yaml = yaml.replacen("linger: 50ms }, timeout: 3s, sla: { VERY_HIGH: 1s }", "linger: 50ms }, timeout: 3s", 1);
    std::fs::write(&path, yaml).expect("router.yaml");
    bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.settle().await;
    let replies = || {
        let messages = bench.sims.slack.messages();
        messages.iter().filter(|message| message.body["thread_ts"] != Value::Null).count()
    };
    let comments = || bench.sims.jira.issues()[0].comment_texts().len();
    let router = bench.spawn();
    until("the reminders", || replies() == 1 && comments() == 1).await;
    // Not killed: between the target's answer and the disk a reminder may come twice, as the manual says.
    assert_eq!(router.terminate().await.code(), Some(0));
    for at in [T + 1, T + 2] {
        bench.sims.aws.send(&bench.queue, &application_check("bucket", "FAILURE", at));
        bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", at));
        bench.settle().await;
    }
    assert_eq!((replies(), comments()), (1, 1), "said once");
    let due = bench.sims.jira.issues()[0].fields["duedate"].clone();
    assert!(due.as_str().is_some_and(|due| due.len() == 10), "{due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_up_links_to_every_event_behind_it_and_names_the_last_of_it_as_itself() {
    let bench = Bench::start().await;
    bench.script("one", "fn route(finding) { if finding.failed { [send(\"soc\", #{ group: finding.rule_id }), send(\"siem\")] } else { [] } }");
    bench.settings("search_link: \"https://splunk.acme.example/en-GB/app/search/search?q=search%20{query}\"");
    for number in 0..40 {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number:02}"), "FAILURE", T));
    }
    bench.settle().await;
    let issue = || bench.sims.jira.issues()[0].clone();
    let text = issue().fields["description"].to_string();
    assert!(text.contains("and 10 more") && text.contains("tableRow"), "{text}");
    let fingerprint = issue().labels.iter().find(|label| label.starts_with("fr-")).expect("a label").clone();
    assert!(text.contains(&format!("search?q=search%20{fingerprint}")), "{text}");
    let events = bench.sims.splunk.events();
    let of_ticket = |event: &&Value| event["event"]["router"]["actions"].to_string().contains(&fingerprint);
    assert_eq!(events.iter().filter(of_ticket).count(), 40, "the link finds all of them");
    for number in (0..40).filter(|number| *number != 7) {
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number:02}"), "SUCCESS", T + 1));
    }
    bench.settle().await;
    let summary = issue().fields["summary"].as_str().unwrap_or_default().to_owned();
    assert!(summary.contains("r07"), "{summary}");
    // Each member has a history of its own.
    let member = bench.json(&["explain", "ccc:e1234fad:IAM-001:IAM:global:r03"]).await;
    assert_eq!((&member["state"], &member["times_failed"]), (&"resolved".into(), &1.into()), "{member}");
}
