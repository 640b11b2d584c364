//! Variants of other names, shapes and types than their task's: clients see the task's form whoever answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gpu::{Batch, LoadedModel, Output, RunError, Timing};
use models::{DataType, Dim, Objective, Signature, TaskSettings, TensorSpec};
use server::infer::{Cached, InferRequest, InferResponse, InputTensor, RequestedOutput, Told};
use server::service::{Loaded, Service};

use crate::fronts::{Fronts, fronts, post_to, read};
use crate::order::LONG;
use crate::scripted::{Gate, Gated, gated};
use crate::world::*;

const FILE: &str = "sums/punctual.toml";
/// Elements of a row.
const ROW: usize = 4;

fn floats(data: &[u8]) -> Vec<f32> {
    let (values, rest) = data.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn raw(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Answers rows of four numbers with their sum: of the form of the task, or of another.
struct Sums {
    other: bool,
    gate: Option<Gated>,
}

impl LoadedModel for Sums {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        if let Some(gate) = &mut self.gate {
            // It tells of rows of integers.
            let part = gpu::InputPart::new(1, vec![bytes_of(&[i64::from(batch.rows)])]);
            let told = Batch { rows: 1, parts: vec![part], inner_shapes: vec![vec![1]], ..*batch };
            gate.run(&told, timing)?;
        }
        let inner: &[i64] = if self.other { &[1, 2, 2] } else { &[4] };
        assert_eq!(batch.inner_shapes, [inner.to_vec()]);
        let mut sums = Vec::new();
        for part in &batch.parts {
            let tensor = &part.tensors[0];
            let values = match self.other {
                true => floats(tensor),
                false => floats(&gpu::cast(tensor, (DataType::Int32, DataType::Fp32)).unwrap()),
            };
            assert_eq!(values.len(), part.rows as usize * ROW);
            sums.extend(values.chunks_exact(ROW).map(|row| row.iter().sum::<f32>()));
        }
        let rows = i64::from(batch.rows);
        let data = raw(&sums);
        let sum = Output { datatype: DataType::Fp32, shape: vec![rows], data };
        let sure: Vec<f32> = sums.iter().flat_map(|_| [0.25, 0.75]).collect();
        let (shape, kind) = (vec![rows, 2], DataType::Fp32);
        let scores = Output { datatype: kind, shape, data: raw(&sure) };
        if !self.other {
            return Ok(vec![sum, scores]);
        }
        let (datatype, shape) = (DataType::Fp64, vec![rows, 2, 1]);
        let data = gpu::cast(&scores.data, (DataType::Fp32, datatype)).unwrap();
        Ok(vec![Output { datatype, shape, data }, sum])
    }
}

fn spec(name: &str, datatype: DataType, inner: &[u64]) -> TensorSpec {
    let inner = inner.iter().map(|&length| Dim::Fixed(length));
    let dims = std::iter::once(Dim::Any(None)).chain(inner).collect();
    TensorSpec { name: name.into(), datatype, dims }
}

fn form(name: &str, other: bool, time: Duration) -> Loaded {
    let mut loaded = loaded(name, time, MS / 10);
    let (inputs, outputs) = match other {
        false => (
            vec![spec("x", DataType::Int32, &[4])],
            vec![spec("sum", DataType::Fp32, &[]), spec("p", DataType::Fp32, &[2])],
        ),
        true => (
            vec![spec("pixels", DataType::Fp32, &[1, 2, 2])],
            vec![spec("scores", DataType::Fp64, &[2, 1]), spec("total", DataType::Fp32, &[])],
        ),
    };
    loaded.description.signature = Signature { inputs, outputs, batched: true };
    let names = vec!["small".to_owned(), if other { "huge" } else { "big" }.to_owned()];
    loaded.description.labels =
        if other { vec![names, Vec::new()] } else { vec![Vec::new(), names] };
    loaded
}

const ADAPT: &str = r#"
adapt.inputs = [{ from = "x", to = "pixels", shape = [1, 2, 2], datatype = "FP32" }]
adapt.outputs = [
  { from = "total", to = "sum" },
  { from = "scores", to = "p", shape = [2], datatype = "FP32" },
]
"#;

fn settings(head: &str, adapt: &str) -> TaskSettings {
    let variant = |model: &str, accuracy: f64, rest: &str| {
        format!(
            "[[variant]]\nmodel = \"{model}\"\naccuracy = {accuracy}\nmetric = \"m\"\nsource = \"s\"\n{rest}"
        )
    };
    let variants = [variant("other", 0.9, adapt), variant("own", 0.99, "")].concat();
    TaskSettings::from_text(FILE, &format!("{head}{variants}")).unwrap()
}

/// A slow model of the task's form, a fast one of another, and the task of both.
fn sums(head: &str) -> (Arc<Service>, Gate) {
    let service = service(2, None);
    let (gate_model, gate) = gated();
    let mut own = form("own", false, 20 * LONG);
    own.executors = vec![(models::ExecutorId(1), Box::new(Sums { other: false, gate: None }))];
    service.install(own);
    let other = Sums { other: true, gate: Some(gate_model) };
    install(&service, form("other", true, LONG), other);
    service.install_task("sums", settings(head, ADAPT)).unwrap();
    (service, gate)
}

fn asking(rows: &[[i32; ROW]]) -> InferRequest {
    let data = rows.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![i64::try_from(rows.len()).unwrap(), 4];
    let input = InputTensor { name: "x".into(), datatype: Some(DataType::Int32), shape, data };
    InferRequest { model: "sums".into(), inputs: vec![input], ..InferRequest::default() }
}

fn soon(mut request: InferRequest) -> InferRequest {
    request.goals.objective = Some(Objective::Latency);
    request
}

/// Who answered, and the sums of the rows.
fn read_sums(answer: &InferResponse) -> (String, Vec<f32>) {
    let told = answer.told().find(|(name, _)| *name == "variant").unwrap().1;
    let (sum, scores) = (&answer.outputs[0], &answer.outputs[1]);
    assert_eq!((sum.name.as_str(), sum.datatype), ("sum", DataType::Fp32));
    let rows = sum.shape[0];
    assert_eq!(sum.shape, [rows]);
    assert_eq!((scores.name.as_str(), scores.datatype), ("p", DataType::Fp32));
    assert_eq!(scores.shape, [rows, 2]);
    assert_eq!(floats(&scores.data)[..2], [0.25, 0.75]);
    (told.to_string(), floats(&sum.data))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_variant_answers_in_the_form_of_the_task() {
    let (service, gate) = sums("");
    drop(gate);
    let asked = asking(&[[1, 2, 3, 4], [5, 6, 7, 8]]);
    let own = service.infer(asked.clone()).await.unwrap();
    assert_eq!(read_sums(&own), ("own/1".into(), vec![10.0, 26.0]));
    let other = service.infer(soon(asked)).await.unwrap();
    assert_eq!(read_sums(&other), ("other/1".into(), vec![10.0, 26.0]));
    let metadata = service.model_metadata("sums", None).unwrap();
    assert_eq!(metadata.inputs[0].name, "x");
    assert_eq!(service.task_json("sums").unwrap()["variants"][0]["adapted"], true);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_the_task_and_to_the_variant_itself_share_a_batch() {
    let (service, mut gate) = sums("");
    let ask = |request: InferRequest| {
        let service = Arc::clone(&service);
        tokio::spawn(async move { service.infer(request).await.unwrap() })
    };
    let direct = |row: [f32; ROW]| {
        let (datatype, shape) = (Some(DataType::Fp32), vec![1, 1, 2, 2]);
        let input = InputTensor { name: "pixels".into(), datatype, shape, data: raw(&row) };
        InferRequest { model: "other".into(), inputs: vec![input], ..InferRequest::default() }
    };
    // One runs; the rest waits and then runs together.
    let first = ask(soon(asking(&[[1, 0, 0, 0]])));
    gate.next().await;
    let task: Vec<_> = (2..5).map(|sum| ask(soon(asking(&[[sum, 0, 0, 0]])))).collect();
    let own: Vec<_> = [5.0, 6.0].map(|sum| ask(direct([sum, 0.0, 0.0, 0.0]))).into();
    until(|| waiting(&service, "other") == 5).await;
    let mut began = gate.open_all();
    assert_eq!(read_sums(&first.await.unwrap()).1, [1.0]);
    for (answer, sum) in task.into_iter().zip([2.0, 3.0, 4.0]) {
        assert_eq!(read_sums(&answer.await.unwrap()), ("other/1".into(), vec![sum]));
    }
    for (answer, sum) in own.into_iter().zip([5.0, 6.0]) {
        let answer = answer.await.unwrap();
        assert_eq!(answer.outputs[0].name, "scores");
        assert_eq!(floats(&answer.outputs[1].data), [sum]);
    }
    assert_eq!(began.recv().await.unwrap(), [5], "rows of the one run");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_over_a_socket_have_the_variants_names_and_the_tasks_outputs() {
    let (service, gate) = sums("");
    drop(gate);
    let Fronts { http, .. } = fronts(&service).await;
    let body = r#"{"inputs":[{"name":"x","datatype":"INT32","shape":[1,4],"data":[1,2,3,4]}],
        "outputs":[{"name":"p","parameters":{"classification":1}},{"name":"sum"}],
        "parameters":{"objective":"latency"}}"#;
    let (head, answer) = read(post_to(http, "/v2/models/sums/infer", body).await).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head} {answer}");
    assert_eq!(answer["parameters"]["variant"], "other/1");
    assert_eq!(answer["outputs"][0]["name"], "p");
    assert_eq!(answer["outputs"][0]["data"], serde_json::json!(["0.750000:1:huge"]));
    assert_eq!(answer["outputs"][1]["data"], serde_json::json!([10.0]));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_asks_and_hears_variants_of_another_form() {
    let cascade = "[task]\nanswer = \"cascade\"\n[confidence]\noutput = \"p\"\n[[cascade]]\nloss = 0.01\naccuracy = 0.98\nsource = \"s\"\nstages = [{ model = \"other\", threshold = 0.7 }, { model = \"own\" }]\n";
    let (service, gate) = sums(cascade);
    drop(gate);
    let answer = service.infer(asking(&[[1, 2, 3, 4], [4, 4, 4, 4]])).await.unwrap();
    assert_eq!(read_sums(&answer), ("other/1".into(), vec![10.0, 16.0]), "0.75 is sure enough");
    let ended = answer.told().find(|(name, _)| *name == "ended").unwrap().1;
    assert_eq!(ended, Told::Text("sure".into()));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_variant_keeps_for_a_task_of_another_form_is_not_given_to_its_own_clients() {
    let service = service(1, None);
    let mut own = form("own", false, MS);
    own.description.cache = 1 << 20;
    install(&service, own, Sums { other: false, gate: None });
    let mut plain = form("other", false, MS);
    plain.description.signature.outputs[0].datatype = DataType::Int32;
    install(&service, plain, Sums { other: false, gate: None });
    // Here the plain one is the first of the file's two, and the one that keeps its answers is adapted.
    let adapt = "adapt.outputs = [{ from = \"sum\", datatype = \"INT32\", lossy = true }]\n";
    let text = format!(
        "[[variant]]\nmodel = \"own\"\naccuracy = 0.99\nmetric = \"m\"\nsource = \"s\"\n{adapt}[[variant]]\nmodel = \"other\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n"
    );
    let task = TaskSettings::from_text(FILE, &text).unwrap();
    service.install_task("sums", task).unwrap();
    let asked = asking(&[[1, 2, 3, 4]]);
    for cached in [None, Some(Cached::Hit)] {
        let answer = service.infer(asked.clone()).await.unwrap();
        assert_eq!((answer.cached, answer.outputs[0].datatype), (cached, DataType::Int32));
    }
    for cached in [None, Some(Cached::Hit)] {
        let asked = InferRequest { model: "own".into(), ..asked.clone() };
        let answer = service.infer(asked).await.unwrap();
        assert_eq!((answer.cached, answer.outputs[0].datatype), (cached, DataType::Fp32));
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_does_not_fit_is_refused_by_file_line_and_key() {
    let (service, gate) = sums("");
    drop(gate);
    let wrong = ADAPT.replace("shape = [1, 2, 2]", "shape = [2, 2]");
    let error = service.install_task("sums", settings("", &wrong)).unwrap_err();
    assert_eq!(
        error,
        "sums/punctual.toml:7: `shape`: 'x' is [4] and 'pixels' is [1, 2, 2], without their batch axes: expected `shape = [1, 2, 2]`"
    );
    service.withdraw("own", 1, Box::new(|| ()));
    let alone = service.infer(asking(&[[1, 2, 3, 4]])).await.unwrap_err();
    assert_eq!(alone.http(), 404, "nobody is left who says what the task's form is");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_the_variant_alone_is_none_of_the_tasks() {
    let (service, gate) = sums("");
    drop(gate);
    let outputs = vec![RequestedOutput { name: "scores".into(), classification: None }];
    let error =
        service.infer(InferRequest { outputs, ..asking(&[[1, 2, 3, 4]]) }).await.unwrap_err();
    assert!(error.to_string().contains("unexpected inference output 'scores'"), "{error}");
    service.stop();
}
