//! Which row goes next: highest priority first, fair between accounts, ageing upward so that nothing starves. Pure.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, hash_map::Entry},
};

use connectors::Scope;

use super::URGENT;

/// Priorities 0 to 100 in bands of ten.
const BANDS: usize = 11;
/// Waiting so long lifts a row by one band ..
const AGE_MS: i64 = 30 * 60 * 1000;
/// .. and no row that is not urgent among those that are: a target that was down for hours leaves a backlog that is all old.
const HIGHEST_LIFT: i64 = URGENT as i64 / 10 - 1;
/// Of so many rows one may go by its age alone, or urgent ones that never end would starve the rest.
const BY_AGE: u32 = 8;

/// Row numbers that wait, without their content: 48 bytes each.
#[derive(Debug, Default)]
pub struct Backlog {
    bands: [Band; BANDS],
    /// Rows that may not go before a time.
    later: BinaryHeap<Reverse<(i64, i64)>>,
    parked: HashMap<i64, Item>,
    /// Of those parked, how many are meant to wait.
    planned: usize,
    /// Copies that stayed in a band when their row was raised above it: row, band, how many.
    left: HashMap<(i64, usize), u32>,
    /// Rows taken since the last one that could go by its age alone.
    taken: u32,
    len: usize,
}

#[derive(Debug, Default)]
struct Band {
    /// Accounts that have rows, in the order of their turns.
    turns: VecDeque<String>,
    queues: HashMap<String, VecDeque<Item>>,
}

/// A row that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: i64,
    pub priority: u8,
    pub account: String,
    /// Scope that decides when it can go.
    pub scope: Scope,
    /// Since when it waits, milliseconds since the epoch.
    pub since: i64,
    /// Not before, milliseconds since the epoch.
    pub due_at: i64,
    /// Meant to wait until then (a digest), not put off.
    pub planned: bool,
}

impl Backlog {
    pub fn push(&mut self, item: Item, now: i64) {
        self.len += 1;
        if item.due_at > now {
            self.planned += usize::from(item.planned);
            self.later.push(Reverse((item.due_at, item.id)));
            self.parked.insert(item.id, item);
        } else {
            self.ready(item);
        }
    }

    /// A row that waits is more urgent now than `before`: it goes among those of its new priority, and not before its time.
    pub fn raise(&mut self, item: Item, before: u8) {
        if let Some(parked) = self.parked.get_mut(&item.id) {
            parked.priority = item.priority;
        } else if band(item.priority) > band(before) {
            // Looking for it in its band would take as long as the band is.
            *self.left.entry((item.id, band(before))).or_default() += 1;
            self.ready(item);
        }
    }

    /// The next row that may go, skipping those whose scope is blocked.
    pub fn pop(&mut self, now: i64, blocked: impl Fn(&Scope) -> bool) -> Option<Item> {
        self.wake(now);
        let by_age = self.taken + 1 >= BY_AGE;
        let mut order: Vec<(i64, i64, usize)> = Vec::with_capacity(BANDS);
        for (number, band) in self.bands.iter().enumerate() {
            if let Some(oldest) = band.oldest() {
                let own = i64::try_from(number).unwrap_or(0);
                let lifted = own + (now - oldest).max(0) / AGE_MS;
                let rank = if by_age { lifted } else { lifted.min(HIGHEST_LIFT).max(own) };
                order.push((rank, lifted, number));
            }
        }
        order.sort_unstable_by_key(|&entry| Reverse(entry));
        for (.., number) in order {
            while let Some(item) = self.bands[number].pop(&blocked) {
                if self.was_left(item.id, number) {
                    continue;
                }
                self.len -= 1;
                self.taken = if by_age { 0 } else { self.taken + 1 };
                return Some(item);
            }
        }
        None
    }

    /// Whether this is a copy that stayed behind; it is gone then.
    fn was_left(&mut self, id: i64, band: usize) -> bool {
        if self.left.is_empty() {
            return false;
        }
        let Entry::Occupied(mut copies) = self.left.entry((id, band)) else { return false };
        *copies.get_mut() -= 1;
        if *copies.get() == 0 {
            copies.remove();
        }
        true
    }

