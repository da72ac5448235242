//! Compares a version of a check with what is known of it, and says what changed.

use crate::{
    finding::{Change, Finding, History, Status, Version},
    store::{Known, MemberState, Seen},
};

const DAY_MS: i64 = 86_400_000;
/// Times of failures kept for a finding.
const FAILURES: usize = 64;
/// So many failures within seven days make a finding flap ..
const FLAPS_FROM: usize = 4;
/// .. and it does so until no more than these are left: a finding at the border would flap between the two words.
const FLAPS_UNTIL: usize = 1;

/// What changed. Pure.
///
/// `known`: the memory of a check that ever failed; `seen`: what was taken in of late, of any check.
pub fn track(finding: &Finding, known: Option<&Known>, seen: Seen) -> Change {
    if seen == Seen::Exactly || known.is_some_and(|known| known.version == finding.version) {
        return Change::Duplicate;
    }
    let newest_ms = match seen {
        Seen::Others { newest_ms } => newest_ms,
        Seen::Never | Seen::Exactly => 0,
    }
    .max(known.map_or(0, |known| known.version.time_ms));
    if finding.version.time_ms > 0 && finding.version.time_ms < newest_ms {
        return Change::OutOfOrder;
    }
    let state = known.map(|known| known.state);
    match (&finding.status, finding.suppressed, state) {
        (Status::Failure, true, _) => Change::Suppressed,
        (Status::Failure, false, None) => Change::Opened,
        (Status::Failure, false, Some(MemberState::Failing)) => Change::StillFailing,
        (Status::Failure, false, Some(MemberState::Suppressed | MemberState::Resolved)) => Change::Reopened,
        (Status::Success, _, Some(MemberState::Failing | MemberState::Suppressed)) => Change::Resolved,
        (Status::Success, _, None | Some(MemberState::Resolved)) => Change::Passing,
        // A word unknown today says neither that it fails nor that it passes.
        (Status::Other(_) | Status::Missing, _, Some(MemberState::Failing)) => Change::StillFailing,
        (Status::Other(_) | Status::Missing, _, _) => Change::Passing,
    }
}

/// What it is of a check that nobody heard of before.
pub fn first(finding: &Finding) -> Change {
    track(finding, None, Seen::Never)
}

/// The memory after this version; `None` where none is needed: a check that never failed.
///
/// `row` is the row to use for a check that is not yet remembered.
pub fn remember(finding: &Finding, change: Change, known: Option<&Known>, row: i64) -> Option<Known> {
    let now = finding.received_at;
    let mut next = match known {
        Some(known) => known.clone(),
        None => Known { row, first_seen: started(finding), ..Known::default() },
    };
    next.version = finding.version;
    match change {
        Change::Duplicate | Change::OutOfOrder => return None,
        Change::Passing => {
            // Passing again and again changes nothing, but the version decides what is out of order.
            known?;
        }
        Change::Opened | Change::Reopened => {
            // A suppression says nothing of the check: it failed all the while.
            let suppressed = next.state == MemberState::Suppressed;
            if !suppressed {
                next.failing_since = Some(if change == Change::Opened { started(finding) } else { since(finding) });
            }
            // One that was suppressed from its first failure on has not counted yet.
            if !suppressed || next.times_failed == 0 || next.resolved_at.is_some() {
                next.times_failed += 1;
                push(&mut next.failures, now);
            }
            next.state = MemberState::Failing;
            next.resolved_at = None;
            if change == Change::Opened {
                next.opened_at = Some(now);
            } else {
                next.reopened_at = Some(now);
            }
        }
        Change::StillFailing => {}
        Change::Suppressed => {
            next.failing_since = match known.map(|known| known.state) {
                Some(MemberState::Resolved) => Some(since(finding)),
                Some(MemberState::Failing | MemberState::Suppressed) | None => {
                    next.failing_since.or(Some(started(finding)))
                }
            };
            next.state = MemberState::Suppressed;
        }
        Change::Gone => {
            next.state = MemberState::Resolved;
            next.resolved_at = Some(now);
            next.last_resolved_at = Some(now);
            next.times_resolved += 1;
            // Should the same version be mentioned again, then it is there again.
            next.version.content = !next.version.content;
        }
        Change::Resolved => {
            next.state = MemberState::Resolved;
            next.resolved_at = Some(finding.resolved_at.unwrap_or_else(|| finding.time_ms()));
            next.last_resolved_at = Some(now);
            next.times_resolved += 1;
        }
    }
    next.flapping = flaps(&next, now);
    Some(next)
}

