//! The client against servers that answer as scripted: every request ends once, as what it was.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "scripted/server.rs"]
mod server;

use std::future::{pending, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadgen::client::{Load, Plan, Target};
use loadgen::{Error, Mix, Outcome, Record, Tally};
use models::Slo;
use server::{Reply, grpc, serve, status};
use tokio::sync::{Barrier, Notify};

const MILLISECOND_NS: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn plan(scheme: &str, address: SocketAddr, load: Load) -> Plan {
    let target: Target = format!("{scheme}://{address}").parse().unwrap();
    Plan::new(target, Mix::single("m", Some(Slo { latency: HOUR })), load, Duration::from_secs(60))
}

fn every_millisecond(count: u64) -> Load {
    Load::Open((0..count).map(|number| number * MILLISECOND_NS).collect())
}

fn tally(records: &[Record]) -> Tally {
    let mut tally = Tally::default();
    records.iter().for_each(|record| tally.count(&record.outcome));
    tally
}

fn http_script(number: usize) -> Reply {
    Box::pin(async move {
        match number % 6 {
            0 => Ok(status(200, "tensors")),
            1 => Ok(status(503, r#"{"error":"a sentence","reason":"deadline_unreachable"}"#)),
            2 => Ok(status(503, r#"{"error":"Exceeds maximum queue size"}"#)),
            3 => Ok(status(400, r#"{"error":"wrong shape"}"#)),
            4 => Err(std::io::Error::other("closes the connection")),
            _ => pending().await,
        }
    })
}

#[test]
fn each_end_of_an_http_request_is_counted_once() {
    let mut plan = plan("http", serve(http_script), every_millisecond(60));
    plan.patience = Duration::from_millis(300);
    let tally = tally(&plan.run().unwrap().records);
    assert_eq!((tally.requests, tally.in_time), (60, 10), "{tally:?}");
    assert_eq!(tally.refused["deadline_unreachable"], 10, "{tally:?}");
    assert_eq!(tally.refused["Exceeds maximum queue size"], 10, "{tally:?}");
    assert_eq!(tally.errors["400 wrong shape"], 10, "{tally:?}");
    assert_eq!((tally.connections_lost, tally.timeouts), (10, 10), "{tally:?}");
}

#[test]
fn each_end_of_a_grpc_request_is_counted_once() {
    let script = |number: usize| -> Reply {
        Box::pin(async move {
            match number % 4 {
                0 => Ok(grpc(0, "", "answer".into())),
                1 => Ok(grpc(14, "queue full", "".into())),
                2 => Ok(grpc(3, "wrong shape", "".into())),
                _ => pending().await,
            }
        })
    };
    let mut plan = plan("grpc", serve(script), every_millisecond(40));
    plan.patience = Duration::from_millis(300);
    let tally = tally(&plan.run().unwrap().records);
    assert_eq!((tally.requests, tally.in_time, tally.timeouts), (40, 10, 10), "{tally:?}");
    assert_eq!(tally.refused["queue full"], 10, "{tally:?}");
    assert_eq!(tally.errors["InvalidArgument wrong shape"], 10, "{tally:?}");
}

#[test]
fn a_stall_shows_in_the_latency_of_every_request_that_was_due_meanwhile() {
    for (scheme, reply) in
        [("http", status as fn(u16, &'static str) -> _), ("grpc", |_, _| grpc(0, "", "a".into()))]
    {
        let (arrived, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        // The first request of the run itself is number 1: number 0 is the client's trial.
        let address = serve(move |number| {
            let (arrived, all) = (Arc::clone(&arrived), Arc::clone(&all));
            Box::pin(async move {
                let last = arrived.fetch_add(1, Ordering::SeqCst) == 50;
                if last {
                    all.notify_waiters();
                } else if number > 0 {
                    all.notified().await;
                }
                Ok(reply(200, "tensors"))
            })
        });
        let records = plan(scheme, address, every_millisecond(50)).run().unwrap().records;
        assert_eq!(tally(&records).in_time, 50, "{scheme}");
        for record in records {
            assert!(
                record.latency_ns >= 49 * MILLISECOND_NS - record.intended_ns,
                "{scheme}: {record:?}"
            );
        }
    }
}

#[test]
fn waiting_for_a_connection_counts_as_latency() {
    let stall = Duration::from_millis(50);
    let script = move |number| -> Reply {
        Box::pin(async move {
            if number == 1 {
                tokio::time::sleep(stall).await;
            }
            Ok(status(200, "tensors"))
        })
    };
    let mut plan = plan("http", serve(script), every_millisecond(20));
    plan.connections = 1;
    for record in plan.run().unwrap().records {
        assert!(
            u128::from(record.latency_ns + record.intended_ns) >= stall.as_nanos(),
            "{record:?}"
        );
    }
}

#[test]
fn an_answer_after_its_deadline_is_late() {
    let mut plan =
        plan("http", serve(|_| Box::pin(ready(Ok(status(200, "tensors"))))), every_millisecond(10));
    plan.mix = Mix::single("m", Some(Slo { latency: Duration::from_nanos(1) }));
    let records = plan.run().unwrap().records;
    assert!(records.iter().all(|record| record.outcome == Outcome::Late), "{records:?}");
}

#[test]
fn the_closed_loop_keeps_its_concurrency() {
    // An answer comes only when four requests wait for one.
    let four = Arc::new(Barrier::new(4));
    let address = serve(move |number| {
        let four = Arc::clone(&four);
        Box::pin(async move {
            if number > 0 {
                four.wait().await;
            }
            Ok(status(200, "tensors"))
        })
    });
    let mut plan = plan("http", address, Load::Closed(4));
    plan.duration = Duration::from_millis(50);
    plan.patience = Duration::from_millis(500);
    let tally = tally(&plan.run().unwrap().records);
    assert!(tally.in_time >= 4, "{tally:?}");
    assert_eq!(tally.requests, tally.in_time + tally.timeouts, "{tally:?}");
}

#[test]
fn a_run_that_cannot_start_says_why() {
    let address = serve(http_script);
    let mut unknown = plan("http", address, every_millisecond(1));
    unknown.mix = Mix::single("nope", None);
    let error = unknown.run().unwrap_err();
    assert_eq!(error.to_string(), "the server has no model 'nope': 404 no such model");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = plan("http", closed, every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}
