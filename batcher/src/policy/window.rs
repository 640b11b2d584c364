//! Ours: starts at once as long as all goes well, and waits for company only where waiting answers more requests.
//!
//! It grows out of two published policies and corrects both. *Eager* (Clockwork, Nexus) wastes executors on small
//! batches when several executors serve one queue with little slack; *deferred* (Symphony) leaves no slack for the
//! moment when no executor is free, and loses most when queues outnumber executors. Six rules, each with its case in
//! `docs/policies.md`; the constants were found by search over the grid named there.
//!
//! 1. **Calm.** While nothing is lost nothing is deferred: latency costs less than it buys.
//! 2. **Keeping up.** Nor is anything deferred where starting at once keeps up all the same: where the executors have time
//!    for each row alone, and the objective for a wait and a burst.
//! 3. **Allowance.** A deferred batch starts not at the last moment, but earlier by what it may have to wait for an
//!    executor. Each of `M` queues starts its batches at regular times, so that the number of executors wanted at once
//!    strays by about `sqrt(M)` from its mean, and by as much more as arrivals in bursts stray more than even ones: of
//!    `N` executors a share of that order must be kept in hand, and the free share `1 - busy` already is. It is a share of the
//!    runs that hold the executors: of this queue's, or of others' where those are longer than its longest.
//! 4. **Company.** Queues that outnumber the executors wait only in a burst: as long as the next request is likely
//!    enough, soon enough, to save more executor time than the waiting takes. Arrivals without memory give no such
//!    moment, so that only what exceeds their dispersion counts. A long objective makes waiting dearer: who comes later
//!    may as well be part of the next run.
//! 5. **Returns.** Clients that ask again as soon as they are answered are waited for, where the batch with them makes up
//!    for the wait. Neither they nor a burst are waited for beside longer runs than the queue's own: one of those would take
//!    the executor meanwhile.
//! 6. **Early drop.** When all executors are busy and the most urgent request allows only a small batch, it and its like
//!    are given up if the executors thereby answer more within one objective's time (after Nexus, SOSP'19). That is told
//!    as soon as enough wait behind them, not when an executor comes free: those to come only add to the reason.

use models::LatencyProfile;

use super::prefix::{Prefix, give_up_first, give_up_hopeless, left, prefix_in_time};
use super::{BatchPolicy, Candidate, Entry, PolicySettings, Promises, View};
use crate::{Instant, Request, RequestId, nanos};

/// So many arrivals in a row without a loss are calm: with one loss in a hundred, the most that goodput forgives, such a row
/// never happens. Of arrivals in bursts as many times more as their number strays more: a burst is one event.
const CALM: f64 = 4096.0;
/// Executors to keep in hand, in units of `M^(3/4) sqrt(I) / N` of a batch's time, `I` being the arrivals' dispersion: between `sqrt(M)`, where the arrivals do
/// not disturb the queues' rhythm, and `M`, where all collide.
const IN_HAND: f64 = 0.75;
/// Of the wait of the only queue so much stays, of one of `M` an `M`-th of it, whatever is kept in hand: a burst of one queue
/// fills that queue's own batches.
const OWN_BURST: f64 = 0.3;
/// How much of the free share of the executors counts as in hand.
const FREE_COUNTS: f64 = 0.5;
/// Queues outnumber the executors beyond `M (1 + FEW / N) > CROWD N`: with few executors sooner.
const FEW: f64 = 3.5;
const CROWD: f64 = 0.8;
/// Fewer requests than that expected in the window are not waited for where at least half as many queues as executors compete
/// (with fewer queues, in proportion less): at an objective of two runs of one, and as much again for each further run.
const COMPANY_MIN: f64 = 0.5;
/// Runs of one that an objective must have room for, beside a burst, where starting at once is to keep up on idle executors: the
/// own, and half of one that is met.
const WAIT: f64 = 1.5;
/// Waiting for the next of a burst costs the executor's time at objectives of up to so many runs of one, and more in proportion
/// at longer ones.
const LONG: f64 = 3.0;
/// An executor's time costs at least so much of itself, however many are free.
const PRICE_MIN: f64 = 0.3;
/// Clients that come back are waited for where the executor answers so many times more by it.
const RETURNS_GAIN: f64 = 1.02;
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
        let head = *left(view.queue, drop).next()?;
        let mut run = prefix_in_time(left(view.queue, drop), view.profile, rows_max, view.start)?;
        let urgent = head.deadline.0 < Instant::NEVER;
        let mut full = run.full(rows_max, view.queue.len() - drop.len());
        if full && run.rows < rows_max && urgent && drop.is_empty() && view.idle <= 1 {
            run = early_drop(view, &head, run, rows_max, drop);
        }
        full |= run.full(rows_max, view.queue.len() - drop.len());
        let opens = if !full && !self.settings.delay.is_zero() {
            run.oldest + self.settings.delay
        } else if full {
            view.start
        } else if let Some(back) = all_back(view, &run, rows_max) {
            back
        } else if !urgent || calm(view) {
            view.start
        } else {
            opens(view, &head, &run, rows_max)
        };
        let rows = efficient(view.profile, run.rows);
        if opens <= view.start && rows < run.rows {
            run = prefix_in_time(left(view.queue, drop), view.profile, rows, view.start)?;
        }
        let latest = run.latest(view.profile);
        Some(run.in_time(opens.clamp(view.start, latest), view.profile))
    }

    fn foresees(&self) -> bool {
        true
    }

    fn foresee(&mut self, view: &View<'_>, drop: &mut Vec<RequestId>) {
        // Where executors outnumber queues the next is free soon, and others soon after it.
        if view.executors <= view.rivals + 1 {
            self.plan(view, drop);
        }
    }
}

