//! Tasks as clients see them: any variant may answer, the answer says which, and what cannot be is refused by name.

use models::{Goals, Objective, TaskSettings};
use router::RouterSettings;
use server::infer::{InferRequest, Told};
use server::record::Recorder;
use server::service::Service;
use server::status::Failure;

use crate::world::*;

const FILE: &str = "digits/punctual.toml";

pub(crate) fn task(rules: &str, variants: &[(&str, f64, f64)]) -> TaskSettings {
    let variant = |&(model, accuracy, cost): &(&str, f64, f64)| {
        format!(
            "[[variant]]\nmodel = \"{model}\"\naccuracy = {accuracy}\nmetric = \"top-1\"\nsource = \"a test\"\ncost = {cost:?}\n"
        )
    };
    let variants: String = variants.iter().map(variant).collect();
    TaskSettings::from_text(FILE, &format!("[task]\n{rules}\n{variants}")).unwrap()
}

/// A slow accurate model and a fast one, and the task of both.
pub(crate) fn digits(service: &Service) {
    install_emulated(service, loaded("slow", 20 * MS, MS), 1);
    install_emulated(service, loaded("fast", MS, MS / 10), 1);
    let settings = task("slo = \"200ms\"", &[("slow", 0.99, 20.0), ("fast", 0.9, 1.0)]);
    service.install_task("digits", settings).unwrap();
}

fn asking(goals: Goals) -> InferRequest {
    InferRequest { goals, ..request("digits", &[7, 7]) }
}

