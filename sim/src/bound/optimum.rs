//! The most requests that one who knows all arrivals can answer in time: exact, for small cases of one model.

use std::collections::BTreeMap;

/// Requests of one model with equal objectives on equal executors. All times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// When each request arrives; never falling.
    pub arrivals: Vec<u64>,
    /// From arrival to deadline.
    pub slo: u64,
    /// What a batch of `index + 1` requests takes.
    pub times: Vec<u64>,
    /// How many executors.
    pub executors: usize,
}

/// The case has more states than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an exact optimum of {requests} requests on {executors} executors is too large: at most about {most} can be computed"
)]
pub struct TooLarge {
    /// Requests of the case.
    pub requests: usize,
    /// Its executors.
    pub executors: usize,
    /// About how many of its first requests are not too many.
    pub most: usize,
}

/// States that the search remembers: about 200 MB.
const STATES_MAX: usize = 1_500_000;
/// Requests are bits of a word.
const REQUESTS_MAX: usize = 64;
/// The first requests that are searched for an estimate, and how many more each time.
const FIRST: usize = 4;
const STEP: usize = 2;
/// Of fewer states none is made.
const STATES_MIN: usize = 2000;
/// Estimated to be so many times too many states, a case is refused: estimates may be off.
const EXCESS: f64 = 4.0;
/// Entries of the table of one executor: 400 MB.
const ENTRIES_MAX: usize = 50_000_000;

/// The most requests answered in time on one executor, of up to thousands.
///
/// Contiguous batches are enough. On one executor of two batches the one that starts first also ends first. Give it the
/// earliest arrivals of both, as many as it had: all of them had arrived when it starts, for each is no later than one
/// that it had; the earliest deadline of both batches is met, for whichever batch held it ended no sooner. The later
/// batch gets the rest: it starts later, and its earliest deadline is no earlier than the one it had. A request that is
/// given up inside a batch can take the place of the batch's last one, which is given up instead: the batch can start
/// no later for it, and the deadline of its first is what it was. So a schedule is a walk over the arrivals that gives
/// one up or runs the next so many; of walks that gave up equally many before an arrival, the one whose executor is
/// free first can do all that the others can.
///
/// # Errors
/// More arrivals than the table holds.
pub fn optimum_alone(case: &Case) -> Result<usize, TooLarge> {
    let count = case.arrivals.len();
    let width = count + 1;
    if width.saturating_mul(width) > ENTRIES_MAX {
        return Err(too_large(case, ENTRIES_MAX.isqrt() - 1));
    }
    // When the executor is free at the earliest, by arrivals passed and given up.
    let mut free = vec![u64::MAX; width * width];
    free[0] = 0;
    for passed in 0..count {
        for given_up in 0..=passed {
            let at = free[passed * width + given_up];
            if at == u64::MAX {
                continue;
            }
            let next = &mut free[(passed + 1) * width + given_up + 1];
            *next = at.min(*next);
            for (size, time) in (1..=count - passed).zip(&case.times) {
                let end = at.max(case.arrivals[passed + size - 1]) + time;
                if end <= case.arrivals[passed] + case.slo {
                    let next = &mut free[(passed + size) * width + given_up];
                    *next = end.min(*next);
                }
            }
        }
    }
    let given_up = (0..width).find(|given_up| free[count * width + given_up] < u64::MAX);
    Ok(count - given_up.unwrap_or(count))
}