/// At most so many rows as are worth running together: where a run of all takes longer a row than a run of one, as with
/// kernels that change at a size, the size that takes least.
fn efficient(profile: &LatencyProfile, rows: u32) -> u32 {
    let per_row = |rows: u32| profile.time(rows) / rows;
    if rows <= 1 || per_row(rows) <= per_row(1) {
        return rows;
    }
    (1..=rows).min_by_key(|&rows| per_row(rows)).unwrap_or(rows)
}

/// Nothing is lost, and that is no accident.
#[expect(clippy::cast_precision_loss, reason = "compared with some thousands")]
fn calm(view: &View<'_>) -> bool {
    view.load.since_loss as f64 > CALM * view.queue.arrivals().dispersion()
}

/// Until when to wait for clients that ask again as soon as they are answered, where the executor answers more rows a
/// second by it: in a closed loop whoever is not in this batch waits for the whole of it and the next is small too.
fn all_back(view: &View<'_>, run: &Prefix, rows_max: u32) -> Option<Instant> {
    if beside_longer(view, rows_max) {
        return None;
    }
    let (back, until) = view.queue.returning(view.now, (view.running > 0).then_some(view.start))?;
    let rows = (f64::from(run.rows) + back).min(f64::from(rows_max));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most rows_max")]
    let time = view.profile.time(rows as u32) + until.since(view.start);
    if rows / nanos(time) > RETURNS_GAIN * pace(run, view.profile) {
        return Some(until);
    }
    // As many as were answered are back; perhaps there were more on their way.
    let next = view.queue.arrivals().wait_until(joining(view.profile, run.rows), 1.0, view.now);
    Some(next.min(until))
}

/// Nanoseconds that a row spares that joins so many rather than run on its own.
fn joining(profile: &LatencyProfile, rows: u32) -> f64 {
    let apart = profile.time(1) + profile.time(rows);
    nanos(apart.saturating_sub(profile.time(rows + 1)))
}

/// Rows a nanosecond.
fn pace(run: &Prefix, profile: &LatencyProfile) -> f64 {
    f64::from(run.rows) / nanos(profile.time(run.rows))
}

/// Executors hold longer runs than any of this queue.
fn beside_longer(view: &View<'_>, rows_max: u32) -> bool {
    view.load.run > view.profile.time(rows_max)
}

