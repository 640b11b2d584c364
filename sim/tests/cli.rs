//! The commands as people type them: the shipped scenarios work, and bad input gets one clear sentence.
#![expect(clippy::unwrap_used, reason = "a command that cannot be run fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_punctual-sim"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap()
}

fn answer(args: &[&str]) -> String {
    let output = sim(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn refusal(args: &[&str]) -> String {
    let output = sim(args);
    assert!(!output.status.success() && output.stdout.is_empty(), "{args:?} was accepted");
    String::from_utf8(output.stderr).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("punctual-sim-{}-{name}", std::process::id()))
}

#[test]
fn every_shipped_scenario_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let text = answer(&["run", path.to_str().unwrap(), "--load", "0.5"]);
            assert!(text.contains("goodput"), "{text}");
            count += 1;
        }
    }
    assert!(count >= 4, "{count} scenarios");
}

#[test]
fn a_comparison_writes_the_same_files_with_one_thread_and_with_three() {
    let files = |threads: &str| {
        let (csv, html) = (scratch(&format!("{threads}.csv")), scratch(&format!("{threads}.html")));
        let (csv_name, html_name) = (csv.to_str().unwrap(), html.to_str().unwrap());
        let table = answer(&[
            "compare",
            "sim/scenarios/overload.toml",
            "sim/scenarios/burst.toml",
            "--loads",
            "0.2,1",
            "--goodput",
            "--threads",
            threads,
            "--csv",
            csv_name,
            "--html",
            html_name,
        ]);
        let csv_text = std::fs::read_to_string(&csv).unwrap();
        let html_text = std::fs::read_to_string(&html).unwrap();
        std::fs::remove_file(csv).unwrap();
        std::fs::remove_file(html).unwrap();
        assert!(html_text.contains("</html>") && html_text.contains("<svg"));
        let (command, rows) = csv_text.split_once('\n').unwrap();
        assert!(
            command.starts_with("# punctual-sim compare sim/scenarios/overload.toml"),
            "{command}"
        );
        (table, rows.to_owned())
    };
    let one = files("1");
    assert_eq!(one.1.lines().count(), 1 + 2 * 2 * batcher::ALL.len());
    assert_eq!(one, files("3"));
}

#[test]
fn bounds_plans_and_speed_are_printed() {
    let text = answer(&["bound", "sim/scenarios/overload.toml", "--optimum", "200"]);
    assert!(text.contains("staggered") && text.contains("of the first 200 requests"), "{text}");
    let text = answer(&["plan", "sim/scenarios/burst.toml", "--policies", batcher::ALL[0].name]);
    assert!(text.contains("fewest executors for 99 % in time"), "{text}");
    let policies = "window,timeout:4/1ms,largest";
    let burst = "sim/scenarios/burst.toml";
    let text =
        answer(&["plan", burst, "--slo", "25ms", "--policies", policies, "--batch-max", "2,16"]);
    assert!(
        text.contains("99 % in time at 25ms") && text.contains("largest batch_max=16"),
        "{text}"
    );
    assert!(text.contains("timeout batch_max=4 delay=1ms") && text.contains("\nbest: "), "{text}");
    let text = answer(&["speed", "--executors", "4", "--models", "2", "--requests", "2000"]);
    assert!(text.contains("launches a batch") && text.contains("batch end"), "{text}");
    assert_eq!(
        answer(&["fuzz", "--seeds", "30", "--threads", "2"]),
        "30 seeds from 0: no invariant broke\n"
    );
}

#[test]
fn bad_input_gets_one_clear_sentence() {
    let overload = "sim/scenarios/overload.toml";
    let table: [(&[&str], &str); 12] = [
        (&["run", "absent.toml"], "absent.toml: No such file"),
        (&["run", overload, "--load", "0"], "load must be a positive number"),
        (&["compare", overload, "--policies", "best"], "unknown batching policy \"best\"; known"),
        (&["compare", overload, "--loads", "-1"], "a load must be a positive number, not -1"),
        (&["plan", overload, "--attainment", "2"], "--attainment must be above 0, at most 1"),
        (&["bound", "sim/scenarios/mixed.toml", "--optimum", "9"], "a scenario of one model"),
        (&["bound", overload, "--optimum", "0"], "--optimum must be at least 1 request"),
        (&["bound", overload, "--optimum", "8000"], "at most about 7070 can be computed"),
        (&["plan", overload, "--slo", "0s"], "slo must be above 0"),
        (&["compare", overload, "--policies", "fixed:0"], "write POLICY:BATCH_MAX"),
        (&["speed", "--slo", "1ms"], "no batch of 1.082 b + 5.204 ms is done within 1ms"),
        (&["speed", "--executors", "0"], "executors, models and requests must be at least 1"),
    ];
    for (args, wanted) in table {
        let found = refusal(args);
        assert!(found.contains(wanted) && found.lines().count() == 1, "{args:?}: {found}");
    }
}
