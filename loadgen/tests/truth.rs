//! The client over real sockets against a queue whose service times are known, and which notes when it has answered each
//! request: what is reported is what that queue did. Both read one clock, so that a slow machine slows both alike.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "scripted/server.rs"]
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadgen::client::{Load, ModelInferRequest, ParameterChoice, Plan, Played, Target};
use loadgen::{Confidence, Due, Interval, Mix, Outcome, Report, Sample, Schedule, Share};
use models::Slo;
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use server::{Body, Reply, grpc, serve_requests, status};
use tokio::time::{Instant, sleep_until};

const MS: u64 = 1_000_000;
/// Each is a share of its own, so that its number is in the request, as the priority.
const REQUESTS: usize = 400;
const SLO: Duration = Duration::from_millis(600);

/// What became of a request: when it was answered or refused.
#[derive(Clone, Copy, Debug)]
enum End {
    Answered(Instant),
    Refused(Instant),
}

/// One server, first come, first served; a request that finds so many before it is refused.
struct Queue {
    services: Vec<Duration>,
    before_max: usize,
    /// When each admitted request is to end, by the arrivals and the service times.
    due: Vec<Instant>,
    /// Whether a request was seen before: the first of each share is the client's trial.
    tried: Vec<bool>,
    ends: Vec<Option<End>>,
}

impl Queue {
    fn new(service_max_ms: u64, before_max: usize) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(9);
        let service = || Duration::from_millis(rng.random_range(1..=service_max_ms));
        Self {
            services: std::iter::repeat_with(service).take(REQUESTS).collect(),
            before_max,
            due: Vec::new(),
            tried: vec![false; REQUESTS],
            ends: vec![None; REQUESTS],
        }
    }

    /// When the request that arrives now is to be answered, unless it is refused.
    fn admit(&mut self, number: usize) -> Option<Instant> {
        let now = Instant::now();
        if !std::mem::replace(&mut self.tried[number], true) {
            return Some(now);
        }
        if self.due.iter().rev().take_while(|due| **due > now).count() >= self.before_max {
            self.ends[number] = Some(End::Refused(Instant::now()));
            return None;
        }
        let free = self.due.last().copied().unwrap_or(now).max(now);
        self.due.push(free + self.services[number]);
        Some(free + self.services[number])
    }
}