/// From when a batch that could still grow is offered.
fn opens(view: &View<'_>, head: &Request, run: &Prefix, rows_max: u32) -> Instant {
    let within_reach = view.profile.largest_batch_within(head.deadline.slack(view.start));
    if efficient(view.profile, within_reach) <= run.rows {
        return view.start;
    }
    let (executors, queues) = (f64::from(view.executors), view.load.queues);
    let runs = nanos(head.deadline.slack(head.arrived)) / nanos(view.profile.time(1));
    let grown = view.profile.time(run.rows + 1);
    let busy = (view.load.busy / executors).min(1.0);
    let deferred = head.deadline.0 - grown;
    let arrivals = view.queue.arrivals();
    let dispersion = arrivals.dispersion();
    let beside_longer = beside_longer(view, rows_max);
    if queues * (1.0 + FEW / executors) <= CROWD * executors {
        // A burst is as many rows as the dispersion says, on all executors.
        if view.load.alone < executors * (1.0 - (WAIT + dispersion / executors) / runs) {
            return view.start;
        }
        let crossings = queues.sqrt() * queues.sqrt().sqrt() * dispersion.sqrt();
        let wanted = IN_HAND * crossings / executors;
        let in_hand = (wanted - FREE_COUNTS * (1.0 - busy)).max(0.0);
        let at_most = deferred.since(head.arrived).mul_f64(1.0 - OWN_BURST / queues);
        // Executors that hold longer runs than any of this queue are waited for that much longer.
        let held = if beside_longer { view.load.run } else { grown };
        let opens = deferred - held.mul_f64(in_hand).min(at_most);
        let company = arrivals.per_nano() * nanos(opens.since(view.now));
        let compete = (2.0 * (queues - 1.0) / executors).min(1.0);
        if company >= COMPANY_MIN * (runs - 1.0) * compete {
            return opens;
        }
    }
    if beside_longer {
        return view.start;
    }
    // A row that joins spares the fixed cost of a run of its own, unless others would have shared that run anyway.
    let others = arrivals.per_nano() * nanos(grown);
    let apart = joining(view.profile, run.rows) / (1.0 + others * (0.5 + others / 8.0));
    let saving = apart * (1.0 - 1.0 / dispersion);
    let price = busy.max(PRICE_MIN) * (runs / LONG).max(1.0);
    arrivals.wait_until(saving, price, view.now).min(deferred)
}

