//! Kept answers as clients see them: equal requests are served by one run, and nobody is worse off for it.

use std::sync::Arc;
use std::time::Duration;

use server::grpc::inference::infer_parameter::ParameterChoice;
use server::infer::{Cached, InferRequest};
use server::service::{Loaded, Service};

use crate::fronts::{Fronts, fronts, message, post, read};
use crate::order::{LONG, ask, refusal};
use crate::scripted::{Echo, FAIL, Gate, gated};
use crate::tasks::task;
use crate::world::*;

fn keeping(mut loaded: Loaded) -> Loaded {
    loaded.description.cache = 1 << 20;
    loaded
}

/// A service with a model `m` that keeps answers, takes so long by its profile, and runs a request, number 0.
async fn blocked(time: Duration) -> (Arc<Service>, Gate) {
    let service = service(1, None);
    let mut loaded = keeping(loaded("m", time, MS));
    loaded.batch_max = 1;
    let (model, mut gate) = gated();
    install(&service, loaded, model);
    drop(ask(&service, request("m", &[0])));
    assert_eq!(gate.next().await, [0]);
    (service, gate)
}

fn count(service: &Service, what: &str) -> u64 {
    metric(service, &format!("punctual_cache_{what}_total"), &["model=\"m\""])
}

fn arrived(service: &Service) -> u64 {
    metric(service, "punctual_requests_total", &["model=\"m\""])
}

#[tokio::test]
async fn an_equal_request_gets_the_kept_answer_and_is_told_so_until_the_version_is_loaded_again() {
    let service = service(1, None);
    install(&service, keeping(loaded("m", MS, MS)), Echo);
    let Fronts { http, mut grpc } = fronts(&service).await;
    let (head, first) = read(post(http, &[1, 2]).await).await;
    assert!(!head.contains("x-punctual-cache") && first.get("parameters").is_none(), "{first}");
    let (head, second) = read(post(http, &[1, 2]).await).await;
    assert!(head.contains("x-punctual-cache: hit"), "{head}");
    assert_eq!(second["parameters"], serde_json::json!({ "cache": "hit" }));
    assert_eq!(second["outputs"], first["outputs"]);
    let third = grpc.model_infer(message(&[1, 2])).await.unwrap().into_inner();
    let told = third.parameters["cache"].parameter_choice.clone();
    assert_eq!(told, Some(ParameterChoice::StringParam("hit".into())));
    assert_eq!(row_of(&third.raw_output_contents[0]), [1, 2]);
    let (_, other) = read(post(http, &[2, 1]).await).await;
    assert_eq!(other["outputs"][0]["data"], serde_json::json!([2, 1]));
    assert_eq!((count(&service, "hits"), count(&service, "misses")), (2, 2));
    assert_eq!(metric(&service, "punctual_answers_total", &["model=\"m\""]), 4);
    assert!(metric(&service, "punctual_cache_bytes", &[]) >= 2 * 16);
    install(&service, keeping(loaded("m", MS, MS)), Echo);
    let (head, _) = read(post(http, &[1, 2]).await).await;
    assert!(!head.contains("x-punctual-cache"), "{head}");
    assert_eq!(count(&service, "misses"), 3);
    assert_eq!(metric(&service, "punctual_batches_total", &[]), 3);
}

#[tokio::test]
async fn a_model_whose_operator_does_not_say_so_keeps_nothing() {
    let service = service(1, None);
    install(&service, loaded("m", MS, MS), Echo);
    for _ in 0..3 {
        let answer = service.infer(request("m", &[1])).await.unwrap();
        assert_eq!(answer.cached, None);
    }
    assert_eq!(metric(&service, "punctual_batches_total", &[]), 3);
    assert!(!service.render_metrics().contains("punctual_cache_hits_total{"));
}

#[tokio::test]
async fn equal_requests_that_come_while_one_runs_get_its_answer() {
    let (service, mut gate) = blocked(LONG).await;
    let Fronts { http, .. } = fronts(&service).await;
    let mut streams = vec![post(http, &[5]).await];
    until(|| waiting(&service, "m") == 1).await;
    for _ in 0..9 {
        streams.push(post(http, &[5]).await);
    }
    until(|| arrived(&service) == 11).await;
    gate.open();
    assert_eq!(gate.next().await, [5]);
    gate.open();
    let mut joined = 0;
    for stream in streams {
        let (head, body) = read(stream).await;
        assert_eq!(body["outputs"][0]["data"], serde_json::json!([5]), "{head}");
        joined += u64::from(body["parameters"]["cache"] == "joined");
    }
    assert_eq!((joined, count(&service, "joined"), count(&service, "misses")), (9, 9, 2));
    until(|| service.idle()).await;
    assert_eq!(service.tally().batches, 2);
}

