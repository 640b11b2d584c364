//! The client against servers that answer as scripted: every request ends once, as what it was.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "scripted/server.rs"]
mod server;

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loadgen::client::{Load, Plan, Source, Stop, Target, Tls};
use loadgen::{Error, Mix, Outcome, Record, Tally, Workload};
use models::Slo;
use server::{Reply, grpc, serve, serve_bodies, serve_text, serve_tls, serve_until, status};
use tokio::sync::{Barrier, Notify, oneshot};

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

    let refuses = serve(|_| Box::pin(ready(Ok(status(400, r#"{"error":"unexpected shape"}"#)))));
    let error = plan("http", refuses, every_millisecond(1)).run().unwrap_err();
    let wanted = "the server answered the first request to 'm' with 400 unexpected shape";
    assert_eq!(error.to_string(), wanted);

    let other = serve_text("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let error = plan("http", other, every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::NotOip { .. }), "{error}");
    let other = serve_text("220 mail.example.org ready\r\n");
    let error = plan("http", other, every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::NotOip { .. }), "{error}");
    let error = plan("grpc", other, every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::NotOip { .. }), "{error}");

    let error = plan("grpc", serve_text(""), every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::NotOip { .. }), "{error}");

    let mut elsewhere = plan("http", serve(http_script), every_millisecond(1));
    elsewhere.sources =
        vec![Source { shapes: [("y".into(), vec![1, 4])].into(), ..Source::default() }];
    let error = elsewhere.run().unwrap_err();
    assert_eq!(error.to_string(), "input 'y' of 'm' has a shape, but the model has only x");

    let error = plan("https", serve_text("HTTP/1.1 400 Bad Request\r\n\r\n"), every_millisecond(1));
    let error = error.run().unwrap_err().to_string();
    assert!(error.ends_with("it does not speak TLS"), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = plan("http", closed, every_millisecond(1)).run().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn the_counts_of_client_and_server_agree_under_three_times_its_load() {
    for scheme in ["http", "grpc"] {
        overload(scheme);
    }
}

fn overload(scheme: &'static str) {
    // A queue of 8 that answers its oldest request at every third arrival, and what is left at the last one.
    const ALL: usize = 600;
    let waiting: Arc<Mutex<VecDeque<oneshot::Sender<()>>>> = Arc::default();
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let (queue, counted) = (Arc::clone(&waiting), Arc::clone(&counts));
    let script = move |number: usize| -> Reply {
        let (queue, counted) = (Arc::clone(&queue), Arc::clone(&counted));
        Box::pin(async move {
            // Number 0 is the client's trial.
            if number == 0 {
                return Ok(answered(scheme));
            }
            let answer = {
                let mut queue = queue.lock().unwrap();
                let full = queue.len() >= 8;
                let answer = (!full).then(|| {
                    let (release, released) = oneshot::channel();
                    queue.push_back(release);
                    released
                });
                let wanted =
                    if number == ALL { ALL } else { usize::from(number.is_multiple_of(3)) };
                let oldest = wanted.min(queue.len());
                queue.drain(..oldest).for_each(|oldest| oldest.send(()).unwrap());
                answer
            };
            let Some(answer) = answer else {
                counted[1].fetch_add(1, Ordering::SeqCst);
                return Ok(refused(scheme));
            };
            answer.await.unwrap();
            counted[0].fetch_add(1, Ordering::SeqCst);
            Ok(answered(scheme))
        })
    };
    let plan = plan(scheme, serve(script), every_millisecond(ALL as u64));
    let tally = tally(&plan.run().unwrap().records);
    let [in_time, refused] = [0, 1].map(|end| counts[end].load(Ordering::SeqCst));
    assert_eq!((tally.in_time, tally.refused_total()), (in_time, refused), "{scheme}: {tally:?}");
    assert_eq!(tally.requests, ALL as u64, "{scheme}: {tally:?}");
    assert!(refused > 300, "{scheme}: {tally:?}");
}

fn answered(scheme: &str) -> hyper::Response<server::Body> {
    if scheme == "http" { status(200, "tensors") } else { grpc(0, "", "answer".into()) }
}

fn refused(scheme: &str) -> hyper::Response<server::Body> {
    let refusal = r#"{"error":"full","reason":"queue_full"}"#;
    if scheme == "http" { status(503, refusal) } else { grpc(14, "queue_full", "".into()) }
}

#[test]
fn when_the_server_is_killed_every_request_is_answered_or_lost() {
    for scheme in ["http", "grpc"] {
        let (kill, killed) = oneshot::channel::<()>();
        let (kill, answered) = (Mutex::new(Some(kill)), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&answered);
        let ok = if scheme == "http" {
            status as fn(u16, &'static str) -> _
        } else {
            |_, _| grpc(0, "", "a".into())
        };
        // 30 are answered. Five clients have all of these when the server sees their 35th request, and is killed.
        let script = move |number: usize| -> Reply {
            if number == 35 {
                kill.lock().unwrap().take().unwrap().send(()).unwrap();
            }
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                if number > 30 {
                    return pending().await;
                }
                counted.fetch_add(u64::from(number > 0), Ordering::SeqCst);
                Ok(ok(200, "tensors"))
            })
        };
        let plan = plan(scheme, serve_until(killed, script), Load::Closed(5));
        let (stop, mut lost) = (Stop::default(), 0);
        let enough = stop.clone();
        let played = plan.run_watched(&stop, move |record| {
            lost += usize::from(record.outcome == Outcome::ConnectionLost);
            if lost == 20 {
                enough.finish();
            }
        });
        let tally = tally(&played.unwrap().records);
        assert_eq!(tally.in_time, answered.load(Ordering::SeqCst), "{scheme}: {tally:?}");
        assert_eq!(tally.in_time, 30, "{scheme}: {tally:?}");
        assert_eq!(tally.requests, 30 + tally.connections_lost, "{scheme}: {tally:?}");
    }
}

#[test]
fn a_run_that_is_cancelled_counts_what_was_under_way() {
    let stop = Stop::default();
    let cancel = stop.clone();
    // Three clients have ten answers when the server sees their 13th request.
    let script = move |number: usize| -> Reply {
        if number == 13 {
            cancel.cancel();
        }
        Box::pin(
            async move { if number <= 10 { Ok(status(200, "tensors")) } else { pending().await } },
        )
    };
    let played = plan("http", serve(script), Load::Closed(3)).run_watched(&stop, |_| {}).unwrap();
    let tally = tally(&played.records);
    assert_eq!((tally.in_time, tally.cancelled, tally.requests), (10, 3, 13), "{tally:?}");
    assert!(played.interrupted && played.duration < Duration::from_secs(60));
}

#[test]
fn each_request_of_a_workload_asks_for_its_model_with_its_input() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/inputs");
    let text = format!(
        "duration = '100ms'\nwarm_up = '50ms'\nrate = 100\narrivals = 'constant'\n\
         [[clients]]\nmodel = 'm'\ninput = '{folder}'\n"
    );
    let workload = Workload::from_text("w.toml", &text).unwrap();
    for scheme in ["http", "grpc"] {
        let bodies: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let seen = Arc::clone(&bodies);
        let ok = if scheme == "http" { status } else { |_, _| grpc(0, "", "a".into()) };
        let address = serve_bodies(move |body| {
            seen.lock().unwrap().push(body.to_vec());
            ok(200, "tensors")
        });
        let target: Target = format!("{scheme}://{address}").parse().unwrap();
        let played = Plan::of(&workload, target).unwrap().run().unwrap();
        assert_eq!((played.warm_up.len(), played.records.len()), (4, 10), "{scheme}");
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 15, "{scheme}");
        // a.json, b.npy and c.bin in turn, each with elements of its own; a busy machine may deliver them in another order.
        for element in [1.0_f32, 2.0, 3.0] {
            let part = element.to_le_bytes().repeat(4);
            let holding = bodies.iter().filter(|body| body.windows(16).any(|found| found == part));
            assert_eq!(holding.count(), 5, "{scheme}: {element}");
        }
    }
}

#[test]
fn an_encrypted_server_is_trusted_by_its_authority_or_not_at_all() {
    let authority = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/ca.pem"));
    for (scheme, protocol) in [("https", "http/1.1"), ("grpcs", "h2")] {
        let address = serve_tls(protocol, move |_| {
            let ok = if scheme == "https" { status } else { |_, _| grpc(0, "", "a".into()) };
            Box::pin(ready(Ok(ok(200, "tensors"))))
        });
        let mut plan = plan(scheme, address, every_millisecond(20));
        for (authorities, insecure, trusted) in
            [(Some(authority.clone()), false, true), (None, true, true), (None, false, false)]
        {
            plan.tls = Tls { authorities, insecure };
            match plan.run() {
                Ok(played) => assert!(trusted && tally(&played.records).in_time == 20, "{scheme}"),
                Err(error) => {
                    assert!(!trusted && error.to_string().contains("UnknownIssuer"), "{error}")
                }
            }
        }
    }
}
