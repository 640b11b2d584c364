//! A workload as what is to be sent when.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{Deal, Pace, Recording, Workload};
use crate::{Arrivals, Error, Mix, Rate, Replay, Trace};

/// All that is sent in a run, with times from the beginning of its warm-up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Of the open loops, by time.
    pub due: Vec<Due>,
    /// The closed loops.
    pub loops: Vec<Loop>,
}

/// A request of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When it is due, in nanoseconds.
    pub at_ns: u64,
    /// The index of its clients.
    pub share: usize,
}

/// A closed loop: clients that each ask again when they have an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// How many clients.
    pub concurrency: usize,
    /// Between an end and the next request of a client.
    pub think_time: Duration,
    /// The indices of the clients they ask as, drawn by weight for each request.
    pub shares: Vec<(usize, f64)>,
}

impl Schedule {
    /// Requests of an open loop, each drawn from a mix.
    #[must_use]
    pub fn open(due_ns: &[u64], mix: &Mix, seed: u64) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let due = due_ns.iter().map(|&at_ns| Due { at_ns, share: mix.draw(&mut rng) }).collect();
        Self { due, loops: Vec::new() }
    }

    /// A closed loop over a mix.
    #[must_use]
    pub fn closed(concurrency: usize, think_time: Duration, mix: &Mix) -> Self {
        let weights = mix.shares().iter().map(|share| share.weight);
        let shares = weights.enumerate().collect();
        Self { due: Vec::new(), loops: vec![Loop { concurrency, think_time, shares }] }
    }
}

impl Workload {
    /// What is sent when, the same for the same seed.
    ///
    /// # Errors
    /// More than [`Trace::ARRIVALS_MAX`] requests.
    pub fn schedule(&self) -> Result<Schedule, Error> {
        let mut schedule = Schedule::default();
        let length = self.warm_up + self.duration;
        let sharing: Vec<(usize, f64)> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, clients)| clients.pace.is_none())
            .map(|(index, clients)| (index, clients.share))
            .collect();
        if let (Some(pace), false) = (&self.pace, sharing.is_empty()) {
            schedule.add(pace, &sharing, &self.functions(), (length, self.seed))?;
        }
        for (index, clients) in self.clients.iter().enumerate() {
            if let Some(pace) = &clients.pace {
                let seed = self.seed.wrapping_add(index as u64 + 1);
                schedule.add(pace, &[(index, 1.0)], &[], (length, seed))?;
            }
        }
        schedule.due.sort_unstable();
        Ok(schedule)
    }

    /// The functions that clients name, each with the index of its clients.
    fn functions(&self) -> Vec<(&str, usize)> {
        self.clients
            .iter()
            .enumerate()
            .flat_map(|(index, clients)| {
                clients.functions.iter().map(move |name| (name.as_str(), index))
            })
            .collect()
    }
}

impl Schedule {
    fn add(
        &mut self,
        pace: &Pace,
        sharing: &[(usize, f64)],
        named: &[(&str, usize)],
        (length, seed): (Duration, u64),
    ) -> Result<(), Error> {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        match pace {
            Pace::Open { rate, arrivals } => {
                let mut rng = Pcg64Mcg::seed_from_u64(seed);
                let due = due(*arrivals, rate, length, seed)?;
                self.due.extend(due.map(|at_ns| Due { at_ns, share: draw(sharing, &mut rng) }));
            }
            Pace::Closed { concurrency, think_time } => self.loops.push(Loop {
                concurrency: *concurrency,
                think_time: *think_time,
                shares: sharing.to_vec(),
            }),
            Pace::Recorded(recording) => {
                self.due.extend(recording.due(sharing, named, length_ns, seed));
            }
        }
        if self.due.len() as u64 > Trace::ARRIVALS_MAX {
            return Err(Error::Rate(format!("{} requests", self.due.len())));
        }
        Ok(())
    }
}

/// The send times of a process within `length`, bounded in their number.
pub(crate) fn due(
    arrivals: Arrivals,
    rate: &Rate,
    length: Duration,
    seed: u64,
) -> Result<impl Iterator<Item = u64>, Error> {
    if rate.peak() * length.as_secs_f64() > Trace::ARRIVALS_MAX as f64 {
        return Err(Error::Rate(format!("{} for {length:?}", rate.peak())));
    }
    let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    Ok(arrivals.along(rate, seed)?.take_while(move |at| *at < length_ns))
}

