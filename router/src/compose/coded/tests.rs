//! Groups of requests under test: by hand, and whatever becomes of whom.

use std::collections::{BTreeMap, BTreeSet};

use batcher::Instant;
use proptest::prelude::*;

use super::*;

fn steps(coder: &mut Coder) -> Vec<CodedStep> {
    std::iter::from_fn(|| coder.poll_step()).collect()
}

/// Best effort.
fn of(rows: u32) -> Terms {
    Terms { rows, priority: 1, deadline: Deadline::NONE }
}

/// A group of so many requests of one row, whose parity is asked.
fn full(size: u64) -> Coder {
    let mut coder = Coder::new(usize::try_from(size).unwrap());
    (0..size).for_each(|seat| coder.enter(Seat(seat), of(1)));
    let seats = (0..size).map(Seat).collect();
    assert_eq!(
        steps(&mut coder),
        [CodedStep::AskParity { group: GroupId(0), seats, terms: of(1) }]
    );
    coder
}

fn forgotten(size: u64) -> Vec<CodedStep> {
    let seats = (0..size).map(|seat| CodedStep::Forget(Seat(seat)));
    std::iter::once(CodedStep::ForgetParity(GroupId(0))).chain(seats).collect()
}

fn decoded(missing: u64, size: u64) -> Vec<CodedStep> {
    let others = (0..size).filter(|seat| *seat != missing).map(Seat).collect();
    let decode = CodedStep::Decode { missing: Seat(missing), group: GroupId(0), others };
    [vec![decode], forgotten(size)].concat()
}

/// What happens to a full group.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Own(u64, Own),
    Parity(bool),
}

#[test]
fn a_group_does_what_its_answers_allow() {
    use Happens::{Own as To, Parity as Sum};
    use Own::{Answered, Left, Lost};
    let table: [(&str, &[Happens], Vec<CodedStep>); 9] = [
        (
            "all answer: the parity is not needed",
            &[To(0, Answered), To(1, Answered), To(2, Answered)],
            forgotten(3),
        ),
        (
            "a straggler is reconstructed",
            &[To(0, Answered), To(2, Answered), Sum(true)],
            decoded(1, 3),
        ),
        (
            "also if the parity is first",
            &[Sum(true), To(2, Answered), To(1, Answered)],
            decoded(0, 3),
        ),
        (
            "also if it failed",
            &[To(1, Lost), Sum(true), To(0, Answered), To(2, Answered)],
            decoded(1, 3),
        ),
        ("two are missing: nothing yet", &[To(0, Answered), Sum(true)], Vec::new()),
        ("two have failed", &[To(0, Lost), Sum(true), To(1, Lost)], forgotten(3)),
        ("a client left", &[To(0, Answered), To(1, Left)], forgotten(3)),
        ("the parity failed", &[To(0, Answered), To(1, Lost), Sum(false)], forgotten(3)),
        (
            "what comes after the end is nothing",
            &[Sum(false), Sum(true), To(0, Answered), To(1, Lost)],
            forgotten(3),
        ),
    ];
    for (what, happens, expected) in table {
        let mut coder = full(3);
        for happens in happens {
            match *happens {
                To(seat, own) => coder.heard(Seat(seat), own),
                Sum(answered) => coder.parity(GroupId(0), answered),
            }
        }
        assert_eq!(steps(&mut coder), expected, "{what}");
    }
}

#[test]
fn who_is_answered_or_leaves_before_the_group_is_full_is_not_in_it() {
    let mut coder = Coder::new(2);
    for (seat, own) in [(0, Own::Answered), (1, Own::Left), (2, Own::Lost)] {
        coder.enter(Seat(seat), of(1));
        coder.heard(Seat(seat), own);
        assert_eq!(steps(&mut coder), [CodedStep::Forget(Seat(seat))]);
    }
    coder.enter(Seat(3), of(1));
    assert_eq!(steps(&mut coder), [], "alone");
}

#[test]
fn requests_of_other_numbers_of_rows_are_in_other_groups() {
    let mut coder = Coder::new(2);
    for (seat, rows) in [(0, 1), (1, 8), (2, 3), (3, 8)] {
        coder.enter(Seat(seat), of(rows));
    }
    let seats = vec![Seat(1), Seat(3)];
    let asked = CodedStep::AskParity { group: GroupId(0), seats, terms: of(8) };
    assert_eq!(steps(&mut coder), [asked]);
}

