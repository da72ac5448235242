//! One event from its SNS envelope to the decision: decode, track, score, route, with the shipped scripts and every
//! limit on; beside it the same decision in plain Rust, which is what the scripts cost.
//!
//! `cargo bench --bench decide`: one thread, `items/s` are events a second.

use std::{collections::HashMap, sync::Arc};

use divan::{Bencher, black_box, counter::ItemsCount};
use findings_router::{
    decode::{compliances, decode, evidence},
    finding::{Finding, History, RawMessage},
    route::{LiveRoutes, RouteLimits},
    siblings::{Failing, Siblings},
    store::{Known, MemberState, Sent, TicketState},
    track,
};
use serde_json::json;
use simulators::scan::{Scan, ScanOptions, tables};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: u64 = 2_000;
const FAILING_SHARES: [f64; 2] = [0.02, 1.0];

fn main() {
    divan::main();
}

/// Events as SNS puts them into SQS.
fn messages(failing_share: f64) -> Vec<RawMessage> {
    let scan = ScanOptions { seed: 7, checks: EVENTS, failing_share, ..ScanOptions::default() };
    Scan::new(scan)
        .map(|check| RawMessage {
            body: json!({ "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
                "TopicArn": "arn:aws:sns:us-east-1:111122223333:conformity", "Message": check,
                "Timestamp": "2026-09-01T00:00:00.000Z", "SignatureVersion": "1", "Signature": "RVhBTVBMRQ==",
                "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
                "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe" })
            .to_string()
            .into_bytes(),
            received_at: 1_790_000_000_000,
            ..RawMessage::default()
        })
        .collect()
}

struct Shipped {
    routes: LiveRoutes,
    _folder: tempfile::TempDir,
}

/// The scripts of `routes/` with the tables of the company whose events these are.
fn shipped() -> Shipped {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tables")).expect("a folder");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/routes")).expect("the shipped scripts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rhai") {
            std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    for (name, text) in tables(7, 140) {
        std::fs::write(folder.path().join("tables").join(name), text).expect("a table");
    }
    let routes = LiveRoutes::load(folder.path().to_owned(), RouteLimits::default()).expect("they compile");
    Shipped { routes, _folder: folder }
}

fn decoded(message: &RawMessage) -> Arc<Finding> {
    Arc::new(decode(message).findings.pop().expect("a finding"))
}

#[divan::bench(args = FAILING_SHARES)]
fn decode_only(bencher: Bencher<'_, '_>, failing_share: f64) {
    let messages = messages(failing_share);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for message in &messages {
            black_box(decode(message));
        }
    });
}

#[divan::bench(args = FAILING_SHARES)]
fn decode_track_score_route(bencher: Bencher<'_, '_>, failing_share: f64) {
    let (messages, shipped) = (messages(failing_share), shipped());
    let routes = shipped.routes.current();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for message in &messages {
            let finding = decoded(message);
            let change = track::track(&finding, None, findings_router::store::Seen::Never);
            let known = track::remember(&finding, change, None, 1);
            let history = Arc::new(track::history(known.as_ref(), finding.received_at));
            black_box(routes.decide(&finding, change, &history, false, shipped.routes.limits()));
        }
    });
}

/// What the memory of a finding costs: each failing check has failed 64 times of late, has a ticket, an alert and siblings, and
/// a script asks for all of it. [`decide_without_history`] is the same with an empty memory.
#[divan::bench(args = FAILING_SHARES)]
fn decide_with_history(bencher: Bencher<'_, '_>, failing_share: f64) {
    decide(bencher, failing_share, |finding| {
        let day = 86_400_000;
        let at = finding.received_at;
        let sent = |target, name: &str| Sent { target, name: name.to_owned(), state: TicketState::Open, at: at - day };
        finding.failed().then(|| Known {
            row: 1,
            state: MemberState::Failing,
            first_seen: at - 90 * day,
            failing_since: Some(at - day),
            times_failed: 64,
            times_resolved: 63,
            failures: (0..64).map(|number| at - (64 - number) * day / 4).collect(),
            opened_at: Some(at - 90 * day),
            reopened_at: Some(at - day),
            last_resolved_at: Some(at - 2 * day),
            flapping: true,
            sent: vec![sent(1, "SOC-24"), sent(3, "1503435956.000247")],
            ..Known::default()
        })
    });
}

#[divan::bench(args = FAILING_SHARES)]
fn decide_without_history(bencher: Bencher<'_, '_>, failing_share: f64) {
    decide(bencher, failing_share, |_| None);
}

