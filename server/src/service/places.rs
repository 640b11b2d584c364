//! Which models are on which executors, where their memory is limited: decided anew from time to time.

use std::sync::Arc;
use std::time::Duration;

use models::{ExecutorId, VariantId};
use parking_lot::Mutex;
use router::place::{Epochs, PLACEMENTS};
use serde_json::json;

use super::Service;
use crate::carrier::{Carrier, MetricsTable};
use crate::driver::Driver;

/// How models come to executors whose memory is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placing {
    /// By executor, the bytes of models that it holds.
    pub memory: Vec<u64>,
    /// The placement policy's name; the default one if it is not known.
    pub policy: String,
    /// Between two placements.
    pub every: Duration,
    /// The most loads that one placement begins.
    pub moves_max: usize,
    /// A request that no executor can answer in time has its model loaded.
    pub on_demand: bool,
    /// Where models are loaded; anywhere, if empty.
    pub cores: Vec<usize>,
}

/// What the service knows of where models are.
pub(super) struct Places {
    pub(super) carrier: Arc<Carrier>,
    on_demand: bool,
    policy: &'static str,
    decided: Mutex<Decided>,
}

struct Decided {
    epochs: Epochs,
    /// From the driver's start, when the last placement was decided.
    at: Option<Duration>,
}

impl Places {
    /// Starts what carries models, and tells the driver of the executors' memory.
    pub(super) fn start(
        placing: &Placing,
        driver: &Arc<Driver>,
        metrics: Arc<MetricsTable>,
    ) -> std::io::Result<Self> {
        let Placing { memory, policy, every, moves_max, on_demand, cores } = placing;
        let (carrier, jobs) = Carrier::new(memory.len(), metrics);
        carrier.start(jobs, &Arc::downgrade(driver), cores)?;
        let carried = Arc::clone(&carrier);
        driver.set_moves(Box::new(move |to| carried.follow(to)));
        for (executor, &bytes) in (0_u32..).map(ExecutorId).zip(memory) {
            driver.state_memory(executor, bytes, *on_demand);
        }
        let entry = PLACEMENTS.iter().find(|entry| entry.name == policy).unwrap_or(&PLACEMENTS[0]);
        let epochs = Epochs::new(entry, memory.clone(), *every, *moves_max);
        let decided = Mutex::new(Decided { epochs, at: None });
        Ok(Self { carrier, on_demand: *on_demand, policy: entry.name, decided })
    }
}

impl Service {
    /// Decides again where models are: at once after the start, then once each epoch. Without effect where every model is
    /// on every executor. Takes some milliseconds, and no lock that serving waits for while it thinks.
    pub fn place(&self) {
        let Some(places) = &self.places else { return };
        let mut decided = places.decided.lock();
        let (demand, present, now) = self.driver.demand();
        let placement = match decided.at {
            None => decided.epochs.first(&demand, &present),
            Some(before) => decided.epochs.next(&demand, &present, now.saturating_sub(before)),
        };
        decided.at = Some(now);
        self.driver.place(placement);
    }

    /// Whether requests for that variant can be answered, now or once it is loaded.
    pub(super) fn reachable(&self, variant: VariantId) -> bool {
        self.places.is_none() || self.driver.reachable(variant)
    }

    /// Where a variant is; `None` where every model is on every executor.
    pub(super) fn places_json(&self, variant: VariantId) -> Option<serde_json::Value> {
        let places = self.places.as_ref()?;
        let (on, coming) = self.driver.places(variant);
        let numbers = |executors: Vec<ExecutorId>| -> Vec<u32> {
            executors.into_iter().map(|executor| executor.0).collect()
        };
        let failed = places.carrier.failures(variant).into_iter();
        let failed: Vec<_> = failed
            .map(|(executor, reason)| json!({ "executor": executor.0, "reason": reason }))
            .collect();
        Some(json!({
            "policy": places.policy,
            "on_demand": places.on_demand,
            "executors": numbers(on),
            "loading": numbers(coming),
            "failed": failed,
        }))
    }

    /// Of each executor the bytes of models on it, and all that it holds.
    pub(super) fn memory(&self) -> Vec<(u64, u64)> {
        let Some(places) = &self.places else { return Vec::new() };
        let executors = (0_u32..).map(ExecutorId);
        let memory = executors.map_while(|executor| self.driver.memory(executor));
        memory.take(places.carrier.executors()).collect()
    }
}