/// The number of a request, in its priority.
fn number(scheme: &str, body: &[u8]) -> usize {
    let priority = if scheme == "http" {
        let head = body.split(|byte| *byte == 0).next().unwrap();
        let text = String::from_utf8_lossy(head);
        let rest = text.split(r#""priority":"#).nth(1).unwrap();
        rest.split(|one: char| !one.is_ascii_digit()).next().unwrap().parse().unwrap()
    } else {
        let request = ModelInferRequest::decode(&body[5..]).unwrap();
        let ParameterChoice::Int64(priority) = request.parameters["priority"].choice.unwrap();
        usize::try_from(priority).unwrap()
    };
    priority - 1
}

fn answer(scheme: &str, refused: bool) -> hyper::Response<Body> {
    match (scheme, refused) {
        ("http", false) => status(200, "tensors"),
        ("http", true) => status(503, r#"{"error":"full","reason":"queue_full"}"#),
        (_, false) => grpc(0, "", "answer".into()),
        (_, true) => grpc(14, "queue_full", "".into()),
    }
}

/// Plays requests with gaps at random against the queue.
fn play(scheme: &'static str, gap_max_ms: u64, queue: &Arc<Mutex<Queue>>) -> (Plan, Played) {
    let shared = Arc::clone(queue);
    let address = serve_requests(move |body| -> Reply {
        let (number, shared) = (number(scheme, body), Arc::clone(&shared));
        Box::pin(async move {
            let trial = !shared.lock().unwrap().tried[number];
            let admitted = shared.lock().unwrap().admit(number);
            if let Some(end) = admitted.filter(|_| !trial) {
                sleep_until(end).await;
                shared.lock().unwrap().ends[number] = Some(End::Answered(Instant::now()));
            }
            Ok(answer(scheme, admitted.is_none()))
        })
    });
    let target: Target = format!("{scheme}://{address}").parse().unwrap();
    let share = |priority| Share {
        model: "m".to_owned(),
        weight: 1.0,
        slo: Some(Slo { latency: SLO }),
        priority,
    };
    let mix = Mix::new((1..=REQUESTS as u64).map(share).collect()).unwrap();
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    let mut at_ns = 0;
    let due: Vec<Due> = (0..REQUESTS)
        .map(|share| {
            at_ns += rng.random_range(1..=gap_max_ms) * MS;
            Due { at_ns, share }
        })
        .collect();
    let load = Load::Scheduled(Schedule { due, loops: Vec::new() });
    let mut plan = Plan::new(target, mix, load, Duration::from_nanos(at_ns + MS));
    plan.patience = Duration::from_secs(60);
    let played = plan.run().unwrap();
    (plan, played)
}

/// The latency below which that part of them lies.
fn percentile(latencies: &mut [Duration], part: f64) -> f64 {
    latencies.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in it")]
    let place = (latencies.len() as f64 * part).ceil() as usize - 1;
    latencies[place].as_secs_f64() * 1e3
}

/// Within 1 %, or within the interval that is stated.
fn agrees(what: &str, found: f64, truth: f64, interval: Option<Interval>) {
    let stated = interval.is_some_and(|stated| (stated.low..=stated.high).contains(&truth));
    assert!(
        (found / truth - 1.0).abs() <= 0.01 || stated,
        "{what}: {found} and not {truth}, nor in {interval:?}"
    );
}

#[test]
fn percentiles_goodput_and_refusals_over_sockets_are_those_of_the_queue() {
    // At 1.6 times its capacity without a bound, and at 3 times with one: latencies of a second, of which 1 % is more than it
    // takes a busy machine to wake the client.
    for (gap_max_ms, service_max_ms, before_max) in [(9, 15, usize::MAX), (9, 29, 60)] {
        for scheme in ["http", "grpc"] {
            let queue = Arc::new(Mutex::new(Queue::new(service_max_ms, before_max)));
            let (plan, played) = play(scheme, gap_max_ms, &queue);
            let ends = queue.lock().unwrap().ends.clone();
            let report = Report::of(&played.records, &["m"], plan.duration);
            assert_eq!(played.records.len(), REQUESTS);

            let (mut latencies, mut in_time) = (Vec::new(), 0u32);
            for record in &played.records {
                let due =
                    Instant::from_std(played.start) + Duration::from_nanos(record.intended_ns);
                let latency = Duration::from_nanos(record.latency_ns);
                match ends[record.share].unwrap() {
                    End::Answered(at) => {
                        let truth = at - due;
                        latencies.push(truth);
                        in_time += u32::from(truth <= SLO);
                        assert!(latency >= truth, "{scheme}: {record:?} before {truth:?}");
                        let late = latency > SLO;
                        let wanted = if late { Outcome::Late } else { Outcome::InTime };
                        assert_eq!(record.outcome, wanted, "{scheme}: {record:?}");
                    }
                    End::Refused(at) => {
                        assert!(latency >= at - due, "{scheme}: {record:?}");
                        assert_eq!(record.outcome, Outcome::Refused("queue_full".into()));
                    }
                }
            }
            let tally = &report.tally;
            assert_eq!(tally.answered(), latencies.len() as u64, "{scheme}: {tally:?}");
            let refused = (REQUESTS - latencies.len()) as u64;
            assert_eq!(tally.refused_total(), refused, "{scheme}: {tally:?}");
            assert_eq!(refused > 0, before_max < REQUESTS, "{scheme}: {tally:?}");

            let stated = Confidence::of(played.records.iter().map(Sample::from), plan.duration);
            let goodput = f64::from(in_time) / plan.duration.as_secs_f64();
            agrees("goodput", report.goodput, goodput, stated.goodput);
            let latency = &report.latency;
            agrees("p50", latency.p50_ms, percentile(&mut latencies, 0.5), stated.p50_ms);
            agrees("p90", latency.p90_ms, percentile(&mut latencies, 0.9), None);
            agrees("p99", latency.p99_ms, percentile(&mut latencies, 0.99), stated.p99_ms);
        }
    }
}
