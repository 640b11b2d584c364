//! Tasks that follow a plan: the planner's thread makes it, clients see it, and the choice follows it.

use models::ExecutorId;
use server::service::Service;

use crate::tasks::task;
use crate::world::*;

/// A slow accurate model that carries 285 rows a second in full batches, and a fast one.
fn planned(service: &Service) {
    install_emulated(service, loaded("slow", 20 * MS, MS), 1);
    install_emulated(service, loaded("fast", MS, MS / 10), 1);
    let rules = "slo = \"2s\"\npolicy = \"planned\"";
    let settings = task(rules, &[("slow", 0.99, 20.0), ("fast", 0.9, 1.0)]);
    service.install_task("digits", settings).unwrap();
}

async fn by(service: &Service) -> String {
    service.infer(request("digits", &[7])).await.unwrap().choice.unwrap().model
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planners_thread_makes_a_plan_and_requests_follow_it() {
    let service = service(1, None);
    planned(&service);
    assert_eq!(by(&service).await, "slow", "without load the best one answers");
    let followed = async {
        loop {
            // More than the slow one carries, until the planner has seen it.
            let burst = (0..100).map(|_| {
                let service = std::sync::Arc::clone(&service);
                tokio::spawn(async move { service.infer(request("digits", &[7])).await.is_ok() })
            });
            for asked in burst.collect::<Vec<_>>() {
                asked.await.unwrap();
            }
            // Nothing waits now: whoever is asked alone and answered by the fast one was sent there by the plan.
            for _ in 0..4 {
                if by(&service).await == "fast" {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, followed).await.expect("the plan is followed");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_follows_a_plan_shows_it() {
    let service = service(1, None);
    planned(&service);
    let plan = || service.task_json("digits").unwrap()["plan"].clone();
    let asks = async {
        while plan()["shares"].as_array().is_none_or(Vec::is_empty) {
            by(&service).await;
        }
    };
    tokio::time::timeout(PATIENCE, asks).await.expect("a plan is made of what is asked");
    let plan = plan();
    let share = &plan["shares"][0];
    assert_eq!((&share["model"], &share["version"]), (&"slow".into(), &"1".into()), "{plan}");
    assert_eq!(share["executors"], serde_json::json!([ExecutorId(0).0]));
    assert_eq!((share["share"].as_f64(), plan["accuracy"].as_f64()), (Some(1.0), Some(0.99)));
    let load = plan["loads"][0]["load"].as_f64().unwrap();
    assert!(load > 0.0 && load <= 1.0 + 1e-9, "{plan}");
    assert_eq!(plan["asked_rows_per_second"], plan["answered_rows_per_second"]);
    assert!(plan["made_ms_ago"].as_f64().unwrap() >= 0.0);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_policy_shows_no_plan() {
    let service = service(1, None);
    crate::tasks::digits(&service);
    service.infer(request("digits", &[7])).await.unwrap();
    assert!(service.task_json("digits").unwrap().get("plan").is_none());
    service.stop();
}
