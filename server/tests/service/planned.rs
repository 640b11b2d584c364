//! Tasks that follow a plan: the planner's thread makes it, clients see it, and the choice follows it.

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
    // How much was asked when it was made depends on the machine; what it says must add up all the same.
    let plan = plan();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let near = |one: f64, other: f64| (one - other).abs() < 1e-6 * (1.0 + one.abs());
    let (mut shares, mut rows, mut right) = (0.0, 0.0, 0.0);
    for share in plan["shares"].as_array().unwrap() {
        assert_eq!((&share["version"], &share["executors"]), (&"1".into(), &[0].into()), "{plan}");
        let accuracy = if share["model"] == "slow" { 0.99 } else { 0.9 };
        shares += number(&share["share"]);
        rows += number(&share["rows_per_second"]);
        right += number(&share["share"]) * accuracy;
    }
    let answered = number(&plan["answered_rows_per_second"]);
    assert!(near(shares, 1.0) && near(rows, answered), "{plan}");
    assert!(near(right, number(&plan["accuracy"])), "{plan}");
    assert!(answered <= number(&plan["asked_rows_per_second"]) * (1.0 + 1e-6), "{plan}");
    let load = number(&plan["loads"][0]["load"]);
    assert!(load > 0.0 && load <= 1.0 + 1e-6, "{plan}");
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
