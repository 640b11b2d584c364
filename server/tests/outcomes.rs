//! Each accepted request gets exactly one answer, in overload, faults, disconnects, drains and swaps of versions.

#[path = "common/kit.rs"]
mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::{Echo, Moody, Spec, assert_echo, gated, install, reason, request, service};
use server::service::Service;
use server::status::Failure;
use tokio::task::JoinSet;

const MS: Duration = Duration::from_millis(1);

/// Longer than any answer may take; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    answered: u64,
    refused: u64,
    failed: u64,
    cancelled: u64,
}

/// Three times what one executor can do, with clients that leave.
async fn overload(service: &Arc<Service>) -> Seen {
    let mut clients = JoinSet::new();
    for client in 0..40_u32 {
        let service = Arc::clone(service);
        clients.spawn(async move {
            let mut seen = Seen::default();
            for turn in 0..25_u32 {
                let value = client * 100 + turn;
                let (rows, length) = (i64::from(turn % 3 + 1), i64::from(client % 2 + 1));
                let mut asked = request("m", value, rows, length);
                asked.timeout = Some(if turn % 5 == 0 { 8 * MS } else { 40 * MS });
                let infer = service.infer(asked);
                // Every seventh client leaves after 2 ms.
                let patience = if value % 7 == 0 { 2 * MS } else { PATIENCE };
                match tokio::time::timeout(patience, infer).await {
                    Ok(Ok(answer)) => {
                        assert_echo(&answer, value, rows, length);
                        seen.answered += 1;
                    }
                    Ok(Err(Failure::Refused(_))) => seen.refused += 1,
                    Ok(Err(_)) => seen.failed += 1,
                    Err(_) => seen.cancelled += 1,
                }
            }
            seen
        });
    }
    let mut seen = Seen::default();
    while let Some(one) = clients.join_next().await {
        let one = one.expect("a client does not panic");
        seen.answered += one.answered;
        seen.refused += one.refused;
        seen.failed += one.failed;
        seen.cancelled += one.cancelled;
    }
    seen
}

fn metric(page: &str, name: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains("model=\"m\""));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
    let sum = numbers.sum::<f64>() as u64;
    sum
}

