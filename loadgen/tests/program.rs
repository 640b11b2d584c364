//! `punctual-bench run` as a process: what it prints and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "scripted/server.rs"]
mod server;

use std::future::{pending, ready};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::{Reply, serve, status};

fn command(address: SocketAddr, flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual-bench"));
    command.args(["run", "--url", &format!("http://{address}")]);
    command.args(flags.split(' '));
    command
}

fn run(script: fn(usize) -> Reply, flags: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(serve(script), flags).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn answered(_: usize) -> Reply {
    Box::pin(ready(Ok(status(200, "tensors"))))
}

#[test]
fn a_run_reports_as_text_or_as_json() {
    let flags = "--model m --rate 200 --arrivals constant --duration 500ms --deadline 1h";
    let (code, text, _) = run(answered, flags);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("goodput/s") && text.contains("requests         99: 99 in time"),
        "{text}"
    );
    let (code, text, _) = run(answered, &format!("{flags} --json --warm-up 100ms"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(report["tally"]["in_time"], 100);
    assert_eq!(report["warm_up"]["in_time"], 19);
    assert_eq!(report["interrupted"], false);
}

#[test]
fn exit_codes_tell_failed_requests_and_runs_that_cannot_start() {
    let failing = |number: usize| -> Reply {
        let answer = if number < 10 { status(200, "") } else { status(500, "broken") };
        Box::pin(ready(Ok(answer)))
    };
    let (code, text, _) = run(failing, "--model m --rate 200 --duration 200ms");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("500 broken"), "{text}");
    let (code, _, error) = run(answered, "--model nope --rate 200");
    assert_eq!(code, Some(1), "{error}");
    assert_eq!(error, "punctual-bench: the server has no model 'nope': 404 no such model\n");
    let (code, ..) = run(answered, "--model m --rate 200 --concurrency 1");
    assert_eq!(code, Some(2));
}

#[test]
fn numbers_that_do_not_become_stable_are_said_to_be_so() {
    let flags = "--model m --rate 200 --duration 200ms --until-stable 1%";
    let (code, text, _) = run(answered, flags);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("NOT STABLE"), "{text}");
}

#[test]
fn an_interrupt_gives_the_report_so_far() {
    let (sent, seen) = mpsc::channel();
    let script = move |number: usize| -> Reply {
        sent.send(number).ok();
        Box::pin(
            async move { if number <= 10 { Ok(status(200, "tensors")) } else { pending().await } },
        )
    };
    let mut command =
        command(serve(script), "--model m --concurrency 1 --duration 1h --timeout 1h");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The client has ten answers when it asks again.
    while seen.recv().unwrap() < 11 {}
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(text.contains("11: 10 in time, 1 cancelled"), "{text}");
    assert!(text.contains("INTERRUPTED after"), "{text}");
}

#[test]
fn a_result_that_cannot_be_written_is_told_before_the_run() {
    let flags = "--model m --rate 200 --duration 1h --out /dev/null/results";
    let (code, text, error) = run(answered, flags);
    assert_eq!((code, text.as_str()), (Some(1), ""), "{error}");
    assert!(error.starts_with("punctual-bench: /dev/null/results: "), "{error}");
}

#[test]
fn a_workload_file_that_is_wrong_is_named_with_line_and_key() {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(b"duration = '1s'\nrate = 'fast'\n").unwrap();
    let name = file.path().display().to_string();
    let (code, _, error) = run(answered, &format!("--workload {name}"));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.starts_with(&format!("punctual-bench: {name}:2: rate: ")), "{error}");
}
