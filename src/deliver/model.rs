//! Every order of events in the life of one row whose ticket must be made once: requests that arrive late or never, answers that get lost,
//! a target whose search lags behind, and a process that dies at any moment and is followed by the next owner of the lane. That two
//! owners never send at once is the model of the lease.

use std::collections::HashSet;

/// How long after its mark on disk a request begins at the latest.
const PATIENCE: u8 = 1;
/// How long after it began a request may still be done.
const TIMEOUT: u8 = 1;
/// How long the target's search does not know of what is there.
const LAG: u8 = 2;
/// `reconcile_wait`: as long as all of these.
const WAIT: u8 = PATIENCE + TIMEOUT + LAG;
const END: u8 = 3 * WAIT;
const CRASHES: u8 = 2;

/// The row in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Row {
    Waiting,
    /// `sending` or `unknown`, since then.
    InDoubt(u8),
    /// Gone, with the ledger that names the ticket.
    Done,
}

/// What the process that owns the lane knows beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Idle,
    /// The mark is on disk; the request waits for the target's limit.
    Marked(u8),
    /// The request that began then is not answered.
    Waits(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u8,
    row: Row,
    owner: Owner,
    /// When the requests began that the target has not got yet.
    wire: Vec<u8>,
    /// When the request of each ticket began, and when it was made.
    tickets: Vec<(u8, u8)>,
    crashes: u8,
}

/// What is done wrongly on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    /// Nothing is on disk before the request.
    NoMark,
    /// A search that finds nothing is believed at once.
    NoWait,
    /// It is believed a moment too early.
    ShortWait,
    /// A request may begin long after its mark.
    LateStart,
}

impl World {
    fn new() -> Self {
        let (wire, tickets) = (Vec::new(), Vec::new());
        Self { now: 0, row: Row::Waiting, owner: Owner::Idle, wire, tickets, crashes: CRASHES }
    }

    fn check(self) -> Result<Self, String> {
        match (self.tickets.len(), self.row) {
            (0, Row::Done) => Err(format!("lost: {self:?}")),
            (0 | 1, _) => Ok(self),
            _ => Err(format!("made twice: {self:?}")),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world
    }

    /// Every world that may follow, or what must not be.
    fn next(&self, mistake: Mistake) -> Result<Vec<Self>, String> {
        let now = self.now;
        let mut worlds = Vec::new();
        if now < END {
            worlds.push(self.with(|world| {
                world.now += 1;
                world.wire.retain(|began| began + TIMEOUT >= world.now);
            }));
        }
        for place in 0..self.wire.len() {
            worlds.push(self.with(|world| {
                let began = world.wire.remove(place);
                world.tickets.push((began, now));
            }));
        }
        if self.crashes > 0 {
            worlds.push(self.with(|world| {
                world.owner = Owner::Idle;
                world.crashes -= 1;
            }));
        }
        match (self.owner, self.row) {
            (Owner::Idle, Row::Waiting) => worlds.push(self.with(|world| {
                world.owner = Owner::Marked(now);
                if mistake != Mistake::NoMark {
                    world.row = Row::InDoubt(now);
                }
            })),
            (Owner::Idle, Row::InDoubt(since)) => worlds.extend(self.look_up(since, mistake)),
            (Owner::Idle, Row::Done) => {}
            (Owner::Marked(at), _) => {
                // More of them at once show nothing new.
                if self.wire.len() < 2 && (now <= at + PATIENCE || mistake == Mistake::LateStart) {
                    worlds.push(self.with(|world| {
                        world.wire.push(now);
                        world.owner = Owner::Waits(now);
                    }));
                }
                // There was no room for it at the target's limit.
                worlds.push(self.with(|world| (world.owner, world.row) = (Owner::Idle, Row::Waiting)));
            }
            (Owner::Waits(began), _) => {
                if self.tickets.iter().any(|ticket| ticket.0 == began) {
                    worlds.push(self.with(|world| (world.owner, world.row) = (Owner::Idle, Row::Done)));
                }
                // No answer will come, whatever became of the request.
                let lost = if mistake == Mistake::NoMark { Row::Waiting } else { Row::InDoubt(now) };
                worlds.push(self.with(|world| (world.owner, world.row) = (Owner::Idle, lost)));
            }
        }
        worlds.into_iter().map(Self::check).collect()
    }

    fn look_up(&self, since: u8, mistake: Mistake) -> Option<Self> {
        let found = self.tickets.iter().any(|(_, made)| made + LAG <= self.now);
        let wait = match mistake {
            Mistake::NoWait => 0,
            Mistake::ShortWait => WAIT - 1,
            Mistake::None | Mistake::NoMark | Mistake::LateStart => WAIT,
        };
        match found {
            true => Some(self.with(|world| world.row = Row::Done)),
            false => (self.now - since >= wait).then(|| self.with(|world| world.row = Row::Waiting)),
        }
    }
}

/// Every world, or the first that must not be.
fn explore(mistake: Mistake) -> Result<HashSet<World>, String> {
    let mut seen = HashSet::from([World::new()]);
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        for next in world.next(mistake)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen)
}

#[test]
fn a_ticket_is_made_once_whenever_the_process_dies_and_whatever_gets_lost() {
    let worlds = explore(Mistake::None).expect("nothing that must not be");
    assert!(worlds.len() > 1_000, "{} worlds", worlds.len());
    // And it is made: also after every crash that there may be.
    let done = |world: &World| world.row == Row::Done && world.crashes == 0;
    assert!(worlds.iter().any(done));
}

#[test]
fn each_rule_of_the_outbox_is_needed() {
    for mistake in [Mistake::NoMark, Mistake::NoWait, Mistake::ShortWait, Mistake::LateStart] {
        let error = explore(mistake).expect_err("it is found");
        assert!(error.contains("made twice"), "{mistake:?}: {error}");
    }
}
