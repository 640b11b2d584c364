//! What is counted by instructions: the decisions of the router, and what the server does with each request around them.

mod serve;

use std::time::Duration;

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
    /// A request's way through the server, apart from sockets and the scheduler.
    Serve,
}

/// The default, and one of each way to wait and to give up.
const POLICIES: [&str; 5] = ["window", "deadline", "timeout", "early_drop", "deferred"];
const SIZES: [(u32, u32); 2] = [(64, 32), (1, 1)];
/// Enough that one batch more or less is lost in the mean.
const DECIDED: u64 = 4000;
/// The functions that callgrind counts, by the name under which they are reported.
pub const COUNTED: [&str; 9] = [
    "arrival",
    "batch_end",
    "timeout",
    "parse_json",
    "parse_binary",
    "check",
    "gather",
    "respond_json",
    "respond_binary",
];

impl Work {
    /// All that is counted.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let sizes =
            |policy| SIZES.map(|(executors, models)| Self::Decide { policy, executors, models });
        POLICIES.into_iter().flat_map(sizes).chain([Self::Serve]).collect()
    }

    /// Its name in the baseline and on the command line.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Decide { policy, executors, models } => {
                format!("decide/{policy}/{executors}x{models}")
            }
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
        respond_binary 8);
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
        assert!(calls[3..].iter().all(|&count| count == calls[3] && count > 0), "{calls:?}");
        assert_eq!(calls[..3], [0; 3]);
    }

    #[test]
    fn every_request_and_batch_of_a_decision_is_counted() {
        let work = Work::Decide { policy: "window", executors: 1, models: 1 };
        let Calls(calls) = work.run().unwrap();
        assert_eq!(calls[0], DECIDED);
        assert!(calls[1] > 10, "{calls:?}");
    }
}