fn wants(min_accuracy: f64, max_cost: f64) -> Goals {
    Goals {
        min_accuracy: min_accuracy.try_into().ok(),
        max_cost: max_cost.try_into().ok(),
        ..Goals::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_answered_by_the_variant_its_goals_ask_for_and_says_so() {
    let service = service(1, None);
    digits(&service);
    let by = async |request| {
        let answer = service.infer(request).await.unwrap();
        assert_eq!((answer.model.as_str(), answer.version.as_str()), ("digits", "1"));
        answer.choice.unwrap()
    };
    let best = by(asking(Goals::default())).await;
    assert_eq!((best.model.as_str(), f64::from(best.accuracy)), ("slow", 0.99));
    assert!(best.predicted >= Some(20 * MS) && best.took >= 10 * MS, "{best:?}");
    let told = best.told();
    assert_eq!(told[0], ("variant", Told::Text("slow/1".into())));
    assert!(told.contains(&("reason", Told::Text("most_accurate".into()))), "{told:?}");
    let objective = Goals { objective: Some(Objective::Latency), ..Goals::default() };
    assert_eq!(by(asking(objective)).await.model, "fast");
    assert_eq!(by(asking(wants(0.5, 5.0))).await.model, "fast");
    let within = InferRequest { timeout: Some(15 * MS), ..asking(Goals::default()) };
    let within = by(within).await;
    assert_eq!((within.model.as_str(), within.reason), ("fast", Some("stepped_down")));
    let metrics = service.render_metrics();
    let line = |variant: &str, count: u64| {
        format!(
            "punctual_task_answers_total{{model=\"digits\",version=\"1\",variant=\"{variant}\"}} {count}\n"
        )
    };
    assert!(metrics.contains(&line("slow/1", 1)), "{metrics}");
    assert!(metrics.contains(&line("fast/1", 3)), "{metrics}");
    let statistics = service.statistics(Some("digits"), None).unwrap();
    assert_eq!(statistics[0].inference_count, 4);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_goals_are_refused_at_once_with_what_comes_nearest() {
    let service = service(1, None);
    digits(&service);
    let refused = async |goals| service.infer(asking(goals)).await.unwrap_err().to_string();
    assert_eq!(
        refused(wants(0.995, 30.0)).await,
        "task 'digits' has no variant of accuracy 0.995 or more of cost 30 or less; the nearest is 'slow' of accuracy 0.99 and cost 20"
    );
    let late = InferRequest { timeout: Some(15 * MS), ..asking(wants(0.95, 30.0)) };
    let late = service.infer(late).await.unwrap_err();
    assert_eq!(late.http(), 503);
    let text = late.to_string();
    assert!(text.starts_with("predicted answer after "), "{text}");
    assert!(text.contains(" ms by 'slow', the first to answer of the variants, but"), "{text}");
    let impossible = service.infer(asking(wants(0.995, 30.0))).await.unwrap_err();
    assert_eq!((impossible.http(), impossible.grpc()), (400, tonic::Code::InvalidArgument));
    let Failure::Refused(refusal) = impossible else { panic!("{impossible}") };
    assert_eq!((refusal.reason, refusal.retry_after), ("goals_impossible", None));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_looks_like_a_model_and_shows_its_variants() {
    let service = service(1, None);
    assert!(service.install_task("digits", task("", &[("slow", 0.99, 1.0)])).is_ok());
    assert!(!service.model_ready("digits", None), "none of its variants is served");
    digits(&service);
    assert!(service.model_ready("digits", None) && service.model_ready("digits", Some("1")));
    assert!(!service.model_ready("digits", Some("2")));
    let metadata = service.model_metadata("digits", None).unwrap();
    assert_eq!((metadata.name.as_str(), metadata.inputs.len()), ("digits", 1));
    assert_eq!(service.model_config_json("digits", None).unwrap()["name"], "digits");
    let shown = service.task_json("digits").unwrap();
    assert_eq!(shown["variants"][0]["model"], "slow");
    assert_eq!(shown["now"]["accuracy"]["model"], "slow");
    assert_eq!(shown["now"]["latency"]["model"], "fast");
    let plain = &shown["now"]["plain"];
    assert_eq!((&plain["model"], &plain["reason"]), (&"slow".into(), &"most_accurate".into()));
    assert_eq!((&shown["answer"], &shown["rules"]), (&"one".into(), &serde_json::Value::Null));
    let by_place = task("policy = \"fixed\"", &[("fast", 0.9, 1.0), ("slow", 0.99, 20.0)]);
    service.install_task("digits", by_place).unwrap();
    let shown = service.task_json("digits").unwrap();
    let plain = &shown["now"]["plain"];
    assert_eq!((&plain["model"], &plain["reason"]), (&"fast".into(), &"listed".into()));
    assert_eq!(service.task_json("other").unwrap_err().http(), 404);
    assert_eq!(service.counts(), [2, 2, 1]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_model_has_is_refused_of_a_task_by_what_it_is() {
    let service = service(1, None);
    digits(&service);
    let variants = "its variants are slow/1, fast/1; see GET /v2/tasks/digits";
    for version in [None, Some("1")] {
        let error = service.profile_json("digits", version).unwrap_err();
        assert_eq!(error.http(), 404);
        assert_eq!(error.to_string(), format!("'digits' is a task, not a model: {variants}"));
    }
    let absent = format!(
        "Request for unknown model: 'digits' version 2 is not found: 'digits' is a task, which has version 1 only; {variants}"
    );
    let metadata = service.model_metadata("digits", Some("2")).unwrap_err();
    let asked = InferRequest { version: Some("2".into()), ..asking(Goals::default()) };
    let answer = service.infer(asked).await.unwrap_err();
    assert_eq!([metadata.to_string(), answer.to_string()], [absent.as_str(), absent.as_str()]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_for_other_devices_does_not_answer() {
    let service = service(1, None);
    install_emulated(&service, loaded("slow", 20 * MS, MS), 1);
    install_emulated(&service, loaded("fast", MS, MS / 10), 1);
    let text = "[[variant]]\nmodel = \"slow\"\naccuracy = 0.99\nmetric = \"m\"\nsource = \"s\"\ndevices = [\"cuda\"]\n\
        [[variant]]\nmodel = \"fast\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n";
    let mut settings = TaskSettings::from_text(FILE, text).unwrap();
    assert_eq!(settings.keep_to(&std::collections::BTreeSet::from(["emulated"])).len(), 1);
    service.install_task("digits", settings).unwrap();
    let answer = service.infer(asking(Goals::default())).await.unwrap();
    assert_eq!(answer.choice.unwrap().model, "fast");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_come_and_go_under_a_task() {
    let service = service(1, None);
    digits(&service);
    let by = async || service.infer(asking(Goals::default())).await;
    assert_eq!(by().await.unwrap().choice.unwrap().model, "slow");
    service.withdraw("slow", 1, Box::new(|| ()));
    assert_eq!(by().await.unwrap().choice.unwrap().model, "fast");
    install_emulated(&service, loaded("slow", 20 * MS, MS), 1);
    assert_eq!(by().await.unwrap().choice.unwrap().model, "slow");
    service.withdraw("digits", 1, Box::new(|| ()));
    assert_eq!(by().await.unwrap_err().http(), 404);
    assert!(service.infer(request("slow", &[7, 7])).await.unwrap().choice.is_none());
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_task_can_be_is_refused_with_file_line_and_key() {
    let service = service(1, None);
    install_emulated(&service, loaded("slow", 20 * MS, MS), 1);
    let mut other = loaded("other", MS, MS);
    other.description.signature.outputs[0].name = "z".into();
    install_emulated(&service, other, 1);
    let both = task("", &[("slow", 0.99, 1.0), ("other", 0.9, 1.0)]);
    assert_eq!(
        service.install_task("digits", both).unwrap_err(),
        "digits/punctual.toml:10: `model`: 'other' does not fit 'slow', the first variant: output 'y' there is 'z' here"
    );
    let policy = task("policy = \"best\"", &[("slow", 0.99, 1.0)]);
    let error = service.install_task("digits", policy).unwrap_err();
    assert!(error.starts_with("digits/punctual.toml:2: `policy`: unknown selection policy 'best'; known are: most_accurate_in_time, "), "{error}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_with_tasks_replays_since_the_choice_is_the_routers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flight.jsonl");
    let recorder = Recorder::create(&path, RouterSettings::default()).unwrap();
    let service = service(1, Some(recorder));
    digits(&service);
    let ask = |number: u64| {
        let goals = if number.is_multiple_of(3) { wants(0.95, 30.0) } else { Goals::default() };
        let request = InferRequest { timeout: Some(60 * MS), ..asking(goals) };
        let service = std::sync::Arc::clone(&service);
        tokio::spawn(async move { service.infer(request).await.is_ok() })
    };
    let asked: Vec<_> = (0..60).map(ask).collect();
    let mut answered = 0;
    for asked in asked {
        answered += u64::from(asked.await.unwrap());
    }
    service.stop();
    let recording = std::fs::read_to_string(path).unwrap();
    let replayed = sim::replay(recording.lines()).unwrap_or_else(|error| panic!("{error}"));
    let tally = service.tally();
    assert!(tally.refused_total() > 0 && answered > 0, "{tally:?}");
    let chosen = recording.lines().filter(|line| line.contains("\"Choose\"")).count() as u64;
    assert!(chosen >= answered, "{chosen} of {answered}");
    let decided = tally.batches + tally.refused_total() + tally.withdrawn;
    assert_eq!(replayed.actions, decided + chosen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_does_not_keep_its_last_variant_from_being_unloaded() {
    let service = service(1, None);
    install_emulated(&service, loaded("slow", MS, MS), 1);
    service.install_task("digits", task("", &[("slow", 0.99, 1.0)])).unwrap();
    let (told, gone) = tokio::sync::oneshot::channel();
    service.withdraw("slow", 1, Box::new(|| told.send(()).unwrap()));
    gone.await.unwrap();
    assert_eq!(service.infer(asking(Goals::default())).await.unwrap_err().http(), 404);
    service.stop();
}