/// Decode, track, score and route with what `known` remembers of a finding; one script reads all of it.
fn decide(bencher: Bencher<'_, '_>, failing_share: f64, known: impl Fn(&Finding) -> Option<Known>) {
    let (messages, shipped) = (messages(failing_share), shipped());
    let routes = shipped.routes.current();
    let mut siblings = Siblings::default();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for message in &messages {
            let finding = decoded(message);
            let known = known(&finding);
            let change = track::track(&finding, known.as_ref(), findings_router::store::Seen::Never);
            let next = track::remember(&finding, change, known.as_ref(), 1);
            let history = track::history(next.as_ref().or(known.as_ref()), finding.received_at);
            let state = |known: Option<&Known>| known.map(|known| known.state);
            let others = match (state(known.as_ref()), state(next.as_ref())) {
                (None, None) => Failing::default(),
                (before, after) => siblings.others(&finding, before, after),
            };
            siblings.begin();
            let history = Arc::new(History {
                siblings_failing: others.siblings,
                fleet_failing: others.fleet,
                accounts_failing: others.accounts,
                ticket: known.as_ref().and_then(|known| Some(known.sent.first()?.name.clone())),
                ..history
            });
            black_box(routes.decide(&finding, change, &history, false, shipped.routes.limits()));
        }
    });
}

#[divan::bench(args = FAILING_SHARES)]
fn decode_track_plain_rust(bencher: Bencher<'_, '_>, failing_share: f64) {
    let (messages, company) = (messages(failing_share), Company::read());
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for message in &messages {
            let finding = decoded(message);
            let change = track::track(&finding, None, findings_router::store::Seen::Never);
            let known = track::remember(&finding, change, None, 1);
            let history = track::history(known.as_ref(), finding.received_at);
            black_box(company.decide(&finding, &history));
        }
    });
}

/// A script of some 40 lines that reads a dozen fields, as `finding` is shown to it.
const PROBE: &str = r#"
fn points(finding) {
    let points = switch finding.risk {
        "EXTREME" => 85,
        "VERY_HIGH" => 70,
        "HIGH" => 50,
        "MEDIUM" => 25,
        "LOW" => 10,
        _ => 40,
    };
    if finding.status != "FAILURE" { return 0; }
    if finding.suppressed { return 0; }
    if finding.service == "IAM" || finding.service == "KMS" { points += 5; }
    if finding.region == "us-east-1" { points += 1; }
    if finding.account_name.starts_with("prod") { points += 10; } else { points -= 5; }
    let message = finding.message;
    for word in ["public", "everyone", "anyone"] {
        if message.contains(word) { points += 10; break; }
    }
    if finding.resource.len() == 0 { points -= 1; }
    if finding.rule_id.starts_with("S3-") { points += 2; }
    if finding.provider == "aws" { points += 1; }
    if finding.cost > 100.0 { points += 1; }
    if points > 100 { points = 100; }
    if points < 0 { points = 0; }
    points
}
fn score(finding, score) {
    let points = score + points(finding);
    if points > 90 { return 90; }
    points
}
"#;

/// The script over a custom type with getters: a field costs something when it is read.
#[divan::bench(args = FAILING_SHARES)]
fn script_over_getters(bencher: Bencher<'_, '_>, failing_share: f64) {
    let findings: Vec<_> = messages(failing_share).iter().map(decoded).collect();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("probe.rhai"), PROBE).expect("a script");
    let routes = LiveRoutes::load(folder.path().to_owned(), RouteLimits::default()).expect("it compiles");
    let current = routes.current();
    let history = Arc::new(track::history(None, 1_790_000_000_000));
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for finding in &findings {
            let change = findings_router::finding::Change::Opened;
            black_box(current.decide(finding, change, &history, false, routes.limits()));
        }
    });
}

/// The same script over a map: every field is made for every event, read or not.
#[divan::bench(args = FAILING_SHARES)]
fn script_over_a_map(bencher: Bencher<'_, '_>, failing_share: f64) {
    let findings: Vec<_> = messages(failing_share).iter().map(decoded).collect();
    let mut engine = rhai::Engine::new();
    engine.set_max_operations(100_000).set_max_call_levels(32);
    let ast = engine.compile(PROBE).expect("it compiles");
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for finding in &findings {
            let map = shown_as_map(finding);
            let points: i64 = engine.call_fn(&mut rhai::Scope::new(), &ast, "score", (map, 0_i64)).expect("points");
            black_box(points);
        }
    });
}