#[test]
fn a_parity_request_is_as_urgent_as_the_least_urgent_of_its_group() {
    let terms = |priority, deadline| {
        let deadline = Deadline(Instant::from_nanos(deadline));
        Terms { rows: 2, priority, deadline }
    };
    let mut coder = Coder::new(3);
    for (seat, priority, deadline) in [(0, 1, 20), (1, 3, 10), (2, 2, 5)] {
        coder.enter(Seat(seat), terms(priority, deadline));
    }
    let seats = (0..3).map(Seat).collect();
    let asked = CodedStep::AskParity { group: GroupId(0), seats, terms: terms(3, 20) };
    assert_eq!(steps(&mut coder), [asked]);
}

/// What the world knows of the requests of a run.
#[derive(Default)]
struct World {
    rows: BTreeMap<Seat, u32>,
    own: BTreeMap<Seat, Own>,
    forgotten: BTreeSet<Seat>,
    grouped: BTreeSet<Seat>,
    groups: BTreeMap<GroupId, Vec<Seat>>,
    /// Parity requests under way.
    open: BTreeSet<GroupId>,
    answered: BTreeSet<GroupId>,
    ended: BTreeSet<GroupId>,
    /// Reconstructed.
    decoded: BTreeSet<Seat>,
}

impl World {
    fn under_way(&self, seat: &Seat) -> bool {
        !self.own.contains_key(seat) && !self.decoded.contains(seat)
    }

    fn play(&mut self, coder: &mut Coder, size: usize) {
        while let Some(step) = coder.poll_step() {
            match step {
                CodedStep::AskParity { group, seats, .. } => {
                    assert_eq!(seats.len(), size);
                    assert!(seats.iter().all(|seat| self.rows[seat] == self.rows[&seats[0]]));
                    assert!(seats.iter().all(|seat| self.under_way(seat)), "{seats:?}");
                    assert!(seats.iter().all(|seat| self.grouped.insert(*seat)), "{seats:?} again");
                    self.open.insert(group);
                    assert!(self.groups.insert(group, seats).is_none());
                }
                CodedStep::ForgetParity(group) => {
                    self.open.remove(&group);
                    assert!(self.ended.insert(group), "{group:?} twice");
                }
                CodedStep::Decode { missing, group, others } => {
                    assert!(self.answered.contains(&group), "{group:?} has no parity");
                    let mut all = [others.clone(), vec![missing]].concat();
                    all.sort();
                    assert_eq!(all, self.groups[&group]);
                    assert!(others.iter().all(|seat| self.own.get(seat) == Some(&Own::Answered)));
                    assert!(matches!(self.own.get(&missing), None | Some(Own::Lost)));
                    assert!(!self.forgotten.contains(&missing) && self.decoded.insert(missing));
                }
                CodedStep::Forget(seat) => assert!(self.forgotten.insert(seat), "{seat:?} twice"),
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_becomes_of_whom_nobody_is_decoded_twice_or_wrongly_and_nothing_is_kept(
        size in 2..5_usize,
        fates in prop::collection::vec((0..8_u8, 0..64_usize, 1..3_u32), 1..200),
    ) {
        let (mut coder, mut world) = (Coder::new(size), World::default());
        for (kind, which, rows) in fates {
            let under_way: Vec<Seat> =
                world.rows.keys().copied().filter(|seat| world.under_way(seat)).collect();
            let open: Vec<GroupId> = world.open.iter().copied().collect();
            match (kind, under_way.is_empty(), open.is_empty()) {
                (3..6, false, _) => {
                    let own = [Own::Answered, Own::Lost, Own::Left][usize::from(kind) - 3];
                    let seat = under_way[which % under_way.len()];
                    world.own.insert(seat, own);
                    coder.heard(seat, own);
                }
                (6.., _, false) => {
                    let group = open[which % open.len()];
                    world.open.remove(&group);
                    if kind == 6 {
                        world.answered.insert(group);
                    }
                    coder.parity(group, kind == 6);
                }
                (0..3, _, _) | (3..6, true, _) | (6.., _, true) => {
                    let seat = Seat(world.rows.len() as u64);
                    world.rows.insert(seat, rows);
                    coder.enter(seat, of(rows));
                }
            }
            world.play(&mut coder, size);
        }
        for seat in world.rows.keys().copied().collect::<Vec<_>>() {
            if world.under_way(&seat) {
                world.own.insert(seat, Own::Answered);
                coder.heard(seat, Own::Answered);
                world.play(&mut coder, size);
            }
        }
        // One may have failed and wait for the sum alone.
        for group in std::mem::take(&mut world.open) {
            coder.parity(group, false);
            world.play(&mut coder, size);
        }
        prop_assert_eq!(world.forgotten.len(), world.rows.len());
        prop_assert_eq!(world.ended.len(), world.groups.len());
        prop_assert!(coder.seats.is_empty() && coder.groups.is_empty() && coder.forming.is_empty());
    }
}
