//! Alarms by key, earliest first: an indexed binary heap, so that setting an alarm anew allocates nothing.

use batcher::Instant;

const NOWHERE: u32 = u32::MAX;

/// At most one alarm for each key; keys are dense.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: Vec<(Instant, u32)>,
    /// By key: where in the heap its alarm stands.
    place: Vec<u32>,
}

impl Agenda {
    /// The earliest alarm; of several at one instant the one with the lowest key.
    pub(crate) fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().copied()
    }

    /// Sets the alarm of that key, or with [`Instant::NEVER`] takes it off.
    pub(crate) fn set(&mut self, key: u32, at: Instant) {
        let index = key as usize;
        if self.place.len() <= index {
            self.place.resize(index + 1, NOWHERE);
        }
        let place = self.place[index] as usize;
        match (self.place[index] != NOWHERE, at != Instant::NEVER) {
            (false, false) => {}
            (false, true) => {
                self.heap.push((at, key));
                self.rise(self.heap.len() - 1);
            }
            (true, true) => {
                let earlier = at < self.heap[place].0;
                self.heap[place].0 = at;
                if earlier { self.rise(place) } else { self.sink(place) }
            }
            (true, false) => self.remove(place),
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, key) = self.heap.swap_remove(place);
        self.place[key as usize] = NOWHERE;
        if place < self.heap.len() {
            // Whichever of the two moves it, the other finds nothing to do.
            self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent] <= self.heap[place] {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let children = left..(left + 2).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else { break };
            if self.heap[place] <= self.heap[least] {
                break;
            }
            self.swap(place, least);
            place = least;
        }
        self.note(place);
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    fn note(&mut self, place: usize) {
        let key = self.heap[place].1 as usize;
        self.place[key] = u32::try_from(place).expect("fewer alarms than keys");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_that_of_a_sorted_list(steps in prop::collection::vec((0_u32..12, 0_u64..40), 1..200)) {
            let mut agenda = Agenda::default();
            let mut list: BTreeMap<u32, Instant> = BTreeMap::new();
            for (key, at) in steps {
                let at = if at < 10 { Instant::NEVER } else { Instant::from_nanos(at) };
                agenda.set(key, at);
                if at == Instant::NEVER { list.remove(&key); } else { list.insert(key, at); }
                let first = list.iter().map(|(&key, &at)| (at, key)).min();
                prop_assert_eq!(agenda.first(), first);
            }
        }
    }
}
