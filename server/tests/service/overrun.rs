//! A run that takes much longer than planned: the batch behind it is taken back, and nothing runs only to be late.

use std::sync::Arc;
use std::time::Duration;

use models::{BatchId, ExecutorId};
use router::{Action, Line, RouterSettings};
use server::infer::InferRequest;
use server::record::Recorder;
use server::service::Service;

use crate::order::{Asked, LONG, ask, refusal};
use crate::scripted::{Gate, gated};
use crate::world::*;

/// Nearly a run of `m`. The batch behind the first is given to the executor before so long has passed.
const RUN: Duration = Duration::from_millis(200);

/// One executor, stuck in the first run of a gated model `m`; the batch behind, of one request with a deadline and one
/// without, is hopeless by now.
struct Stuck {
    service: Arc<Service>,
    gate: Gate,
    first: Asked,
    hopeless: Asked,
    patient: Asked,
}

async fn stuck(recorder: Option<Recorder>) -> Stuck {
    let service = service(1, recorder);
    let (model, mut gate) = gated();
    install(&service, loaded("m", RUN, MS / 10), model);
    let first = ask(&service, request("m", &[0, 0]));
    assert_eq!(gate.next().await, [0]);
    let hopeless = ask(&service, request_within("m", &[1, 10], 5 * RUN));
    let patient = ask(&service, request("m", &[2, 20]));
    until(|| service.tally().batches == 2).await;
    // One more waits behind both batches, and is told when there is no hope left for it: so there is none for them.
    let last = service.infer(request_within("m", &[3, 30], 7 * RUN)).await;
    assert_eq!(refusal(last), "deadline_hopeless");
    assert_eq!(waiting(&service, "m"), 0);
    Stuck { service, gate, first, hopeless, patient }
}

#[tokio::test]
async fn a_batch_made_hopeless_is_taken_back_and_who_can_still_be_met_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flight.jsonl");
    let recorder = Recorder::create(&path, RouterSettings::default()).unwrap();
    let Stuck { service, mut gate, first, hopeless, patient } = stuck(Some(recorder)).await;
    gate.open();
    assert_eq!(gate.next().await, [2], "the request without hope does not run");
    assert_eq!(refusal(hopeless.await.unwrap()), "deadline_hopeless");
    gate.open();
    assert_eq!(answer(&first.await.unwrap().unwrap()), [0, 0]);
    assert_eq!(answer(&patient.await.unwrap().unwrap()), [2, 20]);
    until(|| service.idle()).await;
    let tally = service.tally();
    assert_eq!((tally.finished, tally.late, tally.withdrawn, tally.batches), (2, 0, 1, 3));
    service.stop();
    let recording = std::fs::read_to_string(path).unwrap();
    let withdrawn = Action::Withdraw { executor: ExecutorId(0), batch: BatchId(1) };
    let withdrawn = serde_json::to_string(&Line::Action(withdrawn)).unwrap();
    assert!(recording.lines().any(|line| line == withdrawn), "{recording}");
    let replayed = sim::replay(recording.lines()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(replayed.actions, tally.refused_total() + tally.batches + tally.withdrawn);
}

#[tokio::test]
async fn a_client_that_left_a_batch_which_is_taken_back_is_forgotten_unless_it_runs_at_once() {
    let Stuck { service, gate, first, hopeless, patient } = stuck(None).await;
    patient.abort();
    assert!(patient.await.unwrap_err().is_cancelled());
    // So long a run that nothing is given to the executor ahead of its end.
    let (model, mut urgent) = gated();
    install(&service, loaded("urgent", LONG, MS), model);
    let asked = ask(&service, InferRequest { priority: 1, ..request("urgent", &[7, 7]) });
    until(|| waiting(&service, "urgent") == 1).await;
    gate.open();
    assert_eq!(urgent.next().await, [7]);
    assert_eq!((waiting(&service, "m"), service.tally().cancelled), (0, 1));
    urgent.open();
    assert_eq!(answer(&asked.await.unwrap().unwrap()), [7, 7]);
    assert_eq!(refusal(hopeless.await.unwrap()), "deadline_hopeless");
    assert_eq!(answer(&first.await.unwrap().unwrap()), [0, 0]);
    until(|| service.idle()).await;
    assert_eq!((service.tally().finished, service.tally().batches), (2, 3));
}
