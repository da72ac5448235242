//! What a ticket goes through, and what each answer leads to. A test's first letters and numbers name the rows of the
//! table of target answers that it stands for.

use connectors::{Found, LedgerState, Verdict, Wanted};

use super::*;
use crate::common::{Recorder, deliver, delivery, notice, text};

#[tokio::test]
async fn j1_a_problem_becomes_one_ticket_with_its_fingerprint() {
    let server = Server::answering([created()]).await;
    let one = delivery(notice());
    let verdict = deliver(&*cloud(&server), &one).await;
    let Verdict::Delivered { ledger: Some(ledger), .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!((ledger.receipt.id.as_str(), ledger.receipt.name.as_str()), ("10024", "SOC-24"));
    let requests = server.requests().await;
    assert_eq!(server.paths().await, ["POST /rest/api/3/issue"]);
    let fields = &requests[0].2["fields"];
    assert_eq!((&fields["project"]["key"], &fields["priority"]["name"]), (&json!("SOC"), &json!("Highest")));
    let labels = fields["labels"].as_array().expect("labels");
    assert!(labels.contains(&json!(format!("fr-{}", one.fingerprint))) && labels.contains(&json!("conformity")));
}

#[tokio::test]
async fn j5_j22_an_answer_that_leaves_the_creation_open_is_ambiguous_and_not_repeated() {
    for said in [
        empty(500),
        empty(502),
        empty(504),
        text(502, "<html>bad gateway</html>"),
        text(201, ""),
        text(201, "{\"id\":\"10024\",\"ke"),
        text(201, "{}"),
        created().set_delay(Duration::from_secs(4)),
    ] {
        let shown = format!("{said:?}");
        let server = Server::answering([said]).await;
        assert_eq!(deliver(&*cloud(&server), &delivery(notice())).await.class(), "ambiguous", "{shown}");
        assert_eq!(server.requests().await.len(), 1, "it is not sent again before it was looked up: {shown}");
    }
}

#[tokio::test]
async fn j4_j27_what_may_have_been_created_is_looked_up_by_its_label() {
    let one = delivery(notice());
    let hit = json!({ "issues": [
        { "id": "9", "key": "SOC-9", "fields": { "status": { "statusCategory": { "key": "done" } } } },
        { "id": "10", "key": "SOC-10", "fields": { "status": { "statusCategory": { "key": "new" } } } } ] });
    let server = Server::answering([answer(200, json!({ "issues": [] })), answer(200, hit)]).await;
    let connector = cloud(&server);
    assert!(matches!(connector.find(&one, &Recorder::default()).await, Found::No));
    let Found::Yes(ledger) = connector.find(&one, &Recorder::default()).await else { panic!("not found") };
    assert_eq!(ledger.receipt.name, "SOC-10", "an open one counts before a closed one");
    let (_, path, body) = server.requests().await.remove(0);
    assert_eq!(path, "/rest/api/3/search/jql");
    let jql = body["jql"].as_str().expect("a query");
    assert_eq!(jql, format!("project = \"SOC\" AND labels = \"fr-{}\" ORDER BY created ASC", one.fingerprint));
    // Of a ledger that was lost: what is closed was resolved, the newest took the place of the others.
    let closed = |id: &str| json!({ "id": id, "key": format!("SOC-{id}"), "fields": { "status": { "statusCategory": { "key": "done" } } } });
    let all = || answer(200, json!({ "issues": [closed("9"), closed("10")] }));
    let server = Server::answering([all(), all()]).await;
    let connector = cloud(&server);
    let Found::Yes(ledger) = connector.find(&one, &Recorder::default()).await else { panic!("not found") };
    assert_eq!((ledger.receipt.name.as_str(), ledger.state), ("SOC-10", LedgerState::Resolved));
    let doubtful = connectors::Delivery { in_doubt: true, ..one.clone() };
    let Found::Yes(ledger) = connector.find(&doubtful, &Recorder::default()).await else { panic!("not found") };
    assert_eq!(
        (ledger.receipt.name.as_str(), ledger.state),
        ("SOC-9", LedgerState::Open),
        "a person closed it at once"
    );
    let server = Server::answering([text(200, "<html>")]).await;
    assert!(matches!(cloud(&server).find(&one, &Recorder::default()).await, Found::Failed(_)));
}

#[tokio::test]
async fn j6_j7_j8_a_limit_pauses_what_its_reason_names() {
    let limited = |reason: &str, after: &str| {
        empty(429).insert_header("Retry-After", after).insert_header("RateLimit-Reason", reason)
    };
    for (reason, after, scope) in [
        ("jira-burst-based", "2", "endpoint:POST /issue"),
        ("jira-quota-global-based", "1800", ""),
        ("jira-quota-tenant-based", "1800", ""),
        ("", "7", ""),
    ] {
        let server = Server::answering([limited(reason, after)]).await;
        let quota = Recorder::default();
        let verdict = cloud(&server).deliver(&[delivery(notice())], &quota).await.remove(0);
        assert_eq!(quota.acquired(), [["endpoint:POST /issue"]]);
        let Verdict::Throttled { after: wait, scope: found } = verdict else { panic!("{verdict:?}") };
        assert_eq!((wait.as_secs().to_string().as_str(), found.0.as_str()), (after, scope), "{reason}");
    }
    let server = Server::answering([issue("To Do", "new", Value::Null), limited("jira-per-issue-on-write", "3")]).await;
    let mut one = delivery(notice());
    one.ledger = Some(linked(LedgerState::Open));
    let verdict = deliver(&*cloud(&server), &one).await;
    assert!(matches!(&verdict, Verdict::Throttled { scope, .. } if scope.0 == "issue:10024"), "{verdict:?}");
}

#[tokio::test]
async fn j10_j11_j12_what_jira_refuses_and_can_do_without_is_left_out_once() {
    let refused =
        |field: &str, problem: &str| answer(400, json!({ "errorMessages": [], "errors": { field: problem } }));
    let server = Server::answering([refused("priority", "Field 'priority' cannot be set."), created()]).await;
    let verdict = deliver(&*cloud(&server), &delivery(notice())).await;
    assert!(
        matches!(&verdict, Verdict::Delivered { warning: Some(text), .. } if text.contains("priority")),
        "{verdict:?}"
    );
    assert!(server.requests().await[1].2["fields"]["priority"].is_null());
    // Too long: shorter once, then it is the ticket's fault.
    let long = || refused("description", "The entered text is too long.");
    let server = Server::answering([long(), long()]).await;
    let mut large = notice();
    large.message = "x".repeat(40_000);
    assert_eq!(deliver(&*cloud(&server), &delivery(large)).await.class(), "permanent_item");
    let requests = server.requests().await;
    assert_eq!(requests.len(), 2);
    assert!(requests[1].2.to_string().len() < requests[0].2.to_string().len());
    // The same where the size is refused by status.
    let server = Server::answering([empty(413), empty(413)]).await;
    let mut large = notice();
    large.message = "x".repeat(40_000);
    assert_eq!(deliver(&*cloud(&server), &delivery(large)).await.class(), "permanent_item");
    let requests = server.requests().await;
    assert_eq!(requests.len(), 2);
    assert!(requests[1].2.to_string().len() < requests[0].2.to_string().len());
    for field in ["project", "issuetype"] {
        let server = Server::answering([refused(field, "is unknown")]).await;
        assert_eq!(deliver(&*cloud(&server), &delivery(notice())).await.class(), "permanent_target", "{field}");
        assert_eq!(server.requests().await.len(), 1, "no hot loop");
    }
}

/// Everything that a document shows, one line for each paragraph.
fn shown(node: &Value, into: &mut String) {
    if let Some(text) = node["text"].as_str() {
        into.push_str(text);
    }
    for child in node["content"].as_array().into_iter().flatten() {
        shown(child, into);
    }
    if matches!(node["type"].as_str(), Some("paragraph" | "heading" | "codeBlock")) {
        into.push('\n');
    }
}

#[tokio::test]
async fn a_ticket_says_what_is_wrong_where_whose_until_when_and_how_to_fix_it() {
    let server = Server::answering([created()]).await;
    let settings = json!({
        "sla": { "VERY_HIGH": "3d" },
        "priorities": { "90": "Blocker", "50": "High", "VERY_HIGH": "Low" },
        "components": { "s3": "Storage", "EC2": "Compute" },
    });
    let mut told = notice();
    told.note = Some("Everybody can read the ledgers of customers.".into());
    told.categories = vec!["security".into()];
    told.compliances = vec!["CIS-V8".into(), "PCI".into()];
    told.owner = Some(("payments".into(), "tag Owner".into()));
    told.tags = vec![("Owner".into(), "payments".into())];
    told.resource_type = "s3-bucket".into();
    told.console_url = Some("https://console.aws.amazon.com/s3/bucket-1".into());
    told.introduced_by = Some("ada".into());
    told.extra = vec![("Grantee".into(), "AllUsers".into())];
    told.routed_by = vec!["platform_to_jira:7".into()];
    told.failing_since_ms = Some(NOW - 52 * 86_400_000);
    let one = delivery(told);
    assert!(matches!(deliver(&*with(&server, settings), &one).await, Verdict::Delivered { warning: None, .. }));
    let (_, _, body) = server.requests().await.remove(0);
    let fields = &body["fields"];
    assert_eq!(fields["summary"], "[VERY HIGH] S3 bucket public read: bucket-1 (payments-prod/us-west-2)");
    assert_eq!(fields["priority"]["name"], "Blocker", "by score, before the risk");
    assert_eq!(fields["duedate"], "2026-11-26", "three days from now");
    assert_eq!(fields["components"], json!([{ "name": "Storage" }]), "by service, whatever its capitals");
    let labels: Vec<&str> = fields["labels"].as_array().expect("labels").iter().filter_map(Value::as_str).collect();
    for label in ["conformity", "rule-S3-001", "risk-very-high", "acct-012345678901", "env-prod", "svc-s3"] {
        assert!(labels.contains(&label), "{label} in {labels:?}");
    }
    let mut text = String::new();
    shown(&fields["description"], &mut text);
    let mut at = 0;
    for part in [
        "VERY HIGH - failing since 2026-10-02 (52 d",
        "due 2026-11-26",
        "What is wrong",
        "Bucket is public",
        "Why it matters",
        "Everybody can read the ledgers",
        "Where",
        "bucket-1",
        "s3-bucket",
        "payments-prod (012345678901)",
        "prod",
        "us-west-2",
        "payments (from tag Owner)",
        "Owner=payments",
        "security",
        "CIS-V8, PCI",
        "S3-001",
        "ccc:b7f3:S3-001",
        "ada",
        "How to fix",
        "Knowledge base",
        "console",
        "Verify",
        "closes by itself",
        "Not a problem?",
        "Evidence",
        "Grantee: AllUsers",
        "Score 90, routed by platform_to_jira:7",
        &one.fingerprint,
    ] {
        let found = text[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part} after {} in {text}", &text[..at]));
    }
}

#[tokio::test]
async fn every_status_has_its_class() {
    for (status, class) in [
        (301, "permanent_target"),
        (400, "permanent_item"),
        (401, "permanent_target"),
        (403, "permanent_target"),
        (404, "permanent_target"),
        (405, "permanent_item"),
        (408, "transient"),
        (410, "permanent_target"),
        (422, "permanent_item"),
        (429, "throttled"),
        (500, "ambiguous"),
        (501, "ambiguous"),
        (502, "ambiguous"),
        (503, "transient"),
        (504, "ambiguous"),
        (599, "ambiguous"),
    ] {
        let server = Server::answering([empty(status)]).await;
        assert_eq!(deliver(&*cloud(&server), &delivery(notice())).await.class(), class, "{status}");
        assert_eq!(server.requests().await.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn j14_a_ticket_that_is_gone_is_told_and_not_made_anew() {
    for status in [403, 404] {
        let project = answer(200, json!({ "key": "SOC" }));
        let server = Server::answering([empty(status), project]).await;
        let mut one = delivery(notice());
        one.ledger = Some(linked(LedgerState::Open));
        let verdict = deliver(&*cloud(&server), &one).await;
        assert!(
            matches!(&verdict, Verdict::Delivered { warning: Some(text), .. } if text.contains("SOC-24")),
            "{verdict:?}"
        );
        assert_eq!(server.requests().await.len(), 2, "the bot still sees the project");
    }
}

#[tokio::test]
async fn j17_j18_a_pass_resolves_with_the_resolution_where_the_screen_has_one_and_creates_nothing() {
    for resolution in [true, false] {
        let server = Server::answering([
            issue("To Do", "new", Value::Null),
            transitions(&[("31", "Done", "done", resolution), ("41", "Won't Do", "done", true)]),
            empty(204),
        ])
        .await;
        let mut one = delivery(notice());
        (one.wanted, one.ledger) = (Wanted::Resolved, Some(linked(LedgerState::Open)));
        let verdict = deliver(&*cloud(&server), &one).await;
        assert!(matches!(&verdict, Verdict::Delivered { ledger: Some(it), .. } if it.state == LedgerState::Resolved));
        let (_, path, body) = server.requests().await.remove(2);
        assert_eq!((path.as_str(), &body["transition"]["id"]), ("/rest/api/3/issue/10024/transitions", &json!("31")));
        assert_eq!(body["fields"]["resolution"]["name"], if resolution { json!("Fixed") } else { Value::Null });
    }
    // Nothing was ever sent for it.
    let server = Server::answering([]).await;
    let mut one = delivery(notice());
    one.wanted = Wanted::Resolved;
    assert!(matches!(deliver(&*cloud(&server), &one).await, Verdict::Delivered { .. }));
    assert_eq!(server.requests().await.len(), 0);
}

#[tokio::test]
async fn j15_j16_a_failure_after_a_pass_reopens_the_ticket_or_links_a_new_one() {
    let done = || issue("Done", "done", json!({ "name": "Fixed" }));
    let server = Server::answering([done(), transitions(&[("11", "To Do", "new", false)]), empty(204)]).await;
    let mut one = delivery(notice());
    one.ledger = Some(linked(LedgerState::Resolved));
    let verdict = deliver(&*cloud(&server), &one).await;
    assert!(
        matches!(&verdict, Verdict::Delivered { ledger: Some(it), .. } if it.state == LedgerState::Open),
        "{verdict:?}"
    );
    assert_eq!(server.requests().await[2].2["transition"]["id"], "11");
    // No way back: a new ticket, linked to the old one.
    let again = answer(201, json!({ "id": "10099", "key": "SOC-99" }));
    let server = Server::answering([done(), transitions(&[("41", "Archive", "done", false)]), again, empty(201)]).await;
    let verdict = deliver(&*cloud(&server), &one).await;
    let Verdict::Delivered { ledger: Some(ledger), .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(ledger.receipt.name, "SOC-99");
    let (_, path, body) = server.requests().await.remove(3);
    assert_eq!((path.as_str(), &body["inwardIssue"]["key"]), ("/rest/api/3/issueLink", &json!("SOC-24")));
}

#[tokio::test]
async fn j19_a_persons_no_is_respected() {
    let no = || issue("Risk accepted", "done", Value::Null);
    let server = Server::answering([no()]).await;
    let mut one = delivery(notice());
    one.ledger = Some(linked(LedgerState::Open));
    assert!(matches!(deliver(&*cloud(&server), &one).await, Verdict::Delivered { .. }));
    assert_eq!(server.paths().await, ["GET /rest/api/3/issue/10024"], "neither reopened nor commented while it fails");
    let open_no = issue("Risk accepted", "indeterminate", Value::Null);
    let server = Server::answering([open_no, answer(201, json!({}))]).await;
    one.wanted = Wanted::Resolved;
    assert!(matches!(deliver(&*cloud(&server), &one).await, Verdict::Delivered { .. }));
    assert_eq!(server.paths().await[1], "POST /rest/api/3/issue/10024/comment");
}

#[tokio::test]
async fn j20_a_conflict_is_read_again_and_tried_once_more() {
    let way = || transitions(&[("31", "Done", "done", false)]);
    let server = Server::answering([issue("To Do", "new", Value::Null), way(), empty(409), way(), empty(204)]).await;
    let mut one = delivery(notice());
    (one.wanted, one.ledger) = (Wanted::Resolved, Some(linked(LedgerState::Open)));
    assert!(matches!(deliver(&*cloud(&server), &one).await, Verdict::Delivered { .. }));
    let server = Server::answering([issue("To Do", "new", Value::Null), way(), empty(409), way(), empty(409)]).await;
    assert_eq!(deliver(&*cloud(&server), &one).await.class(), "ambiguous", "and not for ever");
    assert_eq!(server.requests().await.len(), 5);
}

#[tokio::test]
async fn fields_that_the_router_writes_itself_are_nobodys() {
    let server = Server::answering([]).await;
    for field in ["project", "issuetype", "summary", "description", "labels"] {
        let settings = json!({ "url": server.0.uri(), "token": "t", "project": "SOC", "fields": { field: "x" } });
        let error = connect("jira", "soc", settings, &HttpOptions::default()).err().expect("refused").to_string();
        assert!(error.contains(field), "{error}");
        assert!(connectors::reserved_field(field).is_some());
    }
    assert_eq!(connectors::reserved_field("customfield_10055"), None);
}

#[tokio::test]
async fn j21_a_search_that_is_gone_names_the_setting() {
    let server = Server::answering([empty(410)]).await;
    let connector = with(&server, json!({ "deployment": "datacenter", "email": null }));
    let found = connector.find(&delivery(notice()), &Recorder::default()).await;
    let Found::Failed(Verdict::PermanentTarget { detail }) = found else { panic!("{found:?}") };
    assert!(detail.contains("deployment: cloud"), "{detail}");
}

#[tokio::test]
async fn j25_a_data_center_gets_its_own_paths_markup_and_token() {
    let server = Server::answering([created(), answer(200, json!({ "issues": [] }))]).await;
    let connector = with(&server, json!({ "deployment": "datacenter", "email": null }));
    let mut one = delivery(notice());
    one.options.assignee = Some("ada".into());
    assert!(matches!(deliver(&*connector, &one).await, Verdict::Delivered { .. }));
    connector.find(&one, &Recorder::default()).await;
    assert_eq!(server.paths().await, ["POST /rest/api/2/issue", "POST /rest/api/2/search"]);
    let fields = &server.requests().await[0].2["fields"];
    assert!(fields["description"].is_string(), "{fields}");
    assert_eq!(fields["assignee"], json!({ "name": "ada" }));
    let raw = server.0.received_requests().await.expect("recording");
    assert_eq!(raw[0].headers["authorization"], "Bearer secret");
}

#[tokio::test]
async fn a_proxy_and_plain_http_are_used_where_the_settings_say_so() {
    let proxy = Server::answering([created()]).await;
    let settings = json!({ "url": "http://jira.acme.example/jira", "deployment": "datacenter", "token": "secret", "project": "SOC" });
    let options = HttpOptions { proxy: Some(proxy.0.uri()), allow_http: true, ..HttpOptions::default() };
    let connector = connect("jira", "soc", settings.clone(), &options).expect("settings");
    assert!(matches!(deliver(&*connector, &delivery(notice())).await, Verdict::Delivered { .. }));
    let raw = proxy.0.received_requests().await.expect("recording");
    assert_eq!(raw[0].headers["host"], "jira.acme.example");
    assert_eq!(raw[0].url.path(), "/jira/rest/api/2/issue");
    let strict = HttpOptions { allow_http: false, ..options };
    assert!(connect("jira", "soc", settings, &strict).is_err());
}