/// An index, by the weights.
pub(crate) fn draw(weights: &[(usize, f64)], rng: &mut impl Rng) -> usize {
    let [(only, _)] = weights else {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        for (index, weight) in weights {
            if left < *weight {
                return *index;
            }
            left -= weight;
        }
        return weights.last().map_or(0, |(index, _)| *index);
    };
    *only
}

impl Recording {
    fn due(
        &self,
        sharing: &[(usize, f64)],
        named: &[(&str, usize)],
        length_ns: u64,
        seed: u64,
    ) -> Vec<Due> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let replay = Replay {
            from_ns: u64::try_from(self.from.as_nanos()).unwrap_or(u64::MAX),
            length_ns,
            speed: self.speed,
            copies: self.copies,
            within: self.within,
        };
        let unnamed: Vec<usize> = sharing
            .iter()
            .map(|(index, _)| *index)
            .filter(|index| named.iter().all(|(_, of)| of != index))
            .collect();
        let mut dealt = unnamed.iter().cycle();
        let mut due = Vec::new();
        for (number, function) in self.trace.functions.iter().enumerate() {
            if !(self.functions.is_empty() || self.functions.contains(&function.name)) {
                continue;
            }
            let owner = named.iter().find(|(name, _)| *name == function.name).map(|(_, of)| *of);
            let owner = match self.deal {
                Deal::Requests => None,
                Deal::Functions => match owner.or_else(|| dealt.next().copied()) {
                    Some(owner) => Some(owner),
                    // Every one of the clients has named its functions: this is nobody's.
                    None => continue,
                },
            };
            let times = function.recorded.offsets(&replay, seed.wrapping_add(number as u64));
            due.extend(times.into_iter().map(|at_ns| Due {
                at_ns,
                share: owner.unwrap_or_else(|| draw(sharing, &mut rng)),
            }));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(text: &str) -> Workload {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/test.toml");
        Workload::from_text(file, text).unwrap()
    }

    fn counts(schedule: &Schedule) -> [usize; 3] {
        let mut counts = [0; 3];
        schedule.due.iter().for_each(|due| counts[due.share] += 1);
        counts
    }

    #[test]
    fn clients_get_their_share_of_the_common_rate_and_their_own_rates() {
        let schedule = workload(
            "duration = '90s'\nwarm_up = '10s'\nrate = 400\n\
             [[clients]]\nmodel = 'a'\nshare = 3\n[[clients]]\nmodel = 'b'\n\
             [[clients]]\nmodel = 'c'\nrate = '10..30@100s'\narrivals = 'constant'",
        )
        .schedule()
        .unwrap();
        let [a, b, c] = counts(&schedule);
        assert!(a.abs_diff(30_000) < 600 && b.abs_diff(10_000) < 400, "{a} {b}");
        assert!(c.abs_diff(2000) <= 1, "{c}");
    }

    #[test]
    fn functions_go_to_the_clients_that_name_them_and_the_rest_is_dealt_in_turn() {
        let text = "duration = '300s'\ntrace = { file = 'example.csv' }\n\
                    [[clients]]\nmodel = 'a'\n[[clients]]\nmodel = 'b'\nfunctions = ['resize']\n\
                    [[clients]]\nmodel = 'c'\n";
        assert_eq!(counts(&workload(text).schedule().unwrap()), [120, 60, 30]);
        let requests = text.replace("'example.csv'", "'example.csv', deal = 'requests'");
        let requests = requests.replace("functions = ['resize']\n", "");
        let found = counts(&workload(&requests).schedule().unwrap());
        assert_eq!(found.iter().sum::<usize>(), 210);
        assert!(found.iter().all(|count| *count > 40), "{found:?}");
        let faster = text.replace("'example.csv'", "'example.csv', speed = 2, copies = 2");
        assert_eq!(counts(&workload(&faster).schedule().unwrap()), [240, 120, 60]);
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let text =
            "duration = '5s'\nrate = 100\n[[clients]]\nmodel = 'a'\n[[clients]]\nmodel = 'b'";
        let (first, other) = (workload(text), workload(&format!("seed = 2\n{text}")));
        assert_eq!(first.schedule(), first.schedule());
        assert_ne!(first.schedule(), other.schedule());
    }
}
