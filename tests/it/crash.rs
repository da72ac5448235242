//! `kill -9` at chosen points and at random: nothing lost, no second ticket, no second message.
//!
//! The points are made from outside: a simulator holds a call (before or after it took effect, or half-way through a
//! batch), or another connection holds the store; once the router is known to be there, it is killed.

use std::time::Duration;

use simulators::{Fault, FaultKind};

use crate::support::{Bench, application_check, assert_exact, check, feed, until};

const T: i64 = 1_795_000_000_000;

/// Where the router dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// The queue handed messages out, and their receiver never saw the answer.
    ReceiveUnread,
    /// Messages are received and their commit has not begun.
    Received,
    /// Everything is durable, and no message is deleted.
    Committed,
    /// Half of the entries of a batch are deleted, the others are not.
    BetweenDeletes,
    /// A batch is deleted, and the router does not know.
    DeleteUnread,
    /// The target did what it was asked, and the answer was never read.
    Applied(Target, &'static str),
    /// Somewhere, spread over start, receive, commit, delivery and drain.
    Somewhere(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Jira,
    Slack,
    Splunk,
}

const CREATE: Point = Point::Applied(Target::Jira, "POST /rest/api/3/issue");
const POST: Point = Point::Applied(Target::Slack, "chat.postMessage");
const COLLECT: Point = Point::Applied(Target::Splunk, "collector");

/// Every point that has a name, in the order of a message's way.
const NAMED: [Point; 8] = [
    Point::ReceiveUnread,
    Point::Received,
    Point::Committed,
    Point::BetweenDeletes,
    Point::DeleteUnread,
    CREATE,
    POST,
    COLLECT,
];

impl Target {
    fn fault(self, bench: &Bench, fault: Fault) {
        match self {
            Self::Jira => bench.sims.jira.fault(fault),
            Self::Slack => bench.sims.slack.fault(fault),
            Self::Splunk => bench.sims.splunk.fault(fault),
        }
    }

    fn faulted(self, bench: &Bench) -> u64 {
        match self {
            Self::Jira => bench.sims.jira.faulted_count(),
            Self::Slack => bench.sims.slack.faulted_count(),
            Self::Splunk => bench.sims.splunk.faulted_count(),
        }
    }

    fn heal(self, bench: &Bench) {
        match self {
            Self::Jira => bench.sims.jira.clear_faults(),
            Self::Slack => bench.sims.slack.clear_faults(),
            Self::Splunk => bench.sims.splunk.clear_faults(),
        }
    }
}

/// Starts the router, feeds it, waits until it is at the point, and kills it there.
async fn die_at(bench: &Bench, point: Point, feed: impl FnOnce()) {
    let aws = &bench.sims.aws;
    let queue_fault = match point {
        Point::ReceiveUnread => Some(Fault::times("ReceiveMessage", 1, FaultKind::HangAfter)),
        // Every delete, so that none gets through beside the one that is waited for.
        Point::Committed => Some(Fault::always("DeleteMessageBatch", FaultKind::HangBefore)),
        Point::BetweenDeletes => Some(Fault::times("DeleteMessageBatch", 1, FaultKind::HangHalfway)),
        Point::DeleteUnread => Some(Fault::times("DeleteMessageBatch", 1, FaultKind::HangAfter)),
        Point::Received | Point::Applied(..) | Point::Somewhere(_) => None,
    };
    let what = format!("{point:?}");
    match (point, queue_fault) {
        (_, Some(fault)) => {
            aws.fault(fault);
            feed();
            let before = aws.faulted_count();
            let router = bench.spawn();
            until(&what, || aws.faulted_count() > before).await;
            drop(router);
            aws.clear_faults();
        }
        (Point::Applied(target, call), None) => {
            target.fault(bench, Fault::times(call, 1, FaultKind::HangAfter));
            feed();
            let before = target.faulted(bench);
            let router = bench.spawn();
            until(&what, || target.faulted(bench) > before).await;
            drop(router);
            target.heal(bench);
        }
        (Point::Received, None) => {
            let (store, lock) = (bench.folder().join("state/router.db"), bench.folder().join("state/router.db.lock"));
            let router = bench.spawn();
            let (before, pid) = (aws.request_count(), router.id().to_string());
            let running = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains(&pid));
            until("it is at work", || running() && aws.request_count() > before).await;
            // Another program holds the store: no commit can begin.
            let store = rusqlite::Connection::open(store).expect("the store");
            store.busy_timeout(Duration::from_secs(20)).expect("a time");
            store.execute_batch("BEGIN IMMEDIATE").expect("the lock");
            let before = aws.received();
            feed();
            until(&what, || aws.received() > before).await;
            drop(router);
        }
        (Point::Somewhere(calls), None) => {
            feed();
            let wanted = aws.request_count() + 5 + calls;
            let router = bench.spawn();
            let patience = tokio::time::Instant::now() + Duration::from_secs(5);
            while aws.request_count() < wanted && tokio::time::Instant::now() < patience {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(router);
        }
        (Point::ReceiveUnread | Point::Committed | Point::BetweenDeletes | Point::DeleteUnread, None) => {
            unreachable!("each of them has a fault")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q2_killed_at_each_point_of_a_messages_way() {
    let bench = Bench::start().await;
    for (round, point) in NAMED.into_iter().enumerate() {
        die_at(&bench, point, || feed(&bench, round, 60)).await;
        // What the point promises, before anybody repairs it.
        let (visible, in_flight) = bench.sims.aws.depth(&bench.queue);
        match point {
            Point::Received | Point::ReceiveUnread => assert!(in_flight > 0, "{point:?}: {visible}, {in_flight}"),
            Point::Committed => assert_eq!(visible + in_flight, 60, "{point:?}: nothing is deleted"),
            Point::BetweenDeletes => assert!((1..60).contains(&in_flight), "{point:?}: {in_flight}"),
            Point::DeleteUnread | Point::Applied(..) | Point::Somewhere(_) => {}
        }
        bench.settle().await;
        assert_exact(&bench, round + 1, 60);
        assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_ticket_or_a_message_was_changed_and_before_the_answer_was_read() {
    let bench = Bench::start().await;
    let both = |status: &str, at: i64| {
        bench.sims.aws.send(&bench.queue, &check("root", status, at));
        bench.sims.aws.send(&bench.queue, &application_check("bucket", status, at));
    };
    both("FAILURE", T);
    bench.settle().await;
    let changes = [
        (Point::Applied(Target::Jira, "/transitions"), "SUCCESS", "Done"),
        (Point::Applied(Target::Jira, "/transitions"), "FAILURE", "To Do"),
        (Point::Applied(Target::Slack, "chat.update"), "SUCCESS", "Done"),
        (Point::Applied(Target::Slack, "chat.update"), "FAILURE", "To Do"),
    ];
    for (number, (point, status, wanted)) in (1..).zip(changes) {
        die_at(&bench, point, || both(status, T + number * 1_000)).await;
        bench.settle().await;
        let (issues, mut messages) = (bench.sims.jira.issues(), bench.sims.slack.messages());
        // A reply below the message says how long it took.
        messages.retain(|message| message.body["thread_ts"].is_null());
        assert_eq!((issues.len(), issues[0].status.as_str()), (1, wanted), "{point:?} {status}");
        assert_eq!(messages.len(), 1, "{point:?} {status}");
        let green = messages[0].body.to_string().contains("#2EB67D");
        assert_eq!(green, status == "SUCCESS", "{point:?}: {}", messages[0].body);
    }
    assert_eq!(bench.sims.splunk.distinct(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_and_at_chosen_points_again_and_again() {
    let long = std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some();
    let (rounds, count) = if long { (50, 2_000) } else { (6, 300) };
    let bench = Bench::start().await;
    for round in 0..rounds {
        // Every other round somewhere, by a row of numbers that is the same each time.
        let somewhere = Point::Somewhere((round as u64 * 37) % (count as u64 / 5));
        let point = if round % 2 == 0 { somewhere } else { NAMED[round / 2 % NAMED.len()] };
        die_at(&bench, point, || feed(&bench, round, count)).await;
    }
    bench.settle().await;
    assert_exact(&bench, rounds, count);
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}
