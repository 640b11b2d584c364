use std::time::UNIX_EPOCH;

use super::*;
use crate::Outcome;

fn record(at_ms: u64, latency_ms: u64, outcome: Outcome) -> Record {
    let intended_ns = at_ms * 1_000_000;
    Record { share: 0, intended_ns, lag_ns: 0, latency_ns: latency_ms * 1_000_000, outcome }
}

fn result() -> ResultFile {
    let records: Vec<Record> = (0..100)
        .map(|index| record(20 * index, 1 + u64::from(index % 50 == 7), Outcome::InTime))
        .chain([record(1500, 30, Outcome::Late)])
        .chain([record(1600, 1, Outcome::Refused("queue_full".into()))])
        .collect();
    let mut point = Point::of(&records, &["m"], Duration::from_secs(2));
    point.load = "poisson 50/s, \"two\" times".into();
    let made = Made { program: "p 1".into(), command: "run".into(), began: UNIX_EPOCH };
    let mut result = ResultFile::new(Kind::Run, "run of m", &made);
    result.series.push(Series {
        name: "a server".into(),
        target: None,
        server: "s 1".into(),
        simulated: true,
        deadline_ms: Some(25.0),
        points: vec![point],
    });
    result
}

#[test]
fn a_result_reads_back_as_it_was_written() {
    let result = result();
    assert_eq!(ResultFile::from_json(&result.to_json()), Ok(result));
}

#[test]
fn what_is_no_result_or_a_later_one_is_refused_with_a_sentence() {
    assert!(ResultFile::from_json("{}").unwrap_err().starts_with("not a result of punctual-bench"));
    let json = result().to_json();
    let other = json.replace(FORMAT, "else");
    assert_eq!(
        ResultFile::from_json(&other).unwrap_err(),
        format!("its format is 'else', not '{FORMAT}'")
    );
    let later = json.replace("\"format_version\": 1", "\"format_version\": 2");
    assert_eq!(
        ResultFile::from_json(&later).unwrap_err(),
        "its format version is 2; this program knows 1"
    );
}

#[test]
fn histograms_merge_as_if_all_latencies_were_of_one_run() {
    let of = |range: std::ops::Range<u64>| {
        let records: Vec<Record> = range.map(|ms| record(0, ms, Outcome::InTime)).collect();
        let text = String::from(Latencies::of(&records));
        Latencies::try_from(text).unwrap()
    };
    let mut merged = of(1..500);
    merged.add(&of(500..1001));
    assert_eq!(merged, of(1..1001));
    assert_eq!(merged.len(), 1000);
    assert!((merged.quantile_ms(0.99) / 990.0 - 1.0).abs() < 0.001);
    assert!(Latencies::try_from("AAAA".to_owned()).is_err());
}

#[test]
fn a_log_holds_a_line_of_each_point_that_other_tools_read() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let result = result();
    let text = log(&result, UNIX_EPOCH);
    let found: Vec<_> = IntervalLogIterator::new(&text)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
        })
        .collect();
    let [line] = &found[..] else { panic!("{found:?}") };
    assert_eq!(line.tag().unwrap().as_str(), "a-server");
    let read = Latencies::try_from(line.encoded_histogram().to_owned()).unwrap();
    assert_eq!(read, result.series[0].points[0].latencies);
}

#[test]
fn a_timeline_counts_each_request_once_where_it_was_due() {
    let timeline = &result().series[0].points[0].timeline;
    assert_eq!((timeline.bin_s, timeline.bins.len()), (1.0, 2));
    let expected = Bin {
        offered: 52,
        in_time: 50,
        late: 1,
        refused: 1,
        failed: 0,
        p50_ms: Some(1.0),
        p99_ms: Some(30.0),
    };
    assert_eq!(timeline.bins[1], expected);
    assert_eq!((timeline.bins[0].offered, timeline.bins[0].p99_ms), (50, Some(2.0)));
}

#[test]
fn a_long_run_has_wider_bins() {
    let records = [record(7_199_900, 1, Outcome::Timeout)];
    let timeline = Timeline::of(&records, Duration::from_secs(7200));
    assert_eq!((timeline.bin_s, timeline.bins.len()), (12.0, 600));
    assert_eq!((timeline.bins[599].failed, timeline.bins[599].p50_ms), (1, None));
}

#[test]
fn tables_have_as_many_cells_as_columns() {
    let csv = result().to_csv();
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[1].contains("\"poisson 50/s, \"\"two\"\" times\""), "{csv}");
    let plain = lines[1].replace("\"poisson 50/s, \"\"two\"\" times\"", "x");
    assert_eq!(lines[0].split(',').count(), plain.split(',').count(), "{csv}");
    assert_eq!(result().timeline_csv().lines().count(), 3);
}

#[test]
fn a_server_is_shown_by_what_went_on_between_two_readings() {
    let statistics = |answered: u64, queue_ns: u64, twos: u64| {
        format!(
            r#"{{"model_stats":[{{"name":"m","version":"1","inference_stats":{{"success":{{"count":{answered},"ns":0}},
            "queue":{{"count":{answered},"ns":{queue_ns}}}}},"batch_stats":[
            {{"batch_size":1,"compute_infer":{{"count":5,"ns":5}}}},
            {{"batch_size":2,"compute_infer":{{"count":{twos},"ns":{}}}}}]}}]}}"#,
            twos * 3_000_000
        )
    };
    let metrics = |refused: u64| {
        format!(
            "# TYPE r_total counter\nr_total{{reason=\"full\"}} {refused}\nr_total{{reason=\"b\"}} 3\n# TYPE g gauge\ng {refused}\n"
        )
    };
    let snapshot = |json: String, text: String| {
        let mut snapshot = Snapshot::default();
        snapshot.add_statistics(json.as_bytes()).unwrap();
        snapshot.counters = Counters::from_text(&text);
        snapshot
    };
    let before = snapshot(statistics(10, 1_000_000, 2), metrics(1));
    let view = snapshot(statistics(30, 41_000_000, 12), metrics(8)).since(&before);
    let batches = vec![Batches { rows: 2, count: 10, infer_ms: 3.0 }];
    let model = ModelView {
        name: "m".into(),
        answered: 20,
        batches,
        queue_ms: 2.0,
        ..ModelView::default()
    };
    assert_eq!(view.models, [model]);
    assert_eq!(view.counters, [("r_total{reason=\"full\"}".to_owned(), 7.0)].into());
    assert_eq!(view.batch_mean(), Some(2.0));
}
