//! Brings models to executors while the server serves: a thread for each executor that loads what the scheduler asks
//! for, one after the other, and gives way to serving.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread::Builder;

use crossbeam::channel::{Receiver, Sender, unbounded};
use gpu::LoadedModel;
use models::{ExecutorId, VariantId};
use parking_lot::{Mutex, RwLock};

use crate::aside::{guarded, yield_to_serving};
use crate::clock::Clock;
use crate::cores;
use crate::driver::Driver;
use crate::driver::Move;
use crate::metrics::ModelMetrics;

/// Where a model comes from when an executor is to have it.
pub trait Bring: Send + Sync {
    /// Loads the model for that executor and warms it up. Called on a thread that runs no batches.
    ///
    /// # Errors
    /// Why it cannot be loaded there.
    fn bring(&self, executor: ExecutorId) -> Result<Box<dyn LoadedModel>, String>;
}

/// The metrics of each variant that is not yet unloaded.
pub type MetricsTable = RwLock<BTreeMap<VariantId, Arc<ModelMetrics>>>;

/// What a carrier's thread does.
enum Job {
    Load(VariantId),
    /// Lets go of it: it may be the last to hold files, which are removed with it.
    Drop(Arc<dyn Bring>),
}

/// What the threads of a [`Carrier`] are to work on.
pub struct Jobs(Vec<Receiver<Job>>);

/// The way of models to executors.
pub struct Carrier {
    /// By executor. Unbounded, and short: no executor is asked twice for the same variant.
    inboxes: Vec<Sender<Job>>,
    metrics: Arc<MetricsTable>,
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    origins: BTreeMap<VariantId, Arc<dyn Bring>>,
    /// Why a variant could not be loaded when that was last tried.
    failures: BTreeMap<(VariantId, ExecutorId), String>,
}

impl Carrier {
    /// For so many executors; returns what their threads are to work on, for [`Self::start`].
    #[must_use]
    pub fn new(executors: usize, metrics: Arc<MetricsTable>) -> (Arc<Self>, Jobs) {
        let (inboxes, jobs) = (0..executors).map(|_| unbounded()).unzip();
        let (state, clock) = (Mutex::default(), Clock::start());
        (Arc::new(Self { inboxes, metrics, state, clock }), Jobs(jobs))
    }

    /// Starts the threads, on `cores` only (anywhere, if empty).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        self: &Arc<Self>,
        jobs: Jobs,
        driver: &Weak<Driver>,
        cores: &[usize],
    ) -> std::io::Result<()> {
        for (executor, jobs) in (0_u32..).map(ExecutorId).zip(jobs.0) {
            // The driver holds this; threads that held it too would keep their own inboxes open.
            let (carrier, driver) = (Arc::downgrade(self), Weak::clone(driver));
            let cores = cores.to_vec();
            let work = move || {
                cores::keep_to(&cores);
                for job in jobs {
                    let variant = match job {
                        Job::Load(variant) => variant,
                        Job::Drop(origin) => {
                            drop(origin);
                            continue;
                        }
                    };
                    let (Some(carrier), Some(driver)) = (carrier.upgrade(), driver.upgrade())
                    else {
                        return;
                    };
                    carrier.carry(executor, variant, &driver);
                }
            };
            Builder::new().name(format!("carrier-{}", executor.0)).spawn(work)?;
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn executors(&self) -> usize {
        self.inboxes.len()
    }

    /// From now on that variant can be loaded.
    pub fn know(&self, variant: VariantId, origin: Arc<dyn Bring>) {
        self.state.lock().origins.insert(variant, origin);
    }

    /// A variant is nowhere any more; called under the scheduler's lock.
    pub fn forget(&self, variant: VariantId) {
        let mut state = self.state.lock();
        state.failures.retain(|(failed, _), _| *failed != variant);
        let origin = state.origins.remove(&variant);
        drop(state);
        if let Some((origin, inbox)) = origin.zip(self.inboxes.first()) {
            let _ = inbox.send(Job::Drop(origin));
        }
    }

    /// Follows the scheduler; called under its lock.
    pub fn follow(&self, to: Move) {
        match to {
            Move::Load(executor, variant) => {
                let inbox = &self.inboxes[executor.index()];
                // At the end of the server its threads may have gone.
                let _ = inbox.send(Job::Load(variant));
            }
            Move::Evict(_, variant) => {
                if let Some(metrics) = self.metrics.read().get(&variant) {
                    metrics.evicted();
                }
            }
        }
    }

    /// Why that variant could not be loaded when that was last tried, by executor.
    #[must_use]
    pub fn failures(&self, variant: VariantId) -> Vec<(ExecutorId, String)> {
        let state = self.state.lock();
        let of = state.failures.iter().filter(|((failed, _), _)| *failed == variant);
        of.map(|((_, executor), reason)| (*executor, reason.clone())).collect()
    }

    fn carry(&self, executor: ExecutorId, variant: VariantId, driver: &Driver) {
        if !driver.expects(executor, variant) {
            return;
        }
        let began = self.clock.now();
        let origin = self.state.lock().origins.get(&variant).map(Arc::clone);
        let brought = match origin {
            Some(origin) => bring(&*origin, executor),
            None => Err("the model is not known any more".to_owned()),
        };
        let took = self.clock.now().since(began);
        let metrics = self.metrics.read().get(&variant).map(Arc::clone);
        if let Some(metrics) = &metrics {
            metrics.loaded(took, brought.is_ok());
        }
        let name = metrics.map_or_else(String::new, |metrics| metrics.name().to_owned());
        let mut state = self.state.lock();
        state.failures.remove(&(variant, executor));
        if let Err(reason) = &brought {
            tracing::error!(
                model = name,
                executor = executor.0,
                reason,
                "a model cannot be loaded"
            );
            if state.origins.contains_key(&variant) {
                state.failures.insert((variant, executor), reason.clone());
            }
        } else {
            let took = took.as_millis();
            tracing::info!(model = name, executor = executor.0, took, "a model was loaded, in ms");
        }
        drop(state);
        driver.brought(executor, variant, brought.ok());
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("executors", &self.inboxes.len()).finish_non_exhaustive()
    }
}

/// Loads on a thread of its own, whose priority cannot be raised again once it is low.
fn bring(origin: &dyn Bring, executor: ExecutorId) -> Result<Box<dyn LoadedModel>, String> {
    let work = || {
        yield_to_serving();
        guarded(|| origin.bring(executor))
    };
    std::thread::scope(|scope| {
        let thread = Builder::new().name("bring".into()).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("the system gives no thread: {error}"))?;
        thread.join().expect("a panic of the work is caught there")
    })
}
