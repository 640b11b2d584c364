//! Requests to a linear model that share parity requests, as their clients see them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gpu::{Batch, LoadedModel, Output, RunError, Timing};
use models::{BatchingMode, DataType, Dim, ExecutorId, Goals, Objective, TaskSettings, TensorSpec};
use server::infer::{InferRequest, InferResponse, InputTensor, Told};
use server::service::{Loaded, Service};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::world::*;

const WIDTH: usize = 3;

/// A row that begins so waits for its gate.
const STUCK: f32 = 7.25;
/// A row that begins so fails.
const FAILS: f32 = 9.5;
/// A row that begins so waits for its gate, and fails then.
const STUCK_FAILS: f32 = 11.0;

/// y = Wx + c, or that with what is below 0 cut off.
struct Linear {
    weights: [[f32; WIDTH]; 2],
    bends: bool,
    began: UnboundedSender<f32>,
    gate: Arc<Mutex<Receiver<()>>>,
}

/// The test's side of the gates of an executor's models.
struct Gate {
    /// The first number of each row that began.
    began: UnboundedReceiver<f32>,
    open: Sender<()>,
}

impl Gate {
    async fn begins(&mut self, first: f32) {
        while self.began.recv().await.unwrap() != first {}
    }
}

const WEIGHTS: [[f32; WIDTH]; 2] = [[0.5, -1.25, 2.0], [3.0, 0.125, -0.75]];
const CONSTANT: [f32; 2] = [0.7, -2.3];

