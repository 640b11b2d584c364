//! Who runs with whom, in which order, and who does not run at all.

use std::sync::Arc;
use std::time::Duration;

use gpu::InputPart;
use models::{ExecutorId, LatencyProfile, VariantId};
use router::{Rejection, Router, RouterSettings, Shape, ShapeId, VariantSpec};
use server::driver::{Driver, Inference};
use server::infer::{InferRequest, InferResponse};
use server::outcome::Outcome;
use server::service::Service;
use server::status::Failure;
use tokio::task::JoinHandle;

use crate::scripted::{Echo, Gate, gated};
use crate::world::*;

/// So long that nothing is given to the executor ahead of a batch's end.
pub(crate) const LONG: Duration = Duration::from_secs(100);

/// A service with a gated model `m`, and a first request, number 0, that runs.
pub(crate) async fn blocked(batch_max: u32, queue_max: usize) -> (Arc<Service>, Gate, Asked) {
    let service = service(1, None);
    let mut loaded = loaded("m", LONG, MS);
    loaded.batch_max = batch_max;
    loaded.description.queue_max = queue_max;
    let (model, mut gate) = gated();
    install(&service, loaded, model);
    let first = ask(&service, request("m", &[0, 0]));
    assert_eq!(gate.next().await, [0]);
    (service, gate, first)
}

pub(crate) type Asked = JoinHandle<Result<InferResponse, Failure>>;

/// Asks in a task of its own.
pub(crate) fn ask(service: &Arc<Service>, request: InferRequest) -> Asked {
    let service = Arc::clone(service);
    tokio::spawn(async move { service.infer(request).await })
}

pub(crate) fn refusal(result: Result<InferResponse, Failure>) -> &'static str {
    match result {
        Err(Failure::Refused(refusal)) => refusal.reason,
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn more_urgent_levels_run_first_and_equals_in_the_order_of_their_arrival() {
    let (service, mut gate, first) = blocked(1, 100).await;
    let mut asked = vec![first];
    for (number, priority) in [(1, 2), (2, 1), (3, 0), (4, 3), (5, 1)] {
        asked.push(ask(&service, InferRequest { priority, ..request("m", &[number]) }));
        until(|| waiting(&service, "m") == number.unsigned_abs()).await;
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        gate.open();
        order.extend(gate.next().await);
    }
    assert_eq!(order, [2, 5, 1, 3, 4]);
    gate.open();
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn requests_of_one_shape_share_a_batch_and_others_do_not() {
    let (service, gate, first) = blocked(8, 100).await;
    let row = |number: u8| vec![i64::from(number); 1 + usize::from(number % 3)];
    let asked: Vec<_> = (1..=12).map(|number| ask(&service, request("m", &row(number)))).collect();
    until(|| waiting(&service, "m") == 12).await;
    let began = gate.open_all();
    first.await.unwrap().unwrap();
    for (number, asked) in (1..).zip(asked) {
        let response = asked.await.unwrap().unwrap();
        assert_eq!((answer(&response), response.timing.batch), (row(number), 4));
    }
    assert_eq!(began.len(), 3);
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let (service, gate, first) = blocked(8, 2).await;
    let waits = [1, 2].map(|number| ask(&service, request("m", &[number])));
    until(|| waiting(&service, "m") == 2).await;
    assert_eq!(refusal(service.infer(request("m", &[3])).await), "queue_full");
    drop(gate);
    for asked in waits.into_iter().chain([first]) {
        asked.await.unwrap().unwrap();
    }
    service.infer(request("m", &[4])).await.unwrap();
}

#[tokio::test]
async fn a_request_whose_client_left_while_it_waited_never_runs() {
    let (service, mut gate, first) = blocked(1, 100).await;
    let gone = ask(&service, request("m", &[1]));
    let stays = ask(&service, request("m", &[2]));
    until(|| waiting(&service, "m") == 2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!((waiting(&service, "m"), service.tally().cancelled), (1, 1));
    gate.open();
    assert_eq!(gate.next().await, [2]);
    gate.open();
    first.await.unwrap().unwrap();
    stays.await.unwrap().unwrap();
    assert_eq!(service.tally().finished, 2);
}

#[tokio::test]
async fn a_request_that_becomes_hopeless_is_answered_though_its_executor_is_stuck() {
    let service = service(1, None);
    let mut loaded = loaded("m", 19 * MS, MS);
    loaded.batch_max = 1;
    let (model, mut gate) = gated();
    install(&service, loaded, model);
    let first = ask(&service, request("m", &[0]));
    assert_eq!(gate.next().await, [0]);
    // One more is given to the executor ahead of time; the third waits behind both.
    let second = ask(&service, InferRequest { priority: 1, ..request("m", &[1]) });
    until(|| service.tally().arrived == 2).await;
    let third = service.infer(request_within("m", &[2], 150 * MS));
    let third = tokio::time::timeout(PATIENCE, third).await.expect("an answer comes");
    assert_eq!(refusal(third), "deadline_hopeless");
    drop(gate);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(service.tally().finished, 2);
}

#[tokio::test]
async fn a_prediction_counts_the_way_out_that_is_kept_back_of_the_deadline() {
    let router = Router::new(RouterSettings::default()).unwrap();
    let driver =
        Driver::start(router, &[vec![]], None, Box::new(|_, _, _, _| ()), Box::new(|_| ()))
            .unwrap();
    let spec = VariantSpec {
        variant: VariantId(0),
        profile: LatencyProfile::linear(89 * MS, MS, 8),
        profiled_elements: 1,
        slo: None,
        queue_max: 8,
        policy: batcher::ALL[0].name.to_owned(),
        settings: batcher::PolicySettings::default(),
        weight: 1.0,
        executors: vec![ExecutorId(0)],
        weights: None,
    };
    driver.load(spec, vec![(ExecutorId(0), Box::new(Echo))]);
    // A run takes 90 ms as planned; 20 of the 100 ms are kept back.
    driver.note_way(1000 * MS);
    let inference = Inference {
        variant: VariantId(0),
        shape: Shape { id: ShapeId(0), elements: 1 },
        inner_shapes: Arc::new(vec![vec![1]]),
        part: InputPart::new(1, vec![bytes_of(&[1])]),
        priority: 1,
        deadline: Some(100 * MS),
        task: None,
        forms: None,
    };
    let Outcome::Refused(refused) = driver.submit(inference).outcome().await else {
        panic!("90 ms are in 80 ms");
    };
    assert_eq!(refused, Rejection::DeadlineUnreachable { predicted: 110 * MS, soonest: None });
    driver.stop();
}
