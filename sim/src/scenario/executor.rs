//! Kinds of executor, with all that can be wrong with one.

use std::time::Duration;

use models::{deserialize_duration, deserialize_duration_option};
use serde::Deserialize;

/// Equal executors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutorSpec {
    /// How many.
    pub count: u32,
    /// Relative spread of run times (log-normal).
    pub noise: f64,
    /// Share of runs that take `straggler_factor` times as long.
    pub straggler_share: f64,
    /// How much longer a straggler takes.
    pub straggler_factor: f64,
    /// True time over profiled time: 1 when the profile is right.
    pub speed_error: f64,
    /// Share of runs that fail.
    pub failure_share: f64,
    /// Share of loads of weights that fail.
    pub load_failure_share: f64,
    /// Mean time between breakdowns of an executor; none if absent.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub breakdown_every: Option<Duration>,
    /// Run times that change slowly.
    pub drift: Option<Drift>,
    /// Moments in which nothing moves.
    pub stall: Option<Stall>,
    /// Executors that share a device.
    pub neighbours: Option<Neighbours>,
    /// A run can be broken off for a batch that is worth more, where a batching policy asks for it.
    pub preemption: bool,
    /// Megabytes (10^6 bytes) of weights that one holds; any number if absent.
    pub memory_mb: Option<f64>,
    /// How weights and inputs come in; at once if absent.
    pub copy: Option<CopyIn>,
}

/// The way from the host's memory into an executor's.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyIn {
    /// Megabytes a second.
    pub mb_per_s: f64,
    /// What each load of weights takes beside that.
    #[serde(default, deserialize_with = "deserialize_duration")]
    pub base: Duration,
}

impl CopyIn {
    /// How long so many megabytes take.
    #[must_use]
    pub fn time(&self, mb: f64) -> Duration {
        Duration::from_secs_f64(mb / self.mb_per_s)
    }
}

/// Run times are multiplied by a factor that moves.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// How it moves.
    #[serde(default)]
    pub shape: DriftShape,
    /// Where it goes to, from 1.
    pub factor: f64,
    /// How long it takes: to get there (linear), or there and back (sine).
    #[serde(deserialize_with = "deserialize_duration")]
    pub over: Duration,
}

/// How a factor moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftShape {
    /// From 1 to the factor, and stays there.
    #[default]
    Linear,
    /// Between 1 and the factor, again and again.
    Sine,
}

/// An executor stands still at times: the host is busy elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Mean time between stalls, which come at random.
    #[serde(deserialize_with = "deserialize_duration")]
    pub every: Duration,
    /// How long one lasts.
    #[serde(deserialize_with = "deserialize_duration")]
    pub lasts: Duration,
}

/// Executors that are shares of one device slow each other down.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbours {
    /// How many executors share a device, in the order of their numbers.
    pub count: u32,
    /// Multiplies the time of a run that starts while a neighbour runs, for each that does. The median of 750 pairs on
    /// a V100 (iGniter) is 1.09.
    pub slowdown: f64,
}

impl Default for ExecutorSpec {
    fn default() -> Self {
        Self {
            count: 1,
            noise: 0.0,
            straggler_share: 0.0,
            straggler_factor: 5.0,
            speed_error: 1.0,
            failure_share: 0.0,
            load_failure_share: 0.0,
            breakdown_every: None,
            drift: None,
            stall: None,
            neighbours: None,
            preemption: false,
            memory_mb: None,
            copy: None,
        }
    }
}

impl ExecutorSpec {
    /// What makes no sense, in a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            let right = value.is_finite() && value > 0.0;
            if right { Ok(()) } else { Err(format!("{name} must be above 0, not {value}")) }
        };
        let share = |name: &str, value: f64| {
            let right = (0.0..=1.0).contains(&value);
            if right { Ok(()) } else { Err(format!("{name} must be from 0 to 1, not {value}")) }
        };
        let some_time = |name: &str, value: Duration| {
            if value.is_zero() { Err(format!("{name} must be above 0")) } else { Ok(()) }
        };
        share("straggler_share", self.straggler_share)?;
        share("failure_share", self.failure_share)?;
        share("load_failure_share", self.load_failure_share)?;
        positive("straggler_factor", self.straggler_factor)?;
        positive("speed_error", self.speed_error)?;
        if !(self.noise.is_finite() && self.noise >= 0.0) {
            return Err(format!("noise must be 0 or more, not {}", self.noise));
        }
        if let Some(memory) = self.memory_mb {
            positive("memory_mb", memory)?;
        }
        if let Some(copy) = self.copy {
            positive("copy.mb_per_s", copy.mb_per_s)?;
        }
        if let Some(every) = self.breakdown_every {
            some_time("breakdown_every", every)?;
        }
        if let Some(drift) = self.drift {
            positive("drift.factor", drift.factor)?;
            some_time("drift.over", drift.over)?;
        }
        if let Some(stall) = self.stall {
            some_time("stall.every", stall.every)?;
        }
        if let Some(neighbours) = self.neighbours {
            positive("neighbours.slowdown", neighbours.slowdown)?;
            if neighbours.count == 0 {
                return Err("neighbours.count must be at least 1".to_owned());
            }
        }
        Ok(())
    }
}

impl Drift {
    /// The factor at that time from the start.
    #[must_use]
    pub fn at(&self, time: Duration) -> f64 {
        let turns = time.as_secs_f64() / self.over.as_secs_f64();
        let way = match self.shape {
            DriftShape::Linear => turns.min(1.0),
            DriftShape::Sine => (1.0 - (turns * std::f64::consts::TAU).cos()) / 2.0,
        };
        1.0 + (self.factor - 1.0) * way
    }
}