#[tokio::test]
async fn whoever_waits_for_one_whose_client_leaves_goes_its_own_way() {
    let (service, gate) = blocked(LONG).await;
    let Fronts { http, .. } = fronts(&service).await;
    let leader = post(http, &[5]).await;
    until(|| waiting(&service, "m") == 1).await;
    let followers = [post(http, &[5]).await, post(http, &[5]).await];
    until(|| arrived(&service) == 4).await;
    drop(leader);
    until(|| waiting(&service, "m") == 2).await;
    drop(gate);
    for follower in followers {
        let (head, body) = read(follower).await;
        assert_eq!(body["outputs"][0]["data"], serde_json::json!([5]), "{head}");
    }
    assert_eq!(count(&service, "joined"), 0);
    assert_eq!(metric(&service, "punctual_cancellations_total", &[]), 1);
}

#[tokio::test]
async fn whoever_waits_for_one_that_is_refused_or_fails_goes_its_own_way() {
    let (service, gate) = blocked(20 * MS).await;
    // The executor takes one more ahead; who comes now waits.
    drop(ask(&service, request("m", &[1])));
    until(|| arrived(&service) == 2 && waiting(&service, "m") == 0).await;
    let leader = ask(&service, request_within("m", &[5], 150 * MS));
    until(|| waiting(&service, "m") == 1).await;
    let follower = ask(&service, request_within("m", &[5], LONG));
    until(|| arrived(&service) == 4).await;
    // The batch ahead takes far longer than its profile says.
    assert_eq!(refusal(leader.await.unwrap()), "deadline_hopeless");
    until(|| waiting(&service, "m") == 1).await;
    let failing = ask(&service, request("m", &[FAIL]));
    until(|| waiting(&service, "m") == 2).await;
    let failing_too = ask(&service, request("m", &[FAIL]));
    until(|| arrived(&service) == 6).await;
    drop(gate);
    let answer = follower.await.unwrap().unwrap();
    assert_eq!((crate::world::answer(&answer), answer.cached), (vec![5], None));
    assert!(failing.await.unwrap().is_err() && failing_too.await.unwrap().is_err());
    assert_eq!(metric(&service, "punctual_failures_total", &[]), 2);
    until(|| metric(&service, "punctual_in_flight_requests", &[]) == 0).await;
}

#[tokio::test]
async fn nobody_waits_for_one_that_may_come_later_than_its_own_deadline() {
    let (service, gate) = blocked(LONG).await;
    let lazy = ask(&service, request("m", &[5]));
    until(|| waiting(&service, "m") == 1).await;
    let urgent = ask(&service, request_within("m", &[5], 10 * LONG));
    until(|| waiting(&service, "m") == 2).await;
    let joins = ask(&service, request_within("m", &[5], 20 * LONG));
    until(|| arrived(&service) == 4).await;
    let first = ask(&service, InferRequest { priority: 1, ..request("m", &[5]) });
    until(|| waiting(&service, "m") == 3).await;
    drop(gate);
    let how =
        [lazy, urgent, joins, first].map(|asked| async { asked.await.unwrap().unwrap().cached });
    let [lazy, urgent, joins, first] = how;
    assert_eq!((lazy.await, urgent.await, first.await), (None, None, None));
    assert_eq!(joins.await, Some(Cached::Joined));
}

#[tokio::test]
async fn a_task_is_served_by_what_its_most_accurate_variant_kept() {
    let service = service(1, None);
    install(&service, keeping(loaded("m", MS, MS)), Echo);
    install(&service, keeping(loaded("worse", MS, MS)), Echo);
    let settings = task("", &[("worse", 0.8, 1.0), ("m", 0.99, 20.0)]);
    service.install_task("digits", settings).unwrap();
    let asked = async |model: &str| service.infer(request(model, &[5])).await.unwrap();
    assert_eq!(asked("worse").await.cached, None);
    let first = asked("digits").await;
    assert_eq!((first.cached, first.choice.unwrap().model.as_str()), (None, "m"));
    let second = asked("digits").await;
    assert_eq!((second.cached, second.model.as_str()), (Some(Cached::Hit), "digits"));
    assert_eq!(second.choice.unwrap().model, "m");
    assert_eq!(asked("m").await.cached, Some(Cached::Hit));
    assert_eq!(metric(&service, "punctual_task_answers_total", &["variant=\"m/1\""]), 2);
}
