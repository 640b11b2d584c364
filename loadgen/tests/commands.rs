//! The commands that ask several times, as processes: what they find, write and refuse.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "scripted/server.rs"]
mod server;

use std::future::ready;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use loadgen::result::{Kind, ResultFile};
use server::{Reply, serve, status};

fn bench(flags: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual-bench"));
    let Output { status, stdout, stderr } = command.args(flags.split(' ')).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A path of this test alone.
fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("commands").join(name)
}

/// The result that a command writes, and what it prints.
fn result(name: &str, flags: &str) -> (ResultFile, String) {
    let file = place(name);
    let metrics = "--metrics http://127.0.0.1:9/metrics";
    let metrics = if flags.starts_with("compare") { "" } else { metrics };
    let flags = format!("{flags} --quiet --out {} {metrics}", file.display());
    let (code, text, error) = bench(flags.trim());
    assert_eq!(code, Some(0), "{text}{error}");
    (ResultFile::read(&file).unwrap(), text)
}

fn answering() -> SocketAddr {
    serve(|_| Box::pin(ready(Ok(status(200, "tensors")))))
}

/// Answers so many requests and refuses all that come after them.
fn answering_first(count: usize) -> SocketAddr {
    serve(move |number| -> Reply {
        let refused = status(503, r#"{"error":"full","reason":"queue_full"}"#);
        let answer = if number <= count { status(200, "tensors") } else { refused };
        Box::pin(ready(Ok(answer)))
    })
}

const ONE: &str = "--model m --deadline 1h --duration 200ms";

#[test]
fn a_sweep_has_a_point_for_each_load_and_writes_every_form() {
    let address = answering_first(60);
    let flags = format!("sweep --url http://{address} {ONE} --rates 100,500 --arrivals constant");
    let (result, text) = result("sweep/low.json", &flags);
    let points = &result.series[0].points;
    let tallies: Vec<(u64, u64)> = points
        .iter()
        .map(|point| (point.report.tally.in_time, point.report.tally.refused_total()))
        .collect();
    // One trial request before each run; the last that is answered is the 40th of the second run.
    assert_eq!((result.kind, tallies), (Kind::Sweep, vec![(19, 0), (40, 59)]));
    assert!(text.contains("constant 500/s"), "{text}");
    for (ending, begin) in
        [(".csv", "series,"), ("-timeline.csv", "series,"), (".hlog", "#"), (".html", "<!doctype")]
    {
        let file = place(&format!("sweep/low{ending}"));
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.starts_with(begin), "{}: {written}", file.display());
    }
}

#[test]
fn find_ends_between_a_load_that_was_good_and_one_that_was_not() {
    let address = answering_first(100);
    let flags = format!(
        "find --url http://{address} {ONE} --attainment 99% --from 100 --step 50% --repeats 1 --arrivals constant"
    );
    let (result, text) = result("find.json", &flags);
    let finding = &result.findings[0];
    // 20 requests, then 45 at 225/s, then too many.
    assert_eq!(finding.value, Some(225.0), "{text}");
    assert!(finding.note.starts_with("337.5 was too much"), "{}", finding.note);
}

#[test]
fn a_comparison_asks_both_in_turn_and_states_a_ratio() {
    let (one, other) = (answering(), answering());
    let flags = format!(
        "compare http://{one} http://{other} {ONE} --rate 200 --arrivals constant --rounds 3 --name-a one --name-b other"
    );
    let (result, _) = result("compare.json", &flags);
    let names: Vec<&str> = result.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["one", "other"]);
    assert!(result.series.iter().all(|series| series.points.len() == 3));
    let goodput = &result.findings[0];
    assert_eq!((goodput.what.as_str(), goodput.value), ("Goodput, one over other", Some(1.0)));
    assert_eq!(goodput.interval, Some([1.0, 1.0]));
}

#[test]
fn a_soak_states_drift_and_memory() {
    let address = answering();
    let pid = std::process::id();
    let flags = format!("soak --url http://{address} {ONE} --rate 100 --total 600ms --pid {pid}");
    let (result, _) = result("soak.json", &flags);
    let points = &result.series[0].points;
    assert_eq!(points.len(), 3);
    assert!(points.iter().all(|point| point.memory_bytes.is_some_and(|bytes| bytes > 1 << 20)));
    let what: Vec<&str> = result.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(what, ["Drift of the 99th percentile", "Drift of goodput", "Growth of memory"]);
}

#[test]
fn scenarios_of_mlperf_say_what_they_lack_of_its_rules() {
    let address = answering();
    let offline = format!("mlperf offline --url http://{address} {ONE} --samples 500");
    let (offline, _) = result("offline.json", &offline);
    assert_eq!(offline.series[0].points[0].report.tally.in_time, 500);
    assert!(offline.findings[0].note.starts_with("not by the rules: 500 of 24576 queries"));
    let server = format!("mlperf server --url http://{address} {ONE} --rate 200");
    let (server, _) = result("server.json", &server);
    assert!(server.findings[0].value.is_some(), "{:?}", server.findings);
    let (code, ..) = bench(&format!("mlperf server --url http://{address} {ONE}"));
    assert_eq!(code, Some(2));
}

#[test]
fn a_report_lays_results_over_each_other_and_refuses_what_is_none() {
    let sweep = |name: &str| {
        let flags = format!("sweep --url http://{} {ONE} --rates 100,300", answering());
        result(&format!("{name}.json"), &flags);
        place(&format!("{name}.json"))
    };
    let (one, other) = (sweep("first"), sweep("second"));
    let (page, svg) = (place("both.html"), place("curve.svg"));
    let (code, text, error) = bench(&format!(
        "report Left={} Right={} --out {} --goodput-svg {} --merged",
        one.display(),
        other.display(),
        page.display(),
        svg.display()
    ));
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains(" answers: p50 "), "{text}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains(">Left</text>") && svg.contains(">Right</text>"), "{svg}");
    assert!(std::fs::read_to_string(page).unwrap().contains("<h1>Left and Right</h1>"));
    let workload = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/example.toml");
    let (code, _, error) = bench(&format!("report {workload} --merged"));
    assert_eq!(code, Some(1));
    assert!(error.contains("not a result of punctual-bench"), "{error}");
}

#[test]
fn metrics_that_were_asked_for_and_are_not_there_are_missed() {
    let flags = "--rate 100 --quiet --metrics http://127.0.0.1:9/metrics";
    let (code, _, error) = bench(&format!("run --url http://{} {ONE} {flags}", answering()));
    assert_eq!(code, Some(0));
    assert_eq!(error, "punctual-bench: there are no metrics at http://127.0.0.1:9/metrics\n");
}

#[test]
fn a_run_in_which_nothing_is_due_ends() {
    let flags = "--model m --rate 1 --arrivals constant --duration 200ms --quiet";
    let (code, text, _) = bench(&format!("run --url http://{} {flags}", answering()));
    // No request was answered.
    assert_eq!(code, Some(3), "{text}");
}
