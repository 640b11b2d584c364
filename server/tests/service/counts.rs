//! What the clients saw is what the metrics, the statistics and the router counted, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use server::infer::InferRequest;
use server::service::Service;
use server::status::Failure;

use crate::scripted::{Echo, FAIL, PANIC};
use crate::world::*;

/// Clients that ask one request after the other, so that the load is several times what can be served.
const CLIENTS: u64 = 48;
const REQUESTS: u64 = 40;

/// What clients saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) failed: u64,
    pub(crate) left: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.failed += other.failed;
        self.left += other.left;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}

/// Lets many clients ask at once; some leave before their answer. The same seed asks the same requests.
pub(crate) async fn load(
    service: &Arc<Service>,
    seed: u64,
    request: fn(&mut Seeded) -> InferRequest,
) -> Seen {
    let client = |number: u64| {
        let (service, mut numbers) = (Arc::clone(service), Seeded(seed * CLIENTS + number));
        async move {
            let mut seen = Seen::default();
            for _ in 0..REQUESTS {
                let patience = if numbers.below(8) == 0 { numbers.below(20) } else { u32::MAX };
                one(&service, request(&mut numbers), patience, &mut seen).await;
            }
            seen
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number))).collect();
    let mut seen = Seen::default();
    for client in clients {
        seen.add(client.await.unwrap());
    }
    seen
}

/// Asks; leaves after the scheduler's thread has been given way so many times.
async fn one(service: &Service, request: InferRequest, patience: u32, seen: &mut Seen) {
    seen.asked += 1;
    let leaves = async {
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        result = service.infer(request) => match result {
            Ok(_) => seen.answered += 1,
            Err(Failure::Refused(refusal)) => *seen.refused.entry(refusal.reason).or_default() += 1,
            Err(Failure::Internal(_)) => seen.failed += 1,
            Err(other) => panic!("{other}"),
        },
        () = leaves => seen.left += 1,
    }
}

fn any_request(numbers: &mut Seeded) -> InferRequest {
    let first = [1, 1, 1, 1, FAIL, 1, 1, PANIC][numbers.below(8) as usize];
    match numbers.below(3) {
        0 => request("mixed", &[first]),
        1 => request("tight", &vec![1; 1 + numbers.below(2) as usize]),
        _ => request("bounded", &[1]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_overload_each_outcome_is_counted_once_everywhere() {
    let service = service(1, None);
    install_emulated(&service, with_slo(loaded("tight", MS, MS / 10), 8 * MS), 1);
    let mut bounded = loaded("bounded", MS, MS / 10);
    bounded.description.queue_max = 4;
    install_emulated(&service, bounded, 1);
    install(&service, with_slo(loaded("mixed", MS / 2, MS / 10), 30 * MS), Echo);
    let seen = load(&service, 1, any_request).await;
    until(|| service.idle()).await;

    let tally = service.tally();
    let refused = seen.refused.values().sum::<u64>();
    assert_eq!(seen.asked, CLIENTS * REQUESTS);
    assert_eq!(seen.answered + refused + seen.failed + seen.left, seen.asked);
    assert!(seen.answered > 0 && seen.failed > 0 && seen.left > 0, "{seen:?}");
    // In bursts it is settled only later who cannot be in time.
    let late = ["deadline_unreachable", "deadline_hopeless"];
    assert!(late.iter().any(|reason| seen.refused.contains_key(*reason)), "{seen:?}");
    assert!(seen.refused.contains_key("queue_full"), "{seen:?}");

    let page = |name: &str| metric(&service, name, &[]);
    assert_eq!(page("punctual_requests_total"), seen.asked);
    assert_eq!(page("punctual_answers_total"), seen.answered);
    assert_eq!(page("punctual_failures_total"), seen.failed);
    assert_eq!(page("punctual_cancellations_total"), seen.left);
    assert_eq!(page("punctual_in_flight_requests"), 0);
    for rejection in router::Rejection::ALL {
        let label = format!("reason=\"{}\"", rejection.name());
        let counted = metric(&service, "punctual_refusals_total", &[&label]);
        assert_eq!(counted, seen.refused.get(rejection.name()).copied().unwrap_or(0), "{label}");
    }

    let statistics = service.statistics(None, None).unwrap();
    let sum =
        |of: fn(&server::service::ModelStatistics) -> u64| statistics.iter().map(of).sum::<u64>();
    assert_eq!(sum(|model| model.inference_stats.success.count), seen.answered);
    assert_eq!(sum(|model| model.inference_count), seen.answered, "all requests have one row");
    assert_eq!(sum(|model| model.inference_stats.fail.count), seen.asked - seen.answered);
    assert_eq!(sum(|model| model.execution_count), page("punctual_batches_total"));

    // A client that leaves while its batch runs has left, but for the router its request has run; one that leaves
    // with its refusal on the way has been refused.
    assert_eq!(tally.arrived, seen.asked);
    assert!(tally.finished >= seen.answered && tally.failed >= seen.failed);
    assert!(tally.refused_total() >= refused && tally.cancelled <= seen.left);
    let ended = tally.finished + tally.failed + tally.refused_total() + tally.cancelled;
    assert_eq!(ended, tally.arrived);
}
