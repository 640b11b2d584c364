//! A set of dense numbers that is quick to enter, to leave and to walk over.

const ABSENT: u32 = u32::MAX;

/// Members in no particular order, but always the same after the same changes.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: Vec<u32>,
    /// By number: where among the members it stands.
    place: Vec<u32>,
}

impl Roster {
    /// Adds a member; nothing happens if it is in.
    pub(crate) fn insert(&mut self, member: usize) {
        if self.place.len() <= member {
            self.place.resize(member + 1, ABSENT);
        }
        if self.place[member] == ABSENT {
            self.place[member] = number(self.members.len());
            self.members.push(number(member));
        }
    }

    /// Takes a member out; nothing happens if it is not in.
    pub(crate) fn remove(&mut self, member: usize) {
        let Some(place) = self.place.get(member).copied().filter(|&place| place != ABSENT) else {
            return;
        };
        self.members.swap_remove(place as usize);
        self.place[member] = ABSENT;
        if let Some(&moved) = self.members.get(place as usize) {
            self.place[moved as usize] = place;
        }
    }

    pub(crate) fn contains(&self, member: usize) -> bool {
        self.place.get(member).is_some_and(|&place| place != ABSENT)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member at a place; places of the others change when one leaves.
    pub(crate) fn at(&self, place: usize) -> Option<usize> {
        self.members.get(place).map(|&member| member as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.iter().map(|&member| member as usize)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer members than a u32 counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_enter_once_and_leave_once() {
        let mut roster = Roster::default();
        for member in [5, 2, 9, 2] {
            roster.insert(member);
        }
        roster.remove(5);
        roster.remove(7);
        assert_eq!(roster.iter().collect::<Vec<_>>(), [9, 2]);
        assert!(roster.contains(9) && !roster.contains(5));
        roster.remove(2);
        roster.remove(9);
        assert!(roster.is_empty());
    }
}
