//! Answers that several variants give together, as clients see them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gpu::{Batch, LoadedModel, Output, RunError, Timing};
use models::{DataType, Dim, Goals, Objective, TaskSettings, TensorSpec};
use server::infer::{InferRequest, InferResponse, InputTensor, Told};
use server::service::{Loaded, Service};

use crate::scripted::{FAIL, Gate, Gated, gated};
use crate::world::*;

const CLASSES: usize = 3;

/// Says of each row what the row says that it says: its class, and how sure each of three models is, in thousandths.
struct Sure {
    which: usize,
    gate: Option<Gated>,
}

impl LoadedModel for Sure {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        if let Some(gate) = &mut self.gate {
            gate.run(batch, timing)?;
        }
        let (mut own, mut scores) = (Vec::new(), Vec::new());
        for part in &batch.parts {
            for row in row_of(&part.tensors[0]).chunks_exact(4) {
                if row[1 + self.which] == FAIL {
                    return Err(RunError::Failed("asked to".into()));
                }
                let class = usize::try_from(row[0]).unwrap();
                let sure = row[1 + self.which] as f32 / 1000.0;
                let rest = (1.0 - sure) / (CLASSES - 1) as f32;
                scores.extend((0..CLASSES).map(|other| if other == class { sure } else { rest }));
                own.push(i64::try_from(self.which).unwrap());
            }
        }
        let rows = i64::from(batch.rows);
        let data: Bytes = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        Ok(vec![
            Output { datatype: DataType::Int64, shape: vec![rows, 1], data: bytes_of(&own) },
            Output { datatype: DataType::Fp32, shape: vec![rows, 3], data },
        ])
    }
}

fn scored(name: &str, fixed: Duration) -> Loaded {
    let mut loaded = loaded(name, fixed, MS / 10);
    let scores = TensorSpec {
        name: "p".into(),
        datatype: DataType::Fp32,
        dims: vec![Dim::Any(None), Dim::Fixed(3)],
    };
    loaded.description.signature.outputs.push(scores);
    loaded.description.labels.push(Vec::new());
    loaded
}

const MODELS: [(&str, f64, f64); 3] =
    [("small", 0.9, 1.0), ("middle", 0.95, 4.0), ("large", 0.99, 20.0)];

/// Three models that take so long, as far as their profiles know, on an executor each.
fn install_three(service: &Service, times: [Duration; 3]) {
    for (which, ((name, ..), time)) in MODELS.iter().zip(times).enumerate() {
        put(service, scored(name, time), which, None);
    }
}

fn put(service: &Service, mut loaded: Loaded, which: usize, gate: Option<Gated>) {
    let executor = models::ExecutorId(u32::try_from(which).unwrap());
    loaded.executors = vec![(executor, Box::new(Sure { which, gate }))];
    service.install(loaded);
}

fn settings(tables: &str) -> TaskSettings {
    let variant = |(model, accuracy, cost): &(&str, f64, f64)| {
        format!(
            "[[variant]]\nmodel = \"{model}\"\naccuracy = {accuracy}\nmetric = \"top-1\"\nsource = \"a test\"\ncost = {cost:?}\n"
        )
    };
    let variants: String = MODELS.iter().map(variant).collect();
    TaskSettings::from_text("digits/punctual.toml", &format!("{tables}{variants}")).unwrap()
}

const CASCADES: &str = r#"
[task]
answer = "cascade"
[confidence]
output = "p"
[[cascade]]
loss = 0.01
accuracy = 0.985
source = "a test"
stages = [
  { model = "small", threshold = 0.8 },
  { model = "middle", threshold = 0.8 },
  { model = "large" },
]
[[cascade]]
loss = 0.05
accuracy = 0.945
source = "a test"
stages = [{ model = "small", threshold = 0.5 }, { model = "middle" }]
"#;

fn cascades(times: [Duration; 3]) -> Arc<Service> {
    let service = service(3, None);
    install_three(&service, times);
    service.install_task("digits", settings(CASCADES)).unwrap();
    service
}

/// A row: its class and how sure each model is of it, in thousandths.
type Row = [i64; 4];

fn asking(rows: &[Row]) -> InferRequest {
    let input = InputTensor {
        name: "x".into(),
        datatype: Some(DataType::Int64),
        shape: vec![i64::try_from(rows.len()).unwrap(), 4],
        data: bytes_of(rows.as_flattened()),
    };
    InferRequest { model: "digits".into(), inputs: vec![input], ..InferRequest::default() }
}