/// The most requests answered in time on any number of executors, of about 20 to 40.
///
/// On several executors contiguous batches are not enough: a long batch can run around a short one, and end after the
/// deadlines of requests that the short one takes. But batches can be chosen in the order of their starts, each taking
/// the earliest arrivals *that it can still meet*: if it leaves such a request to a later batch (or to none) and has a
/// later arrival instead, swap the two. The later batch has then a later deadline than before, and starts after both
/// have arrived. Starts need no more instants than arrivals and ends of batches, for every batch of a schedule can be
/// moved forward until its newest request arrives or its executor is free. All choices that remain are tried; equal
/// states are looked at once.
///
/// # Errors
/// More requests or states than are looked at. Whether they are is seen from the states of the first few requests, of the
/// first few more and so on, which grow by about the same factor with each: what is too large is refused early.
pub fn optimum(case: &Case) -> Result<usize, TooLarge> {
    if case.executors == 1 {
        return optimum_alone(case);
    }
    let count = case.arrivals.len();
    let mut before = None;
    for first in (FIRST..count.min(REQUESTS_MAX)).step_by(STEP) {
        let Some((_, states)) = searched(case, first) else {
            return Err(too_large(case, first - STEP));
        };
        let growth = before.map(|before| states as f64 / before as f64);
        before = Some(states);
        let Some(growth) = growth.filter(|_| states >= STATES_MIN) else { continue };
        // Natural logarithms of factors, per request and to the most states.
        let (per_request, left) =
            (growth.ln() / STEP as f64, (STATES_MAX as f64 / states as f64).ln());
        if per_request * (count - first) as f64 > left + EXCESS.ln() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            return Err(too_large(case, first + (left / per_request) as usize));
        }
    }
    if count > REQUESTS_MAX {
        return Err(too_large(case, REQUESTS_MAX));
    }
    searched(case, count).map(|(best, _)| best).ok_or_else(|| too_large(case, count - 1))
}

/// The optimum of the first so many requests, and how many states were looked at; none where they are too many.
fn searched(case: &Case, requests: usize) -> Option<(usize, usize)> {
    let mut search = Search { case, known: BTreeMap::new() };
    let all = (0..requests).fold(0, |mask, index| mask | 1 << index);
    let best = search.best(State { now: 0, open: all, busy: Vec::new() })?;
    Some((best, search.known.len()))
}

fn too_large(case: &Case, most: usize) -> TooLarge {
    TooLarge { requests: case.arrivals.len(), executors: case.executors, most }
}

/// What matters of the past.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    now: u64,
    /// Requests without their answer that can still be met.
    open: u64,
    /// When executors that run end; in order.
    busy: Vec<u64>,
}

struct Search<'a> {
    case: &'a Case,
    known: BTreeMap<State, usize>,
}

impl Search<'_> {
    fn arrival(&self, index: u32) -> u64 {
        self.case.arrivals[index as usize]
    }

    /// The most requests answered from that state on.
    fn best(&mut self, mut state: State) -> Option<usize> {
        let quickest = self.case.times.iter().min().copied().unwrap_or(u64::MAX);
        state.busy.retain(|&end| end > state.now);
        for index in bits(state.open) {
            if self.arrival(index) + self.case.slo < state.now.saturating_add(quickest) {
                state.open &= !(1 << index);
            }
        }
        if state.open == 0 {
            return Some(0);
        }
        if let Some(&known) = self.known.get(&state) {
            return Some(known);
        }
        if self.known.len() == STATES_MAX {
            return None;
        }
        let mut best = self.wait(&state)?;
        if state.busy.len() < self.case.executors {
            for size in 1..=self.case.times.len() {
                let Some(next) = self.start(&state, size) else { continue };
                best = best.max(size + self.best(next)?);
            }
        }
        self.known.insert(state, best);
        Some(best)
    }

    /// Nothing starts before the next arrival or end.
    fn wait(&mut self, state: &State) -> Option<usize> {
        let arrivals = bits(state.open).map(|index| self.arrival(index));
        let next = arrivals.filter(|&at| at > state.now).chain(state.busy.first().copied()).min();
        next.map_or(Some(0), |now| self.best(State { now, ..state.clone() }))
    }

    /// After a batch of that size has started, if there are so many that it can meet.
    fn start(&self, state: &State, size: usize) -> Option<State> {
        let end = state.now + self.case.times[size - 1];
        let fits = |index: &u32| {
            let arrived = self.arrival(*index);
            arrived <= state.now && end <= arrived + self.case.slo
        };
        let taken: Vec<u32> = bits(state.open).filter(fits).take(size).collect();
        if taken.len() < size {
            return None;
        }
        let mut next = state.clone();
        taken.iter().for_each(|index| next.open &= !(1 << index));
        let place = next.busy.partition_point(|&other| other < end);
        next.busy.insert(place, end);
        Some(next)
    }
}

