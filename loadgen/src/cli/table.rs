//! The report of a run as text.

use std::collections::BTreeMap;

use loadgen::chart::number;
use loadgen::result::{Finding, ResultFile};
use loadgen::{CLIENT_BUSY_MAX, Interval, LAG_P99_MAX, Percentiles, Report, Tally};

use super::account::Account;

const COLUMNS: [&str; 10] = [
    "",
    "offered/s",
    "answered/s",
    "goodput/s",
    "in time",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
];

pub(super) fn of(account: &Account) -> String {
    let report = &account.report;
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(report.models.iter().map(row));
    rows.push(row(report));
    let mut lines = aligned(&rows);
    let confidence = &account.confidence;
    let known: Vec<String> = [
        ("goodput", confidence.goodput, "/s"),
        ("p50", confidence.p50_ms, " ms"),
        ("p99", confidence.p99_ms, " ms"),
    ]
    .into_iter()
    .filter_map(|(name, interval, unit)| Some(format!("{name} {}", range(interval?, unit))))
    .collect();
    lines.push(String::new());
    if !known.is_empty() {
        lines.push(format!("95 % confidence  {}", known.join(", ")));
    }
    lines.push(format!("requests         {}", outcomes(&report.tally)));
    lines.extend(reasons("refused", &report.tally.refused));
    lines.extend(reasons("errors", &report.tally.errors));
    if report.tally.refused_total() > 0 {
        lines.push(format!("refused after    {}", percentiles(&report.refusal_latency)));
    }
    if account.warm_up.requests > 0 {
        lines.push(format!("warm-up          {}", outcomes(&account.warm_up)));
    }
    let busy = 100.0 * account.client_busy;
    lines.push(format!(
        "client           {busy:.0} % of its core, lag {}",
        percentiles(&report.lag)
    ));
    lines.extend(remarks(account));
    lines.join("\n")
}

/// A result of several runs: a row for each, and the answers to what was asked.
pub(super) fn of_result(result: &ResultFile) -> String {
    let several = result.series.len() > 1;
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for (series, point) in result.points() {
        let mut row = row(&point.report);
        row[0] =
            if several { format!("{}, {}", series.name, point.load) } else { point.load.clone() };
        if !point.trusted() {
            row[0].push_str(" NOT TRUSTED");
        }
        rows.push(row);
    }
    let mut lines = vec![result.title.clone()];
    lines.extend(aligned(&rows));
    lines.extend(result.findings.iter().map(in_words));
    lines.join("\n")
}

fn in_words(finding: &Finding) -> String {
    let value = finding.value.map_or("none".to_owned(), number);
    let interval = finding.interval.map_or(String::new(), |[low, high]| {
        format!(" (95 % within {} to {})", number(low), number(high))
    });
    let note = if finding.note.is_empty() { "" } else { "; " };
    format!("{}: {value} {}{interval}{note}{}", finding.what, finding.unit, finding.note)
}

fn remarks(account: &Account) -> Vec<String> {
    let mut remarks = Vec::new();
    if !account.report.client_on_time {
        let most = LAG_P99_MAX.as_millis();
        remarks.push(format!(
            "NOT TRUSTED: the client itself sent late (lag p99 above {most} ms): its machine is too busy or the rate too high"
        ));
    }
    if account.client_busy > CLIENT_BUSY_MAX {
        remarks.push(
            "NOT TRUSTED: the client's core is full, so that it may be the limit and not the server"
                .into(),
        );
    }
    if account.stable == Some(false) {
        remarks.push(
            "NOT STABLE: the intervals are wider than asked; a longer --duration may do".into(),
        );
    }
    if account.interrupted {
        remarks.push(format!("INTERRUPTED after {:.1} s", account.report.duration_s));
    }
    remarks
}

fn row(report: &Report) -> [String; COLUMNS.len()] {
    let Percentiles { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = report.latency;
    let rate = |rate: f64| format!("{rate:.1}");
    let ms = |ms: f64| if report.tally.answered() > 0 { format!("{ms:.3}") } else { "-".into() };
    [
        report.model.clone(),
        rate(report.offered_rate),
        rate(report.throughput),
        rate(report.goodput),
        format!("{:.2} %", 100.0 * report.attainment),
        ms(p50_ms),
        ms(p90_ms),
        ms(p99_ms),
        ms(p999_ms),
        ms(max_ms),
    ]
}

fn aligned(rows: &[[String; COLUMNS.len()]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; COLUMNS.len()]| {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        line
    };
    rows.iter().map(line).collect()
}

fn range(interval: Interval, unit: &str) -> String {
    let Interval { low, high } = interval;
    format!("{low:.2} to {high:.2}{unit} (±{:.1} %)", 100.0 * interval.relative())
}

/// Every outcome that there was, in words.
pub(super) fn outcomes(tally: &Tally) -> String {
    let parts = [
        (tally.in_time, "in time"),
        (tally.late, "late"),
        (tally.refused_total(), "refused"),
        (tally.errors_total(), "errors"),
        (tally.timeouts, "timed out"),
        (tally.cancelled, "cancelled"),
        (tally.connections_lost, "lost their connection"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!("{}: {}", tally.requests, parts.join(", "))
}

fn reasons(what: &str, counts: &BTreeMap<String, u64>) -> Vec<String> {
    counts.iter().map(|(text, count)| format!("  {what:<8}  {count:>7}  {text}")).collect()
}

fn percentiles(latency: &Percentiles) -> String {
    format!(
        "p50 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms",
        latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
    )
}
