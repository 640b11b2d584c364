//! Ours: starts at once as long as all goes well, and waits for company only where waiting answers more requests.
//!
//! It grows out of two published policies and corrects both. *Eager* (Clockwork, Nexus) wastes executors on small
//! batches when several executors serve one queue with little slack; *deferred* (Symphony) leaves no slack for the
//! moment when no executor is free, and loses most when queues outnumber executors. Four rules, each with its case in
//! `docs/policies.md`; the constants were found by search over the grid named there.
//!
//! 1. **Calm.** While nothing is lost nothing is deferred: latency costs less than it buys.
//! 2. **Allowance.** A deferred batch starts not at the last moment, but earlier by what it may have to wait for an
//!    executor. Each of `M` queues starts its batches at regular times, so that the number of executors wanted at once
//!    strays by about `sqrt(M)` from its mean: of `N` executors a share of that order must be kept in hand, and the
//!    free share `1 - busy` already is.
//! 3. **Company.** Queues that outnumber the executors wait only in a burst: as long as the next request is likely
//!    enough, soon enough, to save more executor time than the waiting takes.
//! 4. **Early drop.** When all executors are busy and the most urgent request allows only a small batch, it and its like
//!    are given up if the executors thereby answer more within one objective's time (after Nexus, SOSP'19).

use std::time::Duration;

use super::{
    BatchPolicy, Candidate, Entry, PolicySettings, Promises, View, give_up_hopeless,
    prefix_within_deadlines, within_delay,
};
use crate::{Instant, Request, RequestId};

/// Executors to keep in hand, in units of `M^(3/4) / N` of a batch's time: between `sqrt(M)`, where the arrivals do
/// not disturb the queues' rhythm, and `M`, where all collide.
const IN_HAND: f64 = 0.75;
/// How much of the free share of the executors counts as in hand.
const FREE_COUNTS: f64 = 0.5;
/// Queues outnumber the executors beyond `M (1 + FEW / N) > CROWD N`: with few executors sooner.
const FEW: f64 = 3.5;
const CROWD: f64 = 1.5;
/// Fewer requests than that expected in the window are not waited for, in a crowd.
const COMPANY_MIN: f64 = 0.5;
/// An executor's time costs at least so much of itself, however many are free.
const PRICE_MIN: f64 = 0.3;
/// Of a long queue so many of the most urgent are looked at for an early drop.
const DROP_MAX: usize = 256;

pub(super) const ENTRY: Entry = Entry {
    name: "window",
    summary: "at once while nothing is lost; else waits for company as far as that answers more, and drops early",
    source: "ours, after Symphony (arXiv 2308.07470), Nexus (SOSP'19) and Clockwork (OSDI'20)",
    promises: Promises { in_time: true, drops_only_hopeless: false },
    build: |settings| Box::new(WindowPolicy { settings: settings.clone() }),
};

struct WindowPolicy {
    settings: PolicySettings,
}

impl BatchPolicy for WindowPolicy {
    fn plan(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) -> Option<Candidate> {
        give_up_hopeless(view, drop);
        let rows_max = self.settings.batch_max;
        let hopeful = view.queue.iter().filter(|request| !drop.contains(&request.id));
        let head = *hopeful.clone().next()?;
        let mut candidate = prefix_within_deadlines(hopeful, view.profile, rows_max, view.start)?;
        let cut = candidate.requests + drop.len() < view.queue.len();
        if cut && drop.is_empty() && view.idle <= 1 && candidate.rows < rows_max {
            candidate = early_drop(view, &head, candidate, rows_max, drop);
        }
        if !self.settings.delay.is_zero() {
            return Some(within_delay(&self.settings, candidate, view.queue));
        }
        let at_once = cut || candidate.rows >= rows_max || view.load.calm;
        if at_once || head.deadline.0 == Instant::NEVER {
            return Some(candidate);
        }
        let earliest = open(view, &head, &candidate);
        Some(Candidate {
            earliest: earliest.clamp(candidate.earliest, candidate.latest),
            ..candidate
        })
    }
}

/// From when a batch that could still grow is offered.
fn open(view: &View<'_>, head: &Request, candidate: &Candidate) -> Instant {
    let (executors, queues) = (f64::from(view.executors), view.load.queues);
    let grown = view.profile.time(candidate.rows + 1);
    let busy = (view.load.busy / executors).min(1.0);
    let deferred = head.deadline.0 - grown;
    let arrivals = view.queue.arrivals();
    if queues * (1.0 + FEW / executors) <= CROWD * executors {
        let wanted = IN_HAND * queues.sqrt() * queues.sqrt().sqrt() / executors;
        let in_hand = (wanted - FREE_COUNTS * (1.0 - busy)).max(0.0);
        let opens = deferred - grown.mul_f64(in_hand);
        let company = arrivals.per_nano() * nanos(opens.since(view.now));
        if company >= COMPANY_MIN * ((queues - 1.0) / executors).min(1.0) {
            return opens;
        }
    }
    // A row that joins spares the fixed cost of a run of its own, unless others would have shared that run anyway.
    let apart = view.profile.time(1) + view.profile.time(candidate.rows);
    let others = arrivals.per_nano() * nanos(grown);
    let saving = nanos(apart.saturating_sub(grown)) / (1.0 + others * (0.5 + others / 8.0));
    arrivals.wait_until(saving, busy.max(PRICE_MIN), view.now).min(deferred)
}

/// Gives up the most urgent ones where a batch without them pays for them: where the executors of this queue answer
/// more by it, within one objective's time, than it gives up.
fn early_drop(
    view: &View<'_>,
    head: &Request,
    small: Candidate,
    rows_max: u32,
    drop: &mut Vec<RequestId>,
) -> Candidate {
    let pace = |batch: &Candidate| f64::from(batch.rows) / nanos(view.profile.time(batch.rows));
    let objective = nanos(head.deadline.slack(head.arrived));
    let share = f64::from(view.executors) / view.load.queues;
    let (mut best, mut gain_max, mut drops) = (small, 0.0, 0);
    let mut skip = 1;
    while skip < view.queue.len().min(DROP_MAX) {
        let rest = view.queue.iter().skip(skip);
        let Some(batch) = prefix_within_deadlines(rest, view.profile, rows_max, view.start) else {
            break;
        };
        let horizon = (objective * share).max(nanos(view.profile.time(batch.rows)));
        #[expect(clippy::cast_precision_loss, reason = "at most DROP_MAX")]
        let gain = horizon * (pace(&batch) - pace(&small)) - skip as f64;
        if gain > gain_max {
            (best, gain_max, drops) = (batch, gain, skip);
        }
        if batch.rows >= rows_max || skip + batch.requests >= view.queue.len() {
            break;
        }
        skip += skip.div_ceil(4);
    }
    drop.extend(view.queue.iter().take(drops).map(|request| request.id));
    best
}

#[expect(clippy::cast_precision_loss, reason = "times within an objective are far below 2^53 ns")]
fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
