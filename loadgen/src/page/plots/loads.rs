//! Plots over the offered load.

use super::{
    Axis, Chart, Curve, ENDS, Layer, Point, Series, Shown, TAILS, deadline, number, rises,
};
use crate::Percentiles;

/// The points by rising load, repeated ones as their mean.
fn over_load(series: &Series, y: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> =
        series.points.iter().map(|point| (point.report.offered_rate, y(point))).collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut merged: Vec<(f64, f64, f64)> = Vec::new();
    for (x, y) in points {
        match merged.last_mut() {
            // The same load offers a little more or less by chance.
            Some((sum, total, count)) if x < 1.02 * *sum / *count => {
                (*sum, *total, *count) = (*sum + x, *total + y, *count + 1.0);
            }
            Some(_) | None => merged.push((x, y, 1.0)),
        }
    }
    merged.into_iter().map(|(sum, total, count)| (sum / count, total / count)).collect()
}

fn doubted(shown: &Shown<'_>, y: impl Fn(&Point) -> f64) -> Layer {
    let doubted = shown.points().filter(|(_, point)| !point.trusted());
    Layer::Rings(doubted.map(|(_, point)| (point.report.offered_rate, y(point))).collect())
}

fn largest(points: impl Iterator<Item = f64>) -> f64 {
    points.fold(0.0, f64::max)
}

/// Goodput against offered load, a line for each server.
pub(in crate::page) fn goodput(shown: &Shown<'_>) -> Option<String> {
    if !shown.series.iter().any(rises) {
        return None;
    }
    let reports = || shown.points().map(|(_, point)| &point.report);
    let best = largest(reports().map(|report| report.goodput));
    let most = largest(reports().map(|report| report.offered_rate));
    let end = most.min(1.12 * best);
    let guide = Curve { name: String::new(), points: vec![(0.0, 0.0), (end, end)] };
    let lines = shown.series.iter().enumerate().map(|(index, series)| {
        let points = over_load(series, |point| point.report.goodput);
        Layer::line(index, Curve { name: series.name.clone(), points })
    });
    let mut layers: Vec<Layer> = [Layer::Guide(guide)].into_iter().chain(lines).collect();
    layers.push(doubted(shown, |point| point.report.goodput));
    let title = "Goodput against offered load".to_owned();
    let (x, y) = (Axis::from_zero("offered requests/s"), Axis::from_zero("answers in time/s"));
    Some(Chart { title, x, y, layers }.svg())
}

/// Latency against offered load: percentiles of one server, or the 99th of each.
pub(in crate::page) fn latency(shown: &Shown<'_>) -> Option<String> {
    if !shown.series.iter().any(rises) {
        return None;
    }
    // Where nobody is answered there is no latency.
    let of = |value: fn(&Percentiles) -> f64| {
        move |point: &Point| {
            let some = point.report.tally.answered() > 0;
            if some { value(&point.report.latency) } else { f64::NAN }
        }
    };
    let p99 = of(|latency| latency.p99_ms);
    let mut layers: Vec<Layer> = Vec::new();
    let most = largest(shown.points().map(|(_, point)| point.report.offered_rate));
    layers.extend(deadline(shown, 0.0, most));
    let title = if let [series] = &shown.series[..] {
        let tails = [
            ("p50", of(|latency| latency.p50_ms)),
            ("p90", of(|latency| latency.p90_ms)),
            ("p99", p99),
            ("p99.9", of(|latency| latency.p999_ms)),
        ];
        for ((name, value), colour) in tails.into_iter().zip(TAILS) {
            let curve = Curve { name: name.to_owned(), points: over_load(series, value) };
            layers.push(Layer::Line { curve, colour, dash: "none", dots: true });
        }
        "Latency against offered load"
    } else {
        for (index, series) in shown.series.iter().enumerate() {
            let curve = Curve { name: series.name.clone(), points: over_load(series, p99) };
            layers.push(Layer::line(index, curve));
        }
        "99th percentile of latency against offered load"
    };
    layers.push(doubted(shown, p99));
    let (x, y) = (Axis::from_zero("offered requests/s"), Axis::log("ms, logarithmic"));
    Some(Chart { title: title.to_owned(), x, y, layers }.svg())
}

/// What became of requests under each load of one server.
pub(super) fn ends(shown: &Shown<'_>) -> Option<String> {
    let [series] = &shown.series[..] else { return None };
    if !rises(series) {
        return None;
    }
    let mut points: Vec<&Point> = series.points.iter().collect();
    points.sort_by(|one, other| one.report.offered_rate.total_cmp(&other.report.offered_rate));
    let columns = points.iter().zip(1u32..).map(|(point, place)| {
        let tally = &point.report.tally;
        let answered_or_refused = tally.answered() + tally.refused_total();
        let failed = tally.requests - answered_or_refused;
        let counts = [tally.in_time, tally.late, tally.refused_total(), failed];
        let parts = counts.map(|count| 100.0 * count as f64 / tally.requests.max(1) as f64);
        (f64::from(place) - 0.42, f64::from(place) + 0.42, parts.to_vec())
    });
    let columns = columns.collect();
    // So many names fit below the columns.
    let every = points.len().div_ceil(12);
    let ticks = points.iter().zip(1u32..).step_by(every);
    let ticks =
        ticks.map(|(point, place)| (f64::from(place), number(point.report.offered_rate.round())));
    let ticks: Vec<_> = ticks.collect();
    let end = Some(points.len() as f64 + 0.5);
    let x = Axis { ticks: Some(ticks), end, ..Axis::from_zero("offered requests/s") };
    let y = Axis { end: Some(100.0), ..Axis::from_zero("% of requests") };
    let parts = ENDS.map(|(name, colour)| (name.to_owned(), colour)).to_vec();
    let title = "What became of requests".to_owned();
    Some(Chart { title, x, y, layers: vec![Layer::Stack { parts, columns }] }.svg())
}