/// Gives up the most urgent ones where a batch without them pays for them: where the executors of this queue answer
/// more by it, within one objective's time, than it gives up; in an overload, beyond what is too many in any case.
fn early_drop(
    view: &View<'_>,
    head: &Request,
    small: Prefix,
    rows_max: u32,
    drop: &mut Vec<RequestId>,
) -> Prefix {
    let pace = |run: &Prefix| pace(run, view.profile);
    let objective = head.deadline.slack(head.arrived);
    let queues = view.load.queues.min(f64::from(view.rivals) + 1.0);
    let horizon = f64::from(view.executors) / queues * nanos(objective);
    let coming = view.queue.arrivals().expected_rows(view.now, view.now + objective);
    let too_many =
        |run: &Prefix| f64::from(view.queue.rows().saturating_add(coming)) - horizon * pace(run);
    let surplus = |run: &Prefix| if view.load.overloaded { too_many(run).max(0.0) } else { 0.0 };
    let (pace_small, too_many_small) = (pace(&small), too_many(&small));
    let (mut best, mut gain_max, mut drops) = (small, 0.0, 0);
    let mut skip = 1;
    while skip < view.queue.len().min(DROP_MAX) {
        let rest = view.queue.iter().skip(skip);
        let Some(run) = prefix_in_time(rest, view.profile, rows_max, view.start) else { break };
        let time = horizon.max(nanos(view.profile.time(run.rows)));
        // A burst that the executors get through anyway needs no victims.
        let more = (time * (pace(&run) - pace_small)).min(too_many_small);
        #[expect(clippy::cast_precision_loss, reason = "at most DROP_MAX")]
        let gain = more - (skip as f64 - surplus(&run)).max(0.0);
        if gain > gain_max {
            (best, gain_max, drops) = (run, gain, skip);
        }
        if run.rows >= rows_max || skip + run.requests >= view.queue.len() {
            break;
        }
        skip += skip.div_ceil(4);
    }
    give_up_first(drops, view.queue, drop);
    best
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cases::{Answer, Case, NEVER, batch, ms};
    use super::*;

    /// One request that arrived now, at 1000 ms, wanted within so long; l(b) = 4 + b ms, batches of at most 8.
    fn fresh(within_ms: u64) -> Case {
        Case::of(&[(1000, 1000 + within_ms)]).at(1000)
    }

    #[test]
    fn while_nothing_is_lost_nothing_waits() {
        assert_eq!(fresh(20).offered(500, 1).executors(8).answer(&ENTRY), batch(1, 1000.0, 1015.0));
    }

    #[test]
    fn a_loss_ends_the_calm_until_enough_arrivals_went_well_and_more_of_them_in_bursts() {
        let waits = |mut case: Case, since_loss| {
            case.load.since_loss = since_loss;
            case.answer(&ENTRY).earliest > case.start.since(Instant::ZERO).as_secs_f64() * 1e3
        };
        let even = || fresh(20).offered(500, 1).executors(8).pressed(1.0, 0.0);
        assert!(waits(even(), 0) && waits(even(), 4096) && !waits(even(), 4097));
        // Of 10 gaps one is long: the dispersion is 8.8.
        let bursts = || {
            let mut case = even();
            let mut now = case.start;
            for gap in [90_000, 100, 100, 100, 100, 100, 100, 100, 100, 100].repeat(400) {
                now = now + Duration::from_micros(gap);
                case.queue.note_offer(1, now);
            }
            case
        };
        assert!(waits(bursts(), 8 * 4096) && !waits(bursts(), 9 * 4096));
    }

    #[test]
    fn where_starting_at_once_keeps_up_nothing_waits() {
        // An objective of 4 l(1) on 8 executors, one row at a time: 1 - (1.5 + 1 / 8) / 4 of the executors.
        let waits = |alone, within| {
            let mut case = fresh(within).offered(500, 1).executors(8).pressed(1.0, 8.0);
            case.load.alone = alone;
            case.answer(&ENTRY).earliest > 1000.0
        };
        assert!(!waits(8.0 * 0.59, 20) && waits(8.0 * 0.6, 20));
        // 1.6 l(1) leave no room for a wait.
        assert!(waits(0.0, 8));
    }

    #[test]
    fn one_queue_on_several_executors_waits_for_company_and_keeps_executors_in_hand() {
        // Deferred to 1020 - l(2) = 1014; with all 8 busy 0.75 / 8 of l(2) are kept in hand, with all free none.
        let case = |busy| fresh(20).offered(500, 1).executors(8).pressed(1.0, busy);
        assert_eq!(case(8.0).answer(&ENTRY), batch(1, 1013.44, 1015.0));
        assert_eq!(case(0.0).answer(&ENTRY), batch(1, 1014.0, 1015.0));
    }

    #[test]
    fn a_queue_of_short_runs_starts_earlier_by_what_it_may_wait_for_longer_ones() {
        // 0.75 / 8 of 96 ms before 1040 - l(2); runs no longer than l(8), its own longest, are not waited for.
        let case = |within, run| {
            let case = fresh(within).offered(500, 1).executors(8).pressed(1.0, 8.0);
            case.held_for(run).answer(&ENTRY)
        };
        assert_eq!(case(40, 96), batch(1, 1025.0, 1035.0));
        assert_eq!(case(40, 12), case(40, 0));
    }

    #[test]
    fn a_burst_of_the_only_queue_waits_for_its_own_company_whatever_is_kept_in_hand() {
        let mut case = fresh(20).offered(500, 1).executors(8).pressed(1.0, 8.0);
        let mut now = case.start;
        let burst: Vec<_> = std::iter::repeat_n(10, 99).chain([200_000]).collect();
        for gap in burst.repeat(20).into_iter().chain([10]) {
            now = now + Duration::from_micros(gap);
            case.queue.note_offer(1, now);
        }
        case.queue.remove(RequestId(0)).unwrap();
        let deadline = crate::Deadline(now + Duration::from_millis(9));
        case.queue.push(Request { id: RequestId(1), rows: 1, priority: 1, arrived: now, deadline });
        case.start = now;
        // Of 9 - l(2) = 3 ms at least 0.3 are waited.
        let waits = case.answer(&ENTRY).earliest - now.since(Instant::ZERO).as_secs_f64() * 1e3;
        assert!((0.9..3.0).contains(&waits), "{waits} ms");
    }

    #[test]
    fn queues_that_outnumber_the_executors_start_at_once() {
        assert_eq!(
            fresh(20).offered(20, 50).pressed(8.0, 1.0).answer(&ENTRY),
            batch(1, 1000.0, 1015.0)
        );
    }

    /// How many milliseconds a request waits in a burst: of four gaps one is long.
    fn waits_in_a_burst(mut case: Case) -> f64 {
        let mut now = case.start;
        for gap in [10, 10, 10, 160_000].repeat(100) {
            now = now + Duration::from_micros(gap);
            case.queue.note_offer(1, now);
        }
        case.queue.remove(RequestId(0)).unwrap();
        let deadline = crate::Deadline(now + Duration::from_millis(20));
        case.queue.push(Request { id: RequestId(1), rows: 1, priority: 1, arrived: now, deadline });
        case.start = now;
        case.answer(&ENTRY).earliest - now.since(Instant::ZERO).as_secs_f64() * 1e3
    }

    #[test]
    fn in_a_burst_even_they_wait_as_long_as_it_is_likely_to_go_on() {
        let waits = waits_in_a_burst(fresh(20).offered(20, 50).pressed(8.0, 1.0));
        assert!((0.01..0.1).contains(&waits), "{waits} ms");
    }

    #[test]
    fn beside_longer_runs_not_even_a_burst_is_waited_for() {
        let waits =
            |run| waits_in_a_burst(fresh(20).offered(20, 50).pressed(8.0, 1.0).held_for(run));
        // l(8), its own longest, is 12 ms.
        assert!(waits(12) > 0.0 && waits(13) == 0.0);
    }

    #[test]
    fn a_head_that_forces_a_batch_of_one_is_given_up_where_the_executors_answer_more_by_it() {
        // The first allows 5 ms, l(1); without it 8 run in 12 ms.
        let waiting =
            [(0, 5), (0, 40), (0, 40), (0, 40), (0, 40), (0, 40), (0, 40), (0, 40), (0, 40)];
        let case = || Case::of(&waiting).pressed(1.0, 1.0);
        let larger = Answer { requests: 8, earliest: 0.0, latest: 28.0, dropped: vec![0] };
        assert_eq!(case().answer(&ENTRY), larger);
        // With another executor for the rest it is served.
        assert_eq!(case().executors(2).answer(&ENTRY), batch(1, 0.0, 0.0));
    }

    #[test]
    fn clients_that_ask_again_as_soon_as_they_are_answered_are_waited_for() {
        // Two batches of 8 in turn, 14 ms each by l(b) = 4 + b (with the return); 16 together take 20.
        let mut case = Case::of(&[(0, 0); 8]).batch_max(16).at(1400);
        for round in 0..100 {
            case.queue.note_end(8, ms(round * 14));
            (0..8).for_each(|_| case.queue.note_offer(1, ms(round * 14)));
        }
        case.queue.note_end(8, case.start);
        assert_eq!(case.answer(&ENTRY), batch(8, 1400.02, NEVER));
    }

    #[test]
    fn rows_that_are_slower_together_run_alone() {
        let mut case = Case::wanted_at(&[100; 2]);
        let text = "1,8000,8000,0\n2,18400,18400,0\n4,22000,22000,0";
        case.profile = LatencyProfile::from_csv(text).unwrap();
        assert_eq!(case.answer(&ENTRY), batch(1, 0.0, 92.0));
        // Four take 5.5 ms a row, one takes 8.
        let mut case = Case::wanted_at(&[100; 4]);
        case.profile = LatencyProfile::from_csv(text).unwrap();
        assert_eq!(case.answer(&ENTRY), batch(4, 0.0, 78.0));
    }

    #[test]
    fn an_operators_delay_takes_the_place_of_the_window() {
        let mut case = fresh(20);
        case.settings.delay = Duration::from_millis(3);
        assert_eq!(case.answer(&ENTRY), batch(1, 1003.0, 1015.0));
    }
}
