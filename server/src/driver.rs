//! Drives the router in real time: events in, actions carried out, answers sent.
//!
//! The driver is a monitor: the router and the requests it knows sit behind one lock. IO threads enter with arrivals,
//! executors' threads with completions, and one timer thread when the router's timeout comes. An arrival that finds an
//! idle executor reaches it with no thread in between (docs/decisions/0010).

mod feedback;
mod ledger;
mod places;
mod planner;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use batcher::{Deadline, Instant, Request, RequestId};
use gpu::{Completion, InputPart, Output, RunError, Timing, Worker};
use models::{Adapter, BatchId, ExecutorId, Goals, TaskId, VariantId};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use router::{
    Action, Because, Event, Line, PolicyNames, Prediction, Rejection, Router, Shape, ShapeId,
    Tally, TaskSpec, mix,
};
use tokio::sync::oneshot;

pub use self::feedback::Pick;
use self::ledger::{Ledger, Left, Member, Waiting};
pub use self::places::{Move, OnMove, Placed};
use crate::clock::Clock;
use crate::outcome::{Answer, Outcome};
use crate::post::{Letter, Post};
use crate::record::Recorder;
use crate::way_out::WayOut;

/// A checked request, ready to be scheduled.
#[derive(Debug)]
pub struct Inference {
    /// The variant that answers, unless the scheduler is to choose.
    pub variant: VariantId,
    /// The task of which it is to choose a variant, by these goals.
    pub task: Option<(TaskId, Goals)>,
    /// Equal inner shapes have equal ids.
    pub shape: Shape,
    /// Shape of each input without its batch axis.
    pub inner_shapes: Arc<Vec<Vec<i64>>>,
    /// The tensors.
    pub part: InputPart,
    /// 1 is the most urgent.
    pub priority: u32,
    /// From arrival; `None` for no deadline.
    pub deadline: Option<Duration>,
    /// Which variants take other tensors than these, where some that may answer do.
    pub forms: Option<Arc<Forms>>,
}

/// How variants of another form than their task's answer in the task's.
#[derive(Debug, Default)]
pub struct Forms(RwLock<BTreeMap<VariantId, Arc<Adapter>>>);

impl Forms {
    /// Takes note of a variant; before the scheduler may choose it. It stays, since requests may still wait for a version
    /// that is gone.
    pub fn learn(&self, variant: VariantId, adapter: Arc<Adapter>) {
        self.0.write().insert(variant, adapter);
    }

    /// That of a variant; `None` if it answers as it is.
    #[must_use]
    pub fn of(&self, variant: VariantId) -> Option<Arc<Adapter>> {
        self.0.read().get(&variant).cloned()
    }
}

/// What the driver tells of each batch that ran, for metrics: variant, rows, phases, and how well it was predicted.
pub type OnBatch = Box<dyn Fn(VariantId, u32, &Timing, Option<Prediction>) + Send + Sync>;

/// Called when a retired variant has served all it accepted.
pub type OnUnloaded = Box<dyn Fn(VariantId) + Send + Sync>;

/// Drives one router in real time. Shared by all threads of the server.
pub struct Driver {
    clock: Clock,
    way_out: WayOut,
    state: Mutex<State>,
    alarm: Condvar,
    /// Rung when there is something to plan, and at the end.
    planner: Condvar,
    on_batch: OnBatch,
    on_unloaded: OnUnloaded,
    on_move: OnceLock<OnMove>,
    post: Post,
}