/// Everything that a script may read, as a map.
fn shown_as_map(finding: &Finding) -> rhai::Map {
    let texts = [
        ("id", finding.id.as_str()),
        ("account_id", &finding.account_id),
        ("account_name", &finding.account_name),
        ("cloud_account", &finding.cloud_account),
        ("provider", &finding.provider),
        ("organisation_id", &finding.organisation_id),
        ("service", &finding.service),
        ("region", &finding.region),
        ("resource", &finding.resource),
        ("resource_type", &finding.resource_type),
        ("ccrn", &finding.ccrn),
        ("rule_id", &finding.rule_id),
        ("rule_title", &finding.rule_title),
        ("message", &finding.message),
        ("link", &finding.link),
        ("fix_url", &finding.fix_url),
        ("risk", finding.risk.as_str()),
        ("status", finding.status.as_str()),
    ];
    let mut map: rhai::Map = texts.into_iter().map(|(key, text)| (key.into(), text.into())).collect();
    for (key, value) in
        [("failed", finding.failed()), ("suppressed", finding.suppressed), ("not_scored", finding.not_scored)]
    {
        map.insert(key.into(), value.into());
    }
    for (key, words) in [("categories", finding.categories.clone()), ("compliances", compliances(finding))] {
        let words: rhai::Array = words.iter().map(|word| word.as_str().into()).collect();
        map.insert(key.into(), words.into());
    }
    for (key, pairs) in [("tags", finding.tags.clone()), ("extra", evidence(finding))] {
        let pairs: rhai::Map = pairs.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        map.insert(key.into(), pairs.into());
    }
    map.insert("cost".into(), finding.cost.into());
    map.insert("waste".into(), finding.waste.into());
    map
}

/// What the shipped scripts do, written by hand.
struct Company {
    platform: HashMap<String, bool>,
    teams: HashMap<String, String>,
    channels: HashMap<String, String>,
}

impl Company {
    fn read() -> Self {
        let [(_, accounts), (_, owners)] = tables(7, 140);
        let rows: Vec<Vec<&str>> = accounts.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let owners: HashMap<String, HashMap<String, String>> = serde_json::from_str(&owners).expect("owners");
        Self {
            platform: rows.iter().map(|row| (row[0].to_owned(), row[1] == "platform")).collect(),
            teams: rows.iter().map(|row| (row[0].to_owned(), row[3].to_owned())).collect(),
            channels: owners.into_iter().map(|(team, owner)| (team, owner["channel"].clone())).collect(),
        }
    }

    fn decide(&self, finding: &Finding, history: &History) -> Vec<(&'static str, i64, Option<String>)> {
        let failed = finding.failed();
        let environment = ["Environment", "Env", "Stage"].into_iter().find_map(|tag| finding.tag(tag));
        let production = matches!(environment.unwrap_or("unknown"), "prod" | "unknown");
        let mut score = 0_i64;
        if failed {
            score = match finding.risk.as_str() {
                "EXTREME" => 85,
                "VERY_HIGH" => 70,
                "HIGH" => 50,
                "MEDIUM" => 25,
                "LOW" => 10,
                _ => 40,
            };
            score += if production { 10 } else { -20 };
            score += if finding.categories.iter().any(|category| &**category == "security") { 5 } else { 0 };
            let message = finding.message.to_lowercase();
            let exposed = ["public", "everyone", "0.0.0.0/0", "anyone", "internet"];
            score += if exposed.iter().any(|word| message.contains(word)) { 10 } else { 0 };
            let week = 7 * 24 * 3_600_000;
            let long = history.failing_since.is_some_and(|since| finding.received_at - since > week);
            score += if long { 5 } else { 0 };
            score -= if history.flapping { 10 } else { 0 };
        }
        let score = score.clamp(0, 100);
        let mut sends = vec![("siem", score, None)];
        if !failed || finding.suppressed || finding.not_scored {
            return sends;
        }
        let services = ["IAM", "CloudTrail", "Config", "Organizations", "GuardDuty", "KMS", "RTM", "VPC"];
        let platform = services.contains(&&*finding.service) || self.platform.get(&finding.account_id) == Some(&true);
        if platform && production && score >= 70 {
            sends.push(("soc", score, None));
        }
        if !platform && score >= 60 {
            let tagged = ["Team", "Owner", "team", "owner"].into_iter().find_map(|key| finding.tag(key));
            let team = tagged.or_else(|| self.teams.get(&finding.account_id).map(String::as_str)).unwrap_or_default();
            sends.push(("devs", score, self.channels.get(team).cloned()));
        }
        sends
    }
}
