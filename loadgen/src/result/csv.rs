//! Results as tables for other programs.

use super::{Point, ResultFile};

/// The columns of [`points`].
const COLUMNS: &str = "series,simulated,load,seed,duration_s,offered_per_s,goodput_per_s,answers_per_s,attainment,requests,in_time,late,\
refused,errors,timeouts,cancelled,connections_lost,mean_ms,p50_ms,p90_ms,p99_ms,p999_ms,max_ms,client_lag_p99_ms,trusted,\
server_batch_mean,memory_bytes";

/// One line for each point.
pub(super) fn points(result: &ResultFile) -> String {
    let mut text = format!("{COLUMNS}\n");
    for (series, point) in result.points() {
        let mut cells =
            vec![quoted(&series.name), series.simulated.to_string(), quoted(&point.load)];
        cells.extend(numbers(point));
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn numbers(point: &Point) -> Vec<String> {
    let (report, tally) = (&point.report, &point.report.tally);
    let mut cells = vec![point.seed.to_string()];
    let rates = [
        report.duration_s,
        report.offered_rate,
        report.goodput,
        report.throughput,
        report.attainment,
    ];
    cells.extend(rates.map(|number| number.to_string()));
    let counts = [
        tally.requests,
        tally.in_time,
        tally.late,
        tally.refused_total(),
        tally.errors_total(),
        tally.timeouts,
        tally.cancelled,
        tally.connections_lost,
    ];
    cells.extend(counts.map(|count| count.to_string()));
    let latency = &report.latency;
    let times = [
        latency.mean_ms,
        latency.p50_ms,
        latency.p90_ms,
        latency.p99_ms,
        latency.p999_ms,
        latency.max_ms,
        report.lag.p99_ms,
    ];
    cells.extend(times.map(|time| time.to_string()));
    cells.push(point.trusted().to_string());
    let batch = point.server.as_ref().and_then(super::ServerView::batch_mean);
    cells.push(batch.map(|rows| rows.to_string()).unwrap_or_default());
    cells.push(point.memory_bytes.map(|bytes| bytes.to_string()).unwrap_or_default());
    cells
}

/// One line for each bin of a timeline.
pub(super) fn timelines(result: &ResultFile) -> String {
    let mut text =
        "series,load,from_s,offered,in_time,late,refused,failed,p50_ms,p99_ms\n".to_owned();
    for (series, point) in result.points() {
        for (index, bin) in point.timeline.bins.iter().enumerate() {
            let from = index as f64 * point.timeline.bin_s;
            let mut cells = vec![quoted(&series.name), quoted(&point.load), from.to_string()];
            let counts = [bin.offered, bin.in_time, bin.late, bin.refused, bin.failed];
            cells.extend(counts.map(|count| count.to_string()));
            let times = [bin.p50_ms, bin.p99_ms];
            cells.extend(times.map(|ms| ms.map(|ms| ms.to_string()).unwrap_or_default()));
            text.push_str(&cells.join(","));
            text.push('\n');
        }
    }
    text
}

/// A cell that may hold commas, by RFC 4180.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
