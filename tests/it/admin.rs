//! The admin API: everything that an operator may change, behind a token, away from `listen`.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Bench, Running, application_check, check, free_address, until, until_answers};

const T: i64 = 1_795_000_000_000;
const TOKEN: &str = "0123456789abcdef-admin";

struct Admin {
    base: String,
    client: Client,
}

impl Admin {
    /// A router with an admin API, and its public address.
    async fn of(bench: &Bench) -> (Self, Running, String) {
        let (public, admin) = (free_address(), free_address());
        bench.settings(&format!("listen: {public}\nadmin: {{ listen: \"{admin}\", token: {TOKEN} }}"));
        let router = bench.spawn_logging(&bench.folder().join("log"));
        let base = format!("http://{admin}");
        until_answers(&base).await;
        (Self { base, client: Client::new() }, router, format!("http://{public}"))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        (status, answer.json().await.expect("every answer is JSON"))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }
}

/// Every call there is; those that change something first.
const CALLS: [(&str, &str); 14] = [
    ("POST", "/v1/silences"),
    ("POST", "/v1/silences/preview"),
    ("POST", "/v1/silences/1/expire"),
    ("POST", "/v1/targets/soc/pause"),
    ("POST", "/v1/targets/soc/resume"),
    ("POST", "/v1/dead-letters/retry"),
    ("POST", "/v1/dead-letters/drop"),
    ("POST", "/v1/dead-letters/1/retry"),
    ("POST", "/v1/dead-letters/1/drop"),
    ("GET", "/v1/silences"),
    ("GET", "/v1/targets"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/dead-letters/1"),
    ("GET", "/v1/there-is-no-such-thing"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_or_changed_without_the_token_and_nothing_is_changed_over_listen() {
    let bench = Bench::start().await;
    let (admin, router, public) = Admin::of(&bench).await;
    for (method, path) in CALLS {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = || admin.client.request(method.clone(), format!("{}{path}", admin.base)).body("{}");
        let almost = &TOKEN[..TOKEN.len() - 1];
        for (name, request) in [
            ("without a token", request()),
            ("with a wrong one", request().bearer_auth("0123456789abcdef-other")),
            ("with a part of it", request().bearer_auth(almost)),
            ("with more than it", request().bearer_auth(format!("{TOKEN}x"))),
            ("with an empty one", request().bearer_auth("")),
            ("as a password", request().basic_auth("admin", Some(TOKEN))),
        ] {
            let answer = request.send().await.expect("it answers");
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path} {name}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let body: Value = answer.json().await.expect("JSON");
            assert!(body["error"].as_str().is_some_and(|error| error.contains("Authorization")), "{body}");
        }
        let elsewhere = admin.client.request(method.clone(), format!("{public}{path}")).bearer_auth(TOKEN).body("{}");
        let answer = elsewhere.send().await.expect("it answers");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path} over `listen`");
    }
    // And the other way round: health and metrics are not asked of the admin API.
    assert_eq!(admin.ask(Method::GET, "/metrics", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.get("/v1/silences").await, json!([]));
    assert!(admin.get("/v1/targets").await.as_array().is_some_and(|all| all.iter().all(|one| one["paused"] == false)));
    drop(router);
    let log = std::fs::read_to_string(bench.folder().join("log")).expect("the log");
    assert!(log.contains("the admin API was asked") && !log.contains(TOKEN), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_previewed_added_listed_and_ended_over_http() {
    let bench = Bench::start().await;
    let (admin, _router, _) = Admin::of(&bench).await;
    bench.sims.aws.send(&bench.queue, &check("before", "FAILURE", T));
    until("the first ticket", || bench.sims.jira.issues().len() == 1).await;
    let asked = json!({ "match": ["rule_id=IAM-*", "env=prod"], "for": "7d", "reason": "CHG-17", "author": "ann" });
    // The answer is on disk a moment after the ticket is there.
    let mut preview = Value::Null;
    for _ in 0..200 {
        let (status, answer) = admin.post("/v1/silences/preview", asked.clone()).await;
        assert_eq!((status, &answer["id"], &answer["dry_run"]), (StatusCode::OK, &Value::Null, &json!(true)));
        preview = answer["preview"].clone();
        if preview["targets"][0]["delivered"] == 1 {
            break;
        }
    }
    assert_eq!(preview["findings"], 1, "{preview}");
    assert_eq!(preview["targets"], json!([{ "target": "soc", "actions": 1, "delivered": 1 }]), "{preview}");
    assert_eq!(admin.get("/v1/silences").await, json!([]), "a preview adds nothing");

    let (status, added) = admin.post("/v1/silences", asked).await;
    assert_eq!((status, &added["id"]), (StatusCode::CREATED, &json!(1)), "{added}");
    // The running router follows within a second; until then a finding may still make a ticket.
    let mut number = 0;
    let mut muted = false;
    while !muted {
        number += 1;
        assert!(number < 200, "the silence is obeyed");
        bench.sims.aws.send(&bench.queue, &check(&format!("r{number}"), "FAILURE", T));
        until("the event is in Splunk", || bench.sims.splunk.distinct() > number).await;
        muted = admin.get("/v1/silences?active=true").await[0]["findings_muted"] != 0;
    }
    let listed = admin.get("/v1/silences").await;
    assert_eq!((&listed[0]["state"], &listed[0]["author"]), (&json!("active"), &json!("ann")), "{listed}");
    assert_eq!(bench.json(&["silences", "list"]).await[0]["id"], 1, "the command line sees the same");

    let (status, refused) = admin.post("/v1/silences/1/expire", json!({ "author": " " })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let (status, ended) = admin.post("/v1/silences/1/expire", json!({ "author": "bob" })).await;
    assert_eq!((status, ended), (StatusCode::OK, json!({ "id": 1, "state": "ended" })));
    assert_eq!(admin.post("/v1/silences/1/expire", json!({ "author": "bob" })).await.0, StatusCode::CONFLICT);
    assert_eq!(admin.post("/v1/silences/9/expire", json!({ "author": "bob" })).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.get("/v1/silences?active=true").await, json!([]));
    let tickets = usize::try_from(number).expect("small") + 1;
    until("what was muted gets its ticket", || bench.sims.jira.issues().len() == tickets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_nobody_could_answer_for_is_refused_with_the_reason() {
    let bench = Bench::start().await;
    let (admin, _router, _) = Admin::of(&bench).await;
    let good = json!({ "match": ["env=dev"], "for": "1h", "reason": "known", "author": "ann" });
    let with = |key: &str, value: Value| {
        let mut asked = good.clone();
        asked[key] = value;
        asked
    };
    for (asked, status, expected) in [
        (with("match", json!([])), 422, "needs a matcher"),
        (with("match", json!(["ruleid=S3-*"])), 422, "did you mean `rule_id`?"),
        (with("match", json!(["rule_id=*"])), 422, "matches every finding"),
        (with("reason", json!(" ")), 422, "needs a reason"),
        (with("author", json!("")), 422, "author"),
        (with("for", json!("100d")), 422, "90d at most"),
        (with("targets", json!(["sco"])), 422, "did you mean `soc`?"),
        (with("targets", json!(["siem"])), 422, "never silenced"),
        (with("for", json!("soon")), 400, "no duration"),
        (with("until", json!("tomorrow")), 400, "unknown field `until`"),
        (json!("all of them"), 400, "the body"),
    ] {
        let (got, answer) = admin.post("/v1/silences", asked.clone()).await;
        assert_eq!(got.as_u16(), status, "{asked}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(expected)), "{expected}: {answer}");
    }
    assert_eq!(admin.get("/v1/silences").await, json!([]));
    let large = json!({ "reason": "x".repeat(100_000) });
    assert_eq!(admin.post("/v1/silences", large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(admin.post("/v1/silences/first/expire", json!({ "author": "ann" })).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(admin.ask(Method::DELETE, "/v1/silences", None).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_paused_and_resumed_over_http() {
    let bench = Bench::start().await;
    let (admin, _router, public) = Admin::of(&bench).await;
    let (status, paused) = admin.post("/v1/targets/soc/pause", Value::Null).await;
    assert_eq!((status, paused), (StatusCode::OK, json!({ "target": "soc", "state": "paused" })));
    let (status, missing) = admin.post("/v1/targets/sco/pause", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(missing["error"].as_str().is_some_and(|error| error.contains("did you mean `soc`?")), "{missing}");
    let mut state = Value::Null;
    while state != "paused" {
        let ready: Value = reqwest::get(format!("{public}/readyz")).await.expect("ready").json().await.expect("JSON");
        let lanes = ready["lanes"].as_array().expect("lanes").clone();
        state = lanes.iter().find(|lane| lane["target"] == "soc").expect("the lane")["state"].clone();
    }
    bench.sims.aws.send(&bench.queue, &check("root", "FAILURE", T));
    bench.sims.aws.send(&bench.queue, &application_check("b", "FAILURE", T));
    until("the others get theirs", || bench.sims.splunk.distinct() == 2 && bench.sims.slack.messages().len() == 1)
        .await;
    assert!(bench.sims.jira.issues().is_empty());
    let targets = admin.get("/v1/targets").await;
    let soc = targets.as_array().expect("targets").iter().find(|target| target["name"] == "soc").expect("soc").clone();
    assert_eq!((&soc["paused"], &soc["backlog"]), (&json!(true), &json!(1)), "{soc}");
    assert_eq!(admin.post("/v1/targets/soc/resume", Value::Null).await.0, StatusCode::OK);
    until("the ticket", || bench.sims.jira.issues().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_retried_and_dropped_over_http() {
    let bench = Bench::start().await;
    let (admin, _router, _) = Admin::of(&bench).await;
    for number in 0..4 {
        bench.sims.aws.send(&bench.queue, &format!("garbage {number}"));
    }
    while admin.get("/v1/dead-letters").await.as_array().map_or(0, Vec::len) < 4 {}
    let listed = admin.get("/v1/dead-letters?limit=1").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let first = admin.get("/v1/dead-letters/1").await;
    assert!(first["body"].as_str().is_some_and(|body| body.starts_with("garbage")), "{first}");
    let (status, dropped) = admin.post("/v1/dead-letters/1/drop", Value::Null).await;
    assert_eq!((status, dropped), (StatusCode::OK, json!({ "id": 1, "result": "dropped" })));
    assert_eq!(admin.post("/v1/dead-letters/1/retry", Value::Null).await.0, StatusCode::NOT_FOUND);
    let (_, dropped) = admin.post("/v1/dead-letters/drop", json!({ "ids": [2, 1] })).await;
    assert_eq!(dropped, json!([{ "id": 2, "result": "dropped" }, { "id": 1, "result": "missing" }]));
    for body in [json!({}), json!({ "ids": [3], "all": true })] {
        assert_eq!(admin.post("/v1/dead-letters/drop", body).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let (status, retried) = admin.post("/v1/dead-letters/retry", json!({ "all": true })).await;
    assert_eq!((status, retried.as_array().map(Vec::len)), (StatusCode::OK, Some(2)), "{retried}");
    assert_eq!(retried[0]["result"], "goes through every stage again");
    // They are still garbage: parked anew.
    while admin.get("/v1/dead-letters").await.as_array().map(Vec::len) != Some(2) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_api_that_anybody_could_use_is_refused_with_2() {
    let bench = Bench::start().await;
    let path = bench.folder().join("router.yaml");
    let good = std::fs::read_to_string(&path).expect("router.yaml");
    for (lines, expected) in [
        ("admin: { listen: \"127.0.0.1:9111\", token: short }", "16 characters"),
        ("admin: { listen: \"127.0.0.1:9111\", token: 8341265783412657 }", "`token` takes text, not a number"),
        ("admin: { listen: \"127.0.0.1:9111\" }", "missing field `token`"),
        ("admin: { listen: nowhere, token: 0123456789abcdef-x }", "invalid socket address"),
        ("listen: 127.0.0.1:9110\nadmin: { listen: \"127.0.0.1:9110\", token: 0123456789abcdef-x }", "of its own"),
    ] {
        std::fs::write(&path, format!("{lines}\n{good}")).expect("written");
        let output = bench.output(&["check"]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{lines}: {text}");
        assert!(text.contains(expected) && text.contains("router.yaml:"), "{expected} not in {text}");
        assert!(!text.contains("8341265783412657"), "{text}");
    }
}