    /// When the next row that waits for its time may go.
    pub fn next_due(&self) -> Option<i64> {
        self.later.peek().map(|Reverse((due_at, _))| *due_at)
    }

    /// Since when the oldest row waits, those left out that are meant to. Looks at every row: for once a second.
    pub fn oldest(&self) -> Option<i64> {
        let bands = self.bands.iter().enumerate();
        let ready = bands.flat_map(|(number, band)| band.queues.values().flatten().map(move |item| (number, item)));
        let ready = ready
            .filter(|(number, item)| self.left.is_empty() || !self.left.contains_key(&(item.id, *number)))
            .map(|(_, item)| item);
        ready.chain(self.parked.values().filter(|item| !item.planned)).map(|item| item.since).min()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Rows that wait for a time in the future because they are meant to.
    pub fn planned(&self) -> usize {
        self.planned
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn wake(&mut self, now: i64) {
        while let Some(Reverse((due_at, id))) = self.later.peek().copied()
            && due_at <= now
        {
            self.later.pop();
            if let Some(item) = self.parked.remove(&id) {
                self.planned -= usize::from(item.planned);
                self.ready(item);
            }
        }
    }

    fn ready(&mut self, item: Item) {
        let band = &mut self.bands[band(item.priority)];
        match band.queues.get_mut(&item.account) {
            Some(queue) => queue.push_back(item),
            None => {
                band.turns.push_back(item.account.clone());
                band.queues.insert(item.account.clone(), VecDeque::from([item]));
            }
        }
    }
}

fn band(priority: u8) -> usize {
    usize::from(priority / 10).min(BANDS - 1)
}

impl Band {
    /// Since when the first row of the account whose turn it is waits: near enough for ageing.
    fn oldest(&self) -> Option<i64> {
        let account = self.turns.front()?;
        self.queues.get(account)?.front().map(|item| item.since)
    }

    fn pop(&mut self, blocked: impl Fn(&Scope) -> bool) -> Option<Item> {
        for _ in 0..self.turns.len() {
            let account = self.turns.pop_front()?;
            let Some(queue) = self.queues.get_mut(&account) else { continue };
            if queue.front().is_none_or(|item| blocked(&item.scope)) {
                self.turns.push_back(account);
                continue;
            }
            let item = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&account);
            } else {
                self.turns.push_back(account);
            }
            return item;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: i64, priority: u8, account: &str) -> Item {
        Item {
            id,
            priority,
            account: account.into(),
            scope: Scope(account.into()),
            since: 0,
            due_at: 0,
            planned: false,
        }
    }

    fn drain(backlog: &mut Backlog, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| backlog.pop(now, |_| false)).map(|item| item.id).collect()
    }

    #[test]
    fn the_highest_priority_goes_first_whenever_it_came() {
        let mut backlog = Backlog::default();
        for (id, priority) in [(1, 50), (2, 95), (3, 10), (4, 95)] {
            backlog.push(item(id, priority, "a"), 0);
        }
        assert_eq!(drain(&mut backlog, 0), [2, 4, 1, 3]);
    }

    #[test]
    fn a_row_that_is_raised_goes_among_those_of_its_new_priority_and_once() {
        let mut backlog = Backlog::default();
        for id in 1..=3 {
            backlog.push(item(id, 50, "a"), 0);
        }
        backlog.push(Item { since: -5, ..item(4, 10, "a") }, 0);
        backlog.push(Item { due_at: 1_000, ..item(5, 10, "a") }, 0);
        backlog.raise(Item { since: -5, ..item(4, 95, "a") }, 10);
        backlog.raise(item(5, 95, "a"), 10);
        backlog.raise(item(3, 55, "a"), 50);
        assert_eq!((backlog.len(), backlog.oldest()), (5, Some(-5)));
        assert_eq!(backlog.pop(0, |_| false).map(|item| item.id), Some(4));
        assert_eq!((backlog.len(), backlog.oldest()), (4, Some(0)), "its copy counts no more");
        assert_eq!(drain(&mut backlog, 0), [1, 2, 3], "a time to wait for stays");
        assert_eq!(drain(&mut backlog, 1_000), [5]);
        assert!(backlog.is_empty() && backlog.left.is_empty());
    }

