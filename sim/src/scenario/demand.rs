//! The single models of a scenario and when each is asked.

use loadgen::{Arrivals, Offsets, Replay};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{ModelSpec, Scale, Scenario, ScenarioError, Split, TraceSpec};

/// One model and its arrivals.
pub(crate) struct Demand {
    /// Which `[[model]]` it is of.
    pub(crate) entry: usize,
    pub(crate) name: String,
    /// Requests a second, on average.
    pub(crate) rate: f64,
    pub(crate) arrivals: Source,
}

/// Arrivals in nanoseconds from the start, never falling.
pub(crate) enum Source {
    Process(Box<Offsets>),
    Listed(std::vec::IntoIter<u64>),
}

impl Iterator for Source {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Process(offsets) => offsets.next(),
            Self::Listed(times) => times.next(),
        }
    }
}

impl Scenario {
    /// Every model with its arrivals, in order.
    pub(crate) fn demands(&self) -> Result<Vec<Demand>, ScenarioError> {
        let mut demands = Vec::new();
        for (entry, spec) in self.models.iter().enumerate() {
            let first = demands.len() as u64 + 1;
            let seed = |index: usize| self.seed.wrapping_add(first + index as u64);
            let sources = match &spec.trace {
                Some(trace) => self.recorded(spec, trace, self.seed.wrapping_add(first))?,
                None => self.processes(spec, seed)?,
            };
            let shares = spec.popularity.shares(spec.count);
            for (index, arrivals) in sources.into_iter().enumerate() {
                let rate = match &arrivals {
                    Source::Process(_) => spec.rate.unwrap_or(0.0) * shares[index] * self.load,
                    Source::Listed(times) => times.len() as f64 / self.duration.as_secs_f64(),
                };
                let name = match spec.count {
                    1 => spec.name.clone(),
                    _ => format!("{}-{index}", spec.name),
                };
                demands.push(Demand { entry, name, rate, arrivals });
            }
        }
        Ok(demands)
    }

    fn processes(
        &self,
        spec: &ModelSpec,
        seed: impl Fn(usize) -> u64,
    ) -> Result<Vec<Source>, ScenarioError> {
        let arrivals: Arrivals = spec.arrivals.parse().map_err(|error| spec.wrong(error))?;
        if spec.rate.is_none() && spec.answers.is_some() {
            return Ok(vec![Source::Listed(Vec::new().into_iter())]);
        }
        let rate = spec.rate.ok_or_else(|| spec.wrong("a model without a trace needs a rate"))?;
        let shares = spec.popularity.shares(spec.count);
        let offsets = shares.iter().enumerate().map(|(index, share)| {
            arrivals.offsets(rate * share * self.load, seed(index)).map(Box::new)
        });
        offsets.map(|offsets| Ok(Source::Process(offsets.map_err(|e| spec.wrong(e))?))).collect()
    }

    fn recorded(
        &self,
        spec: &ModelSpec,
        trace: &TraceSpec,
        seed: u64,
    ) -> Result<Vec<Source>, ScenarioError> {
        let read = trace.read.as_ref().ok_or_else(|| spec.wrong("its trace has not been read"))?;
        let factor = self.load * spec.rate.map_or(1.0, |rate| rate / (read.rate() * trace.speed));
        let (speed, copies) = match trace.scale {
            Scale::Time => (trace.speed * factor, 1.0),
            Scale::Count => (trace.speed, factor),
        };
        let length_ns = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        let from_ns = u64::try_from(trace.from.as_nanos()).unwrap_or(u64::MAX);
        let replay = Replay { from_ns, length_ns, speed, copies, within: trace.within };
        let span = read.functions.iter().map(|one| one.recorded.span_ns()).max().unwrap_or(0);
        let models = spec.count as usize;
        let mut times = vec![Vec::new(); models];
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let shares = spec.popularity.shares(spec.count);
        for (index, function) in read.functions.iter().enumerate() {
            let play = |replay: &Replay, round: u64| {
                let seed = seed.wrapping_add(index as u64).wrapping_add(round << 32);
                function.recorded.offsets(replay, seed)
            };
            for at in repeated(&replay, span, play) {
                let model = match trace.split {
                    Split::Functions => index % models,
                    Split::Requests => drawn(&shares, &mut rng),
                };
                times[model].push(at);
            }
        }
        let sorted = times.into_iter().map(|mut times: Vec<u64>| {
            times.sort_unstable();
            Source::Listed(times.into_iter())
        });
        Ok(sorted.collect())
    }
}

/// Plays a recording of that span again and again until the run is filled.
fn repeated(replay: &Replay, span: u64, play: impl Fn(&Replay, u64) -> Vec<u64>) -> Vec<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive time; saturates"
    )]
    let played = |recorded: u64| ((recorded as f64 / replay.speed).round() as u64).max(1);
    let mut all = play(replay, 0);
    let mut begins = played(span.saturating_sub(replay.from_ns));
    let mut round = 1;
    while begins < replay.length_ns {
        let rest = Replay { from_ns: 0, length_ns: replay.length_ns - begins, ..*replay };
        all.extend(play(&rest, round).iter().map(|at| begins + at));
        begins += played(span);
        round += 1;
    }
    all
}

fn drawn(shares: &[f64], rng: &mut Pcg64Mcg) -> usize {
    let mut left = rng.random::<f64>();
    for (index, share) in shares.iter().enumerate() {
        if left < *share {
            return index;
        }
        left -= share;
    }
    shares.len() - 1
}
