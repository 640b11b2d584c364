//! Kinds of executor, with all that can be wrong with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use models::{deserialize_duration, deserialize_duration_option};
use serde::Deserialize;

use crate::interference::Interference;
use crate::published;

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

/// Executors that are shares of one device slow each other down. One of `slowdown` and `table` is there, or both.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbours {
    /// How many executors share a device, in the order of their numbers.
    pub count: u32,
    /// Multiplies the time of a run that starts while a neighbour runs, for each that does and of which the table says
    /// nothing. The median of 750 pairs on a V100 (iGniter) is 1.09.
    #[serde(default)]
    pub slowdown: Option<f64>,
    /// Slowdowns by models, rows and share.
    #[serde(default)]
    pub table: Option<PairTable>,
    /// Per cent of the device that each has; equal shares if absent.
    #[serde(default)]
    pub share: Option<f64>,
}

impl Neighbours {
    /// What a run takes longer beside another: each the name of its model in the table, and its rows.
    pub(crate) fn between(&self, (model, rows): (&str, u32), (beside, others): (&str, u32)) -> f64 {
        let read = self.table.as_ref().and_then(|table| table.read.as_ref());
        let share = self.share.unwrap_or(100.0 / f64::from(self.count));
        let found = read.and_then(|read| read.slowdown((model, beside), share, (rows, others)));
        found.or(self.slowdown).unwrap_or(1.0)
    }
}

/// Where slowdowns of pairs of models are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairTable {
    /// A file, from the scenario's folder; see [`Interference::from_csv`].
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A published one; see [`published::PAIRS`].
    #[serde(default)]
    pub published: Option<String>,
    /// What was read.
    #[serde(skip)]
    pub(crate) read: Option<Arc<Interference>>,
}

impl ExecutorSpec {
    /// Reads the table that it names.
    pub(super) fn read_files(&mut self, folder: &Path) -> Result<(), String> {
        let table = self.neighbours.as_mut().and_then(|neighbours| neighbours.table.as_mut());
        let Some(table) = table else { return Ok(()) };
        let read = match (&table.file, &table.published) {
            (Some(file), None) => {
                let path = folder.join(file);
                let wrong =
                    |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
                let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
                Interference::from_csv(&text).map_err(|error| wrong(&error))?
            }
            (None, Some(name)) => {
                published::interference(name).map_err(|error| error.to_string())?
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err("neighbours.table is { file } or { published }".to_owned());
            }
        };
        table.read = Some(Arc::new(read));
        Ok(())
    }
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
