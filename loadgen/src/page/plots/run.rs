//! Plots of single runs, and of runs one after another.

use super::{Axis, Chart, Curve, ENDS, Kind, Layer, Point, Series, Shown, TAILS, deadline, rises};
use crate::result::{Bin, Latencies, Timeline};

/// More lines than these are not told apart.
const LINES_MAX: usize = 8;

/// The timelines of a series, one after the other.
fn joined(series: &Series) -> Vec<(f64, f64, &Bin)> {
    let mut bins = Vec::new();
    let mut begin = 0.0;
    for point in &series.points {
        let Timeline { bin_s, bins: of_run } = &point.timeline;
        let lasts = point.report.duration_s;
        for (index, bin) in of_run.iter().enumerate() {
            let from = index as f64 * bin_s;
            // The last span may be cut short by the end of the run.
            bins.push((begin + from, (lasts - from).min(*bin_s), bin));
        }
        begin += lasts;
    }
    bins
}

/// Runs whose times follow each other.
fn follows<'a>(shown: &'a Shown<'_>) -> Option<&'a Series> {
    let [series] = &shown.series[..] else { return None };
    (series.points.len() == 1 || shown.kind == Kind::Soak).then_some(series)
}

/// One run for each of several servers.
fn side_by_side<'a>(shown: &'a Shown<'_>) -> Option<Vec<(&'a Series, &'a Point)>> {
    let pairs = shown.series.iter().map(|series| match &series.points[..] {
        [point] => Some((series, point)),
        _ => None,
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.filter(|pairs| pairs.len() <= LINES_MAX)
}

/// What became of requests, by when they were due.
pub(super) fn timeline(shown: &Shown<'_>) -> Option<String> {
    let x = Axis::from_zero("seconds from the start");
    if let Some(series) = follows(shown) {
        let column = |(from, lasts, bin): (f64, f64, &Bin)| {
            let counts = [bin.in_time, bin.late, bin.refused, bin.failed];
            let rates = counts.map(|count| count as f64 / lasts.max(f64::MIN_POSITIVE)).to_vec();
            (from, from + lasts, rates)
        };
        let columns: Vec<_> = joined(series).into_iter().map(column).collect();
        let x = Axis { end: columns.last().map(|column| column.1), ..x };
        let parts = ENDS.map(|(name, colour)| (name.to_owned(), colour)).to_vec();
        let layers = vec![Layer::Stack { parts, columns }];
        let (title, y) = ("Timeline".to_owned(), Axis::from_zero("requests/s"));
        return Some(Chart { title, x, y, layers }.svg());
    }
    let pairs = side_by_side(shown)?;
    let rate = |series: &Series, count: fn(&Bin) -> u64| {
        let middle = |(from, lasts, bin): (f64, f64, &Bin)| {
            (from + lasts / 2.0, count(bin) as f64 / lasts.max(f64::MIN_POSITIVE))
        };
        joined(series).into_iter().map(middle).collect::<Vec<_>>()
    };
    let asked: Vec<_> = pairs.iter().map(|(series, _)| rate(series, |bin| bin.offered)).collect();
    let mut layers = Vec::new();
    // What was asked is drawn once, where it was the same.
    if let Some(first) = asked.first().filter(|first| asked.iter().all(|one| one == *first)) {
        layers.push(Layer::Guide(Curve { name: "asked".to_owned(), points: first.clone() }));
    }
    layers.extend(pairs.iter().enumerate().map(|(index, (series, _))| {
        let points = rate(series, |bin| bin.in_time);
        Layer::line(index, Curve { name: series.name.clone(), points })
    }));
    let (title, y) = ("Goodput over time".to_owned(), Axis::from_zero("answers in time/s"));
    Some(Chart { title, x, y, layers }.svg())
}

/// Median and 99th percentile by when requests were due, of several servers the latter.
pub(super) fn latency_timeline(shown: &Shown<'_>) -> Option<String> {
    let of = |series: &Series, name: &str, value: fn(&Bin) -> Option<f64>| {
        let point = |(from, lasts, bin): (f64, f64, &Bin)| {
            (from + lasts / 2.0, value(bin).unwrap_or(f64::NAN))
        };
        let points = joined(series).into_iter().map(point).collect();
        Curve { name: name.to_owned(), points }
    };
    let (title, lines) = if let Some(series) = follows(shown) {
        let line = |name: &str, colour, value: fn(&Bin) -> Option<f64>| {
            let curve = of(series, name, value);
            Layer::Line { curve, colour, dash: "none", dots: true }
        };
        let p50 = line("p50", TAILS[1], |bin| bin.p50_ms);
        ("Latency over time", vec![p50, line("p99", TAILS[3], |bin| bin.p99_ms)])
    } else {
        let pairs = side_by_side(shown)?.into_iter().enumerate();
        let lines = pairs.map(|(index, (series, _))| {
            Layer::line(index, of(series, &series.name, |bin| bin.p99_ms))
        });
        ("99th percentile of latency over time", lines.collect())
    };
    let ends = shown.points().map(|(_, point)| point.report.duration_s);
    let end = match follows(shown) {
        Some(_) => ends.sum(),
        None => ends.fold(0.0, f64::max),
    };
    let mut layers: Vec<Layer> = deadline(shown, 0.0, end).into_iter().collect();
    layers.extend(lines);
    let x = Axis { end: Some(end), ..Axis::from_zero("seconds from the start") };
    let (title, y) = (title.to_owned(), Axis::log("ms, logarithmic"));
    Some(Chart { title, x, y, layers }.svg())
}

/// Latency by the share of answers that stayed within it, in nines.
pub(super) fn quantiles(shown: &Shown<'_>) -> Option<String> {
    let wanted: Vec<(String, Latencies)> = match &shown.series[..] {
        [series] if rises(series) => {
            let points = series.points.iter().take(LINES_MAX);
            points.map(|point| (point.load.clone(), point.latencies.clone())).collect()
        }
        several if several.iter().any(rises) => return None,
        several => several.iter().take(LINES_MAX).map(merged).collect(),
    };
    let most =
        wanted.iter().map(|(_, latencies)| latencies.len()).max().filter(|most| *most > 0)?;
    let alone = wanted.len() == 1;
    let lines = wanted.into_iter().enumerate().map(|(index, (name, latencies))| {
        let of = latencies.len() as f64;
        // Eight steps to a nine, no further than one answer.
        let steps = (1..=8 * 6u32).map(|step| 10f64.powf(f64::from(step) / 8.0));
        let points = steps
            .take_while(|rest| *rest <= of)
            .map(|rest| (rest, latencies.quantile_ms(1.0 - 1.0 / rest).max(1e-3)));
        let name = if alone { String::new() } else { name };
        Layer::line(index, Curve { name, points: points.collect() }).without_dots()
    });
    let mut layers: Vec<Layer> = lines.collect();
    layers.extend(deadline(shown, 1.34, most as f64));
    let names = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
    let places = [2.0, 10.0, 100.0, 1e3, 1e4, 1e5].map(f64::from);
    let ticks = places.into_iter().zip(names.map(str::to_owned)).collect();
    let x = Axis { ticks: Some(ticks), ..Axis::log("of the answers came within") };
    let title = "Distribution of latency".to_owned();
    Some(Chart { title, x, y: Axis::log("ms, logarithmic"), layers }.svg())
}

/// All answers of a series together.
fn merged(series: &Series) -> (String, Latencies) {
    let mut sum = Latencies::default();
    series.points.iter().for_each(|point| sum.add(&point.latencies));
    (series.name.clone(), sum)
}

/// Goodput of one run after another under the same load.
pub(super) fn rounds(shown: &Shown<'_>) -> Option<String> {
    let asked = matches!(shown.kind, Kind::Compare) && shown.results.len() == 1;
    let several = shown.series.iter().all(|series| series.points.len() > 1);
    if !(asked && several) {
        return None;
    }
    let lines = shown.series.iter().enumerate().map(|(index, series)| {
        let points = (1u32..).zip(&series.points);
        let points = points.map(|(round, point)| (f64::from(round), point.report.goodput));
        Layer::line(index, Curve { name: series.name.clone(), points: points.collect() })
    });
    let rounds = shown.series.iter().map(|series| series.points.len()).max().unwrap_or(0);
    // So many numbers fit below the plot.
    let ticks = (1..=rounds).step_by(rounds.div_ceil(16).max(1));
    let ticks = ticks.map(|round| (round as f64, round.to_string())).collect();
    let x = Axis { ticks: Some(ticks), ..Axis::from_zero("round") };
    let y = Axis::from_zero("answers in time/s");
    Some(Chart { title: "Goodput by round".to_owned(), x, y, layers: lines.collect() }.svg())
}

/// Memory of a server that was watched.
pub(super) fn memory(shown: &Shown<'_>) -> Option<String> {
    let [series] = &shown.series[..] else { return None };
    let mut at = 0.0;
    let mut points = Vec::new();
    for point in &series.points {
        at += point.report.duration_s;
        points.push((at / 60.0, point.memory_bytes? as f64 / f64::from(1 << 20)));
    }
    let layers = vec![Layer::line(0, Curve { name: "resident".to_owned(), points })];
    let (x, y) = (Axis::from_zero("minutes of load"), Axis::from_zero("MiB"));
    Some(Chart { title: "Memory of the server".to_owned(), x, y, layers }.svg())
}
