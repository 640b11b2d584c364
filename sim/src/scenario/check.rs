//! What numbers of a scenario are refused, and the limits. Each sentence names the key and what is allowed.

use std::collections::BTreeSet;
use std::time::Duration;

use loadgen::Arrivals;

use super::{ExecutorSpec, ModelSpec, PlacementSpec, Popularity, Scenario, ScenarioError, Split};

/// Executors of a scenario; Clockwork's and Symphony's largest experiments have some hundreds.
const EXECUTORS_MAX: u64 = 65_536;
/// Single models of a scenario.
const MODELS_MAX: u64 = 100_000;
/// Executors times models: each model knows its executors, which is 4 bytes and more a pair.
const PAIRS_MAX: u64 = 50_000_000;
/// Rows of a batch.
pub(super) const BATCH_MAX: u32 = 65_536;
/// Requests a second of one model: ten nanoseconds each, and time is counted in whole ones.
const RATE_MAX: f64 = 1e8;
/// No time in a scenario is longer: a hundred days, of the 584 years that 64 bits of nanoseconds hold.
const TIME_MAX: Duration = Duration::from_secs(8_640_000);
/// What a row and a run without rows take at most: an hour.
pub(super) const RUN_MAX: Duration = Duration::from_secs(3600);
/// Factors on run times: more of them together still fit into a run time.
const FACTOR_MAX: f64 = 1000.0;
/// The spread of a log-normal: at 3 one run in a thousand takes ten thousand times as long.
const NOISE_MAX: f64 = 3.0;
/// Megabytes of weights, inputs and memory: a terabyte.
const MB_MAX: f64 = 1e6;
/// A stall that comes more often than this share of its length is no stall.
const STALL_GAP_SHARE: u32 = 1000;
/// Weights among models, priorities, shapes, rows: more have no use.
const LEVELS_MAX: u32 = 1_000_000;

/// Refuses what is not a number of that range.
fn range(name: &str, value: f64, (low, high): (f64, f64)) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be from {low} to {high}, not {value}"))
}

/// Refuses what is not above 0.
fn positive(name: &str, value: f64, high: f64) -> Result<(), String> {
    if value > 0.0 && value <= high {
        return Ok(());
    }
    Err(format!("{name} must be above 0 and at most {high}, not {value}"))
}

fn count(name: &str, value: u64, (low, high): (u64, u64)) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be from {low} to {high}, not {value}"))
}