struct State {
    router: Router,
    workers: Vec<Worker>,
    ledger: Ledger,
    request_next: u64,
    /// The variant chosen for the task's request that is being submitted.
    chosen: Option<Pick>,
    /// What tasks that follow a plan do, and since when.
    plan: Option<(Instant, mix::Plan)>,
    recorder: Option<Recorder>,
    /// What the timer thread sleeps for.
    alarm_at: Instant,
    stopped: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

impl Driver {
    /// Starts the timer thread and one worker for each set of cores; executors are numbered in that order.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        router: Router,
        executors: &[Vec<usize>],
        recorder: Option<Recorder>,
        on_batch: OnBatch,
        on_unloaded: OnUnloaded,
    ) -> std::io::Result<Arc<Self>> {
        let state = State {
            router,
            workers: Vec::new(),
            ledger: Ledger::default(),
            request_next: 0,
            chosen: None,
            plan: None,
            recorder,
            alarm_at: Instant::NEVER,
            stopped: false,
        };
        let driver = Arc::new(Self {
            clock: Clock::start(),
            way_out: WayOut::default(),
            state: Mutex::new(state),
            alarm: Condvar::new(),
            planner: Condvar::new(),
            on_batch,
            on_unloaded,
            on_move: OnceLock::new(),
            post: Post::default(),
        });
        for (id, cores) in (0_u32..).zip(executors) {
            let executor = ExecutorId(id);
            let desk = Arc::downgrade(&driver);
            let worker = Worker::spawn(
                executor,
                cores,
                Box::new(move |completion| completed(&desk, completion)),
            );
            let mut state = driver.state.lock();
            state.workers.push(worker);
            driver.feed(&mut state, Event::ExecutorUp { executor, preemptible: false });
        }
        let timer = Arc::downgrade(&driver);
        std::thread::Builder::new().name("timer".into()).spawn(move || keep_time(&timer))?;
        planner::start(&driver)?;
        Ok(driver)
    }

    /// Offers a request to the scheduler. The ticket is already answered if it was refused.
    #[must_use]
    pub fn submit(self: &Arc<Self>, inference: Inference) -> Ticket {
        let Inference { variant, task, shape, inner_shapes, part, priority, deadline, forms } =
            inference;
        let (answer, outcome) = oneshot::channel();
        let rows = part.rows;
        let mut state = self.state.lock();
        let arrived = self.clock.now();
        let id = RequestId(state.request_next);
        state.request_next += 1;
        let way = deadline.map_or(Duration::ZERO, |within| self.way_out.allowance(within));
        let deadline = deadline.map_or(Deadline::NONE, |within| Deadline(arrived + (within - way)));
        let member = Member { id, answer, rows, arrived, way, shape: shape.id };
        state.ledger.enter(Waiting { part, inner_shapes, forms, member });
        let request = Request { id, rows, priority, arrived, deadline };
        let event = match task {
            None => Event::RequestArrived { request, variant, shape },
            Some((task, goals)) => Event::TaskArrived { request, task, goals, shape },
        };
        self.feed_at(&mut state, event, arrived);
        let chosen = state.chosen.take().map(|pick| pick.after(way));
        if state.stopped {
            state.ledger.refuse(id, Rejection::Draining);
        }
        drop(state);
        let variant = chosen.map_or(variant, |pick| pick.variant);
        let (driver, shape) = (Arc::clone(self), shape.id);
        Ticket { driver, id, variant, chosen, shape, outcome, ended: false }
    }

    /// Stops taking requests for a variant; it is unloaded once all it accepted is answered.
    pub fn retire(&self, variant: VariantId) {
        self.feed(&mut self.state.lock(), Event::VariantRetired { variant });
    }

    /// Lets other policies decide from this moment; no request loses its place.
    pub fn follow(&self, policies: PolicyNames) {
        let policies = Box::new(policies);
        self.feed(&mut self.state.lock(), Event::PoliciesChanged { policies });
    }

    /// From now on requests of that task are answered by these variants.
    pub fn load_task(&self, spec: TaskSpec) {
        self.feed(&mut self.state.lock(), Event::TaskLoaded { spec: Box::new(spec) });
        self.planner.notify_one();
    }

    /// Who would answer a request of one row of that task now, when from its arrival, and why that one.
    ///
    /// # Errors
    /// Why nobody.
    pub fn preview(
        &self,
        task: TaskId,
        goals: Goals,
        within: Option<Duration>,
    ) -> Result<(VariantId, Duration, Because), Rejection> {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let way = within.map_or(Duration::ZERO, |within| self.way_out.allowance(within));
        let deadline = within.map_or(Deadline::NONE, |within| Deadline(now + (within - way)));
        state.router.preview(task, goals, deadline, now)
    }

