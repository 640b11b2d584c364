//! What clients say of answers, over sockets: it is taken once for an answer that was given, and moves the choice.

use models::TaskSettings;
use router::RouterSettings;
use server::infer::Told;
use server::record::Recorder;
use server::service::Service;

use crate::fronts::{Fronts, fronts, message, post_to, read};
use crate::tasks::{digits, task};
use crate::world::*;

const PATH: &str = "/v2/tasks/digits/feedback";

#[tokio::test(flavor = "multi_thread")]
async fn feedback_for_an_answer_is_taken_once_and_counted_by_variant() {
    let service = service(1, None);
    digits(&service);
    let Fronts { http, mut grpc } = fronts(&service).await;
    let input = r#"{"inputs":[{"name":"x","datatype":"INT64","shape":[1,1],"data":[7]}]}"#;
    let (head, body) = read(post_to(http, "/v2/models/digits/infer", input).await).await;
    let id = body["parameters"]["answer_id"].as_str().unwrap().to_owned();
    assert!(head.contains(&format!("x-punctual-answer-id: {id}")), "{head}");
    let told = format!(r#"{{"id":"{id}","loss":0.25}}"#);
    let (head, body) = read(post_to(http, PATH, &told).await).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_null(), "{head}");
    let (head, body) = read(post_to(http, PATH, &told).await).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(body["error"], format!("answer '{id}' has its feedback already"));
    let mut message = message(&[7]);
    message.model_name = "digits".into();
    let over_grpc = grpc.model_infer(message).await.unwrap().into_inner();
    assert!(over_grpc.parameters.contains_key("answer_id"));
    let slow = &["model=\"digits\"", "variant=\"slow/1\""];
    assert_eq!(metric(&service, "punctual_feedback_total", slow), 1);
    let page = service.render_metrics();
    let loss =
        "punctual_feedback_loss_total{model=\"digits\",version=\"1\",variant=\"slow/1\"} 0.25\n";
    assert!(page.contains(loss), "{page}");
    let shown = service.task_json("digits").unwrap();
    let feedback = serde_json::json!({ "answers": 1, "mean_loss": 0.25 });
    assert_eq!(shown["variants"][0]["feedback"], feedback);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_that_is_of_no_use_is_refused_with_a_sentence() {
    let service = service(1, None);
    digits(&service);
    let Fronts { http, .. } = fronts(&service).await;
    for (path, body, status, part) in [
        (
            PATH,
            r#"{"id":"0-00","loss":0}"#,
            404,
            "answer '0-00' is not known: no answer of this task had that `answer_id` since the server started",
        ),
        (
            PATH,
            r#"{"id":"0-00","loss":1.7}"#,
            400,
            "`loss`: expected a number from 0 to 1, found 1.7",
        ),
        (PATH, r#"{"id":"0-00"}"#, 400, "expected either `loss`, or both `label` and `output`"),
        (
            "/v2/tasks/letters/feedback",
            r#"{"id":"0-00","loss":0}"#,
            404,
            "Request for unknown task: 'letters' is not found",
        ),
        (
            "/v2/tasks/slow/feedback",
            r#"{"id":"0-00","loss":0}"#,
            404,
            "Request for unknown task: 'slow' is not found",
        ),
    ] {
        let (head, answer) = read(post_to(http, path, body).await).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {head}");
        assert_eq!(answer["error"], part, "{body}");
    }
    service.stop();
}

/// Two equal models, and the task of both under a policy that learns.
fn equal(service: &Service, policy: &str) -> TaskSettings {
    install_emulated(service, loaded("one", MS / 10, MS / 10), 1);
    install_emulated(service, loaded("two", MS / 10, MS / 10), 1);
    task(&format!("policy = \"{policy}\""), &[("one", 0.9, 1.0), ("two", 0.9, 1.0)])
}

#[tokio::test(flavor = "multi_thread")]
async fn under_exp3_the_choice_follows_the_feedback_and_its_recording_replays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flight.jsonl");
    let recorder = Recorder::create(&path, RouterSettings::default()).unwrap();
    let service = service(1, Some(recorder));
    service.install_task("digits", equal(&service, "exp3")).unwrap();
    let mut last = 0;
    for round in 0..400 {
        let choice = service.infer(request("digits", &[round])).await.unwrap().choice.unwrap();
        let loss = if choice.model == "two" { 0.0 } else { 0.9 };
        last += u32::from(round >= 300 && choice.model == "two");
        let Some((_, Told::Text(id))) = choice.told().into_iter().last() else { panic!("no id") };
        let feedback = server::feedback::Feedback { id, loss: loss.try_into().unwrap() };
        service.feedback("digits", &feedback).unwrap();
    }
    assert!(last > 85, "{last} of the last 100");
    service.stop();
    let recording = std::fs::read_to_string(path).unwrap();
    assert_eq!(recording.lines().filter(|line| line.contains("\"Feedback\"")).count(), 400);
    sim::replay(recording.lines()).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_on_a_hedged_answer_teaches_of_the_variant_that_gave_it() {
    let service = service(1, None);
    install_emulated(&service, loaded("one", MS / 10, MS / 10), 1);
    install_emulated(&service, loaded("two", MS / 10, MS / 10), 1);
    // No second one is asked in that time.
    let rules = "policy = \"exp3\"\nanswer = \"hedged\"\n[hedge]\npatience = 100.0";
    let settings = task(rules, &[("one", 0.9, 1.0), ("two", 0.9, 1.0)]);
    service.install_task("digits", settings).unwrap();
    let mut last = 0;
    for round in 0..400 {
        let choice = service.infer(request("digits", &[round])).await.unwrap().choice.unwrap();
        assert!(choice.composed.is_some());
        let loss = if choice.model == "two" { 0.0 } else { 0.9 };
        last += u32::from(round >= 300 && choice.model == "two");
        let id = choice.answer_id.clone();
        let feedback = server::feedback::Feedback { id, loss: loss.try_into().unwrap() };
        service.feedback("digits", &feedback).unwrap();
    }
    assert!(last > 85, "{last} of the last 100");
    assert_eq!(metric(&service, "punctual_feedback_total", &["model=\"digits\""]), 400);
    service.stop();
}
