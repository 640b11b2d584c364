//! Runs against servers whose queues are known exactly, in a time that stands still while anything works: what is reported
//! does not depend on the machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use models::Slo;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::sync::Mutex;
use tokio::time::sleep_until;

use super::{Ledger, Wire, now};
use crate::client::{Answer, Load, Plan, Stop};
use crate::{Confidence, Due, Mix, Outcome, Record, Report, Sample, Schedule};

pub(super) type Script =
    Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

const MS: u64 = 1_000_000;

/// One server, first come, first served; a request that finds so many waiting is refused. Times are whole milliseconds,
/// which is what tokio's timers keep.
#[derive(Clone)]
struct Queue {
    services_ms: Arc<Vec<u64>>,
    waiting_max: usize,
}

impl Queue {
    /// The server.
    fn script(&self) -> Script {
        let queue = self.clone();
        let begun = now();
        // When each admitted request ends.
        let ends: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let number = AtomicUsize::new(0);
        Box::new(move |_| {
            let service = queue.services_ms[number.fetch_add(1, Ordering::SeqCst)];
            let (ends, waiting_max) = (Arc::clone(&ends), queue.waiting_max);
            Box::pin(async move {
                let end = {
                    let mut ends = ends.lock().await;
                    if ends.iter().rev().take_while(|end| **end > now()).count() >= waiting_max {
                        return Answer::Refused("queue_full".into());
                    }
                    let free = ends.last().copied().unwrap_or(begun).max(now());
                    ends.push(free + Duration::from_millis(service));
                    free + Duration::from_millis(service)
                };
                sleep_until(end.into()).await;
                Answer::Done
            })
        })
    }

    /// What becomes of requests that are due then, worked out by hand: latencies in milliseconds, none where refused.
    fn truth(&self, due_ms: &[u64]) -> Vec<Option<u64>> {
        let (mut ends, mut latencies) = (Vec::<u64>::new(), Vec::new());
        for (due, service) in due_ms.iter().zip(self.services_ms.iter()) {
            let waiting = ends.iter().rev().take_while(|end| *end > due).count();
            latencies.push((waiting < self.waiting_max).then(|| {
                let end = ends.last().map_or(*due, |free| *free.max(due)) + service;
                ends.push(end);
                end - due
            }));
        }
        latencies
    }
}

fn plan(due_ms: &[u64], seconds: u64, slo: Duration) -> Plan {
    let due = due_ms.iter().map(|at| Due { at_ns: at * MS, share: 0 }).collect();
    let load = Load::Scheduled(Schedule { due, loops: Vec::new() });
    let target = "http://localhost:1".parse().unwrap();
    Plan::new(
        target,
        Mix::single("m", Some(Slo { latency: slo })),
        load,
        Duration::from_secs(seconds),
    )
}

/// Plays a plan against a script in this test's time.
async fn records(plan: &Plan, script: Script, stop: Stop) -> (Vec<Record>, Vec<Record>) {
    let counts_from_ns = super::nanoseconds(plan.warm_up);
    let ledger = Arc::new(Ledger::new(now(), counts_from_ns, Box::new(|_| {})));
    let player = plan.player(Wire::Scripted(script), &ledger, &stop);
    player.play(&plan.schedule(), 1).await.unwrap();
    ledger.close()
}

/// Whole milliseconds at random, none twice: which of two requests of one instant comes first is nobody's promise.
fn random_ms(count: usize, gap_max: u64, seed: u64) -> Vec<u64> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut at = 0;
    let gaps = std::iter::repeat_with(|| {
        at += rng.random_range(1..=gap_max);
        at
    });
    gaps.take(count).collect()
}

fn services(count: usize, most: u64) -> Arc<Vec<u64>> {
    let mut rng = Pcg64Mcg::seed_from_u64(9);
    Arc::new((0..count).map(|_| rng.random_range(1..=most)).collect())
}

fn exact(latencies: &mut [u64], part: f64) -> f64 {
    latencies.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in it")]
    let place = (latencies.len() as f64 * part).ceil() as usize - 1;
    latencies[place] as f64
}