fn allowing(loss: f64) -> Goals {
    Goals { max_accuracy_loss: loss.try_into().ok(), ..Goals::default() }
}

/// Of each row, which model's answer it got.
fn by(response: &InferResponse) -> Vec<i64> {
    row_of(&response.outputs[0].data)
}

fn told(response: &InferResponse, name: &str) -> Told {
    let told = response.choice.as_ref().unwrap().told();
    told.into_iter().find(|(known, _)| *known == name).unwrap().1
}

fn text(text: &str) -> Told {
    Told::Text(text.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_asks_the_next_variant_only_while_the_answer_is_not_sure() {
    let service = cascades([MS, MS, MS]);
    let one = service.infer(asking(&[[2, 900, 0, 0]])).await.unwrap();
    assert_eq!((by(&one), told(&one, "variant")), (vec![0], text("small/1")));
    assert_eq!((told(&one, "asked"), told(&one, "ended")), (Told::Number(1.0), text("sure")));
    assert_eq!(
        (told(&one, "accuracy"), told(&one, "cost")),
        (Told::Number(0.985), Told::Number(1.0))
    );
    let two = service.infer(asking(&[[2, 700, 900, 0]])).await.unwrap();
    assert_eq!((by(&two), told(&two, "variant")), (vec![1], text("middle/1")));
    assert_eq!(told(&two, "cost"), Told::Number(5.0));
    let three = service.infer(asking(&[[2, 700, 700, 400]])).await.unwrap();
    assert_eq!((by(&three), told(&three, "ended")), (vec![2], text("all")));
    assert_eq!(told(&three, "asked_variants"), text("small/1,middle/1,large/1"));
    let metrics = service.render_metrics();
    for (variant, asked) in [("small/1", 3), ("middle/1", 2), ("large/1", 1)] {
        let line = format!(
            "punctual_task_asked_total{{model=\"digits\",version=\"1\",variant=\"{variant}\"}} {asked}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert_eq!(service.statistics(Some("digits"), None).unwrap()[0].inference_count, 3);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_shows_how_its_answers_are_made_and_who_would_give_one_now() {
    let service = cascades([MS, MS, MS]);
    let shown = service.task_json("digits").unwrap();
    assert_eq!(shown["answer"], "cascade");
    assert_eq!(shown["rules"]["confidence"]["output"], "p");
    let tier = &shown["rules"]["cascades"][1];
    assert_eq!(tier["stages"][0], serde_json::json!({ "model": "small", "threshold": 0.5 }));
    let plain = serde_json::json!(
        { "answer": "cascade", "models": ["small", "middle", "large"], "accuracy": 0.985 }
    );
    assert_eq!(shown["now"]["plain"], plain);
    let latency = &shown["now"]["latency"];
    assert_eq!((&latency["answer"], &latency["reason"]), (&"one".into(), &"soonest".into()));
    service.stop();
    let hedged = "[task]\nanswer = \"hedged\"\nmax_accuracy_loss = 0.01\n[hedge]\npatience = 2.0\n";
    let (service, gate) = with_gate(2, hedged);
    let shown = service.task_json("digits").unwrap();
    assert_eq!(shown["rules"]["hedge"]["patience"], 2.0);
    assert_eq!(shown["defaults"]["max_accuracy_loss"], 0.01);
    let plain = &shown["now"]["plain"];
    assert_eq!((&plain["answer"], &plain["model"]), (&"hedged".into(), &"large".into()));
    drop(gate);
    service.stop();
}

fn costing(max_cost: f64) -> Goals {
    Goals { max_cost: max_cost.try_into().ok(), ..Goals::default() }
}

fn accurate(min_accuracy: f64) -> Goals {
    Goals { min_accuracy: min_accuracy.try_into().ok(), ..Goals::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cascade_asks_together_costs_no_more_than_the_request_may() {
    let service = cascades([MS, MS, MS]);
    let answer = async |goals: Goals, rows: &[Row]| {
        let answer = service.infer(InferRequest { goals, ..asking(rows) }).await.unwrap();
        (by(&answer), told(&answer, "cost"), told(&answer, "ended"))
    };
    let unsure = [2, 0, 0, 0];
    // Small, middle and large cost 1, 4 and 20.
    let all = answer(costing(25.0), &[unsure]).await;
    assert_eq!(all, (vec![2], Told::Number(25.0), text("all")));
    let two = answer(costing(24.0), &[unsure]).await;
    assert_eq!(two, (vec![1], Told::Number(5.0), text("too_costly")));
    let shared = answer(costing(13.0), &[unsure, [2, 900, 0, 0]]).await;
    assert_eq!(shared, (vec![2, 0], Told::Number(13.0), text("all")));
    let none = InferRequest { goals: costing(0.5), ..asking(&[unsure]) };
    let refused = service.infer(none).await.unwrap_err();
    assert_eq!(refused.http(), 400, "{refused}");
    assert!(refused.to_string().contains("the nearest is 'small'"), "{refused}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_of_accuracy_is_held_against_the_cascades_claim_and_what_is_cut_short_of_it() {
    let service = cascades([MS, MS, 100 * MS]);
    let sure = InferRequest { goals: accurate(0.98), ..asking(&[[2, 900, 0, 0]]) };
    let sure = service.infer(sure).await.unwrap();
    assert_eq!((by(&sure), told(&sure, "accuracy")), (vec![0], Told::Number(0.985)));
    let short = |least: f64| InferRequest {
        goals: accurate(least),
        timeout: Some(50 * MS),
        ..asking(&[[2, 0, 0, 0]])
    };
    let enough = service.infer(short(0.95)).await.unwrap();
    assert_eq!((by(&enough), told(&enough, "ended")), (vec![1], text("cut_short")));
    let refused = service.infer(short(0.98)).await.unwrap_err();
    assert_eq!(refused.http(), 503, "{refused}");
    // Both cannot be promised: one variant that is cheap and accurate enough answers.
    let both = Goals { max_cost: 20.0.try_into().ok(), ..accurate(0.98) };
    let one =
        service.infer(InferRequest { goals: both, ..asking(&[[2, 900, 0, 0]]) }).await.unwrap();
    assert_eq!((by(&one), told(&one, "cost")), (vec![2], Told::Number(20.0)));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_is_left_out_where_both_would_cost_too_much() {
    let hedged = "[task]\nanswer = \"hedged\"\n[hedge]\npatience = 0.0\n";
    let (service, mut gate) = with_gate(2, hedged);
    let asked = InferRequest { goals: costing(20.5), ..asking(&[[2, 600, 600, 600]]) };
    let answering = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.infer(asked).await }
    });
    gate.next().await;
    // Meanwhile the second would have been asked: it is due at once.
    let cheap = InferRequest { goals: costing(2.0), ..asking(&[[2, 600, 600, 600]]) };
    assert_eq!(by(&service.infer(cheap).await.unwrap()), [0]);
    drop(gate.open_all());
    let answer = answering.await.unwrap().unwrap();
    assert_eq!((by(&answer), told(&answer, "asked")), (vec![2], Told::Number(1.0)));
    assert_eq!(told(&answer, "cost"), Told::Number(20.0));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_rows_that_are_not_sure_go_on_and_come_back_in_their_places() {
    let service = cascades([MS, MS, MS]);
    let rows = [[0, 400, 900, 0], [1, 900, 0, 0], [2, 400, 400, 900], [0, 850, 0, 0]];
    let answer = service.infer(asking(&rows)).await.unwrap();
    assert_eq!(by(&answer), [1, 0, 2, 0]);
    assert_eq!(answer.outputs[0].shape, [4, 1]);
    assert_eq!(
        (answer.outputs[1].shape.as_slice(), answer.outputs[1].data.len()),
        (&[4, 3][..], 48)
    );
    assert_eq!(told(&answer, "variant"), text("small/1+middle/1+large/1"));
    assert_eq!(told(&answer, "cost"), Told::Number((4.0 + 2.0 * 4.0 + 20.0) / 4.0));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_at_hand_is_given_where_the_next_stage_cannot_be_in_time_and_says_so() {
    let service = cascades([MS, 1000 * MS, 1000 * MS]);
    let asked = InferRequest { timeout: Some(500 * MS), ..asking(&[[2, 700, 900, 900]]) };
    let answer = service.infer(asked).await.unwrap();
    assert_eq!((by(&answer), told(&answer, "ended")), (vec![0], text("cut_short")));
    assert_eq!(told(&answer, "accuracy"), Told::Number(0.9), "that of the variant that answered");
    assert_eq!(told(&answer, "asked"), Told::Number(3.0));
    let late = InferRequest { timeout: Some(MS / 10), ..asking(&[[2, 700, 900, 900]]) };
    let refused = service.infer(late).await.unwrap_err();
    assert!(refused.to_string().starts_with("predicted answer after "), "{refused}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_states_how_much_accuracy_it_can_lose() {
    let service = cascades([MS, MS, MS]);
    let by = async |goals: Goals| {
        let request = InferRequest { goals, ..asking(&[[2, 600, 600, 600]]) };
        by(&service.infer(request).await.unwrap())[0]
    };
    assert_eq!(by(allowing(0.05)).await, 0, "sure enough for the second cascade");
    assert_eq!(by(allowing(0.02)).await, 2, "not for the first");
    assert_eq!(
        by(allowing(0.001)).await,
        2,
        "no cascade loses so little: the most accurate variant answers"
    );
    let cheap = Goals { max_cost: 5.0.try_into().ok(), ..allowing(0.02) };
    assert_eq!(by(cheap).await, 1, "the last is too costly");
    let soon = Goals { objective: Some(Objective::Latency), ..Goals::default() };
    let request = InferRequest { goals: soon, ..asking(&[[2, 600, 600, 600]]) };
    assert!(service.infer(request).await.unwrap().choice.unwrap().composed.is_none());
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_fails_or_is_gone_does_not_keep_the_others_from_answering() {
    let service = cascades([MS, MS, MS]);
    let answer = service.infer(asking(&[[2, FAIL, 900, 0]])).await.unwrap();
    assert_eq!((by(&answer), told(&answer, "ended")), (vec![1], text("sure")));
    let failed = service.infer(asking(&[[2, FAIL, FAIL, FAIL]])).await.unwrap_err();
    assert_eq!(failed.http(), 500);
    service.withdraw("middle", 1, Box::new(|| ()));
    let answer = service.infer(asking(&[[2, 500, 0, 900]])).await.unwrap();
    assert_eq!((by(&answer), told(&answer, "asked")), (vec![2], Told::Number(2.0)));
    assert_eq!(
        told(&answer, "accuracy"),
        Told::Number(0.99),
        "the cascade's is not known any more"
    );
    service.stop();
}

/// Three models of which one waits for its gate.
fn with_gate(which: usize, tables: &str) -> (Arc<Service>, Gate) {
    let service = service(3, None);
    install_three(&service, [MS, MS, MS]);
    let (model, gate) = gated();
    service.withdraw(MODELS[which].0, 1, Box::new(|| ()));
    put(&service, scored(MODELS[which].0, MS), which, Some(model));
    service.install_task("digits", settings(tables)).unwrap();
    (service, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_what_waits_for_it() {
    let (service, mut gate) = with_gate(1, CASCADES);
    let ask = |row: Row| {
        let service = Arc::clone(&service);
        tokio::spawn(async move { service.infer(asking(&[row])).await.map(|answer| by(&answer)) })
    };
    let first = ask([2, 100, 900, 0]);
    gate.next().await;
    let asked =
        |times| service.render_metrics().contains(&format!("variant=\"middle/1\"}} {times}\n"));
    let second = ask([1, 100, 900, 0]);
    until(|| asked(2)).await;
    until(|| waiting(&service, "middle") == 0).await;
    // One runs and one is held ready behind it.
    let third = ask([0, 100, 900, 0]);
    until(|| asked(3)).await;
    until(|| waiting(&service, "middle") == 1).await;
    third.abort();
    until(|| waiting(&service, "middle") == 0).await;
    drop(gate.open_all());
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (vec![1], vec![1]));
    until(|| service.idle()).await;
    assert_eq!(service.tally().cancelled, 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_straggling_stage_is_not_waited_for_beyond_the_deadline() {
    let (service, mut gate) = with_gate(1, CASCADES);
    let request = InferRequest { timeout: Some(100 * MS), ..asking(&[[2, 100, 900, 0]]) };
    let answer = service.infer(request).await.unwrap();
    assert_eq!((by(&answer), told(&answer, "ended")), (vec![0], text("cut_short")));
    gate.next().await;
    gate.open();
    until(|| service.idle()).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_confidence_is_no_output_of_its_variants_is_refused() {
    let service = service(3, None);
    install_three(&service, [MS, MS, MS]);
    let other = CASCADES.replace("output = \"p\"", "output = \"q\"");
    assert_eq!(
        service.install_task("digits", settings(&other)).unwrap_err(),
        "digits/punctual.toml:5: `output`: the variants have no output 'q', but y, p"
    );
    service.stop();
}

const ENSEMBLE: &str = r#"
[task]
answer = "ensemble"
[confidence]
output = "p"
[ensemble]
accuracy = 0.993
source = "a test"
at_once = 2
agreement = 0.9
members = [{ model = "large", weight = 3 }, { model = "middle", weight = 2 }, { model = "small", weight = 2 }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn members_of_an_ensemble_vote_and_those_left_are_not_asked_once_enough_agree() {
    let service = service(3, None);
    install_three(&service, [MS, MS, MS]);
    service.install_task("digits", settings(ENSEMBLE)).unwrap();
    let agreed = service.infer(asking(&[[2, 0, 950, 950]])).await.unwrap();
    // Each of the two is sure enough alone, and either may be the first.
    assert!(by(&agreed) == [2] || by(&agreed) == [1], "{agreed:?}");
    assert_eq!(told(&agreed, "ended"), text("sure"));
    assert_eq!(told(&agreed, "accuracy"), Told::Number(0.993));
    assert!(!told(&agreed, "asked_variants").to_string().contains("small"), "it was not needed");
    let failed = service.infer(asking(&[[1, 600, FAIL, FAIL]])).await.unwrap();
    assert_eq!((by(&failed), told(&failed, "asked")), (vec![0], Told::Number(3.0)));
    let none = service.infer(asking(&[[1, FAIL, FAIL, FAIL]])).await.unwrap_err();
    assert_eq!(none.http(), 500);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_voted_decides_when_the_deadline_nears() {
    // Those two alone cannot decide against the one that is stuck.
    let ensemble =
        ENSEMBLE.replace("at_once = 2", "at_once = 3").replace("weight = 3", "weight = 5");
    let (service, mut gate) = with_gate(2, &ensemble);
    let request = InferRequest { timeout: Some(100 * MS), ..asking(&[[2, 600, 600, 600]]) };
    let answer = service.infer(request).await.unwrap();
    assert_eq!((by(&answer), told(&answer, "ended")), (vec![1], text("cut_short")));
    gate.next().await;
    drop(gate.open_all());
    until(|| service.idle()).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_straggler_gets_a_second_request_and_the_first_answer_wins() {
    let hedged = "[task]\nanswer = \"hedged\"\n[hedge]\npatience = 2.0\n";
    let (service, mut gate) = with_gate(2, hedged);
    let answer = service.infer(asking(&[[2, 600, 600, 600]])).await.unwrap();
    assert_ne!(by(&answer), [2], "the most accurate one is stuck");
    assert_eq!((told(&answer, "asked"), told(&answer, "ended")), (Told::Number(2.0), text("all")));
    assert_eq!(told(&answer, "reason"), text("hedged"));
    gate.next().await;
    drop(gate.open_all());
    until(|| service.idle()).await;
    assert_eq!(service.tally().finished, 2);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_on_a_cascades_answer_is_refused_with_the_reason() {
    let service = cascades([MS, MS, MS]);
    let answer = service.infer(asking(&[[2, 900, 0, 0]])).await.unwrap();
    assert!(answer.told().all(|(name, _)| !["answer_id", "reason"].contains(&name)));
    let id = "0-00".to_owned();
    let feedback = server::feedback::Feedback { id, loss: 0.5.try_into().unwrap() };
    let refused = service.feedback("digits", &feedback).unwrap_err();
    assert_eq!(refused.http(), 404);
    let text = refused.to_string();
    assert!(text.ends_with("an answer that a cascade or an ensemble gave has no `answer_id` and takes no feedback, since no one variant's worth can be told from it: state an `objective` to be answered by one variant"), "{text}");
    let soon = Goals { objective: Some(Objective::Latency), ..Goals::default() };
    let one = service.infer(InferRequest { goals: soon, ..asking(&[[2, 0, 0, 0]]) }).await.unwrap();
    let Told::Text(id) = told(&one, "answer_id") else { panic!("no id") };
    let feedback = server::feedback::Feedback { id, loss: 0.5.try_into().unwrap() };
    service.feedback("digits", &feedback).unwrap();
    service.stop();
}
