//! Requests to a linear model in groups, each with one parity request more, whose answer stands in for that of a
//! straggler (ParM: Kosaian, Rashmi, Venkataraman, SOSP'19).
//!
//! The parity request asks for the sum of a group's requests, so that its answer and those of all but one say what that
//! one's is. This couples requests, so that it is no [`super::Compose`]: one [`Coder`] decides for all of a task. It holds
//! nobody up: every request asks for itself, and loses nothing where its group comes to nothing.

use std::collections::{BTreeMap, VecDeque};

use batcher::Deadline;

/// One request among those that are coded together. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u64);

/// One group. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// How large and how urgent a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Those of equally many share groups.
    pub rows: u32,
    /// 1 is the most urgent.
    pub priority: u32,
    /// Until when its answer is of use.
    pub deadline: Deadline,
}

/// What became of a request's own ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// It is answered.
    Answered,
    /// It was refused or failed: the request can only be answered by its group.
    Lost,
    /// Nobody wants its answer any more.
    Left,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodedStep {
    /// Ask for the sum of these requests.
    AskParity {
        /// For which group.
        group: GroupId,
        /// Its requests, in the order in which they came.
        seats: Vec<Seat>,
        /// No more urgent than any of them, until the last of their deadlines.
        terms: Terms,
    },
    /// Nothing of that group's parity request will be needed again: it is cancelled if it is still asked.
    ForgetParity(GroupId),
    /// The answer of this request follows from its group's, and is wanted.
    Decode {
        /// Whose.
        missing: Seat,
        /// The parity request's group.
        group: GroupId,
        /// All others of the group, which are answered.
        others: Vec<Seat>,
    },
    /// Nothing of this request will be needed again; if it is not answered, only its own ask can do that.
    Forget(Seat),
}

/// Puts the requests of one task into groups and decides when an answer is reconstructed.
#[derive(Debug)]
pub struct Coder {
    size: usize,
    /// Requests under way that have no group yet, by their number of rows.
    forming: BTreeMap<u32, Vec<(Seat, Terms)>>,
    groups: BTreeMap<GroupId, Group>,
    seats: BTreeMap<Seat, Place>,
    next: GroupId,
    steps: VecDeque<CodedStep>,
}

/// Where a request is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Among those of so many rows.
    Forming(u32),
    Grouped(GroupId),
}

#[derive(Debug)]
struct Group {
    /// With what became of each; `None` while it is under way.
    seats: Vec<(Seat, Option<Own>)>,
    parity: Parity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parity {
    Asked,
    Answered,
    Lost,
}

impl Coder {
    /// For groups of so many requests.
    ///
    /// # Panics
    /// For fewer than two.
    #[must_use]
    pub fn new(size: usize) -> Self {
        assert!(size >= 2, "a parity of one request is that request");
        Self {
            size,
            forming: BTreeMap::new(),
            groups: BTreeMap::new(),
            seats: BTreeMap::new(),
            next: GroupId(0),
            steps: VecDeque::new(),
        }
    }

    /// A request is under way.
    pub fn enter(&mut self, seat: Seat, terms: Terms) {
        let rows = terms.rows;
        let forming = self.forming.entry(rows).or_default();
        forming.push((seat, terms));
        if forming.len() < self.size {
            self.seats.insert(seat, Place::Forming(rows));
            return;
        }
        let together = self.forming.remove(&rows).expect("it was pushed to");
        let (seats, all): (Vec<Seat>, Vec<Terms>) = together.into_iter().unzip();
        let terms = all.into_iter().fold(terms, |least, other| Terms {
            rows,
            priority: least.priority.max(other.priority),
            deadline: least.deadline.max(other.deadline),
        });
        let group = self.next;
        self.next = GroupId(group.0 + 1);
        self.seats.extend(seats.iter().map(|seat| (*seat, Place::Grouped(group))));
        let own = seats.iter().map(|seat| (*seat, None)).collect();
        self.groups.insert(group, Group { seats: own, parity: Parity::Asked });
        self.steps.push_back(CodedStep::AskParity { group, seats, terms });
    }

    /// Something became of a request's own ask. What is heard of a forgotten one changes nothing.
    pub fn heard(&mut self, seat: Seat, own: Own) {
        match self.seats.get(&seat) {
            None => {}
            Some(&Place::Forming(rows)) => {
                let forming = self.forming.get_mut(&rows).expect("a forming request is there");
                forming.retain(|(other, _)| *other != seat);
                if forming.is_empty() {
                    self.forming.remove(&rows);
                }
                self.forget(seat);
            }
            Some(&Place::Grouped(id)) => {
                let group = self.groups.get_mut(&id).expect("a seat's group is there");
                let known = group.seats.iter_mut().find(|(other, _)| *other == seat);
                known.expect("a seat is in its group").1 = Some(own);
                self.settle(id);
            }
        }
    }

    /// The parity request of a group is answered, or will not be. What is heard of a cancelled one changes nothing.
    pub fn parity(&mut self, id: GroupId, answered: bool) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.parity = if answered { Parity::Answered } else { Parity::Lost };
        self.settle(id);
    }

    /// What to do next, if anything.
    pub fn poll_step(&mut self) -> Option<CodedStep> {
        self.steps.pop_front()
    }

    /// Ends a group that has done what it can.
    fn settle(&mut self, id: GroupId) {
        let group = &self.groups[&id];
        let those = |own: Option<Own>| group.seats.iter().filter(move |(_, it)| *it == own);
        let (lost, left) = (those(Some(Own::Lost)).count(), those(Some(Own::Left)).count());
        let missing = lost + left + those(None).count();
        let hopeless = left > 0 || lost > 1 || group.parity == Parity::Lost;
        if missing == 0 || hopeless {
            return self.end(id);
        }
        if missing == 1 && group.parity == Parity::Answered {
            let (others, missing): (Vec<_>, Vec<_>) =
                group.seats.iter().partition(|(_, own)| *own == Some(Own::Answered));
            let others = others.into_iter().map(|(seat, _)| seat).collect();
            let (missing, _) = missing[0];
            self.steps.push_back(CodedStep::Decode { missing, group: id, others });
            self.end(id);
        }
    }

    fn end(&mut self, id: GroupId) {
        let group = self.groups.remove(&id).expect("a group ends once");
        self.steps.push_back(CodedStep::ForgetParity(id));
        for (seat, _) in group.seats {
            self.forget(seat);
        }
    }

    fn forget(&mut self, seat: Seat) {
        self.seats.remove(&seat);
        self.steps.push_back(CodedStep::Forget(seat));
    }
}

#[cfg(test)]
mod tests;