    #[test]
    fn a_row_that_is_raised_again_after_it_came_back_leaves_no_copy_behind() {
        let mut backlog = Backlog::default();
        backlog.push(item(1, 10, "a"), 0);
        for _ in 0..2 {
            backlog.raise(item(1, 95, "a"), 10);
            assert_eq!(backlog.pop(0, |_| false).map(|item| item.priority), Some(95));
            backlog.push(item(1, 10, "a"), 0);
        }
        assert_eq!(drain(&mut backlog, 0), [1]);
        assert!(backlog.is_empty() && backlog.left.is_empty());
    }

    #[test]
    fn the_oldest_row_is_found_wherever_it_waits_and_a_digest_does_not_count() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.oldest(), None);
        backlog.push(Item { since: 5, due_at: 1_000, planned: true, ..item(1, 90, "a") }, 10);
        assert_eq!(backlog.oldest(), None);
        backlog.push(Item { since: 9, ..item(2, 90, "a") }, 10);
        backlog.push(Item { since: 8, ..item(3, 10, "b") }, 10);
        backlog.push(Item { since: 7, due_at: 1_000, ..item(4, 10, "b") }, 10);
        assert_eq!(backlog.oldest(), Some(7));
    }

    #[test]
    fn an_account_with_a_thousand_rows_does_not_delay_one_with_a_single_row() {
        let mut backlog = Backlog::default();
        for id in 0..1000 {
            backlog.push(item(id, 50, "noisy"), 0);
        }
        backlog.push(item(5000, 50, "quiet"), 0);
        let order = drain(&mut backlog, 0);
        assert_eq!(order.iter().position(|&id| id == 5000), Some(1));
    }

    #[test]
    fn a_row_that_waits_long_enough_overtakes_higher_priorities() {
        let mut backlog = Backlog::default();
        backlog.push(item(1, 10, "a"), 0);
        let now = 9 * AGE_MS;
        backlog.push(Item { since: now, ..item(2, 80, "b") }, now);
        assert_eq!(drain(&mut backlog, now), [1, 2]);
    }

    #[test]
    fn what_is_urgent_goes_before_a_backlog_of_any_age() {
        let mut backlog = Backlog::default();
        let now = 100 * AGE_MS;
        for (id, priority, since) in [(1, 50, 0), (2, 80, 0), (3, 95, now), (4, 89, now), (5, 100, now)] {
            backlog.push(Item { since, ..item(id, priority, "a") }, now);
        }
        assert_eq!(drain(&mut backlog, now), [5, 3, 2, 1, 4]);
    }

    #[test]
    fn urgent_rows_that_never_end_starve_nobody() {
        let mut backlog = Backlog::default();
        backlog.push(item(1, 50, "a"), 0);
        let now = 10 * AGE_MS;
        let mut before = 0;
        loop {
            backlog.push(Item { since: now, ..item(2, 95, "a") }, now);
            if backlog.pop(now, |_| false).is_some_and(|item| item.id == 1) {
                break;
            }
            before += 1;
        }
        assert_eq!(before, BY_AGE - 1);
    }

    #[test]
    fn a_blocked_channel_does_not_hold_up_the_others() {
        let mut backlog = Backlog::default();
        backlog.push(item(1, 90, "a"), 0);
        backlog.push(item(2, 90, "b"), 0);
        let next = backlog.pop(0, |scope| scope.0 == "a").map(|item| item.id);
        assert_eq!(next, Some(2));
        assert_eq!(backlog.len(), 1);
    }

    #[test]
    fn a_row_that_is_not_due_waits_for_its_time() {
        let mut backlog = Backlog::default();
        backlog.push(Item { due_at: 100, ..item(1, 90, "a") }, 0);
        assert_eq!(backlog.pop(99, |_| false), None);
        assert_eq!(backlog.next_due(), Some(100));
        assert_eq!(backlog.pop(100, |_| false).map(|item| item.id), Some(1));
        assert!(backlog.is_empty());
    }
}
