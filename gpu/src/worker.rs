//! The thread that owns what is loaded on one executor and runs its batches, one at a time.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use models::{BatchId, ExecutorId, VariantId};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{Batch, Completion, InputPart, LoadedModel, RunError, Timing, clock};

/// One batch runs, one waits, so that the device never idles between two.
const BATCHES_MAX: usize = 2;

/// Commands that may wait: batches, and the models loaded or removed during one run. A caller beyond it waits.
const INBOX_MAX: usize = 1024;

/// Called on the worker's thread with each completion; must not block.
pub type OnDone = Box<dyn FnMut(Completion) + Send>;

enum Command {
    Install(VariantId, Box<dyn LoadedModel>),
    Remove(VariantId),
    /// Nothing, if the batch was withdrawn.
    Run(BatchId),
    Stop,
}

/// The batches of an executor that have not ended.
#[derive(Default)]
struct Held {
    runs: bool,
    /// Not begun, in the order of their commands.
    ahead: VecDeque<Batch>,
}

impl Held {
    /// Takes out a batch that has not begun.
    fn take(&mut self, id: BatchId) -> Option<Batch> {
        let place = self.ahead.iter().position(|batch| batch.id == id)?;
        self.ahead.remove(place)
    }
}

/// Held only to move a batch, so that its two threads hardly ever meet.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Held>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // What is done under the lock cannot panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An executor's thread, pinned to its cores, and the way to give it work.
pub struct Worker {
    inbox: Sender<Command>,
    shelf: Shelf,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread of `executor` on `cores` (anywhere, if empty); `on_done` gets every completion there.
    ///
    /// # Panics
    /// If the system gives no thread.
    #[must_use]
    pub fn spawn(executor: ExecutorId, cores: &[usize], on_done: OnDone) -> Self {
        let (inbox, commands) = bounded(INBOX_MAX);
        let shelf = Shelf::default();
        let desk = Desk {
            executor,
            models: BTreeMap::new(),
            shelf: shelf.clone(),
            anywhere: sched_getaffinity(None).ok(),
            on_done,
        };
        let cores = cores.to_vec();
        let thread = Builder::new()
            .name(format!("executor-{}", executor.0))
            .spawn(move || {
                settle(&cores);
                desk.work(&commands);
            })
            .expect("a thread can be started");
        Self { inbox, shelf, thread: Some(thread) }
    }

    /// Hands over a loaded model; batches submitted later find it. Replaces one of the same variant.
    pub fn install(&self, variant: VariantId, model: Box<dyn LoadedModel>) {
        self.send(Command::Install(variant, model));
    }

    /// Drops a model once the batches submitted before have run.
    pub fn remove(&self, variant: VariantId) {
        self.send(Command::Remove(variant));
    }

    /// Queues a batch; its completion follows, whatever becomes of it, unless it is withdrawn.
    ///
    /// # Panics
    /// If one batch already waits behind the running one: the scheduler must know that the executor is taken.
    pub fn submit(&self, batch: Batch) {
        let id = batch.id;
        {
            let mut held = self.shelf.lock();
            let before = held.ahead.len() + usize::from(held.runs);
            assert!(before < BATCHES_MAX, "at most one batch waits behind the running one");
            held.ahead.push_back(batch);
        }
        self.send(Command::Run(id));
    }

    /// Takes back a batch; `None` if it has begun. No completion follows, and another can be submitted in its place.
    #[must_use]
    pub fn withdraw(&self, batch: BatchId) -> Option<Batch> {
        self.shelf.lock().take(batch)
    }

    /// Runs what was submitted, then ends the thread.
    pub fn stop(mut self) {
        self.join();
    }

    fn send(&self, command: Command) {
        self.inbox.send(command).expect("the thread takes commands until it is told to stop");
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.send(Command::Stop);
        if let Err(panic) = thread.join() {
            tracing::error!(reason = %panic_text(&*panic), "an executor's thread panicked");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.join();
    }
}

/// What the thread owns.
struct Desk {
    executor: ExecutorId,
    models: BTreeMap<VariantId, Box<dyn LoadedModel>>,
    shelf: Shelf,
    /// The cores that this process may use, for threads that must not stay on this executor's.
    anywhere: Option<CpuSet>,
    on_done: OnDone,
}

impl Desk {
    fn work(mut self, commands: &Receiver<Command>) {
        for command in commands {
            match command {
                Command::Install(variant, model) => {
                    let replaced = self.models.insert(variant, model);
                    self.drop_elsewhere(replaced);
                }
                Command::Remove(variant) => {
                    let removed = self.models.remove(&variant);
                    self.drop_elsewhere(removed);
                }
                Command::Run(id) => {
                    if let Some(batch) = self.begin(id) {
                        self.run(batch);
                    }
                }
                Command::Stop => return,
            }
        }
    }