fn floats(data: &[u8]) -> Vec<f32> {
    let (values, rest) = data.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn bytes(numbers: &[f32]) -> Bytes {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn expected(row: [f32; WIDTH]) -> Vec<f32> {
    let one = |(weights, constant): (&[f32; WIDTH], f32)| {
        weights.iter().zip(row).map(|(weight, number)| weight * number).sum::<f32>() + constant
    };
    WEIGHTS.iter().zip(CONSTANT).map(one).collect()
}

impl LoadedModel for Linear {
    fn run(&mut self, batch: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
        let mut data = Vec::new();
        for part in &batch.parts {
            for row in floats(&part.tensors[0]).chunks_exact(WIDTH) {
                // The test may have let go of its gate.
                let _ = self.began.send(row[0]);
                if row[0] == STUCK || row[0] == STUCK_FAILS {
                    let _ = self.gate.lock().unwrap().recv();
                }
                if row[0] == FAILS || row[0] == STUCK_FAILS {
                    return Err(RunError::Failed("asked to".into()));
                }
                for (weights, constant) in self.weights.iter().zip(CONSTANT) {
                    let sum: f32 = weights.iter().zip(row).map(|(one, other)| one * other).sum();
                    let sum = sum + constant;
                    data.push(if self.bends { sum.max(0.0) } else { sum });
                }
            }
        }
        let shape = vec![i64::from(batch.rows), 2];
        Ok(vec![Output { datatype: DataType::Fp32, shape, data: bytes(&data) }])
    }
}

fn described(name: &str, datatype: DataType) -> Loaded {
    let mut loaded = loaded(name, MS, MS / 10);
    let spec = |name: &str, datatype, width| TensorSpec {
        name: name.into(),
        datatype,
        dims: vec![Dim::Any(None), Dim::Fixed(width)],
    };
    let description = &mut loaded.description;
    description.signature.inputs = vec![spec("x", DataType::Fp32, WIDTH as u64)];
    description.signature.outputs = vec![spec("y", datatype, 2)];
    // Each of them on an executor of its own.
    description.batching = BatchingMode::Never;
    (loaded.profiled_elements, loaded.batch_max) = (WIDTH as u64, 1);
    loaded
}

/// Puts a linear model on those executors.
fn put(service: &Service, name: &str, on: &[u32], bent: (f32, bool)) -> Gate {
    let (sender, began) = unbounded_channel();
    let (open, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let mut weights = WEIGHTS;
    weights[0][0] += bent.0;
    let model = |&executor: &u32| {
        let (began, gate) = (sender.clone(), Arc::clone(&gate));
        let model = Linear { weights, bends: bent.1, began, gate };
        (ExecutorId(executor), Box::new(model) as Box<dyn LoadedModel>)
    };
    let mut loaded = described(name, DataType::Fp32);
    loaded.executors = on.iter().map(model).collect();
    service.install(loaded);
    Gate { began, open }
}

fn settings(group: u32) -> TaskSettings {
    let variant = |model: &str| {
        format!(
            "[[variant]]\nmodel = \"{model}\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\ncost = 4.0\n"
        )
    };
    let text = format!(
        "[task]\nanswer = \"coded\"\n[coded]\ngroup = {group}\nmodel = \"a\"\nparity = \"copy\"\n{}{}",
        variant("a"),
        variant("copy")
    );
    TaskSettings::from_text("t/punctual.toml", &text).unwrap()
}

/// A coded task: its model on so many executors, its copy on the next. The gates of both.
fn coded(group: u32, executors: u32) -> (Arc<Service>, Gate, Gate) {
    let service = service(executors as usize + 1, None);
    let on: Vec<u32> = (0..executors).collect();
    let model = put(&service, "a", &on, (0.0, false));
    let copy = put(&service, "copy", &[executors], (0.0, false));
    service.install_task("t", settings(group)).unwrap();
    (service, model, copy)
}

type Asked = JoinHandle<Result<InferResponse, server::status::Failure>>;

fn request_of(rows: &[[f32; WIDTH]]) -> InferRequest {
    let input = InputTensor {
        name: "x".into(),
        datatype: Some(DataType::Fp32),
        shape: vec![i64::try_from(rows.len()).unwrap(), WIDTH as i64],
        data: bytes(rows.as_flattened()),
    };
    InferRequest { model: "t".into(), inputs: vec![input], ..InferRequest::default() }
}

fn ask(service: &Arc<Service>, request: InferRequest) -> Asked {
    let service = Arc::clone(service);
    tokio::spawn(async move { service.infer(request).await })
}

fn told(response: &InferResponse, name: &str) -> Told {
    let told = response.choice.as_ref().unwrap().told();
    told.into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// How it ended, after its numbers were held against its model's own.
async fn ended(asked: Asked, rows: &[[f32; WIDTH]]) -> String {
    let answered = tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time");
    let response = answered.unwrap().unwrap();
    let own = floats(&response.outputs[0].data);
    assert_eq!(response.outputs[0].shape, [i64::try_from(rows.len()).unwrap(), 2]);
    let right: Vec<f32> = rows.iter().copied().flat_map(expected).collect();
    for (own, right) in own.iter().zip(&right) {
        assert!((own - right).abs() <= 1e-5 * right.abs().max(1.0), "{own} is not {right}");
    }
    told(&response, "ended").to_string()
}

fn asked(service: &Service, variant: &str) -> u64 {
    let label = format!("variant=\"{variant}/1\"");
    metric(service, "punctual_task_asked_total", &[&label])
}

async fn finish(service: &Service) {
    until(|| service.idle()).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_straggler_follows_from_its_groups_and_is_equal_to_its_own() {
    let (service, mut gate, _copy) = coded(2, 2);
    let stuck = [[STUCK, 3.5, -8.0], [1.5, 2.5, 4.5]];
    let other = [[2.0, -6.0, 4.0], [-3.5, 8.0, 0.5]];
    let straggler = ask(&service, request_of(&stuck));
    gate.begins(STUCK).await;
    let second = ask(&service, request_of(&other));
    assert_eq!(ended(second, &other).await, "own");
    assert_eq!(ended(straggler, &stuck).await, "reconstructed");
    assert_eq!((asked(&service, "a"), asked(&service, "copy")), (2, 1));
    assert_eq!(metric(&service, "punctual_task_reconstructed_total", &["model=\"t\""]), 1);
    assert_eq!(service.statistics(Some("t"), None).unwrap()[0].inference_count, 4, "rows");
    drop(gate.open);
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconstructed_answer_says_what_it_took() {
    let (service, mut gate, _copy) = coded(2, 2);
    let straggler = ask(&service, request_of(&[[STUCK, 1.0, 1.0]]));
    gate.begins(STUCK).await;
    let other = [[2.0, -6.0, 4.0]];
    assert_eq!(ended(ask(&service, request_of(&other)), &other).await, "own");
    let answer = straggler.await.unwrap().unwrap();
    assert_eq!(told(&answer, "variant"), Told::Text("a/1".into()));
    assert_eq!(told(&answer, "asked_variants"), Told::Text("a/1,copy/1".into()));
    assert_eq!(told(&answer, "cost"), Told::Number(4.0 + 4.0 / 2.0));
    assert_eq!(told(&answer, "accuracy"), Told::Number(0.9));
    drop(gate.open);
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_alone_is_answered_by_its_own_ask_and_adds_no_work() {
    let (service, _gate, _copy) = coded(2, 1);
    for first in [1.0, 2.0, 3.0] {
        let row = [[first, 1.0, 1.0]];
        assert_eq!(ended(ask(&service, request_of(&row)), &row).await, "own");
    }
    assert_eq!((asked(&service, "a"), asked(&service, "copy")), (3, 0));
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_is_reconstructed_too() {
    let (service, mut gate, _copy) = coded(3, 3);
    let rows = [[STUCK, 3.0, -4.0], [STUCK, -2.0, 4.0], [STUCK_FAILS, 2.0, 5.0]];
    let mut all = Vec::new();
    for row in rows {
        all.push((ask(&service, request_of(&[row])), row));
        gate.begins(row[0]).await;
    }
    drop(gate.open);
    let mut hows = Vec::new();
    for (asked, row) in all {
        hows.push(ended(asked, &[row]).await);
    }
    assert_eq!(hows, ["own", "own", "reconstructed"]);
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_sums_answer_each_is_answered_or_fails_alone() {
    let (service, mut gate, mut copy) = coded(2, 2);
    let straggler = ask(&service, request_of(&[[STUCK, 1.0, 1.0]]));
    gate.begins(STUCK).await;
    // The sum fails.
    let row = [[FAILS - STUCK, -6.0, 4.0]];
    assert_eq!(ended(ask(&service, request_of(&row)), &row).await, "own");
    copy.begins(FAILS).await;
    gate.open.send(()).unwrap();
    assert_eq!(ended(straggler, &[[STUCK, 1.0, 1.0]]).await, "own");
    let failed = ask(&service, request_of(&[[FAILS, 1.0, 1.0]])).await.unwrap().unwrap_err();
    assert_eq!(failed.http(), 500, "alone");
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_after_its_group_has_ended_is_told_so() {
    let (service, mut gate, mut copy) = coded(2, 2);
    let straggler = ask(&service, request_of(&[[STUCK_FAILS, 1.0, 1.0]]));
    gate.begins(STUCK_FAILS).await;
    let row = [[FAILS - STUCK_FAILS, -6.0, 4.0]];
    assert_eq!(ended(ask(&service, request_of(&row)), &row).await, "own");
    copy.begins(FAILS).await;
    // The copy has done with the sum once it answers another request.
    let direct = InferRequest { model: "copy".into(), ..request_of(&[[1.0, 1.0, 1.0]]) };
    assert!(ask(&service, direct).await.unwrap().is_ok());
    gate.open.send(()).unwrap();
    assert_eq!(straggler.await.unwrap().unwrap_err().http(), 500);
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_hurts_nobody_of_its_group() {
    let (service, mut gate, mut copy) = coded(2, 2);
    let sum = [[2.0 * STUCK, 2.0, 2.0]];
    let first = ask(&service, request_of(&[[STUCK, 1.0, 1.0]]));
    gate.begins(STUCK).await;
    let second = ask(&service, request_of(&[[STUCK, 1.0, 1.0]]));
    gate.begins(STUCK).await;
    copy.begins(sum[0][0]).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    drop(gate.open);
    assert_eq!(ended(first, &[[STUCK, 1.0, 1.0]]).await, "own");
    until(|| service.idle()).await;
    let cancelled = service.statistics(Some("t"), None).unwrap()[0].inference_count;
    assert_eq!(cancelled, 1, "only one was answered");
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_too_unlike_to_be_added_are_not() {
    let (service, mut gate, _copy) = coded(2, 2);
    for huge in [1e6, f32::MAX, f32::NAN] {
        let straggler = ask(&service, request_of(&[[STUCK, 1.0, 1.0]]));
        gate.begins(STUCK).await;
        assert!(ask(&service, request_of(&[[huge, 0.0, 0.0]])).await.unwrap().is_ok());
        gate.open.send(()).unwrap();
        assert_eq!(ended(straggler, &[[STUCK, 1.0, 1.0]]).await, "own");
    }
    assert_eq!(asked(&service, "copy"), 0);
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_states_an_objective_is_answered_by_one_variant() {
    let (service, _gate, _copy) = coded(2, 1);
    let goals = Goals { objective: Some(Objective::Cost), ..Goals::default() };
    let request = InferRequest { goals, ..request_of(&[[1.0, 1.0, 1.0]]) };
    let answer = ask(&service, request).await.unwrap().unwrap();
    assert!(answer.choice.unwrap().composed.is_none());
    let goals = Goals { min_accuracy: 0.95.try_into().ok(), ..Goals::default() };
    let request = InferRequest { goals, ..request_of(&[[1.0, 1.0, 1.0]]) };
    let refused = ask(&service, request).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("has no variant of accuracy 0.95 or more"), "{refused}");
    finish(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_linear_and_a_copy_that_is_another_are_refused() {
    for (bends, copy_is, sentence) in [
        (
            true,
            0.0,
            "t/punctual.toml:5: `model`: 'a' is not linear: what 'copy' answers to the sum of 2 random rows is ",
        ),
        (
            false,
            0.01,
            "t/punctual.toml:5: `model`: 'a' is not linear: what 'copy' answers to the sum of 2 random rows is ",
        ),
    ] {
        let service = service(1, None);
        put(&service, "a", &[0], (0.0, bends));
        put(&service, "copy", &[0], (copy_is, bends));
        let error = service.install_task("t", settings(2)).unwrap_err();
        assert!(error.starts_with(sentence), "{error}");
        assert!(service.task_json("t").is_err(), "it is not there");
        service.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_whole_numbers_cannot_be_coded() {
    let service = service(1, None);
    for name in ["a", "copy"] {
        let loaded = described(name, DataType::Int32);
        install_emulated(&service, loaded, 1);
    }
    assert_eq!(
        service.install_task("t", settings(2)).unwrap_err(),
        "t/punctual.toml:5: `model`: output 'y' of 'a' is INT32 [-1, 2]; sums are made of FP32 or FP64 with fixed dimensions"
    );
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_of_the_model_is_looked_at_again() {
    let (service, _gate, _copy) = coded(2, 1);
    let row = [[1.0, 2.0, 3.0]];
    let how = async |service: &Arc<Service>| {
        let answer = ask(service, request_of(&row)).await.unwrap().unwrap();
        answer.choice.unwrap().composed.is_some()
    };
    assert!(how(&service).await);
    let _bent = put(&service, "a", &[0], (0.0, true));
    assert!(!how(&service).await, "one variant answers");
    let _straight = put(&service, "a", &[0], (0.0, false));
    assert!(how(&service).await);
    finish(&service).await;
}
