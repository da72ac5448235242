//! `kill -9` at chosen points and at random: nothing lost, no second ticket, no second message.
//!
//! The points are made from outside: a simulator applies a call and never answers, and then the router is killed.

use std::time::Duration;

use simulators::{Fault, FaultKind};

use crate::support::{Bench, assert_exact, feed, until};

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_target_applied_and_before_its_answer_was_read() {
    let bench = Bench::start().await;
    type Point = (&'static str, fn(&Bench) -> &dyn Faulty);
    let points: [Point; 3] = [
        ("POST /rest/api/3/issue", |bench| &bench.sims.jira),
        ("chat.postMessage", |bench| &bench.sims.slack),
        ("collector", |bench| &bench.sims.splunk),
    ];
    for (round, (path, service)) in points.into_iter().enumerate() {
        service(&bench).hang(path);
        feed(&bench, round, 40);
        let before = service(&bench).faulted();
        let mut router = bench.spawn();
        until("the hanging call", || service(&bench).faulted() > before).await;
        router.kill().expect("killed");
        router.wait().expect("ended");
        service(&bench).heal();
        bench.settle().await;
        assert_exact(&bench, round + 1, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_commit_and_before_the_delete() {
    let bench = Bench::start().await;
    bench.sims.aws.fault(Fault::always("DeleteMessageBatch", FaultKind::HangBefore));
    feed(&bench, 0, 200);
    let mut router = bench.spawn();
    until("a delete that hangs", || bench.sims.aws.requests().iter().any(|request| request.faulted)).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    bench.sims.aws.clear_faults();
    bench.settle().await;
    assert_exact(&bench, 1, 200);
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_receive_whose_answer_it_never_saw() {
    let bench = Bench::start().await;
    bench.sims.aws.fault(Fault::times("ReceiveMessage", 1, FaultKind::HangAfter));
    feed(&bench, 0, 40);
    let mut router = bench.spawn();
    until("a receive that hangs", || bench.sims.aws.requests().iter().any(|request| request.faulted)).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    bench.settle().await;
    assert_exact(&bench, 1, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_deletes_of_a_batch() {
    let bench = Bench::start().await;
    bench.sims.aws.fault(Fault::times("DeleteMessageBatch", 1, FaultKind::HangAfter));
    feed(&bench, 0, 200);
    let mut router = bench.spawn();
    until("a delete that hangs", || bench.sims.aws.requests().iter().any(|request| request.faulted)).await;
    router.kill().expect("killed");
    router.wait().expect("ended");
    bench.settle().await;
    assert_exact(&bench, 1, 200);
    assert_eq!(bench.sims.aws.depth(&bench.queue), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_again_and_again() {
    let rounds = if std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some() { 50 } else { 6 };
    let count = if rounds == 50 { 2_000 } else { 300 };
    let bench = Bench::start().await;
    for round in 0..rounds {
        feed(&bench, round, count);
        let mut router = bench.spawn();
        // Spread over start, receive, commit, delivery and drain without a source of chance: repeatable.
        let seen = bench.sims.aws.request_count();
        let wanted = seen + 5 + (round as u64 * 37) % 60;
        let patience = tokio::time::Instant::now() + Duration::from_secs(5);
        while bench.sims.aws.request_count() < wanted && tokio::time::Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        router.kill().expect("killed");
        router.wait().expect("ended");
    }
    bench.settle().await;
    assert_exact(&bench, rounds, count);
}

trait Faulty {
    fn hang(&self, path: &str);
    fn heal(&self);
    fn faulted(&self) -> usize;
}

macro_rules! faulty {
    ($($service:ty),*) => {
        $(impl Faulty for $service {
            fn hang(&self, path: &str) {
                self.fault(Fault::times(path, 1, FaultKind::HangAfter));
            }

            fn heal(&self) {
                self.clear_faults();
            }

            fn faulted(&self) -> usize {
                self.requests().iter().filter(|request| request.faulted).count()
            }
        })*
    };
}

faulty!(simulators::JiraSim, simulators::SlackSim, simulators::SplunkSim);
