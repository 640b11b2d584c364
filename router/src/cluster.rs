//! What the router believes of its executors: who is up, what is in place, busy until when, open to a batch or not.

mod preemptible;

use std::time::Duration;

use batcher::Instant;
use fixedbitset::FixedBitSet;
use models::{BatchId, ExecutorId, VariantId};

use crate::agenda::Agenda;

/// All executors, dense by id.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    executors: Vec<ExecutorState>,
    /// By variant: where it is in place, up or not.
    placed: Vec<FixedBitSet>,
    up: FixedBitSet,
    /// Up, and hold no batch.
    idle: FixedBitSet,
    /// Hold one batch that is about to end, and take the next.
    ahead: FixedBitSet,
    /// Hold two batches.
    followed: FixedBitSet,
    /// When the running one of those becomes a straggler.
    dues: Agenda,
    /// Up, and can break off a run; without room for any while none can.
    preemptible: FixedBitSet,
    /// When those that hold one batch take the next.
    leads: Agenda,
    /// When the busy ones are planned to be free.
    frees: Agenda,
    lead: Duration,
    /// Weights on their way: when they are expected there.
    arriving: Vec<(VariantId, ExecutorId, Instant)>,
}

#[derive(Debug, Default)]
struct ExecutorState {
    running: Option<BatchId>,
    /// The batch that follows, so that the device never waits.
    next: Option<BatchId>,
    /// When the running one began, and after when it takes longer than a spread explains.
    began: Instant,
    due: Instant,
    /// When those are expected to be done, at the median.
    expected_free: Instant,
    /// When those are done at the latest, as planned.
    planned_free: Instant,
    /// The same for a batch behind the running one, whose own margin is for both.
    follows: Instant,
}

impl ExecutorState {
    fn overdue(&self, now: Instant) -> bool {
        self.running.is_some() && now > self.due
    }

    /// The running batch begins now. Beyond twice its margin and `patience` it is a straggler.
    fn begin(&mut self, (median, planned): (Duration, Duration), patience: Duration, now: Instant) {
        let margin = planned.saturating_sub(median);
        self.began = now;
        self.due = now + planned + margin + patience;
        self.follows = now + median + added(margin, median);
    }
}

/// Of a margin behind which another margin stands so many 128ths count: independent spreads add as their squares do, so
/// that two equal ones make one of the square root of 2.
const BEHIND: u32 = 53;
const WHOLE: u32 = 128;
/// Margins of one part in so many of the time are counted in full: they cost next to nothing.
const SMALL: u32 = 50;

/// What a margin behind so long a median adds to the margin of what follows.
fn added(margin: Duration, median: Duration) -> Duration {
    let small = (median / SMALL).min(margin);
    small + (margin - small) * BEHIND / WHOLE
}

/// An executor that takes a batch, in the order in which they are offered one: the idle ones, then those whose batch
/// is planned to end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Opening {
    busy: bool,
    /// When a batch launched now would start there, as planned.
    pub(crate) start: Instant,
    pub(crate) executor: ExecutorId,
}

/// Takes a number out of a set, which may be too short to hold it.
fn clear(bits: &mut FixedBitSet, index: usize) {
    if index < bits.len() {
        bits.remove(index);
    }
}

/// The numbers that both sets hold, rising: a word at a time, since mostly there is none.
fn common<'a>(
    one: &'a FixedBitSet,
    other: &'a FixedBitSet,
) -> impl Iterator<Item = usize> + use<'a> {
    let words = one.as_slice().iter().zip(other.as_slice());
    let words = words.map(|(one, other)| one & other).enumerate();
    words.filter(|(_, word)| *word != 0).flat_map(|(index, word)| {
        let bits = usize::BITS as usize;
        let rest = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
        let set = rest.take_while(|word| *word != 0);
        set.map(move |word| index * bits + word.trailing_zeros() as usize)
    })
}

fn executor_id(index: usize) -> ExecutorId {
    ExecutorId(u32::try_from(index).expect("fewer executors than a u32 counts"))
}

impl Cluster {
    /// Without executors; those to come take a batch `lead` before their last is expected to end, or only when idle if
    /// that is zero.
    pub(crate) fn new(lead: Duration) -> Self {
        Self { lead, ..Self::default() }
    }

    /// An executor can run batches, and break them off or not.
    pub(crate) fn up(&mut self, executor: ExecutorId, preemptible: bool) {
        let index = executor.index();
        if self.executors.len() <= index {
            self.executors.resize_with(index + 1, ExecutorState::default);
        }
        self.executors[index] = ExecutorState::default();
        self.up.grow_and_insert(index);
        if preemptible {
            self.preemptible.grow_and_insert(index);
        }
        self.rest(executor);
    }

