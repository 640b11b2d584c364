//! The threads that load models, one model at a time each: serving comes first.
//!
//! What is slow is done on a thread of the lowest priority, once there is serving that it could disturb. All locks are
//! taken by threads of the usual one, so that nobody who serves waits for a thread that gets no core.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Builder;

use crossbeam::channel::{Receiver, Sender, unbounded};
use models::TaskSettings;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::overrides::Overridden;
use super::scan::FoundModel;
use super::state::Index;
use super::{Prepare, Sink};
use crate::aside::{guarded, yield_to_serving};
use crate::cores;
use crate::service::Loaded;

/// The one version of a task.
const TASK: u64 = 1;

/// Why a load comes to nothing at the end.
pub(super) const STOPPED: &str = "the server is shutting down";

/// A model to be loaded.
#[derive(Debug)]
pub struct Load {
    /// Its name.
    pub model: String,
    /// Where its files are.
    pub found: FoundModel,
    /// A configuration as JSON in place of config.pbtxt.
    pub config: Option<String>,
    /// Versions whose files differ from those that are served.
    pub touched: BTreeSet<u64>,
    /// Files that must stay until the load ends.
    pub files: Option<Arc<Overridden>>,
}

/// Told once a load has ended.
type Reply = oneshot::Sender<Result<(), String>>;

/// Comes once a load has ended: the model is ready, or why it is not.
pub type Answer = oneshot::Receiver<Result<(), String>>;

/// Loads models on threads of its own.
pub struct Loader {
    threads: Vec<Sender<Job>>,
    desk: Arc<Desk>,
}

struct Job {
    load: Load,
    /// The wish it comes from: outdated by a later unload.
    wish: u64,
    reply: Reply,
}

/// What the loading threads share.
struct Desk {
    state: Mutex<DeskState>,
    prepare: Box<dyn Prepare>,
    sink: Arc<dyn Sink>,
    /// Where models are prepared; anywhere, if empty.
    cores: Vec<usize>,
    /// The models of the start are loaded.
    started: AtomicBool,
    /// What is not loaded yet need not be.
    stopped: AtomicBool,
}

#[derive(Default)]
struct DeskState {
    index: Index,
    /// For each model the number of its last unload.
    wishes: std::collections::BTreeMap<String, u64>,
}

