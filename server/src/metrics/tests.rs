//! Tests of the whole registry: what clients saw is what a scrape shows.

use std::time::Duration;

use gpu::Timing;
use models::LatencyProfile;

use super::*;
use crate::clock::Clock;
use crate::infer::RequestTiming;
use router::Rejection;

const MS: Duration = Duration::from_millis(1);

fn timing() -> RequestTiming {
    RequestTiming { queue: MS, input: MS / 10, infer: 4 * MS, output: MS / 10, batch: 2 }
}

fn ran() -> Timing {
    Timing { input: MS / 10, infer: 4 * MS, output: MS / 10 }
}

#[test]
fn every_outcome_is_counted_once() {
    let metrics = Metrics::new();
    let model = metrics.model("m", "1");
    (0..7).for_each(|_| model.arrived(2));
    model.answered(&timing(), 6 * MS, Some(true), 2);
    model.answered(&timing(), 30 * MS, Some(false), 2);
    model.answered(&timing(), 600 * MS, None, 2);
    model.refused(&Rejection::DeadlineHopeless, 2 * MS);
    model.failed(2, 5 * MS);
    model.cancelled(MS / 2);
    model.batch_ran(2, &ran());
    model.waiting(1);
    let text = metrics.render();
    for line in [
        "punctual_requests_total{model=\"m\",version=\"1\"} 7",
        "punctual_answers_total{model=\"m\",version=\"1\",deadline=\"met\"} 1",
        "punctual_answers_total{model=\"m\",version=\"1\",deadline=\"missed\"} 1",
        "punctual_answers_total{model=\"m\",version=\"1\",deadline=\"none\"} 1",
        "punctual_refusals_total{model=\"m\",version=\"1\",reason=\"deadline_hopeless\"} 1",
        "punctual_refusals_total{model=\"m\",version=\"1\",reason=\"queue_full\"} 0",
        "punctual_failures_total{model=\"m\",version=\"1\"} 1",
        "punctual_cancellations_total{model=\"m\",version=\"1\"} 1",
        "punctual_lost_seconds_total{model=\"m\",version=\"1\"} 0.0075",
        "punctual_in_flight_requests{model=\"m\",version=\"1\"} 1",
        "punctual_slo_attainment_ratio{model=\"m\",version=\"1\"} 0.25",
        "nv_inference_request_success{model=\"m\",version=\"1\"} 3",
        "nv_inference_count{model=\"m\",version=\"1\"} 6",
        "nv_inference_exec_count{model=\"m\",version=\"1\"} 1",
        "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"REJECTED\"} 1",
        "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"CANCELED\"} 1",
        "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"BACKEND\"} 1",
        "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"OTHER\"} 0",
        "nv_inference_request_duration_us{model=\"m\",version=\"1\"} 636000",
        "nv_inference_queue_duration_us{model=\"m\",version=\"1\"} 3000",
        "nv_inference_pending_request_count{model=\"m\",version=\"1\"} 1",
        "nv_inference_first_response_histogram_ms_bucket{model=\"m\",version=\"1\",le=\"500\"} 2",
        "nv_inference_first_response_histogram_ms_bucket{model=\"m\",version=\"1\",le=\"+Inf\"} 3",
        "nv_inference_request_duration_histogram_us_bucket{model=\"m\",version=\"1\",le=\"10000\"} 1",
        "punctual_latency_seconds_bucket{model=\"m\",version=\"1\",phase=\"total\",le=\"0.05\"} 2",
        "punctual_latency_seconds_sum{model=\"m\",version=\"1\",phase=\"queue\"} 0.003",
        "punctual_latency_seconds_count{model=\"m\",version=\"1\",phase=\"infer\"} 3",
        "punctual_batch_rows_bucket{model=\"m\",version=\"1\",le=\"1\"} 0",
        "punctual_batch_rows_bucket{model=\"m\",version=\"1\",le=\"2\"} 1",
        "punctual_batch_rows_sum{model=\"m\",version=\"1\"} 2",
        "punctual_busy_seconds_total{model=\"m\",version=\"1\"} 0.0042",
        "punctual_models_loaded 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line}\n{text}");
    }
}