    /// Stops taking requests for a task.
    pub fn retire_task(&self, task: TaskId) {
        self.feed(&mut self.state.lock(), Event::TaskRetired { task });
    }

    /// Refuses all requests from this moment; what was accepted is still answered.
    pub fn drain(&self) {
        self.feed(&mut self.state.lock(), Event::Draining);
    }

    /// Hands out the answers of batches; for one task on the IO threads (see [`crate::post`]).
    pub async fn deliver(&self) {
        self.post.deliver().await;
    }

    /// What is kept back of a deadline for the way in and out.
    #[must_use]
    pub fn way(&self, within: Duration) -> Duration {
        self.way_out.allowance(within)
    }

    /// A request took that long beside waiting and running.
    pub fn note_way(&self, took: Duration) {
        self.way_out.note(took);
    }

    /// Refuses what waits, runs what executors hold, ends their threads and the timer's, and writes the recording out.
    /// What comes later is refused.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.recorder = None;
        let workers = std::mem::take(&mut state.workers);
        state.ledger.refuse_all(Rejection::Draining);
        self.alarm.notify_one();
        self.planner.notify_one();
        drop(state);
        workers.into_iter().for_each(Worker::stop);
    }

    /// Nothing waits and nothing runs.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.state.lock().router.idle()
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state.lock().router.tally()
    }

    /// Requests of a variant that wait, and how well its runs were predicted.
    #[must_use]
    pub fn view(&self, variant: VariantId) -> (usize, Option<Prediction>) {
        let state = self.state.lock();
        (state.router.waiting(variant), state.router.prediction(variant))
    }

    fn feed(&self, state: &mut MutexGuard<'_, State>, event: Event) {
        let now = self.clock.now();
        self.feed_at(state, event, now);
    }

    fn feed_at(&self, state: &mut MutexGuard<'_, State>, event: Event, now: Instant) {
        // There are no executors any more to carry out what the router would decide.
        if state.stopped {
            return;
        }
        if let Some(recorder) = &mut state.recorder {
            recorder.note(Line::Event(now, event.clone()));
        }
        state.router.handle(event, now);
        self.carry_out(state);
    }

    /// Does what the router decided, and sets the alarm to its timeout.
    fn carry_out(&self, state: &mut MutexGuard<'_, State>) {
        while let Some(action) = state.router.poll_action() {
            if let Some(recorder) = &mut state.recorder {
                recorder.note(Line::Action(action.clone()));
            }
            match action {
                Action::Launch { executor, batch, .. } => state.launch(executor, batch),
                Action::Withdraw { executor, batch } => state.withdraw(executor, batch),
                Action::Abort { .. } => {
                    unreachable!("no executor here says that it breaks off runs")
                }
                Action::Choose { variant, predicted, draw, because, .. } => {
                    state.chosen = Some(Pick { variant, predicted, draw, because });
                }
                Action::Reply { id, rejection } => state.ledger.refuse(id, rejection),
                Action::Unload { variant } => {
                    state.workers.iter().for_each(|worker| worker.remove(variant));
                    (self.on_unloaded)(variant);
                }
                Action::Load { executor, variant } => self.moves(Move::Load(executor, variant)),
                Action::Evict { executor, variant } => {
                    state.workers[executor.index()].remove(variant);
                    self.moves(Move::Evict(executor, variant));
                }
            }
        }
        if state.router.poll_timeout().is_some_and(|(at, _)| at < state.alarm_at) {
            self.alarm.notify_one();
        }
    }

    fn completed(&self, completion: Completion) {
        let Completion { batch, outputs, timing, .. } = completion;
        let mut state = self.state.lock();
        let members = state.ledger.end(batch);
        let ran = state.router.batch(batch).map(|batch| (batch.variant, batch.rows));
        let now = self.clock.now();
        let event = match &outputs {
            Ok(_) => Event::BatchFinished { batch, elapsed: timing.total() },
            Err(_) => Event::BatchFailed { batch },
        };
        self.feed_at(&mut state, event, now);
        while let Some(Left { id, variant, shape }) = state.ledger.next_left() {
            self.feed_at(&mut state, Event::RequestCancelled { id, variant, shape }, now);
        }
        let prediction = ran.and_then(|(variant, _)| state.router.prediction(variant));
        drop(state);
        if let Some((variant, rows)) = ran {
            if outputs.is_ok() {
                (self.on_batch)(variant, rows, &timing, prediction);
            }
            self.post.send(letters(members, outputs, rows, &timing, now));
        }
    }
}

