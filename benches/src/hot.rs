//! What is counted by instructions: the decisions of the router, and what the server does with each request around them.

pub mod choose;
mod serve;

use std::time::Duration;

use self::choose::Choosing;
use sim::speed::{Script, Stress};

use crate::Error;

/// Work that is counted, in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Decisions of a batching policy on so many executors and models.
    Decide {
        /// The policy.
        policy: &'static str,
        /// Executors, each with all models.
        executors: u32,
        /// Models.
        models: u32,
    },
    /// A task's request: the choice among so many variants, the door of the chosen one, and what starts then.
    Choose {
        /// The selection policy.
        policy: &'static str,
        /// Variants, each on all of four executors.
        variants: u32,
    },
    /// A request's way through the server, apart from sockets and the scheduler.
    Serve,
}

/// The default, and one of each way to wait and to give up.
const POLICIES: [&str; 5] = ["window", "deadline", "timeout", "early_drop", "deferred"];
const SIZES: [(u32, u32); 2] = [(64, 32), (1, 1)];
/// The default, and those that reckon or draw most.
const SELECTIONS: [&str; 6] =
    ["most_accurate_in_time", "slack_buckets", "expected_accuracy", "planned", "exp3", "exp4"];
/// As few variants as a task has, and as many as one may have.
const VARIANTS: [u32; 2] = [7, 200];
/// Task requests that are counted, and those before them.
const CHOSEN: (u64, u64) = (2000, 2000);
/// Enough that one batch more or less is lost in the mean.
const DECIDED: u64 = 4000;
/// The functions that callgrind counts, by the name under which they are reported.
pub const COUNTED: [&str; 10] = [
    "arrival",
    "batch_end",
    "timeout",
    "parse_json",
    "parse_binary",
    "check",
    "gather",
    "respond_json",
    "respond_binary",
    "choose",
];

impl Work {
    /// All that is counted.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let sizes =
            |policy| SIZES.map(|(executors, models)| Self::Decide { policy, executors, models });
        let choices = |policy| VARIANTS.map(|variants| Self::Choose { policy, variants });
        let decide = POLICIES.into_iter().flat_map(sizes);
        decide.chain(SELECTIONS.into_iter().flat_map(choices)).chain([Self::Serve]).collect()
    }

    /// Its name in the baseline and on the command line.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Decide { policy, executors, models } => {
                format!("decide/{policy}/{executors}x{models}")
            }
            Self::Choose { policy, variants } => format!("select/{policy}/{variants}"),
            Self::Serve => "serve".into(),
        }
    }

    /// Does it; how often each of [`COUNTED`] was called.
    ///
    /// # Errors
    /// What it needs could not be made.
    pub fn run(&self) -> Result<Calls, Error> {
        let mut calls = Calls::default();
        match *self {
            Self::Decide { policy, executors, models } => {
                decide(policy, (executors, models), &mut calls)?;
            }
            Self::Choose { policy, variants } => choose(policy, variants, &mut calls)?,
            Self::Serve => serve::all(&mut calls)?,
        }
        Ok(calls)
    }
}

/// How often each of [`COUNTED`] was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(pub [u64; COUNTED.len()]);

impl Calls {
    /// Does what is counted under the name at that place of [`COUNTED`].
    fn count(&mut self, at: usize, work: &mut dyn FnMut()) {
        self.0[at] += 1;
        counted::ALL[at](work);
    }
}

/// Functions of their own, which callgrind finds by their names: each does something of its own too, or the compiler
/// would make one of them all.
mod counted {
    use std::hint::black_box;

    macro_rules! counted {
        ($($name:ident $number:literal),*) => {$(
            #[inline(never)]
            fn $name(work: &mut dyn FnMut()) {
                work();
                black_box($number);
            }
        )*
        pub(super) const ALL: [fn(&mut dyn FnMut()); super::COUNTED.len()] = [$($name),*]; };
    }
    counted!(arrival 0, batch_end 1, timeout 2, parse_json 3, parse_binary 4, check 5, gather 6, respond_json 7,
        respond_binary 8, choose 9);
}

fn decide(policy: &str, (executors, models): (u32, u32), calls: &mut Calls) -> Result<(), Error> {
    let stress = Stress {
        executors,
        models,
        rate_factor: 0.9,
        slo: Duration::from_millis(100),
        requests: DECIDED,
        batching: policy.to_owned(),
        seed: 1,
    };
    let wrong = |error: sim::ScenarioError| Error::Raw(error.to_string());
    let script = Script::of(&stress).map_err(wrong)?;
    script.play(|kind, tell| calls.count(kind, tell)).map_err(wrong)
}

fn choose(policy: &str, variants: u32, calls: &mut Calls) -> Result<(), Error> {
    let at = COUNTED.iter().position(|known| *known == "choose").expect("it is counted");
    let mut choosing = Choosing::new(policy, variants)?;
    let (counted, before) = CHOSEN;
    (0..before).for_each(|_| choosing.arrive(|tell| tell()));
    (0..counted).for_each(|_| choosing.arrive(|tell| calls.count(at, tell)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_the_kinds_of_calls_of_the_router() {
        let kinds = sim::speed::KINDS.map(|kind| kind.replace(' ', "_"));
        assert_eq!(kinds[..], COUNTED[..kinds.len()]);
    }

    #[test]
    fn all_that_the_server_does_is_called_equally_often() {
        let Calls(calls) = Work::Serve.run().unwrap();
        let served = &calls[3..9];
        assert!(served.iter().all(|&count| count == calls[3] && count > 0), "{calls:?}");
        assert_eq!(calls[..3], [0; 3]);
    }

    #[test]
    fn every_choice_is_counted() {
        let Calls(calls) = Work::Choose { policy: "planned", variants: 7 }.run().unwrap();
        assert_eq!(calls[9], CHOSEN.0);
    }

    #[test]
    fn every_request_and_batch_of_a_decision_is_counted() {
        let work = Work::Decide { policy: "window", executors: 1, models: 1 };
        let Calls(calls) = work.run().unwrap();
        assert_eq!(calls[0], DECIDED);
        assert!(calls[1] > 10, "{calls:?}");
    }
}