#[test]
fn a_scrape_states_help_and_type_of_each_metric_once_and_before_its_samples() {
    let metrics = Metrics::new();
    for version in ["1", "2"] {
        let model = metrics.model("m", version);
        model.answered(&timing(), 6 * MS, Some(true), 1);
        model.batch_ran(70, &ran());
        model.prediction(1.1, 0.02);
        model.profiled(&LatencyProfile::linear(MS, MS, 4));
        model.answers_of("a/1").increment(1);
        model.asked_of("a/1").increment(1);
        model.reconstructed().increment(1);
        model.cached().bytes.set(1.0);
        model.verdicts_of("a/1").told(models::Share::try_from(0.5).unwrap());
    }
    metrics.memory(vec![(1, 2)]);
    let text = metrics.render();
    let mut at = "";
    let mut stated = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            at = help.split(' ').next().unwrap();
            stated.push(at);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind.split(' ').next(), Some(at));
        } else {
            assert!(line.starts_with(at), "{line} stands under {at}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(stated, ALL.iter().map(|row| row.metric.name).collect::<Vec<_>>());
}

#[test]
fn a_new_profile_takes_the_place_of_the_one_before() {
    let metrics = Metrics::new();
    let model = metrics.model("m", "1");
    model.profiled(&LatencyProfile::linear(MS, MS, 4));
    model.profiled(&LatencyProfile::linear(MS, 2 * MS, 2));
    let text = metrics.render();
    let medians: Vec<_> =
        text.lines().filter(|line| line.starts_with("punctual_profile_median_seconds")).collect();
    let line = |rows, seconds| {
        format!(
            "punctual_profile_median_seconds{{model=\"m\",version=\"1\",rows=\"{rows}\"}} {seconds}"
        )
    };
    assert_eq!(medians, [line(1, "0.003"), line(2, "0.005")]);
}

#[test]
fn a_model_that_is_gone_records_into_nothing_that_is_shown() {
    let metrics = Metrics::new();
    let model = metrics.model("m", "1");
    metrics.forget("m", "1");
    model.arrived(1);
    model.batch_ran(3, &ran());
    assert!(!metrics.render().contains("model=\"m\""));
}

#[test]
fn what_is_not_known_is_absent_rather_than_zero() {
    let metrics = Metrics::new();
    let model = metrics.model("m", "1");
    model.arrived(1);
    model.answered(&timing(), 6 * MS, None, 1);
    let text = metrics.render();
    for name in ["punctual_slo_attainment_ratio", "punctual_prediction_ratio"] {
        assert!(!text.contains(name), "{name} is shown");
    }
}

#[test]
fn a_forgotten_model_is_no_longer_shown_and_begins_again_at_zero() {
    let metrics = Metrics::new();
    metrics.model("m", "1").arrived(1);
    assert!(metrics.render().contains("punctual_requests_total{model=\"m\",version=\"1\"} 1"));
    metrics.forget("m", "1");
    assert!(!metrics.render().contains("model=\"m\""));
    drop(metrics.model("m", "1"));
    assert!(metrics.render().contains("punctual_requests_total{model=\"m\",version=\"1\"} 0"));
}

#[test]
fn a_model_asked_for_twice_is_one_and_its_name_is_escaped() {
    let metrics = Metrics::new();
    metrics.model("a\"b\\c", "1").arrived(1);
    metrics.model("a\"b\\c", "1").arrived(1);
    assert!(metrics.render().contains(r#"punctual_requests_total{model="a\"b\\c",version="1"} 2"#));
}

#[test]
fn batches_beyond_the_largest_counted_size_count_as_that_size() {
    let metrics = Metrics::new();
    let model = metrics.model("m", "1");
    model.batch_ran(100_000, &ran());
    let rows: Vec<_> = model.batches().iter().map(|batch| batch.rows).collect();
    assert_eq!(rows, [4096]);
}

#[test]
fn names_are_unique_and_ours_say_their_unit() {
    let mut names: Vec<_> = ALL.iter().map(|row| row.metric.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    for metric in
        ALL.iter().map(|row| &row.metric).filter(|metric| metric.name.starts_with("punctual_"))
    {
        let base = metric.name.strip_suffix("_total");
        assert_eq!(metric.kind == Kind::Counter, base.is_some(), "{}", metric.name);
        let base = base.unwrap_or(metric.name);
        assert_eq!(metric.unit == Unit::Seconds, base.ends_with("_seconds"), "{}", metric.name);
        assert_eq!(metric.unit == Unit::Bytes, base.ends_with("_bytes"), "{}", metric.name);
        assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
    }
}

#[test]
#[ignore = "prints a time; run with --release --ignored --nocapture"]
fn what_a_request_costs_to_account_for() {
    const REQUESTS: u32 = 1_000_000;
    let (metrics, clock) = (Metrics::new(), Clock::start());
    for threads in [1, 2] {
        let began = clock.now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let model = metrics.model("m", "1");
                scope.spawn(move || {
                    for request in 0..REQUESTS {
                        model.arrived(1);
                        model.waiting(request as usize % 8);
                        model.answered(&timing(), 6 * MS, Some(true), 1);
                        if request % 4 == 0 {
                            model.batch_ran(4, &ran());
                            model.prediction(1.0, 0.01);
                        }
                    }
                });
            }
        });
        println!("{threads} threads: {:?} a request", clock.now().since(began) / REQUESTS);
    }
}
