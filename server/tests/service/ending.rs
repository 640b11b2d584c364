//! Versions that come and go, and the end of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::order::{ask, blocked, refusal};
use crate::scripted::{Echo, gated};
use crate::world::*;

/// Threads that load models at the same time.
const THREADS: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_versions_are_replaced_and_withdrawn() {
    let service = service(1, None);
    install(&service, loaded("m", MS / 10, MS / 100), Echo);
    let client = |number: i64| {
        let service = Arc::clone(&service);
        async move {
            for round in 0..100 {
                let response = service.infer(request("m", &[number, round])).await.unwrap();
                assert_eq!(answer(&response), [number, round]);
            }
        }
    };
    let clients: Vec<_> = (0..8).map(|number| tokio::spawn(client(number))).collect();
    let gone = Arc::new(AtomicUsize::new(0));
    for round in 0..20 {
        // Versions 1 to 3 by turns: each replaces the one of its number, 2 and 3 are taken away again.
        let version = 1 + round % 3;
        install(
            &service,
            server::service::Loaded { version, ..loaded("m", MS / 10, MS / 100) },
            Echo,
        );
        let before = service.tally().finished;
        let arrived = || {
            service.tally().finished > before
                || clients.iter().all(tokio::task::JoinHandle::is_finished)
        };
        until(arrived).await;
        if version > 1 {
            let counted = Arc::clone(&gone);
            service.withdraw(
                "m",
                version,
                Box::new(move || {
                    counted.fetch_add(1, Ordering::SeqCst);
                }),
            );
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    until(|| gone.load(Ordering::SeqCst) == 13).await;
    assert_eq!((service.tally().finished, service.tally().refused_total()), (800, 0));
}

#[tokio::test]
async fn a_withdrawn_version_answers_what_it_accepted_before_it_goes() {
    let (service, gate, first) = blocked(1, 100).await;
    let second = ask(&service, request("m", &[1]));
    until(|| waiting(&service, "m") == 1).await;
    let gone = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&gone);
    service.withdraw(
        "m",
        1,
        Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    );
    assert_eq!(service.infer(request("m", &[2])).await.unwrap_err().http(), 404);
    assert_eq!(gone.load(Ordering::SeqCst), 0);
    drop(gate);
    first.await.unwrap().unwrap();
    assert_eq!(answer(&second.await.unwrap().unwrap()), [1]);
    until(|| gone.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_server_that_shuts_down_refuses_the_new_and_finishes_the_accepted() {
    let (service, gate, first) = blocked(1, 100).await;
    let second = ask(&service, request("m", &[1]));
    until(|| waiting(&service, "m") == 1).await;
    service.refuse_all();
    assert_eq!(refusal(service.infer(request("m", &[2])).await), "draining");
    assert!(!service.idle() && !service.model_ready("m", None));
    drop(gate);
    first.await.unwrap().unwrap();
    assert_eq!(answer(&second.await.unwrap().unwrap()), [1]);
    until(|| service.idle()).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_too_soon_still_answers_everyone() {
    let (service, gate, first) = blocked(1, 100).await;
    let waits = [1, 2, 3].map(|number| ask(&service, request("m", &[number])));
    until(|| waiting(&service, "m") == 3).await;
    let stopping = Arc::clone(&service);
    let stop = tokio::task::spawn_blocking(move || stopping.stop());
    let [one, ..] = waits.each_ref();
    until(|| one.is_finished()).await;
    drop(gate);
    stop.await.unwrap();
    assert_eq!(answer(&first.await.unwrap().unwrap()), [0, 0]);
    for asked in waits {
        assert_eq!(refusal(asked.await.unwrap()), "draining");
    }
    assert_eq!(refusal(service.infer(request("m", &[4])).await), "draining");
}

#[tokio::test]
async fn versions_installed_at_the_same_time_are_all_counted() {
    let service = service(1, None);
    let name = |thread: u32, number: u32| format!("m{thread}_{number}");
    let start = std::sync::Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (service, start) = (&service, &start);
            scope.spawn(move || {
                start.wait();
                for number in 0..50 {
                    install(service, loaded(&name(thread, number), MS / 10, MS / 100), Echo);
                }
            });
        }
    });
    for (thread, number) in
        (0..THREADS).flat_map(|thread| (0..50).map(move |number| (thread, number)))
    {
        service.infer(request(&name(thread, number), &[1])).await.unwrap();
    }
    for statistics in service.statistics(None, None).unwrap() {
        assert_eq!(statistics.execution_count, 1, "{}", statistics.name);
    }
}

#[tokio::test]
async fn a_gate_that_is_let_go_lets_its_model_run() {
    let service = service(1, None);
    let (model, gate) = gated();
    install(&service, loaded("m", MS, MS), model);
    drop(gate.open_all());
    assert_eq!(answer(&service.infer(request("m", &[5])).await.unwrap()), [5]);
}