    /// An executor is gone; returns what it held.
    pub(crate) fn down(&mut self, executor: ExecutorId) -> [Option<BatchId>; 2] {
        let index = executor.index();
        let Some(state) = self.executors.get_mut(index) else { return [None, None] };
        let held = std::mem::take(state);
        let sets = [&mut self.up, &mut self.idle, &mut self.followed, &mut self.preemptible];
        for bits in self.placed.iter_mut().chain(sets) {
            clear(bits, index);
        }
        self.frees.set(executor.0, Instant::NEVER);
        self.dues.set(executor.0, Instant::NEVER);
        self.take_off(index);
        self.arriving.retain(|(_, other, _)| *other != executor);
        [held.running, held.next]
    }

    /// No longer open as one that is about to end its batch.
    fn take_off(&mut self, index: usize) {
        clear(&mut self.ahead, index);
        self.leads.set(executor_id(index).0, Instant::NEVER);
    }

    /// A variant is in place there.
    pub(crate) fn load(&mut self, executor: ExecutorId, variant: VariantId) {
        if self.placed.len() <= variant.index() {
            self.placed.resize_with(variant.index() + 1, FixedBitSet::new);
        }
        self.placed[variant.index()].grow_and_insert(executor.index());
    }

    /// A variant is in place there no longer.
    pub(crate) fn evict(&mut self, executor: ExecutorId, variant: VariantId) {
        if let Some(placed) = self.placed.get_mut(variant.index()) {
            clear(placed, executor.index());
        }
    }

    /// A variant is expected to be in place there at that time.
    pub(crate) fn expect(&mut self, executor: ExecutorId, variant: VariantId, at: Instant) {
        self.arriving.push((variant, executor, at));
    }

    /// A variant has come where it was expected; false if it was not.
    pub(crate) fn arrived(&mut self, executor: ExecutorId, variant: VariantId) -> bool {
        let before = self.arriving.len();
        self.arriving.retain(|(what, place, _)| (*what, *place) != (variant, executor));
        self.arriving.len() < before
    }