impl State {
    fn launch(&mut self, executor: ExecutorId, id: BatchId) {
        let batch = self.router.batch(id).expect("a launched batch is held");
        let batch = self.ledger.launch(id, batch);
        self.workers[executor.index()].submit(batch);
    }

    fn withdraw(&mut self, executor: ExecutorId, id: BatchId) {
        // The router withdraws only what follows a run of whose end it has not been told, or is just being told by the
        // thread that would begin the next.
        let batch = self.workers[executor.index()].withdraw(id);
        self.ledger.withdraw(batch.expect("a withdrawn batch has not begun"));
    }
}

fn completed(driver: &Weak<Driver>, completion: Completion) {
    if let Some(driver) = driver.upgrade() {
        driver.completed(completion);
    }
}

/// Cuts a batch's outputs among its members.
fn letters(
    members: Vec<Member>,
    outputs: Result<Vec<Output>, RunError>,
    batch: u32,
    timing: &Timing,
    now: Instant,
) -> Vec<Letter> {
    let outputs = outputs.map(Arc::new);
    let began = now - timing.total();
    let mut row = 0;
    let letter = |member: Member| {
        let outcome = match &outputs {
            Err(error) => Outcome::Failed(error.clone()),
            Ok(outputs) => Outcome::Answered(Answer {
                outputs: Arc::clone(outputs),
                row,
                rows: member.rows,
                batch,
                queue: began.since(member.arrived),
                timing: *timing,
            }),
        };
        row += member.rows;
        (member.answer, outcome)
    };
    members.into_iter().map(letter).collect()
}

/// The timer thread: sleeps until the router's timeout or until an earlier one is set.
fn keep_time(driver: &Weak<Driver>) {
    // Without it the kernel may wake us 50 us late.
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::warn!(%error, "the timer is only as precise as the kernel's default");
    }
    while let Some(driver) = driver.upgrade() {
        let mut state = driver.state.lock();
        if state.stopped {
            return;
        }
        match state.router.poll_timeout() {
            Some((at, _)) if driver.clock.until(at).is_zero() => {
                let now = driver.clock.now();
                if let Some(recorder) = &mut state.recorder {
                    recorder.note(Line::Timeout(now));
                }
                state.router.handle_timeout(now);
                driver.carry_out(&mut state);
            }
            Some((at, _)) => {
                state.alarm_at = at;
                driver.alarm.wait_for(&mut state, driver.clock.until(at));
                state.alarm_at = Instant::ZERO;
            }
            None => {
                state.alarm_at = Instant::NEVER;
                driver.alarm.wait(&mut state);
                state.alarm_at = Instant::ZERO;
            }
        }
    }
}

/// A place in the scheduler. Dropping it unanswered cancels the request.
#[derive(Debug)]
pub struct Ticket {
    driver: Arc<Driver>,
    id: RequestId,
    variant: VariantId,
    chosen: Option<Pick>,
    shape: ShapeId,
    outcome: oneshot::Receiver<Outcome>,
    ended: bool,
}

impl Ticket {
    /// The variant chosen for a task's request.
    #[must_use]
    pub fn chosen(&self) -> Option<Pick> {
        self.chosen
    }

    /// Waits for the one outcome of the request.
    pub async fn outcome(mut self) -> Outcome {
        let outcome = (&mut self.outcome).await;
        self.ended = true;
        outcome.unwrap_or(Outcome::Refused(Rejection::ExecutorLost))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Self { id, variant, shape, .. } = *self;
        // Seen by whoever withdraws its batch.
        self.outcome.close();
        let mut state = self.driver.state.lock();
        // What already runs is not interrupted; its answer goes nowhere.
        if state.ledger.leave(id) {
            self.driver.feed(&mut state, Event::RequestCancelled { id, variant, shape });
        }
    }
}