/// Whether it flaps now, given whether it did when it was last seen.
fn flaps(known: &Known, now: i64) -> bool {
    let week = failures_within(known, 7, now);
    if known.flapping { week > FLAPS_UNTIL } else { week >= FLAPS_FROM }
}

fn failures_within(known: &Known, days: i64, now: i64) -> usize {
    known.failures.iter().filter(|&&at| at > now.saturating_sub(days * DAY_MS)).count()
}

/// What scripts see of the memory as it is after this version.
pub fn history(known: Option<&Known>, now: i64) -> History {
    let Some(known) = known else { return History::default() };
    let within = |days: i64| u32::try_from(failures_within(known, days, now)).unwrap_or(u32::MAX);
    History {
        first_seen: Some(known.first_seen),
        failing_since: known.failing_since.filter(|_| known.state != MemberState::Resolved),
        opened_at: known.opened_at,
        reopened_at: known.reopened_at,
        resolved_at: known.last_resolved_at,
        times_failed_7d: within(7),
        times_failed_30d: within(30),
        flapping: flaps(known, now),
        last_sent: known.sent.iter().map(|sent| sent.at).max(),
        ..History::default()
    }
}

/// When the platform says that the failure began, else when this version is of.
fn started(finding: &Finding) -> i64 {
    finding.discovered_at.unwrap_or_else(|| finding.time_ms())
}

/// For a failure after a pass: `failureDiscoveryDate` may still name the first one, so only a later date counts.
fn since(finding: &Finding) -> i64 {
    let Version { time_ms, .. } = finding.version;
    finding.discovered_at.filter(|&at| at.saturating_add(DAY_MS) > time_ms).unwrap_or_else(|| finding.time_ms())
}

