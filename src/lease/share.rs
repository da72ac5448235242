//! Who takes which lane, where several replicas share them; pure.
//!
//! Every replica decides for itself, from what it sees in the database. Two that take the same lane at once are told apart by the
//! database; a lane moves only from a replica that has clearly more to do, so that none goes to and fro.

use std::collections::BTreeMap;

/// The lane that is no target's: to receive and to decide.
pub const DUTY: i64 = 0;
/// What that counts for, in lanes.
const DUTY_WEIGHT: usize = 2;

/// What a replica sees of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Names of those that are there.
    pub replicas: Vec<String>,
    /// The owner of each lane whose lease is not over.
    pub owners: BTreeMap<i64, String>,
}

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Take(i64),
    GiveBack(i64),
    Stay,
}

/// The next move of `me` in view of these `lanes`. `patient`: leave what is free to those that have less to do. They may be gone
/// without a word, so nobody is patient for long.
pub fn next_move(me: &str, lanes: &[i64], view: &View, patient: bool) -> Move {
    let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
    for (lane, owner) in &view.owners {
        *loads.entry(owner).or_default() += if *lane == DUTY { DUTY_WEIGHT } else { 1 };
    }
    let load = |name: &str| loads.get(name).copied().unwrap_or(0);
    let mine = load(me);
    let least = view.replicas.iter().filter(|name| *name != me).map(|name| load(name)).min();
    let free = std::iter::once(&DUTY).chain(lanes).find(|lane| !view.owners.contains_key(lane));
    if let Some(lane) = free {
        // Whoever is the only one to know a lane (its router.yaml is newer) takes it in the end.
        return if patient && least.is_some_and(|least| least < mine) { Move::Stay } else { Move::Take(*lane) };
    }
    let own = lanes.iter().rfind(|lane| view.owners.get(lane).is_some_and(|owner| owner == me));
    match own {
        Some(lane) if least.is_some_and(|least| least + 2 <= mine) => Move::GiveBack(*lane),
        _ => Move::Stay,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> String {
        format!("host-{number}:1")
    }

    /// Lets replicas move in turn, in an order drawn by `rng`, until nobody moves any more; how often one did.
    fn settle(view: &mut View, lanes: &[i64], rng: &mut fastrand::Rng) -> usize {
        let mut moves = 0;
        let mut quiet = 0;
        while quiet < view.replicas.len() * 20 {
            let me = view.replicas[rng.usize(..view.replicas.len())].clone();
            quiet += 1;
            match next_move(&me, lanes, view, true) {
                Move::Take(lane) => drop(view.owners.insert(lane, me)),
                Move::GiveBack(lane) => drop(view.owners.remove(&lane)),
                Move::Stay => continue,
            }
            (moves, quiet) = (moves + 1, 0);
            assert!(moves < 10_000, "it never settles: {view:?}");
        }
        moves
    }

    proptest! {
        #[test]
        fn every_lane_finds_an_owner_and_nobody_has_much_more_than_another(
            replicas in 1..8_usize, lanes in 0..20_i64, seed: u64, gone in 0..8_usize,
        ) {
            let lanes: Vec<i64> = (1..=lanes).collect();
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut view = View { replicas: (0..replicas).map(name).collect(), ..View::default() };
            let fair = |view: &View| {
                let load = |me: &String| {
                    view.owners.iter().filter(|(_, owner)| *owner == me).map(|(lane, _)| 1 + usize::from(*lane == DUTY)).sum::<usize>()
                };
                let loads: Vec<usize> = view.replicas.iter().map(load).collect();
                let most = loads.iter().max().copied().unwrap_or(0);
                // Who is on duty may have that alone, and still more than the others.
                view.owners.len() == lanes.len() + 1 && most <= (loads.iter().min().copied().unwrap_or(0) + 1).max(2)
            };
            settle(&mut view, &lanes, &mut rng);
            prop_assert!(fair(&view), "{view:?}");
            // One of them dies, and another one comes.
            let dead = name(gone % replicas);
            view.owners.retain(|_, owner| *owner != dead);
            view.replicas.retain(|there| *there != dead);
            view.replicas.push(name(99));
            settle(&mut view, &lanes, &mut rng);
            prop_assert!(fair(&view), "{view:?}");
            prop_assert_eq!(settle(&mut view, &lanes, &mut rng), 0);
        }
    }

    #[test]
    fn what_nobody_takes_is_taken_by_whoever_lost_patience() {
        let owners = BTreeMap::from([(DUTY, name(1))]);
        let view = View { replicas: vec![name(1), name(2)], owners };
        assert_eq!(next_move(&name(1), &[1], &view, true), Move::Stay);
        assert_eq!(next_move(&name(1), &[1], &view, false), Move::Take(1));
        assert_eq!(next_move(&name(2), &[1], &view, true), Move::Take(1));
    }
}
