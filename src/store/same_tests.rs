//! The same life of a store on each of them: every answer is the same. A statement that one of the databases does not take, or
//! takes otherwise, stands out here.

use std::sync::Arc;

use connectors::{Ledger, Notice, Receipt, SendOptions};

use super::{
    Batch, DeadLetter, FindingFilter, Hold, Interrupt, Known, MemberState, Muted, NewDecision, NewRecord, NewStorm,
    Payload, Retention, Round, Settlement, ShadowRow, Sighting, Store, StoredFinding, Wish, check_hash, testing,
};
use crate::{
    finding::{Change, Version},
    silence::{Silence, Word},
};

const DIGEST: &str = "[\"soc\",{\"digest\":\"1h\",\"until\":3600000},\"c\"]";

fn check_id(row: i64) -> String {
    format!("ccc:a:S3-001:S3:global:bücket {row}\u{1f600}")
}

fn finding(row: i64, state: MemberState) -> StoredFinding {
    let known = Known {
        row,
        state,
        version: Version { time_ms: 100 + row, content: u64::MAX - 5 },
        first_seen: 5,
        failing_since: (state == MemberState::Failing).then_some(50 + row),
        resolved_at: (state == MemberState::Resolved).then_some(70),
        times_failed: 2,
        times_resolved: 1,
        failures: vec![5, 50],
        opened_at: Some(50),
        reopened_at: Some(60 + row),
        last_resolved_at: None,
        flapping: row == 2,
        sent: Vec::new(),
    };
    StoredFinding {
        hash: check_hash(&check_id(row)),
        check_id: check_id(row),
        known,
        change: Change::Opened,
        event_id: format!("e{row}"),
        account_id: "a".into(),
        account_name: if row == 1 { "payments".into() } else { String::new() },
        rule_id: "S3-001".into(),
        rule_title: "It's public".into(),
        risk: "HIGH".into(),
        service: "S3".into(),
        region: "global".into(),
        resource: row.to_string(),
        env: "prod".into(),
        score: 70 + row,
        json: format!("{{\"id\":{row},\"text\":\"a\\u0000b\"}}").into(),
    }
}

fn payload(title: &str, channel: Option<&str>) -> Box<Payload> {
    let notice = Notice { title: title.into(), account_id: "a".into(), ..Notice::default() };
    Box::new(Payload { notice, options: SendOptions { channel: channel.map(str::to_owned), ..SendOptions::default() } })
}

fn open(finding: i64, key: &str, priority: u8, not_before: Option<i64>) -> Wish {
    Wish::Open {
        target: 1,
        key: key.into(),
        finding,
        account: "a".into(),
        priority,
        event_id: format!("e{finding}"),
        sent_at: 7,
        not_before,
        payload: payload("it fails", Some("C1")),
    }
}

fn letter(kind: &'static str, target: Option<&str>, body: Vec<u8>, meta: serde_json::Value) -> DeadLetter {
    let reason = "poison \u{0} and 'quotes'".into();
    DeadLetter {
        kind,
        target: target.map(str::to_owned),
        source: Some("q".into()),
        reason,
        check_id: None,
        event_id: Some("e".into()),
        body,
        meta,
    }
}

fn record(number: i64, urgent: bool) -> NewRecord {
    let payload = format!("{{\"n\":{number},\"t\":\"{}\"}}", "words ".repeat(50)).into_bytes();
    NewRecord { target: 2, urgent, sent_at: number, payload: payload.into() }
}

