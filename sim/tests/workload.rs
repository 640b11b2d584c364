//! A workload file in virtual time: the same requests as against a server, and results in the same form.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use loadgen::Workload;
use loadgen::page::Shown;
use loadgen::result::{Kind, Point, ResultFile};
use sim::{ExecutorSpec, ModelSpec, ProfileSpec, RouterChoice, Scenario, World};

/// One executor on which a run takes 10 ms, of 8 rows at most.
fn played(text: &str) -> (Workload, Point) {
    let workload = Workload::from_text("w.toml", text).unwrap();
    let ms = Duration::from_millis;
    let profile = ProfileSpec::Linear { fixed: ms(10), per_item: Duration::ZERO, batch_max: 8 };
    let scenario = Scenario {
        compositions: Vec::new(),
        seed: workload.seed,
        duration: workload.warm_up + workload.duration,
        warmup: workload.warm_up,
        load: 1.0,
        router: RouterChoice::default(),
        placement: None,
        executors: vec![ExecutorSpec { count: 1, ..ExecutorSpec::default() }],
        models: vec![ModelSpec::new("m", profile, 1.0)],
    };
    let world = World::new(&scenario).unwrap().asked_by(&workload).unwrap();
    let point = world.run_asked(&workload).unwrap().0;
    (workload, point)
}

#[test]
fn every_request_of_the_schedule_is_asked_once_and_warm_up_is_not_counted() {
    let (workload, point) = played(
        "duration = '20s'\nwarm_up = '5s'\nrate = 50\n[[clients]]\nmodel = 'm'\nslo = '100ms'\n\
         [[clients]]\nmodel = 'm'\nname = 'patient'\nshare = 2",
    );
    let due = workload.schedule().unwrap().due;
    let counted = due.iter().filter(|due| due.at_ns >= 5_000_000_000);
    assert_eq!(point.report.tally.requests, counted.clone().count() as u64);
    let patient = counted.filter(|due| due.share == 1).count() as u64;
    assert_eq!(point.report.models[1].tally.requests, patient);
    assert!(point.report.tally.requests > 900 && point.report.attainment > 0.99);
    let view = &point.server.as_ref().unwrap().models[0];
    assert_eq!(view.answered, point.report.tally.answered());
    assert!((view.infer_ms - 10.0).abs() < 1e-6, "{}", view.infer_ms);
    let rows: u64 = view.batches.iter().map(|batch| batch.rows * batch.count).sum();
    assert!(rows.abs_diff(point.report.tally.answered()) <= 8, "{rows}");
}

#[test]
fn a_closed_loop_asks_again_when_it_has_an_answer() {
    let (_, point) =
        played("duration = '10s'\nconcurrency = 1\nthink_time = '10ms'\n[[clients]]\nmodel = 'm'");
    // 10 ms to run and 10 ms to think.
    assert_eq!(point.report.tally.requests, 500);
    assert!((point.report.latency.p99_ms / 10.0 - 1.0).abs() < 0.002);
}

#[test]
fn deadlines_of_the_clients_decide_what_is_in_time() {
    let (_, point) =
        played("duration = '10s'\nrate = 2000\n[[clients]]\nmodel = 'm'\nslo = '30ms'");
    let tally = &point.report.tally;
    // 8 rows in 10 ms are 800 a second at most.
    assert!((700.0..=801.0).contains(&point.report.goodput), "{}", point.report.goodput);
    assert!(tally.refused_total() > 10_000, "{tally:?}");
    let slowest = point.latencies.quantile_ms(1.0);
    assert!(tally.late > 0 || slowest <= 30.1, "{slowest}");
}

#[test]
fn a_model_without_a_profile_is_named() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (workload, profile) = (folder.join("two.toml"), folder.join("m.csv"));
    std::fs::write(&workload, "rate = 10\nduration = '1s'\n[[clients]]\nmodel = 'other'").unwrap();
    std::fs::write(&profile, "batch,median_us,p99_us,runs\n1,1000,1100,50\n8,2000,2200,50\n")
        .unwrap();
    let output = sim(&[
        "--workload",
        workload.to_str().unwrap(),
        "--profile",
        &format!("m={}", profile.display()),
    ]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("the workload asks for 'other', which has no profile"), "{error}");
}

#[test]
fn a_simulated_sweep_is_a_result_that_lies_over_others() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (workload, profile, out) =
        (folder.join("one.toml"), folder.join("one.csv"), folder.join("swept.json"));
    let text = "rate = 400\nduration = '5s'\n[[clients]]\nmodel = 'm'\nslo = '20ms'";
    std::fs::write(&workload, text).unwrap();
    std::fs::write(&profile, "batch,median_us,p99_us,runs\n1,1000,1100,50\n8,4000,4200,50\n")
        .unwrap();
    let output = sim(&[
        "--workload",
        workload.to_str().unwrap(),
        "--profile",
        &format!("m={}", profile.display()),
        "--load",
        "0.5,1,2,8",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result = ResultFile::read(&out).unwrap();
    let series = &result.series[0];
    assert_eq!((result.kind, series.simulated, series.points.len()), (Kind::Sweep, true, 4));
    let goodput: Vec<f64> = series.points.iter().map(|point| point.report.goodput).collect();
    assert!(
        goodput[0] < goodput[1] && goodput[1] < goodput[2] && goodput[3] < 2050.0,
        "{goodput:?}"
    );
    let both = [result.clone(), result];
    assert!(Shown::of(&both).goodput_svg().unwrap().contains("simulated (2)"));
}

fn sim(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_punctual-sim")).arg("run").args(args).output().unwrap()
}