    fn begin(&self, id: BatchId) -> Option<Batch> {
        let mut held = self.shelf.lock();
        let batch = held.take(id)?;
        held.runs = true;
        Some(batch)
    }

    fn run(&mut self, mut batch: Batch) {
        let mut timing = Timing::default();
        let outputs = match self.models.get_mut(&batch.variant) {
            None => Err(RunError::NotLoaded(batch.variant)),
            Some(model) => {
                let start = clock::now();
                // A model is used again after a panic: its buffers are rewritten by each run.
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    let adapting = adapt(&mut batch);
                    let ran = model.run(&batch, &mut timing);
                    if timing != Timing::default() {
                        timing.input += adapting;
                    }
                    ran
                }));
                if timing == Timing::default() {
                    timing.infer = clock::now() - start;
                }
                ran.unwrap_or_else(|panic| Err(RunError::Panicked(panic_text(&*panic))))
            }
        };
        let completion = Completion { executor: self.executor, batch: batch.id, outputs, timing };
        // Freed before the callback, which may submit the next batch.
        self.shelf.lock().runs = false;
        (self.on_done)(completion);
    }

    /// Frees a model on a thread of its own: giving back hundreds of megabytes takes longer than a small run.
    fn drop_elsewhere(&self, model: Option<Box<dyn LoadedModel>>) {
        let Some(model) = model else { return };
        let anywhere = self.anywhere;
        let spawned = Builder::new().name("unload".into()).spawn(move || {
            if let Some(cores) = anywhere {
                // Without it the thread would run on the executor's cores; a refusal costs only time.
                let _ = sched_setaffinity(None, &cores);
            }
            drop(model);
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a model is unloaded on its executor's thread");
        }
    }
}

/// Makes the tensors those of the model; returns how long that took.
fn adapt(batch: &mut Batch) -> Duration {
    if batch.parts.iter().all(|part| part.adapter.is_none()) {
        return Duration::ZERO;
    }
    let start = clock::now();
    batch.parts.iter_mut().for_each(InputPart::adapt);
    clock::now() - start
}