impl Loader {
    /// Starts so many threads, which run on `cores` only (anywhere, if empty).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        threads: usize,
        cores: &[usize],
        prepare: Box<dyn Prepare>,
        sink: Arc<dyn Sink>,
    ) -> std::io::Result<Self> {
        let (started, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let (state, cores) = (Mutex::default(), cores.to_vec());
        let desk = Arc::new(Desk { state, prepare, sink, cores, started, stopped });
        let start = |number| {
            let (inbox, jobs) = unbounded::<Job>();
            let desk = Arc::clone(&desk);
            let work = move || {
                cores::keep_to(&desk.cores);
                desk.work(&jobs);
            };
            Builder::new().name(format!("loader-{number}")).spawn(work)?;
            Ok(inbox)
        };
        let threads = (0..threads.max(1)).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { threads, desk })
    }

    /// Queues a load. The answer comes when the model is ready, or could not be made so.
    #[must_use]
    pub fn load(&self, load: Load) -> Answer {
        let (reply, answer) = oneshot::channel();
        let wish = {
            let mut state = self.desk.state.lock();
            state.index.found(&load.model);
            state.wish(&load.model)
        };
        // Loads of one model follow each other: the same thread does them.
        let mut hash = DefaultHasher::new();
        load.model.hash(&mut hash);
        let thread = hash.finish() % self.threads.len() as u64;
        let thread = usize::try_from(thread).expect("one of the threads");
        self.threads[thread]
            .send(Job { load, wish, reply })
            .expect("the threads live as long as this");
        answer
    }

    /// Takes all versions of a model out of service; loads of it that are under way come to nothing.
    pub fn unload(&self, model: &str) {
        let versions = {
            let mut state = self.desk.state.lock();
            *state.wishes.entry(model.to_owned()).or_default() += 1;
            state.index.ready_versions(model)
        };
        for version in versions {
            self.desk.retire(model, version);
        }
    }

    /// The models of the start are loaded: from now on loading gives way to serving, where anything is served.
    pub fn started(&self) {
        self.desk.started.store(true, Ordering::Relaxed);
    }

    /// Begins no further load and takes none into service: the server ends.
    pub fn stop(&self) {
        self.desk.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::stop`] was called.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.desk.stopped()
    }

    /// Looks at or changes the index.
    pub fn index<T>(&self, look: impl FnOnce(&mut Index) -> T) -> T {
        look(&mut self.desk.state.lock().index)
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl DeskState {
    fn wish(&self, model: &str) -> u64 {
        self.wishes.get(model).copied().unwrap_or_default()
    }
}

impl Desk {
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn work(self: Arc<Self>, jobs: &Receiver<Job>) {
        for Job { load, wish, reply } in jobs {
            let result = if self.stopped() { Err(STOPPED.into()) } else { self.load(&load, wish) };
            match &result {
                Err(reason) if reason == STOPPED => {
                    tracing::info!(model = load.model, "the model is not loaded: the server ends");
                }
                Err(reason) => {
                    tracing::error!(model = load.model, reason, "the model cannot be loaded");
                }
                Ok(()) => {}
            }
            // Nobody may wait for it any more.
            drop(reply.send(result));
        }
    }

    /// Makes the wanted versions ready, then takes the others out of service. A version that fails leaves all that
    /// is served in place.
    fn load(self: &Arc<Self>, load: &Load, wish: u64) -> Result<(), String> {
        let model = &load.model;
        match self.task(load) {
            Ok(None) => {}
            Ok(Some(task)) => return self.place_task(load, task, wish),
            Err(reason) => {
                self.state.lock().index.model_failed(model, [TASK].into_iter(), &reason);
                return Err(reason);
            }
        }
        let wanted = match self.wanted(load) {
            Ok(wanted) => wanted,
            Err(reason) => {
                let versions = load.found.versions.keys().copied();
                self.state.lock().index.model_failed(model, versions, &reason);
                return Err(reason);
            }
        };
        let mut failures = Vec::new();
        for &version in &wanted {
            if self.state.lock().index.is_ready(model, version) && !load.touched.contains(&version)
            {
                continue;
            }
            self.state.lock().index.loading(model, version);
            match self.prepare(load, version) {
                Ok(_) if self.stopped() => return Err(STOPPED.into()),
                Ok(loaded) => self.place(loaded, wish)?,
                Err(reason) => {
                    self.state.lock().index.failed(model, version, &reason);
                    failures.push(format!("version {version}: {reason}"));
                }
            }
        }
        if !failures.is_empty() {
            return Err(failures.join("; "));
        }
        let ready = self.state.lock().index.ready_versions(model);
        for version in ready.into_iter().filter(|version| !wanted.contains(version)) {
            self.retire(model, version);
        }
        Ok(())
    }

    /// Prepares a version on a thread of its own, whose priority cannot be raised again once it is low.
    fn prepare(&self, load: &Load, version: u64) -> Result<Loaded, String> {
        let disturbs = || self.state.lock().index.any_ready();
        let give_way = self.started.load(Ordering::Relaxed) && disturbs();
        let work = || {
            if give_way {
                yield_to_serving();
            }
            guarded(|| self.prepare.prepare(load, version))
        };
        std::thread::scope(|scope| {
            let thread = Builder::new().name("prepare".into()).spawn_scoped(scope, work);
            let thread = thread.map_err(|error| format!("the system gives no thread: {error}"))?;
            thread.join().expect("a panic of the work is caught there")
        })
    }

    fn wanted(&self, load: &Load) -> Result<BTreeSet<u64>, String> {
        if let Some(problem) = &load.found.problem {
            return Err(problem.clone());
        }
        guarded(|| self.prepare.wanted(load))
    }

    /// What the folder says, if it is a task's.
    fn task(&self, load: &Load) -> Result<Option<TaskSettings>, String> {
        let known = |name: &str| self.state.lock().index.knows(name);
        guarded(|| self.prepare.task(load, &known))
    }

    fn place_task(
        self: &Arc<Self>,
        load: &Load,
        task: TaskSettings,
        wish: u64,
    ) -> Result<(), String> {
        let name = &load.model;
        if self.state.lock().wish(name) != wish {
            return Err(format!("'{name}' was unloaded while it was loaded"));
        }
        if let Err(reason) = self.sink.place_task(name, task) {
            self.state.lock().index.model_failed(name, [TASK].into_iter(), &reason);
            return Err(reason);
        }
        tracing::info!(task = name, "the task is ready");
        self.state.lock().index.ready(name, TASK);
        Ok(())
    }

    fn place(self: &Arc<Self>, loaded: Loaded, wish: u64) -> Result<(), String> {
        let (model, version) = (loaded.description.name.clone(), loaded.version);
        let current = || self.state.lock().wish(&model) == wish;
        let outdated = || format!("'{model}' was unloaded while version {version} was loaded");
        if !current() {
            let mut state = self.state.lock();
            state.index.failed(&model, version, "unloaded");
            return Err(outdated());
        }
        tracing::info!(model, version, "the model is ready");
        self.sink.place(loaded);
        self.state.lock().index.ready(&model, version);
        if !current() {
            self.retire(&model, version);
            return Err(outdated());
        }
        Ok(())
    }

    fn retire(self: &Arc<Self>, model: &str, version: u64) {
        let change = self.state.lock().index.unloading(model, version);
        let desk: Weak<Self> = Arc::downgrade(self);
        let name = model.to_owned();
        let gone = move || {
            tracing::info!(model = name, version, "the model is unloaded");
            if let Some(desk) = desk.upgrade() {
                desk.state.lock().index.unloaded(&name, version, change);
            }
        };
        self.sink.retire(model, version, Box::new(gone));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crossbeam::channel::bounded;

    use super::*;
    use crate::service::{Gone, Loaded};

    /// Does in place of a preparation what a test says.
    struct Scripted<F>(F);

    impl<F: Fn() -> Result<Loaded, String> + Send + Sync> Prepare for Scripted<F> {
        fn task(&self, _: &Load, _: &dyn Fn(&str) -> bool) -> Result<Option<TaskSettings>, String> {
            Ok(None)
        }

        fn wanted(&self, load: &Load) -> Result<BTreeSet<u64>, String> {
            Ok(load.found.versions.keys().copied().collect())
        }

        fn prepare(&self, _: &Load, _: u64) -> Result<Loaded, String> {
            (self.0)()
        }
    }

    /// Notes that something was placed.
    struct Placed(Mutex<bool>);

    impl Sink for Placed {
        fn place(&self, _: Loaded) {
            *self.0.lock() = true;
        }

        fn place_task(&self, _: &str, _: TaskSettings) -> Result<(), String> {
            Ok(())
        }

        fn retire(&self, _: &str, _: u64, gone: Gone) {
            gone();
        }
    }

    fn loader<F>(prepare: F) -> (Loader, Arc<Placed>)
    where
        F: Fn() -> Result<Loaded, String> + Send + Sync + 'static,
    {
        let sink = Arc::new(Placed(Mutex::new(false)));
        let taker = Arc::clone(&sink);
        (Loader::start(1, &[], Box::new(Scripted(prepare)), taker).unwrap(), sink)
    }

    fn load() -> Load {
        let found = FoundModel {
            repository: "r".into(),
            folder: "r/m".into(),
            shared: BTreeMap::new(),
            versions: BTreeMap::from([(1, BTreeMap::new())]),
            problem: None,
        };
        Load { model: "m".into(), found, config: None, touched: BTreeSet::new(), files: None }
    }

    fn loaded() -> Loaded {
        let description = models::describe(models::ModelFiles {
            model: "m",
            onnx: ("model.onnx", include_bytes!("../../../gpu/tests/models/mlp.onnx")),
            config: None,
            settings: None,
            labels: &BTreeMap::new(),
        });
        let time = std::time::Duration::from_millis(1);
        Loaded {
            description: description.unwrap(),
            version: 1,
            profile: models::LatencyProfile::linear(time, time, 1),
            profiled_elements: 4,
            batch_max: 1,
            alone_because: String::new(),
            executors: Vec::new(),
            weights: None,
        }
    }

    #[test]
    fn models_are_prepared_at_the_lowest_priority_once_something_is_served() {
        let (loader, _) = loader(|| {
            let nice = rustix::process::getpriority_process(None).unwrap();
            Err(format!("nice {nice}"))
        });
        let usual = rustix::process::getpriority_process(None).unwrap();
        let nice = || loader.load(load()).blocking_recv().unwrap().unwrap_err();
        assert_eq!(nice(), format!("version 1: nice {usual}"));
        loader.index(|index| index.ready("other", 1));
        assert_eq!(nice(), format!("version 1: nice {usual}"));
        loader.started();
        assert_eq!(nice(), "version 1: nice 19");
        loader.index(|index| index.unloading("other", 1));
        assert_eq!(nice(), format!("version 1: nice {usual}"));
    }

    #[test]
    fn what_the_server_need_not_load_any_more_is_not_prepared() {
        let (loader, sink) = loader(|| Ok(loaded()));
        loader.stop();
        let answer = loader.load(load()).blocking_recv().unwrap();
        assert_eq!(answer, Err(STOPPED.into()));
        assert!(!*sink.0.lock());
    }

    #[test]
    fn a_panic_fails_its_load_and_leaves_the_thread_to_the_next() {
        let (loader, _) = loader(|| panic!("asked to"));
        for _ in 0..2 {
            let answer = loader.load(load()).blocking_recv().unwrap();
            assert_eq!(answer, Err("version 1: loading panicked: asked to".into()));
        }
    }

    #[test]
    fn a_model_that_is_unloaded_while_it_loads_does_not_come_into_service() {
        let (begun, begins) = bounded(0);
        let (go, held) = bounded(0);
        let (loader, sink) = loader(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            Ok(loaded())
        });
        let answer = loader.load(load());
        begins.recv().unwrap();
        loader.unload("m");
        go.send(()).unwrap();
        let error = answer.blocking_recv().unwrap().unwrap_err();
        assert!(error.contains("was unloaded while"), "{error}");
        assert!(!*sink.0.lock());
        assert!(loader.index(|index| index.ready_versions("m")).is_empty());
    }
}