    /// Where a variant is on its way to.
    pub(crate) fn arriving(&self, variant: VariantId) -> impl Iterator<Item = ExecutorId> + '_ {
        let arriving = self.arriving.iter().filter(move |(what, ..)| *what == variant);
        arriving.map(|&(_, executor, _)| executor)
    }

    /// When a batch of that variant could start where its weights are on their way to, as planned.
    pub(crate) fn starts_after_arrival(
        &self,
        variant: VariantId,
        now: Instant,
    ) -> impl Iterator<Item = Instant> + '_ {
        let arriving = self.arriving.iter().filter(move |(what, ..)| *what == variant);
        arriving.map(move |&(_, executor, at)| self.planned_start(executor, variant, now).max(at))
    }

    /// What that executor holds: the batch that runs and the one ahead.
    pub(crate) fn held(&self, executor: ExecutorId) -> impl Iterator<Item = BatchId> + '_ {
        let state = self.executors.get(executor.index());
        state.into_iter().flat_map(|state| [state.running, state.next]).flatten()
    }

    /// A variant is nowhere any more.
    pub(crate) fn unload(&mut self, variant: VariantId) {
        self.arriving.retain(|(what, ..)| *what != variant);
        if let Some(placed) = self.placed.get_mut(variant.index()) {
            placed.clear();
        }
    }

    /// A batch of that median and planned time goes there at `now`; returns when it is expected to start.
    pub(crate) fn launch(
        &mut self,
        executor: ExecutorId,
        batch: BatchId,
        (median, planned): (Duration, Duration),
        now: Instant,
    ) -> Instant {
        let index = executor.index();
        let state = &mut self.executors[index];
        let busy = state.running.is_some();
        let start = if busy { state.expected_free.max(now) } else { now };
        let planned_start = if busy { state.planned_free.max(now) } else { now };
        state.expected_free = start + median;
        state.planned_free = planned_start + planned;
        self.frees.set(executor.0, state.planned_free);
        clear(&mut self.idle, index);
        if busy {
            assert!(state.next.replace(batch).is_none(), "{executor:?} holds two batches");
            self.followed.grow_and_insert(index);
            if self.executors.len() > 1 {
                self.dues.set(executor.0, self.executors[index].due.max(now));
            }
            self.take_off(index);
        } else {
            state.running = Some(batch);
            state.begin((median, planned), self.lead, now);
            self.watch(index, now);
        }
        start
    }

    /// A batch there is done.
    pub(crate) fn finish(&mut self, executor: ExecutorId, batch: BatchId) {
        clear(&mut self.followed, executor.index());
        self.dues.set(executor.0, Instant::NEVER);
        let state = &mut self.executors[executor.index()];
        if state.running == Some(batch) {
            state.running = state.next.take();
        } else {
            assert_eq!(state.next.take(), Some(batch), "{executor:?} did not hold {batch:?}");
        }
    }

    /// What that executor runs now.
    pub(crate) fn running(&self, executor: ExecutorId) -> Option<BatchId> {
        self.executors[executor.index()].running
    }

    /// The one batch that is left there starts now; it takes so long at the median and as planned.
    pub(crate) fn restart(
        &mut self,
        executor: ExecutorId,
        (median, planned): (Duration, Duration),
        now: Instant,
    ) {
        let state = &mut self.executors[executor.index()];
        state.begin((median, planned), self.lead, now);
        state.expected_free = now + median;
        state.planned_free = now + planned;
        self.frees.set(executor.0, state.planned_free);
        self.watch(executor.index(), now);
    }

    /// Nothing is left there.
    pub(crate) fn rest(&mut self, executor: ExecutorId) {
        self.take_off(executor.index());
        self.frees.set(executor.0, Instant::NEVER);
        self.idle.grow_and_insert(executor.index());
    }

    /// Opens it when the one batch that it holds is about to end.
    fn watch(&mut self, index: usize, now: Instant) {
        self.take_off(index);
        if self.lead.is_zero() {
            return;
        }
        let opens = self.executors[index].expected_free - self.lead;
        if opens > now {
            self.leads.set(executor_id(index).0, opens);
        } else {
            self.ahead.grow_and_insert(index);
        }
    }

    /// The next executor whose batch is about to end, so that it takes another.
    pub(crate) fn open_next(&mut self, now: Instant) -> Option<ExecutorId> {
        let (_, id) = self.leads.first().filter(|(at, _)| *at <= now)?;
        self.leads.set(id, Instant::NEVER);
        let executor = ExecutorId(id);
        self.ahead.grow_and_insert(executor.index());
        Some(executor)
    }

    /// When [`Self::open_next`] gives the next one.
    pub(crate) fn next_lead(&self) -> Option<Instant> {
        self.leads.first().map(|(at, _)| at)
    }

    fn placed(&self, variant: VariantId) -> Option<&FixedBitSet> {
        self.placed.get(variant.index())
    }

    /// Every executor that is up and has that variant.
    pub(crate) fn with(&self, variant: VariantId) -> impl Iterator<Item = ExecutorId> + '_ {
        let placed = self.placed(variant).into_iter();
        placed.flat_map(|placed| common(placed, &self.up)).map(executor_id)
    }

    /// Whether both variants are in place on the same executors.
    pub(crate) fn same_place(&self, one: VariantId, other: VariantId) -> bool {
        let bits = |variant| self.placed(variant).map(|placed| (placed.len(), placed.as_slice()));
        one == other || bits(one) == bits(other)
    }

    /// Whether some executor that is up has both variants.
    pub(crate) fn share_place(&self, one: VariantId, other: VariantId) -> bool {
        one == other || self.with(one).any(|executor| self.has(executor, other))
    }

    /// How many executors are up and have that variant.
    pub(crate) fn count(&self, variant: VariantId) -> u32 {
        let count = self.placed(variant).map_or(0, |placed| placed.intersection_count(&self.up));
        u32::try_from(count).expect("fewer executors than a u32 counts")
    }

    /// How many of them hold no batch.
    pub(crate) fn count_idle(&self, variant: VariantId) -> u32 {
        let count = self.placed(variant).map_or(0, |placed| placed.intersection_count(&self.idle));
        u32::try_from(count).expect("fewer executors than a u32 counts")
    }

    /// Whether that executor is up and has that variant.
    pub(crate) fn has(&self, executor: ExecutorId, variant: VariantId) -> bool {
        let index = executor.index();
        self.up.contains(index) && self.placed(variant).is_some_and(|bits| bits.contains(index))
    }

    /// Every executor that is up.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ExecutorId> + '_ {
        self.up.ones().map(executor_id)
    }

    fn opening(&self, index: usize, now: Instant) -> Opening {
        let busy = !self.idle.contains(index);
        let start = if busy { self.executors[index].follows.max(now) } else { now };
        Opening { busy, start, executor: executor_id(index) }
    }

    /// Where a batch of that variant can be launched, after the opening `tried`.
    pub(crate) fn opening_for(
        &self,
        variant: VariantId,
        tried: Option<Opening>,
        now: Instant,
    ) -> Option<Opening> {
        let placed = self.placed(variant)?;
        let untried = |opening: &Opening| tried.is_none_or(|tried| *opening > tried);
        let mut idle = common(placed, &self.idle).map(|index| self.opening(index, now));
        let ahead = || {
            let ahead = common(placed, &self.ahead);
            let ahead = ahead.filter(|&index| !self.straggles(index, variant, now));
            ahead.map(|index| self.opening(index, now))
        };
        idle.find(untried).or_else(|| ahead().filter(untried).min())
    }

    /// That executor, if it takes a batch.
    pub(crate) fn opening_of(&self, executor: ExecutorId, now: Instant) -> Option<Opening> {
        let index = executor.index();
        let open = self.idle.contains(index) || self.ahead.contains(index);
        open.then(|| self.opening(index, now))
    }

    /// No executor is idle.
    pub(crate) fn all_busy(&self) -> bool {
        self.idle.is_clear()
    }

    /// The run there is a straggler, and a batch of that variant could run elsewhere.
    fn straggles(&self, index: usize, variant: VariantId, now: Instant) -> bool {
        self.executors[index].overdue(now) && self.count(variant) > 1
    }

    /// When the first run that another batch is behind becomes a straggler; told once of each.
    pub(crate) fn next_straggler(&self) -> Option<Instant> {
        self.dues.first().map(|(at, _)| at + Duration::from_nanos(1))
    }

    /// From now on those that straggle by now are waited for without an alarm.
    pub(crate) fn told_of_stragglers(&mut self, now: Instant) {
        while let Some((_, executor)) = self.dues.first().filter(|(at, _)| *at < now) {
            self.dues.set(executor, Instant::NEVER);
        }
    }

    /// The batches behind stragglers, if some executor is idle.
    pub(crate) fn stuck(&self, now: Instant) -> impl Iterator<Item = (ExecutorId, BatchId)> + '_ {
        let some = !self.idle.is_clear();
        let stuck =
            self.followed.ones().filter(move |&index| some && self.executors[index].overdue(now));
        stuck.filter_map(|index| Some((executor_id(index), self.executors[index].next?)))
    }

    /// The batch behind the straggler there is gone: it is free when that has ended, which is due.
    pub(crate) fn unfollow(&mut self, executor: ExecutorId, batch: BatchId) {
        self.finish(executor, batch);
        let state = &mut self.executors[executor.index()];
        (state.expected_free, state.planned_free) = (state.due, state.due);
        self.frees.set(executor.0, state.due);
    }

    /// When a batch of that variant launched now would start there, as planned: no earlier than `now`. Where it could
    /// run elsewhere, a straggler is expected to take as long again as it has.
    pub(crate) fn planned_start(
        &self,
        executor: ExecutorId,
        variant: VariantId,
        now: Instant,
    ) -> Instant {
        if self.idle.contains(executor.index()) {
            return now;
        }
        let state = &self.executors[executor.index()];
        if self.straggles(executor.index(), variant, now) {
            now + now.since(state.began)
        } else {
            state.planned_free.max(now)
        }
    }

    /// By how much sooner than planned the executor that is planned to be free first is expected to be, at the median.
    pub(crate) fn sooner(&self, variant: VariantId, now: Instant) -> Duration {
        let planned = |executor: &ExecutorId| self.planned_start(*executor, variant, now);
        let Some(first) = self.with(variant).min_by_key(planned) else { return Duration::ZERO };
        let expected = self.executors[first.index()].expected_free.max(now);
        self.planned_start(first, variant, now).since(expected)
    }

    /// When a batch of that variant could start anywhere, as planned; never if no executor has it.
    pub(crate) fn earliest_start(&self, variant: VariantId, now: Instant) -> Instant {
        if self.placed(variant).is_some_and(|placed| !placed.is_disjoint(&self.idle)) {
            return now;
        }
        let soon = if self.arriving.is_empty() {
            Instant::NEVER
        } else {
            self.starts_after_arrival(variant, now).min().unwrap_or(Instant::NEVER)
        };
        if let Some((at, id)) =
            self.frees.first().filter(|(_, id)| self.has(ExecutorId(*id), variant))
            && at >= now
            && !self.straggles(id as usize, variant, now)
        {
            return at.min(soon);
        }
        let starts = self.with(variant).map(|executor| self.planned_start(executor, variant, now));
        starts.min().unwrap_or(Instant::NEVER).min(soon)
    }
}
