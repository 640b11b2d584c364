//! The numbers behind the plots.

use super::{Page, Shown};
use crate::Report;
use crate::chart::{escape, number};
use crate::result::{Point, ServerView};

const COLUMNS: [&str; 14] = [
    "load",
    "offered /s",
    "goodput /s",
    "in time %",
    "late %",
    "refused %",
    "failed %",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "batch rows",
    "client lag p99 ms",
];

/// A row for each point.
pub(super) fn points(page: &mut Page, shown: &Shown<'_>) {
    let several = shown.series.len() > 1;
    let rows = shown.points().map(|(series, point)| {
        let batch = point.server.as_ref().and_then(ServerView::batch_mean);
        let names = [several.then(|| series.name.clone()), Some(point.load.clone())];
        let mut row = row(names.into_iter().flatten(), &point.report);
        row.push(batch.map_or_else(|| "–".to_owned(), number));
        row.push(format!("{:.3}", point.report.lag.p99_ms));
        (row, point.trusted())
    });
    page.put(format_args!("<h2>Every run</h2>\n"));
    let columns: Vec<&str> = several.then_some("server").into_iter().chain(COLUMNS).collect();
    table(page, &columns, rows);
}

/// A row for each client of a run of several.
pub(super) fn models(page: &mut Page, shown: &Shown<'_>) {
    let Some(Point { report, .. }) = shown.single() else { return };
    if report.models.is_empty() {
        return;
    }
    let rows = report.models.iter().map(|part| (row([part.model.clone()].into_iter(), part), true));
    page.put(format_args!("<h2>By client</h2>\n"));
    let mut columns = COLUMNS;
    columns[0] = "client";
    table(page, &columns[..12], rows);
}

fn row(names: impl Iterator<Item = String>, report: &Report) -> Vec<String> {
    let tally = &report.tally;
    let failed = tally.errors_total() + tally.timeouts + tally.cancelled + tally.connections_lost;
    let part = |count: u64| format!("{:.2}", 100.0 * count as f64 / tally.requests.max(1) as f64);
    let latency = &report.latency;
    let rates = [report.offered_rate, report.goodput].map(|rate| format!("{rate:.1}"));
    let parts = [tally.in_time, tally.late, tally.refused_total(), failed].map(part);
    let times = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms];
    let times = times.map(|time| format!("{time:.2}"));
    names.chain(rates).chain(parts).chain(times).collect()
}

fn table(page: &mut Page, head: &[&str], rows: impl Iterator<Item = (Vec<String>, bool)>) {
    let head: String = head.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    page.put(format_args!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n"));
    for (row, trusted) in rows {
        let mark = if trusted { "<td>" } else { "<td class=\"doubted\">" };
        let cells: String = row.iter().map(|cell| format!("{mark}{}</td>", escape(cell))).collect();
        page.put(format_args!("<tr>{cells}</tr>\n"));
    }
    page.put(format_args!("</tbody></table></div>\n"));
}