/// The positions of the ones of a word, from the lowest.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let index = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(index)
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Tries every batch of every subset on every executor in every order.
    fn all_schedules(case: &Case, open: u64, free: &mut Vec<u64>) -> usize {
        let mut best = 0;
        let mut batch = open;
        while batch != 0 {
            let size = batch.count_ones() as usize;
            if let Some(time) = case.times.get(size - 1) {
                let newest = case.arrivals[63 - batch.leading_zeros() as usize];
                let oldest = case.arrivals[batch.trailing_zeros() as usize];
                for executor in 0..free.len() {
                    let before = free[executor];
                    let end = before.max(newest) + time;
                    if end <= oldest + case.slo {
                        free[executor] = end;
                        best = best.max(size + all_schedules(case, open & !batch, free));
                        free[executor] = before;
                    }
                }
            }
            batch = (batch - 1) & open;
        }
        best
    }

    fn random_case(seed: u64, executors: usize, requests: usize) -> Case {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut arrivals: Vec<u64> =
            (0..requests).map(|_| rng.random_range(0..requests as u64 * 4)).collect();
        arrivals.sort_unstable();
        let mut time = rng.random_range(1..8);
        let times = (0..4).map(|_| {
            time += rng.random_range(0..6);
            time
        });
        let times: Vec<u64> = times.collect();
        Case { arrivals, slo: times[0] + rng.random_range(0..20), times, executors }
    }

    #[test]
    fn the_optima_are_those_of_trying_all_schedules() {
        let mut given_up = 0;
        for seed in 0..150 {
            for (executors, requests) in [(1, 6), (2, 5), (3, 5)] {
                let case = random_case(seed, executors, requests);
                let all = all_schedules(&case, (1 << requests) - 1, &mut vec![0; executors]);
                assert_eq!(optimum(&case), Ok(all), "seed {seed}: {case:?}");
                given_up += requests - all;
            }
        }
        assert!(given_up > 100, "most cases are too easy: {given_up}");
    }

    #[test]
    fn one_executor_is_the_same_by_table_and_by_search() {
        for seed in 0..100 {
            let case = random_case(seed, 1, 12);
            let mut search = Search { case: &case, known: BTreeMap::new() };
            let searched = search.best(State { now: 0, open: (1 << 12) - 1, busy: Vec::new() });
            assert_eq!(searched, optimum_alone(&case).ok(), "seed {seed}");
        }
    }

    #[test]
    fn a_batch_may_have_to_run_around_another() {
        // The three close ones go together, ending after the deadline of the first; a batch of two meets it later.
        let case =
            Case { arrivals: vec![0, 4, 5, 6, 10], slo: 12, times: vec![1, 2, 9], executors: 2 };
        assert_eq!(optimum(&case), Ok(5));
    }

    #[test]
    fn what_is_too_large_is_refused_from_the_states_of_the_first_requests() {
        let ms = |ms: u64| ms * 1_000_000;
        let case = |executors, requests| Case {
            arrivals: (0..requests).map(|index| ms(index) / 2 + index * index % 7).collect(),
            slo: ms(25),
            times: (1..=64).map(|rows| 5_204_000 + 1_082_000 * rows).collect(),
            executors,
        };
        let error = optimum(&case(8, 60)).unwrap_err();
        assert!(error.most >= 8 && error.most < 40, "{error}");
        assert!(optimum(&case(8, 8)).is_ok());
        assert!(error.to_string().starts_with("an exact optimum of 60 requests on 8 executors"));
        let error = optimum_alone(&case(1, 8000)).unwrap_err();
        assert_eq!(error.most, 7070);
    }
}