async fn settle(service: &Service) {
    while !service.idle() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_overload_clients_metrics_statistics_and_scheduler_count_the_same() {
    let service = service(1, None);
    let spec = Spec { takes: 3 * MS, ..Spec::default() };
    install(&service, &spec, || Box::new(Echo { takes: 3 * MS }));
    let seen = overload(&service).await;
    settle(&service).await;
    assert_eq!(seen.answered + seen.refused + seen.cancelled, 1000);
    assert!(seen.answered > 50 && seen.refused > 50 && seen.cancelled > 10, "{seen:?}");
    let tally = service.tally();
    assert_eq!(tally.arrived, 1000);
    // A client that leaves while its batch is held, or just before it would hear of its end, is cancelled for it; for
    // the scheduler its request is finished or refused.
    assert!(tally.refused_total() >= seen.refused && tally.finished >= seen.answered);
    let left = tally.refused_total() - seen.refused;
    assert!(left <= seen.cancelled, "{tally:?} {seen:?}");
    assert_eq!(tally.finished + tally.cancelled + left, seen.answered + seen.cancelled);
    let page = service.render_metrics();
    assert_eq!(metric(&page, "nv_inference_request_success"), seen.answered);
    assert_eq!(metric(&page, "punctual_refusals_total"), seen.refused);
    assert_eq!(metric(&page, "punctual_cancellations_total"), seen.cancelled, "{page}");
    let statistics = &service.statistics(Some("m"), None).unwrap()[0];
    assert_eq!(statistics.inference_stats.success.count, seen.answered);
    // A batch that the run before it made hopeless was launched and never ran.
    assert_eq!(statistics.execution_count, tally.batches - tally.withdrawn);
    service.stop();
}

#[tokio::test]
async fn an_error_or_a_panic_fails_its_batch_alone() {
    let service = service(1, None);
    install(&service, &Spec { batch_max: 1, ..Spec::default() }, || Box::new(Moody));
    for (value, sentence) in
        [(13, "the model failed: thirteen"), (14, "the model's run panicked: fourteen")]
    {
        let error = service.infer(request("m", value, 1, 1)).await.unwrap_err();
        assert_eq!(error.http(), 500);
        assert!(error.to_string().contains(sentence), "{error}");
        assert_echo(&service.infer(request("m", 15, 1, 1)).await.unwrap(), 15, 1, 1);
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_that_becomes_hopeless_is_answered_while_the_executor_is_still_taken() {
    let service = service(1, None);
    let (model, gate) = gated();
    let model = std::cell::Cell::new(Some(model));
    install(&service, &Spec::default(), || Box::new(model.take().unwrap()));
    let first = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.infer(request("m", 1, 1, 1)).await }
    });
    tokio::task::block_in_place(|| gate.ran.recv_timeout(PATIENCE)).unwrap();
    let ahead = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.infer(request("m", 2, 1, 1)).await }
    });
    while service.tally().batches < 2 {
        tokio::task::yield_now().await;
    }
    // The profile promises the executor in 5 ms; the gate stays closed.
    let mut third = request("m", 3, 1, 1);
    third.timeout = Some(100 * MS);
    let third = tokio::time::timeout(PATIENCE, service.infer(third)).await.unwrap();
    assert_eq!(reason(&third), Some("deadline_hopeless"));
    assert!(!first.is_finished() && !ahead.is_finished());
    gate.open.send(()).unwrap();
    gate.open.send(()).unwrap();
    assert_echo(&first.await.unwrap().unwrap(), 1, 1, 1);
    assert_echo(&ahead.await.unwrap().unwrap(), 2, 1, 1);
    let ran: Vec<_> = gate.ran.try_iter().flatten().collect();
    assert_eq!(ran, [2], "the hopeless request ran");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_is_never_run_and_a_drain_answers_who_is_in() {
    let service = service(1, None);
    let (model, gate) = gated();
    let model = std::cell::Cell::new(Some(model));
    install(&service, &Spec { batch_max: 1, ..Spec::default() }, || {
        Box::new(model.take().unwrap())
    });
    let ask = |value| {
        let service = Arc::clone(&service);
        tokio::spawn(async move { service.infer(request("m", value, 1, 1)).await })
    };
    let first = ask(1);
    assert_eq!(tokio::task::block_in_place(|| gate.ran.recv_timeout(PATIENCE)), Ok(vec![1]));
    // One more goes ahead to the executor; the next ones wait in the queue.
    let ahead = ask(2);
    while service.tally().batches < 2 {
        tokio::task::yield_now().await;
    }
    let leaver = ask(3);
    while service.tally().arrived < 3 {
        tokio::task::yield_now().await;
    }
    let stayer = ask(4);
    while service.tally().arrived < 4 {
        tokio::task::yield_now().await;
    }
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    assert_eq!(service.tally().cancelled, 1);
    service.refuse_all();
    assert_eq!(reason(&service.infer(request("m", 5, 1, 1)).await), Some("draining"));
    for _ in 0..3 {
        gate.open.send(()).unwrap();
    }
    for (task, value) in [(first, 1), (ahead, 2), (stayer, 4)] {
        assert_echo(&task.await.unwrap().unwrap(), value, 1, 1);
    }
    let ran: Vec<_> = gate.ran.try_iter().flatten().collect();
    assert_eq!(ran, [2, 4]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_swapped_under_load_without_a_failed_request() {
    let service = service(2, None);
    let spec = Spec { executors: 2, takes: MS, ..Spec::default() };
    install(&service, &spec, || Box::new(Echo { takes: MS }));
    let mut clients = JoinSet::new();
    for client in 0..20_u32 {
        let service = Arc::clone(&service);
        clients.spawn(async move {
            for turn in 0..50 {
                let answer = service.infer(request("m", client, 1, 2)).await;
                let answer = answer.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
                assert_echo(&answer, client, 1, 2);
            }
        });
    }
    for version in 2..12 {
        let arrived = service.tally().arrived;
        let spec = Spec { version, ..spec.clone() };
        install(&service, &spec, || Box::new(Echo { takes: MS }));
        service.withdraw("m", version - 1, Box::new(|| {}));
        while service.tally().arrived < (arrived + 40).min(1000) {
            tokio::task::yield_now().await;
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let answer = service.infer(request("m", 7, 1, 2)).await.unwrap();
    assert_eq!(answer.version, "11");
    service.stop();
}

#[tokio::test]
async fn a_full_queue_and_an_impossible_deadline_are_refused_at_once_with_numbers() {
    let service = service(1, None);
    let (model, gate) = gated();
    let model = std::cell::Cell::new(Some(model));
    install(&service, &Spec { queue_max: 1, batch_max: 1, ..Spec::default() }, || {
        Box::new(model.take().unwrap())
    });
    let mut hurried = request("m", 1, 1, 4);
    hurried.timeout = Some(2 * MS);
    let Err(Failure::Refused(refusal)) = service.infer(hurried).await else { panic!("refused") };
    // The run, and the part of the way that cannot be seen from the server.
    let unseen = 2 * MS / 32;
    assert_eq!(
        (refusal.reason, refusal.predicted),
        ("deadline_unreachable", Some(5 * MS + unseen))
    );
    assert_eq!(refusal.retry_after, Some(3 * MS + unseen));
    let mut waiting = JoinSet::new();
    for value in 0..3_u32 {
        let before = service.tally().arrived;
        let service = Arc::clone(&service);
        waiting.spawn({
            let service = Arc::clone(&service);
            async move { service.infer(request("m", value, 1, 4)).await }
        });
        // The first two leave the queue: one runs, one goes ahead to the executor.
        let launched = u64::from(value + 1).min(2);
        while service.tally().arrived == before || service.tally().batches < launched {
            tokio::task::yield_now().await;
        }
    }
    // One runs, one is ahead at the executor, one waits.
    assert_eq!(reason(&service.infer(request("m", 9, 1, 4)).await), Some("queue_full"));
    for _ in 0..3 {
        gate.open.send(()).unwrap();
    }
    while let Some(answer) = waiting.join_next().await {
        answer.unwrap().unwrap();
    }
    service.stop();
}