fn push(failures: &mut Vec<i64>, now: i64) {
    failures.retain(|&at| at > now.saturating_sub(30 * DAY_MS));
    if failures.len() >= FAILURES {
        failures.remove(0);
    }
    failures.push(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: Status, time_ms: i64) -> Finding {
        Finding {
            id: "ccc:a:S3-001:S3:global:b".into(),
            status,
            version: Version { time_ms, content: time_ms.unsigned_abs() },
            received_at: time_ms + 10,
            ..Finding::default()
        }
    }

    fn known(state: MemberState, time_ms: i64) -> Known {
        Known { row: 1, state, version: Version { time_ms, content: time_ms.unsigned_abs() }, ..Known::default() }
    }

    #[test]
    fn every_pair_of_state_and_status_has_its_word() {
        use MemberState::{Failing, Resolved, Suppressed};
        let table = [
            (Status::Failure, None, Change::Opened),
            (Status::Failure, Some(Failing), Change::StillFailing),
            (Status::Failure, Some(Resolved), Change::Reopened),
            (Status::Failure, Some(Suppressed), Change::Reopened),
            (Status::Success, None, Change::Passing),
            (Status::Success, Some(Failing), Change::Resolved),
            (Status::Success, Some(Suppressed), Change::Resolved),
            (Status::Success, Some(Resolved), Change::Passing),
            (Status::Other("ERROR".into()), None, Change::Passing),
            (Status::Other("ERROR".into()), Some(Failing), Change::StillFailing),
        ];
        for (status, state, expected) in table {
            let memory = state.map(|state| known(state, 100));
            let change = track(&finding(status.clone(), 200), memory.as_ref(), Seen::Never);
            assert_eq!(change, expected, "{status:?} after {state:?}");
        }
    }

    #[test]
    fn an_older_failure_after_a_pass_is_out_of_order_even_without_memory() {
        let change = track(&finding(Status::Failure, 100), None, Seen::Others { newest_ms: 200 });
        assert_eq!(change, Change::OutOfOrder);
        let memory = known(MemberState::Resolved, 200);
        assert_eq!(track(&finding(Status::Failure, 100), Some(&memory), Seen::Never), Change::OutOfOrder);
    }

    #[test]
    fn the_same_version_again_is_a_duplicate() {
        assert_eq!(track(&finding(Status::Failure, 100), None, Seen::Exactly), Change::Duplicate);
        let memory = known(MemberState::Failing, 100);
        assert_eq!(track(&finding(Status::Failure, 100), Some(&memory), Seen::Never), Change::Duplicate);
    }

    #[test]
    fn the_same_time_with_other_content_is_a_new_version() {
        let mut changed = finding(Status::Failure, 100);
        changed.version.content = 7;
        let memory = known(MemberState::Failing, 100);
        assert_eq!(track(&changed, Some(&memory), Seen::Others { newest_ms: 100 }), Change::StillFailing);
    }

    #[test]
    fn a_suppressed_failure_is_suppressed_whatever_was_known() {
        let mut suppressed = finding(Status::Failure, 300);
        suppressed.suppressed = true;
        assert_eq!(track(&suppressed, Some(&known(MemberState::Failing, 100)), Seen::Never), Change::Suppressed);
        assert_eq!(track(&suppressed, None, Seen::Never), Change::Suppressed);
    }

    #[test]
    fn a_passing_check_that_never_failed_leaves_no_memory() {
        assert_eq!(remember(&finding(Status::Success, 100), Change::Passing, None, 5), None);
    }

    #[test]
    fn memory_counts_failures_and_forgets_none_within_the_month() {
        let opened = remember(&finding(Status::Failure, DAY_MS), Change::Opened, None, 5).expect("remembered");
        let resolved =
            remember(&finding(Status::Success, 2 * DAY_MS), Change::Resolved, Some(&opened), 0).expect("kept");
        let reopened =
            remember(&finding(Status::Failure, 20 * DAY_MS), Change::Reopened, Some(&resolved), 0).expect("kept");
        assert_eq!((reopened.row, reopened.times_failed, reopened.times_resolved), (5, 2, 1));
        let history = history(Some(&reopened), 20 * DAY_MS + 20);
        assert_eq!((history.times_failed_7d, history.times_failed_30d), (1, 2));
        assert_eq!(history.first_seen, Some(DAY_MS));
        assert_eq!(history.failing_since, Some(20 * DAY_MS));
        assert_eq!(history.opened_at, Some(DAY_MS + 10));
        assert_eq!((history.resolved_at, history.reopened_at), (Some(2 * DAY_MS + 10), Some(20 * DAY_MS + 10)));
    }

    #[test]
    fn what_is_suppressed_and_no_more_has_failed_all_the_while() {
        let version = |day: i64, suppressed: bool| {
            let finding = finding(Status::Failure, day * DAY_MS);
            Finding { suppressed, discovered_at: Some(DAY_MS), ..finding }
        };
        let mut memory = remember(&version(1, false), Change::Opened, None, 5).expect("remembered");
        for hours in 0..5 {
            let day = 10 + hours;
            memory = remember(&version(day, true), Change::Suppressed, Some(&memory), 0).expect("kept");
            memory = remember(&version(day, false), Change::Reopened, Some(&memory), 0).expect("kept");
        }
        assert_eq!((memory.failing_since, memory.times_failed, memory.flapping), (Some(DAY_MS), 1, false));
        // A failure after a pass is another one, whenever people hear of it.
        memory = remember(&finding(Status::Success, 20 * DAY_MS), Change::Resolved, Some(&memory), 0).expect("kept");
        memory = remember(&version(21, true), Change::Suppressed, Some(&memory), 0).expect("kept");
        memory = remember(&version(22, false), Change::Reopened, Some(&memory), 0).expect("kept");
        assert_eq!((memory.failing_since, memory.times_failed), (Some(21 * DAY_MS), 2));
    }

    #[test]
    fn a_finding_flaps_from_the_fourth_failure_of_a_week_until_one_is_left() {
        let mut memory = remember(&finding(Status::Failure, DAY_MS), Change::Opened, None, 5).expect("remembered");
        let mut words = Vec::new();
        for hours in 1..=4 {
            let at = DAY_MS + hours * 2 * 3_600_000;
            memory = remember(&finding(Status::Success, at), Change::Resolved, Some(&memory), 0).expect("kept");
            memory = remember(&finding(Status::Failure, at + 1), Change::Reopened, Some(&memory), 0).expect("kept");
            words.push(memory.flapping);
        }
        assert_eq!(words, [false, false, true, true], "five failures within a day");
        // A week later two of the five are left, then one: the word changes once, and not at the border of four.
        let flapping = |now: i64| history(Some(&memory), now).flapping;
        let (third, fourth) = (DAY_MS + 6 * 3_600_000, DAY_MS + 8 * 3_600_000);
        assert!(flapping(third + 7 * DAY_MS), "two failures left");
        assert!(!flapping(third + 7 * DAY_MS + 3_600_000), "one failure left");
        assert!(!flapping(fourth + 8 * DAY_MS));
    }

    #[test]
    fn an_absurd_time_is_no_overflow() {
        let resolved = known(MemberState::Resolved, 100);
        for absurd in [i64::MAX, i64::MIN] {
            let again = Finding { discovered_at: Some(absurd), ..finding(Status::Failure, 200) };
            let memory = remember(&again, Change::Reopened, Some(&resolved), 0).expect("kept");
            assert_eq!(memory.failing_since.is_some(), history(Some(&memory), i64::MIN).failing_since.is_some());
        }
    }
}