fn time(name: &str, value: Option<Duration>) -> Result<(), String> {
    match value {
        Some(value) if value > TIME_MAX => {
            Err(format!("{name} must be at most {TIME_MAX:?}, a hundred days, not {value:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn some_time(name: &str, value: Option<Duration>) -> Result<(), String> {
    if value.is_some_and(|value| value.is_zero()) {
        return Err(format!("{name} must be above 0"));
    }
    time(name, value)
}

impl Scenario {
    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), ScenarioError> {
        for (index, executor) in self.executors.iter().enumerate() {
            let wrong = |reason| ScenarioError::Executor { index: index + 1, reason };
            executor.check().map_err(wrong)?;
            executor.check_pairs(&self.models).map_err(wrong)?;
        }
        self.check_whole().map_err(ScenarioError::Whole)?;
        if let Some(placement) = &self.placement {
            placement.check().map_err(ScenarioError::Policy)?;
        }
        let mut names = BTreeSet::new();
        for model in &self.models {
            model.latency_profile()?;
            model.check()?;
            self.check_model(model).map_err(|reason| model.wrong(reason))?;
            self.policy_of(model)?;
            if !names.insert(&model.name) {
                return Err(model.wrong("name must be another than that of a model before it"));
            }
        }
        self.check_compositions()
    }

    fn check_whole(&self) -> Result<(), String> {
        some_time("duration", Some(self.duration))?;
        if self.warmup >= self.duration {
            return Err("warmup must be shorter than duration".to_owned());
        }
        if !(self.load.is_finite() && self.load > 0.0) {
            return Err("load must be a positive number".to_owned());
        }
        time("router.lead", self.router.lead)?;
        let executors: u64 = self.executors.iter().map(|executor| u64::from(executor.count)).sum();
        let models: u64 = self.models.iter().map(|model| u64::from(model.count)).sum();
        if executors == 0 {
            return Err("a scenario needs an executor".to_owned());
        }
        if models == 0 {
            return Err("a scenario needs a model".to_owned());
        }
        if executors > EXECUTORS_MAX {
            return Err(format!("all executors must be at most {EXECUTORS_MAX}, not {executors}"));
        }
        if models <= MODELS_MAX && executors * models > PAIRS_MAX {
            return Err(format!(
                "{executors} executors times {models} models must be at most {PAIRS_MAX}"
            ));
        }
        let group = self.placement.as_ref().map_or(1, |placement| placement.group);
        if u64::from(group) > executors {
            return Err(format!("placement.group must be from 1 to {executors}, the executors"));
        }
        Ok(())
    }

    /// What of a model depends on the rest of the scenario.
    fn check_model(&self, model: &ModelSpec) -> Result<(), String> {
        let executors = u64::from(self.executor_count());
        let before = self.models.iter().take_while(|other| !std::ptr::eq(*other, model));
        let before: u64 = before.map(|model| u64::from(model.count)).sum();
        count("count", u64::from(model.count), (0, MODELS_MAX - before.min(MODELS_MAX)))?;
        if let Some(rate) = model.rate {
            positive("rate, times load,", rate * self.load, RATE_MAX)?;
        }
        let Some(placement) = &self.placement else {
            if let Some(asked) = model.executors {
                count("executors", u64::from(asked), (1, executors))?;
            }
            return self.check_memory();
        };
        if model.executors.is_some() {
            return Err("executors have no meaning where a placement decides".to_owned());
        }
        let stages = model.pipelines.iter().map(|stages| stages.0.len()).max().unwrap_or(1);
        let devices = (placement.group.max(1) as usize).max(stages) as f64;
        let memory = |executor: &ExecutorSpec| executor.memory_mb.unwrap_or(f64::INFINITY);
        let most = self.executors.iter().map(memory).fold(0.0, f64::max) * devices;
        if model.weights_mb > most {
            return Err(format!(
                "weights_mb must be at most {most}, what an executor holds (memory_mb), not {}",
                model.weights_mb
            ));
        }
        Ok(())
    }

    /// Without a placement all models are in place everywhere.
    fn check_memory(&self) -> Result<(), String> {
        let mut first = 0;
        for executor in &self.executors {
            let here = |model: &&ModelSpec| model.executors.is_none_or(|upto| upto > first);
            let models = self.models.iter().filter(here);
            let held: f64 = models.map(|model| model.weights_mb * f64::from(model.count)).sum();
            if let Some(memory) = executor.memory_mb.filter(|memory| held > *memory) {
                return Err(format!(
                    "weights_mb of all models of an executor are {held}, more than its memory_mb of {memory}; a \
                     [placement] says which are where"
                ));
            }
            first += executor.count;
        }
        Ok(())
    }
}

impl ExecutorSpec {
    /// What makes no sense, in a sentence.
    fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| range(name, value, (0.0, 1.0));
        count("count", u64::from(self.count), (0, EXECUTORS_MAX))?;
        share("straggler_share", self.straggler_share)?;
        share("failure_share", self.failure_share)?;
        share("load_failure_share", self.load_failure_share)?;
        positive("straggler_factor", self.straggler_factor, FACTOR_MAX)?;
        positive("speed_error", self.speed_error, FACTOR_MAX)?;
        range("noise", self.noise, (0.0, NOISE_MAX))?;
        if let Some(memory) = self.memory_mb {
            positive("memory_mb", memory, MB_MAX)?;
        }
        if let Some(copy) = self.copy {
            range("copy.mb_per_s", copy.mb_per_s, (0.01, 1e9))?;
            time("copy.base", Some(copy.base))?;
        }
        some_time("breakdown_every", self.breakdown_every)?;
        if let Some(drift) = self.drift {
            positive("drift.factor", drift.factor, FACTOR_MAX)?;
            some_time("drift.over", Some(drift.over))?;
        }
        if let Some(stall) = self.stall {
            some_time("stall.every", Some(stall.every))?;
            time("stall.lasts", Some(stall.lasts))?;
            if stall.every < stall.lasts / STALL_GAP_SHARE {
                return Err(format!(
                    "stall.every must be at least a {STALL_GAP_SHARE}th of stall.lasts, not {:?}",
                    stall.every
                ));
            }
        }
        if let Some(neighbours) = &self.neighbours {
            count("neighbours.count", u64::from(neighbours.count), (1, EXECUTORS_MAX))?;
            if let Some(slowdown) = neighbours.slowdown {
                range("neighbours.slowdown", slowdown, (1.0, FACTOR_MAX))?;
            } else if neighbours.table.is_none() {
                return Err("neighbours need a slowdown from 1, or a table".to_owned());
            }
            if let Some(share) = neighbours.share {
                positive("neighbours.share", share, 100.0)?;
            }
        }
        Ok(())
    }

    /// Refuses a table that lacks a pair of models of which nothing else is said.
    fn check_pairs(&self, models: &[ModelSpec]) -> Result<(), String> {
        let Some(neighbours) = self.neighbours.as_ref().filter(|all| all.slowdown.is_none()) else {
            return Ok(());
        };
        let table = neighbours.table.as_ref().and_then(|table| table.read.as_ref());
        let table = table.ok_or("neighbours.table has not been read")?;
        for model in models {
            for beside in models {
                let (model, beside) = (model.known(), beside.known());
                if !table.knows(model, beside) {
                    return Err(format!(
                        "neighbours.table has no {model:?} beside {beside:?} (known_as, else name, of models); give a \
                         slowdown for pairs that it lacks"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl ModelSpec {
    /// Refuses numbers that make no sense.
    fn check(&self) -> Result<(), ScenarioError> {
        self.check_numbers().map_err(|reason| self.wrong(reason))?;
        let _: Arrivals = self.arrivals.parse().map_err(|error| self.wrong(error))?;
        let Some(trace) = &self.trace else {
            let missing = "a model needs a rate, or a trace that has one";
            // Clients of one variant ask for all of a task.
            let idle = self.answers.is_some() && self.count == 1;
            return if self.rate.is_some() || idle { Ok(()) } else { Err(self.wrong(missing)) };
        };
        positive("trace.speed", trace.speed, LEVELS_MAX.into())
            .and_then(|()| time("trace.from", Some(trace.from)))
            .map_err(|reason| self.wrong(reason))?;
        if trace.read.as_ref().is_none_or(|read| read.rate() <= 0.0) {
            return Err(self.wrong(format!("the trace {} is empty", trace.file.display())));
        }
        if trace.split == Split::Functions && self.popularity != Popularity::Even {
            return Err(self.wrong("popularity has no meaning where functions are dealt to models"));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        let level =
            |name: &str, value: u32| count(name, u64::from(value), (1, u64::from(LEVELS_MAX)));
        let batch =
            |name: &str, value: u32| count(name, u64::from(value), (1, u64::from(BATCH_MAX)));
        if let Some(batch_max) = self.batch_max {
            batch("batch_max", batch_max)?;
        }
        self.preferred.iter().try_for_each(|&size| batch("preferred", size))?;
        batch("rows_max", self.rows_max)?;
        if self.queue_max == 0 {
            return Err("queue_max must be at least 1".to_owned());
        }
        some_time("slo", self.slo)?;
        time("delay", self.delay)?;
        time("tail", Some(self.tail))?;
        level("priorities", self.priorities)?;
        level("shapes", self.shapes)?;
        if let Some(priority) = self.priority {
            level("priority", priority)?;
        }
        if let Some(rate) = self.rate.filter(|rate| !(*rate > 0.0 && *rate <= RATE_MAX)) {
            return Err(format!(
                "rate must be above 0 and at most {RATE_MAX} requests a second, not {rate}; what changes in time is a \
                 trace, or a workload file (run --workload)"
            ));
        }
        positive("weight", self.weight, LEVELS_MAX.into())?;
        range("cancel_share", self.cancel_share, (0.0, 1.0))?;
        range("weights_mb", self.weights_mb, (0.0, MB_MAX))?;
        range("input_mb", self.input_mb, (0.0, MB_MAX))
    }
}

impl PlacementSpec {
    pub(super) fn check(&self) -> Result<(), String> {
        let entry = self.entry()?;
        some_time("placement.every", self.every)?;
        some_time("placement.trial", self.trial)?;
        count("placement.beam", u64::from(self.beam), (0, 1000))?;
        if entry.is_none() && (self.every.is_some() || !self.on_demand) {
            return Err("a placement needs a policy, or on_demand alone".to_owned());
        }
        Ok(())
    }
}