#[tokio::test(start_paused = true)]
async fn percentiles_goodput_and_refusals_are_those_of_the_queue() {
    // Loads of 0.8, and of 3 with a bounded queue.
    for (gap_max, service_max, waiting_max) in [(19, 15, usize::MAX), (9, 29, 20)] {
        let due_ms = random_ms(20_000, gap_max, 3);
        let seconds = due_ms.last().unwrap() / 1000 + 1;
        let queue = Queue { services_ms: services(due_ms.len(), service_max), waiting_max };
        let plan = plan(&due_ms, seconds, Duration::from_millis(60));
        let (_, records) = records(&plan, queue.script(), Stop::default()).await;
        let report = Report::of(&records, &["m"], plan.duration);

        let truth = queue.truth(&due_ms);
        let mut answered: Vec<u64> = truth.iter().flatten().copied().collect();
        let in_time = answered.iter().filter(|latency| **latency <= 60).count() as u64;
        let tally = &report.tally;
        assert_eq!((tally.in_time, tally.answered()), (in_time, answered.len() as u64));
        assert_eq!(tally.refused_total(), 20_000 - answered.len() as u64);
        assert!(in_time > 0 && in_time < answered.len() as u64);
        assert!((report.goodput - in_time as f64 / seconds as f64).abs() < 1e-9);
        let found = [report.latency.p50_ms, report.latency.p99_ms, report.latency.p999_ms];
        for (found, part) in found.into_iter().zip([0.5, 0.99, 0.999]) {
            // Which of two neighbours a percentile between them is, is left open.
            let next = part + 1.0 / answered.len() as f64;
            let wanted = exact(&mut answered, part)..=exact(&mut answered, next) * 1.001;
            assert!(wanted.contains(&found), "{part}: {found} and not {wanted:?}");
        }
        let confidence = Confidence::of(records.iter().map(Sample::from), plan.duration);
        let p99 = confidence.p99_ms.unwrap();
        assert!(p99.low <= exact(&mut answered, 0.99) && exact(&mut answered, 0.99) <= p99.high);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_a_second_shows_in_every_latency_that_was_due_then() {
    let due_ms: Vec<u64> = (1..=400).map(|number| number * 10).collect();
    let mut services_ms = vec![1; due_ms.len()];
    services_ms[99] = 1000;
    let queue = Queue { services_ms: Arc::new(services_ms), waiting_max: usize::MAX };
    let plan = plan(&due_ms, 5, Duration::from_millis(50));
    let (_, records) = records(&plan, queue.script(), Stop::default()).await;
    assert_eq!(records.len(), 400);
    for record in &records {
        let due_ms = record.intended_ns / MS;
        let stalled = (1000..2000).contains(&due_ms);
        let least = if stalled { 2000 - due_ms } else { 1 };
        assert!(record.latency_ns >= least * MS, "{record:?}");
        assert_eq!(record.lag_ns, 0, "{record:?}");
        let late = if record.latency_ns > 50 * MS { Outcome::Late } else { Outcome::InTime };
        assert_eq!(record.outcome, late);
    }
    let late = records.iter().filter(|record| record.outcome == Outcome::Late).count();
    assert_eq!(late, queue.truth(&due_ms).iter().flatten().filter(|ms| **ms > 50).count());
}

#[tokio::test(start_paused = true)]
async fn the_warm_up_is_apart_and_time_counts_from_its_end() {
    let due_ms: Vec<u64> = (1..=300).map(|number| number * 10).collect();
    let queue = Queue { services_ms: services(300, 5), waiting_max: usize::MAX };
    let mut plan = plan(&due_ms, 2, Duration::from_millis(50));
    plan.warm_up = Duration::from_secs(1);
    let (warm_up, records) = records(&plan, queue.script(), Stop::default()).await;
    assert_eq!((warm_up.len(), records.len()), (99, 200));
    let truth = queue.truth(&due_ms);
    for (record, latency) in records.iter().zip(&truth[99..]) {
        assert_eq!(record.latency_ns, latency.unwrap() * MS);
        assert!(record.intended_ns < 2_000 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_closed_loop_think_between_their_requests() {
    let mut plan = plan(&[], 10, Duration::from_millis(50));
    let mix = Mix::single("m", None);
    plan.load = Load::Scheduled(Schedule::closed(3, Duration::from_millis(40), &mix));
    let script: Script = Box::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Answer::Done
        })
    });
    let (_, records) = records(&plan, script, Stop::default()).await;
    assert_eq!(records.len(), 3 * 10_000 / 50);
    assert!(records.iter().all(|record| record.latency_ns == 10 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_finishes_early_waits_for_what_is_under_way() {
    let due_ms: Vec<u64> = (1..=300).map(|number| number * 10).collect();
    let queue = Queue { services_ms: Arc::new(vec![100; 300]), waiting_max: usize::MAX };
    let stop = Stop::default();
    let at_one_second = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1005)).await;
        at_one_second.finish();
    });
    let plan = plan(&due_ms, 3, Duration::from_secs(60));
    let (_, records) = records(&plan, queue.script(), stop).await;
    assert_eq!(records.len(), 100);
    assert!(records.iter().all(|record| record.outcome == Outcome::InTime));
}