/// Pins the calling thread to `cores` and makes its sleeps end as asked.
fn settle(cores: &[usize]) {
    if !cores.is_empty() {
        let mut set = CpuSet::new();
        for &core in cores {
            set.set(core);
        }
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::warn!(?cores, %error, "an executor's thread cannot be pinned");
        }
    }
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::warn!(%error, "an executor's timer slack stays the system's");
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::unbounded;
    use models::{Adapter, AdapterStep, BatchId, DataType};

    use super::*;
    use crate::Output;

    /// Answers, panics or fails by the number of rows.
    struct Scripted(Sender<&'static str>);

    impl LoadedModel for Scripted {
        fn run(&mut self, batch: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
            match batch.rows {
                1 => Ok(vec![]),
                2 => Err(RunError::Failed("asked to".into())),
                rows => panic!("rows {rows}"),
            }
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }

    fn batch(id: u64, variant: u32, rows: u32) -> Batch {
        let (id, variant) = (BatchId(id), VariantId(variant));
        Batch { id, variant, rows, inner_shapes: vec![], parts: vec![] }
    }

    fn worker() -> (Worker, Receiver<Completion>) {
        let (done, completions) = unbounded();
        let on_done = Box::new(move |completion| done.send(completion).unwrap());
        (Worker::spawn(ExecutorId(3), &[], on_done), completions)
    }

    #[test]
    fn each_batch_completes_and_a_panic_or_error_leaves_the_executor_working() {
        let (worker, completions) = worker();
        let (dropped, _kept) = unbounded();
        worker.install(VariantId(7), Box::new(Scripted(dropped)));
        for (id, rows) in [(0, 1), (1, 2), (2, 3), (3, 1)] {
            worker.submit(batch(id, 7, rows));
            let completion = completions.recv().unwrap();
            assert_eq!((completion.executor, completion.batch), (ExecutorId(3), BatchId(id)));
            match rows {
                1 => assert!(completion.outputs.unwrap().is_empty()),
                2 => assert!(matches!(completion.outputs, Err(RunError::Failed(_)))),
                _ => assert!(
                    matches!(completion.outputs, Err(RunError::Panicked(text)) if text == "rows 3")
                ),
            }
        }
    }

    /// Tells the tensors of its first part.
    struct Seen(Sender<Vec<bytes::Bytes>>);

    impl LoadedModel for Seen {
        fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
            self.0.send(batch.parts[0].tensors.clone()).unwrap();
            timing.infer = Duration::from_nanos(1);
            Ok(vec![])
        }
    }

    #[test]
    fn tensors_of_another_form_become_the_models_before_the_run_and_are_timed() {
        let (worker, completions) = worker();
        let (told, tensors) = unbounded();
        worker.install(VariantId(7), Box::new(Seen(told)));
        let step = |from, cast| AdapterStep { from, shape: None, cast };
        let inputs = vec![step(1, None), step(0, Some((DataType::Uint8, DataType::Int16)))];
        let adapter = Some(Arc::new(Adapter { inputs, outputs: Vec::new() }));
        let given = vec![vec![1, 255].into(), vec![9].into()];
        let part = InputPart { adapter, ..InputPart::new(1, given) };
        worker.submit(Batch { parts: vec![part], ..batch(0, 7, 1) });
        assert_eq!(tensors.recv().unwrap(), [vec![9_u8], vec![1, 0, 255, 0]]);
        assert!(completions.recv().unwrap().timing.input > Duration::ZERO);
    }

    #[test]
    fn a_removed_model_is_dropped_and_its_batches_are_refused() {
        let (worker, completions) = worker();
        let (dropped, drops) = unbounded();
        worker.install(VariantId(0), Box::new(Scripted(dropped)));
        worker.remove(VariantId(0));
        assert_eq!(drops.recv(), Ok("dropped"));
        worker.submit(batch(0, 0, 1));
        let refused = completions.recv().unwrap().outputs;
        assert!(matches!(refused, Err(RunError::NotLoaded(VariantId(0)))));
    }

    #[test]
    fn stopping_runs_what_was_submitted() {
        let (worker, completions) = worker();
        worker.submit(batch(0, 9, 1));
        worker.submit(batch(1, 9, 1));
        worker.stop();
        assert_eq!(completions.iter().count(), 2);
    }

    /// Runs until told to go on.
    struct Held(Receiver<()>);

    impl LoadedModel for Held {
        fn run(&mut self, _: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
            self.0.recv().unwrap();
            Ok(vec![])
        }
    }

    #[test]
    fn a_third_batch_is_a_bug_of_the_scheduler() {
        let (worker, completions) = worker();
        let (go, held) = unbounded();
        worker.install(VariantId(0), Box::new(Held(held)));
        worker.submit(batch(0, 0, 1));
        worker.submit(batch(1, 0, 1));
        assert!(catch_unwind(AssertUnwindSafe(|| worker.submit(batch(2, 0, 1)))).is_err());
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!(completions.iter().take(2).count(), 2);
    }

    /// Tells the rows of each batch that begins, and then waits until told to go on.
    struct Told(Sender<u32>, Receiver<()>);

    impl LoadedModel for Told {
        fn run(&mut self, batch: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
            self.0.send(batch.rows).unwrap();
            self.1.recv().unwrap();
            Ok(vec![])
        }
    }

    #[test]
    fn a_withdrawn_batch_comes_back_whole_and_never_runs_and_one_that_runs_is_not_withdrawn() {
        let (worker, completions) = worker();
        let ((tell, told), (go, held)) = (unbounded(), unbounded());
        worker.install(VariantId(0), Box::new(Told(tell, held)));
        worker.submit(batch(0, 0, 5));
        assert_eq!(told.recv(), Ok(5));
        worker.submit(batch(1, 0, 6));
        assert!(worker.withdraw(BatchId(0)).is_none());
        assert_eq!(worker.withdraw(BatchId(1)).unwrap().rows, 6);
        assert!(worker.withdraw(BatchId(1)).is_none());
        // In its place another, of a model that is installed only now.
        let (tell, told) = unbounded();
        let (again, held) = unbounded();
        worker.install(VariantId(1), Box::new(Told(tell, held)));
        worker.submit(batch(2, 1, 7));
        go.send(()).unwrap();
        again.send(()).unwrap();
        assert_eq!(told.recv(), Ok(7));
        let ended = completions.iter().take(2).map(|completion| completion.batch);
        assert_eq!(ended.collect::<Vec<_>>(), [BatchId(0), BatchId(2)]);
        worker.stop();
        assert!(completions.try_recv().is_err());
    }

    #[test]
    fn a_worker_runs_on_its_cores_only() {
        struct Where(Sender<CpuSet>);
        impl LoadedModel for Where {
            fn run(&mut self, _: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
                self.0.send(sched_getaffinity(None).unwrap()).unwrap();
                Ok(vec![])
            }
        }
        let allowed = sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).unwrap();
        let (tell, told) = unbounded();
        let worker = Worker::spawn(ExecutorId(0), &[core], Box::new(|_| ()));
        worker.install(VariantId(0), Box::new(Where(tell)));
        worker.submit(batch(0, 0, 1));
        let cores = told.recv().unwrap();
        assert!(cores.is_set(core));
        assert_eq!(cores.count(), 1);
    }
}