/// Everything that a store can be asked; all that it said.
#[expect(clippy::too_many_lines, reason = "one life, told from the beginning to the end")]
async fn life(store: &Store) -> Vec<String> {
    let mut said = Vec::new();
    macro_rules! say {
        ($($answer:expr),* $(,)?) => { $( said.push(format!("{} = {:?}", stringify!($answer), $answer.expect(stringify!($answer)))); )* };
    }
    let mut numbers = store.register_targets(vec!["soc".into(), "siem".into()]).await.expect("registered");
    numbers.sort();
    said.push(format!("{numbers:?}"));
    let first = Batch {
        now_ms: 1_000,
        findings: (1..=3).map(|row| finding(row, MemberState::Failing)).collect(),
        decisions: (1..=3)
            .map(|finding| NewDecision {
                finding,
                event_id: format!("e{finding}"),
                change: Change::Opened,
                trace: "{\"score\":7}".into(),
            })
            .collect(),
        records: (0..30).map(|number| record(number, number % 10 == 3)).collect(),
        wishes: vec![
            open(1, "k1", 50, None),
            open(2, "k1", 90, None),
            open(3, "k3", 10, None),
            open(2, DIGEST, 20, Some(3_600_000)),
            open(3, DIGEST, 20, Some(3_600_000)),
        ],
        holds: vec![Hold { finding: 1, script: "s".into(), due_at: 5_000, reason: "wait".into() }; 2],
        storms: vec![NewStorm {
            rule: "S3-001".into(),
            title: "t".into(),
            target: 1,
            key: "k1".into(),
            began_at: 9,
            accounts: 3,
            findings: 8,
        }],
        interrupts: [false, true, false]
            .map(|over| Interrupt { owner: "team".into(), day: "2026-11-25".into(), over })
            .to_vec(),
        dead_letters: vec![
            letter("message", None, b"\xff\x00".to_vec(), serde_json::json!({ "script": "s" })),
            letter("record", Some("siem"), b"{}".to_vec(), serde_json::json!({ "sent_at": 9 })),
        ],
        recent: vec![(u64::MAX, 3), (7, u64::MAX)],
        sightings: vec![
            Sighting::Seen { finding: 1, account: "a".into(), round: Some(1), expires_at: None },
            Sighting::Seen { finding: 2, account: "a".into(), round: None, expires_at: Some(900) },
            Sighting::Seen { finding: 3, account: "a".into(), round: Some(4), expires_at: None },
            Sighting::Over { finding: 3 },
        ],
        rounds: vec![("a".into(), Round { number: 2, checks: 3, full: 9, last_at: 8 }); 2],
        adopted: vec![3, 3, 2],
        unadopted: vec![2],
        ..Batch::default()
    };
    say!(store.commit(first).await);
    let again = finding(1, MemberState::Failing);
    say!(store.commit(Batch { now_ms: 1_100, findings: vec![again.clone(), again], ..Batch::default() }).await);
    let known = store.known(check_hash(&check_id(1)), &check_id(1));
    say!(known, store.known(1, "none"), store.failing_by_rule(), store.rounds(), store.adopted(), store.next_hold());
    say!(store.due_holds(5_000, 9), store.vanished("a", 3, 9), store.expired(1_000, 9), store.opened_since(61));
    say!(
        store.interrupts("2026-11-25"),
        store.storms(0),
        store.stands(1, "k1"),
        store.in_digest(2, 1, None),
        store.in_digest(1, 1, None)
    );
    let (hashes, next) = store.remembered().expect("remembered");
    said.push(format!("{} {next}", hashes.len()));
    said.push(format!("{:?}", store.recent(10_000, 1_500).expect("recent").seen(u64::MAX, 3)));
    let storm = store.storms(0).expect("storms").remove(0);
    say!(store.storm_members(&storm, 9), store.release_storm("S3-001".into(), "ann".into(), 1_200).await);
    say!(store.release_storm("none".into(), "ann".into(), 1_200).await, store.end_storms(vec![storm.id], 1_300).await);
    // Lanes.
    say!(
        store.waiting(1),
        store.waiting_since(1, 1),
        store.urgent_waiting(1, 99),
        store.record_backlog(2, 0),
        store.record_backlog(2, 9),
        store.delivery_bytes(1, 10).map(|size| size > 0)
    );
    say!(
        store.read_records(2, 3, 9, 100, usize::MAX),
        store.read_records(2, 1, 99, 100, 10),
        store.read_urgent_records(2, 1, 9)
    );
    say!(store.record_after(2, 5, 4), store.load(1), store.load(99), store.mark_sending(1, 1_250).await);
    assert!(!store.mark_sending(99, 1_250).await.expect("asked"), "what was taken back is not sent");
    let row = Arc::new(store.load(1).expect("read").expect("there"));
    say!(store.settle(Arc::clone(&row), 1, "soc".into(), Settlement::Withdrawn, 0, 1_300).await, store.load(1));
    let settle =
        async |row: &Arc<super::Loaded>, what| store.settle(Arc::clone(row), 1, "soc".into(), what, 4, 1_400).await;
    let retry =
        Settlement::Retry { unknown: true, due_at: 1_500, attempts: 1, class: "ambiguous", detail: "no answer".into() };
    say!(settle(&row, retry).await, store.load(1), settle(&row, Settlement::NotThere { attempts: 2 }).await);
    let receipt = Receipt { id: "1".into(), name: "SOC-1".into(), url: None };
    let mut ledger = Ledger::new(receipt, "h".into(), 1_400);
    ledger.closed_by_person_ms = Some(1_350);
    ledger.memory = serde_json::json!({ "accepted": { "until_ms": 9_000, "word": "won't fix" } });
    let done = Settlement::Done {
        ledger: Some(ledger.clone()),
        fingerprint: "f1".into(),
        detail: "made".into(),
        wake_at: Some(2_000),
    };
    say!(settle(&row, done).await, store.load(1), store.known(check_hash(&check_id(1)), &check_id(1)));
    say!(
        store.wakes(1, 1_999),
        store.wakes(1, 2_000),
        store.wake(1, 2_000).await,
        store.wakes(1, 2_000),
        store.waiting(1)
    );
    let third = store.waiting(1).expect("read").into_iter().find(|row| row.enqueued.priority == 10).expect("a row");
    let row = Arc::new(store.load(third.enqueued.id).expect("read").expect("there"));
    say!(settle(&row, Settlement::Dead { class: "permanent_item", detail: "refused".into() }).await);
    let digest =
        store.waiting(1).expect("read").into_iter().find(|row| row.enqueued.due_at == 3_600_000).expect("a digest");
    let row = Arc::new(store.load(digest.enqueued.id).expect("read").expect("there"));
    ledger.memory = serde_json::Value::Null;
    let adopted = Settlement::Adopted { ledger, fingerprint: "f2".into() };
    say!(settle(&row, adopted).await, settle(&row, Settlement::Nothing { detail: "nothing" }).await);
    let later = Wish::Open {
        target: 1,
        key: DIGEST.replace("3600000", "7200000"),
        finding: 2,
        account: "a".into(),
        priority: 1,
        event_id: "e".into(),
        sent_at: 1,
        not_before: Some(7_200_000),
        payload: payload("digest", None),
    };
    say!(store.commit(Batch { now_ms: 1_600, wishes: vec![later], ..Batch::default() }).await);
    let newest = store.waiting(1).expect("read").pop().expect("a row").enqueued.id;
    say!(store.load(newest));
    // What passes.
    let resolved = |finding| Wish::Resolved {
        finding,
        event_id: "p".into(),
        sent_at: 9,
        notice: Box::new(Notice { title: "it passes".into(), ..Notice::default() }),
    };
    let leave = Wish::Leave {
        finding: 2,
        target: 1,
        key: "k1".into(),
        event_id: "p".into(),
        sent_at: 9,
        notice: Box::default(),
    };
    let passes = Batch {
        now_ms: 1_700,
        findings: vec![finding(3, MemberState::Resolved)],
        wishes: vec![resolved(3), leave, resolved(1)],
        unholds: vec![(1, Some("other".into())), (1, None)],
        ..Batch::default()
    };
    say!(store.commit(passes).await, store.next_hold(), store.waiting(1));
    // Silences; one came with what a person said of the ticket.
    let silence = Silence {
        id: 0,
        matchers: vec!["rule_id=S3-*".into()],
        targets: vec!["soc".into()],
        author: "ann".into(),
        reason: "known".into(),
        created_at: 1,
        expires_at: 3_000,
    };
    say!(store.add_silence(silence).await, store.silences_version(), store.current_silences(1_000));
    let muted = |counts| Muted { silence: 2, finding: 1, target: 1, counts };
    let mutes = Batch { now_ms: 1_800, muted: vec![muted(false), muted(true), muted(false)], ..Batch::default() };
    say!(store.commit(mutes).await, store.unmuted(2_999, 9), store.unmuted(3_000, 9), store.silences(1_800));
    say!(store.expire_silence(1, "bob".into(), 1_900).await, store.expire_silence(9, "bob".into(), 1_900).await);
    say!(store.said_of_silence(1, Word::Ended, 1_950).await, store.wakes(1, 1_900), store.stored_check(1));
    say!(
        store.commit(Batch { now_ms: 1_960, unmuted: vec![(2, 1, 1)], ..Batch::default() }).await,
        store.unmuted(3_000, 9)
    );
    let (mut decided, mut delivered) = (Vec::new(), Vec::new());
    say!(store.decided_since(0, |finding, trace| decided.push((finding, trace.to_vec()))));
    say!(store.delivered_since(0, |finding, target| delivered.push((finding, target))));
    said.push(format!("{decided:?} {delivered:?}"));
    // Dead letters.
    say!(store.dead_letter_ids(), store.dead_letters(9), store.dead_letter(1), store.dead_letter(99));
    for id in store.dead_letter_ids().expect("read") {
        say!(store.retry_dead_letter(id, 2_000).await);
    }
    say!(store.retry_dead_letter(99, 2_000).await, store.drop_dead_letter(99).await, store.inbox(9), store.waiting(1));
    say!(store.commit(Batch { now_ms: 2_010, inbox: vec![1], ..Batch::default() }).await, store.inbox(9));
    // Packs.
    let packed = store.pack(2, 5, 2_000).await.expect("packs").expect("enough");
    said.push(format!("{} {} {}", packed.pack.first, packed.pack.last, packed.pack.rows));
    say!(store.record_backlog(2, 0), store.unpack(packed.pack.id).await, store.record_backlog(2, 0));
    say!(
        store
            .settle_records(vec![1, 2, 3], vec![(4, letter("record", Some("siem"), Vec::new(), 1.into()))], 2_050)
            .await
    );
    say!(store.read_records(2, 0, i64::MAX, 3, usize::MAX));
    // What people ask.
    let all = FindingFilter { limit: 9, ..FindingFilter::default() };
    let some = FindingFilter {
        state: Some("failing".into()),
        account: Some("payments".into()),
        rule: Some("S3-001".into()),
        limit: 9,
    };
    say!(store.findings(&all), store.findings(&some), store.finding_detail(&check_id(1)), store.finding_detail("none"));
    say!(
        store.report_lane(1, serde_json::json!({ "state": "open", "pauses": [1] }), 2_100).await,
        store.lane_pauses(1)
    );
    say!(store.pause_target("soc".into(), true).await, store.pause_target("none".into(), true).await);
    let mut reports = store.lane_reports().expect("read");
    reports.sort_by_key(|report| report.target);
    said.push(format!("{reports:?}"));
    for mut target in store.targets().expect("read") {
        // Only a database that is shared has an owner.
        (target.owner, target.owned_since, target.lease_ms) = (None, None, None);
        said.push(format!("{target:?}"));
    }
    say!(store.noise_findings(), store.told_since(0), store.open_tickets());
    let shadow = ShadowRow {
        version: "v2".into(),
        live_version: "v1".into(),
        kind: "moves".into(),
        target: "soc".into(),
        rule: "S3-001".into(),
        count: 2,
        first_at: 5,
        last_at: 6,
        samples: vec![serde_json::json!({ "check": 1 })],
    };
    say!(store.count_shadow(vec![shadow.clone(), shadow], 0).await, store.shadow());
    let keep = Retention { dedupe_window_ms: 10, decisions_ms: 10, dead_letters_ms: 10, resolved_ms: 10 };
    say!(store.prune(1_000_000, keep).await, store.findings(&all), store.silences(1_000_000), store.told_since(0));
    said
}

/// A server gives the number of a row also to one that turns out to be there already, and its texts hold every character but
/// one: that stands as the one that means "unknown".
fn unnumbered(answer: &str) -> String {
    let answer = answer.replace("\\0", "\u{fffd}");
    let parts = answer.split(" id: ");
    parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join(" id: ")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_gives_the_same_answers() {
    let stores = testing::stores();
    let file = life(&stores[0]).await;
    assert!(file.len() > 100, "{}", file.len());
    for other in &stores[1..] {
        for (file, other) in file.iter().zip(life(other).await) {
            assert_eq!(unnumbered(&other), unnumbered(file));
        }
    }
}
