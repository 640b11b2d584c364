//! Plots of the server's own account, and of what it did not answer.

use std::collections::BTreeMap;

use super::{Axis, Chart, Curve, ENDS, Layer, Shown, number, rises};
use crate::chart::{Bar, COLOURS, bars};
use crate::result::{ModelView, ServerView};

/// Bars beyond these are not drawn.
const BARS_MAX: usize = 16;
/// Waiting is not the server's work; the run is.
const PHASES: [(&str, &str); 4] = [
    ("queue", "#9aa5b1"),
    ("gather inputs", "#e0a100"),
    ("run", "#0b6fb8"),
    ("take outputs", "#12805c"),
];

/// The share of rows that ran in batches of each size.
pub(super) fn batches(shown: &Shown<'_>) -> Option<String> {
    let view = shown.single()?.server.as_ref()?;
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    for batch in view.models.iter().flat_map(|model| &model.batches) {
        *rows.entry(batch.rows).or_default() += batch.rows * batch.count;
    }
    let all: u64 = rows.values().sum();
    let last = *rows.keys().next_back()?;
    let columns = rows.iter().map(|(size, rows)| {
        let share = 100.0 * *rows as f64 / all as f64;
        (*size as f64 - 0.42, *size as f64 + 0.42, vec![share])
    });
    let layers =
        vec![Layer::Stack { parts: vec![(String::new(), COLOURS[0])], columns: columns.collect() }];
    let few = last <= 16;
    let ticks = (1..=last).filter(|size| few || size % last.div_ceil(10) == 0);
    let ticks = ticks.map(|size| (size as f64, size.to_string())).collect();
    let end = Some(last as f64 + 0.6);
    let x = Axis { ticks: Some(ticks), end, ..Axis::from_zero("rows of the batch") };
    let title = match view.batch_mean() {
        Some(mean) => format!("Batch sizes, {} on average", number(mean)),
        None => "Batch sizes".to_owned(),
    };
    Some(Chart { title, x, y: Axis::from_zero("% of rows"), layers }.svg())
}

/// The mean batch against offered load.
pub(super) fn batch_means(shown: &Shown<'_>) -> Option<String> {
    let mut layers = Vec::new();
    for (index, series) in shown.series.iter().enumerate().filter(|(_, series)| rises(series)) {
        let mut points: Vec<(f64, f64)> = series
            .points
            .iter()
            .filter_map(|point| {
                Some((point.report.offered_rate, point.server.as_ref()?.batch_mean()?))
            })
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        if !points.is_empty() {
            layers.push(Layer::line(index, Curve { name: series.name.clone(), points }));
        }
    }
    let title = "Mean batch against offered load".to_owned();
    let (x, y) = (Axis::from_zero("offered requests/s"), Axis::from_zero("rows"));
    (!layers.is_empty()).then(|| Chart { title, x, y, layers }.svg())
}

/// Where the time of answered requests went: by model of one run, by load of one sweep, else by server.
pub(super) fn phases(shown: &Shown<'_>) -> Option<String> {
    let bar = |name: String, model: &ModelView| Bar {
        name,
        values: vec![model.queue_ms, model.input_ms, model.infer_ms, model.output_ms],
    };
    let alone = shown.single().and_then(|point| point.server.as_ref());
    let rows: Vec<Bar> = match (&shown.series[..], alone) {
        (_, Some(view)) => view.models.iter().map(|model| bar(model.name.clone(), model)).collect(),
        ([series], None) if rises(series) => series
            .points
            .iter()
            .filter_map(|point| Some(bar(point.load.clone(), &together(point.server.iter())?)))
            .collect(),
        (several, None) if several.iter().any(rises) => return None,
        (several, None) => several
            .iter()
            .filter_map(|series| {
                let views = series.points.iter().filter_map(|point| point.server.as_ref());
                Some(bar(series.name.clone(), &together(views)?))
            })
            .collect(),
    };
    let rows: Vec<Bar> = rows.into_iter().take(BARS_MAX).collect();
    if rows.iter().all(|row| row.values.iter().sum::<f64>() == 0.0) {
        return None;
    }
    Some(bars("Time in the server", "ms of an answered request, on average", &PHASES, &rows))
}

/// All models of one or several runs as one.
fn together<'a>(views: impl Iterator<Item = &'a ServerView>) -> Option<ModelView> {
    let models: Vec<&ModelView> = views.flat_map(|view| &view.models).collect();
    let answered: u64 = models.iter().map(|model| model.answered).sum();
    let mean = |value: fn(&ModelView) -> f64| {
        models.iter().map(|model| value(model) * model.answered as f64).sum::<f64>()
            / answered as f64
    };
    (answered > 0).then(|| ModelView {
        queue_ms: mean(|model| model.queue_ms),
        input_ms: mean(|model| model.input_ms),
        infer_ms: mean(|model| model.infer_ms),
        output_ms: mean(|model| model.output_ms),
        ..ModelView::default()
    })
}

/// Requests that were not answered, by reason or error.
pub(super) fn refusals(shown: &Shown<'_>) -> Option<String> {
    let mut counts: BTreeMap<(usize, String), u64> = BTreeMap::new();
    let several = shown.series.len() > 1;
    for (series, point) in shown.points() {
        let tally = &point.report.tally;
        let mut add = |end: usize, reason: &str, count: u64| {
            let name =
                if several { format!("{}: {reason}", series.name) } else { reason.to_owned() };
            if count > 0 {
                *counts.entry((end, name)).or_default() += count;
            }
        };
        tally.refused.iter().for_each(|(reason, count)| add(2, reason, *count));
        tally.errors.iter().for_each(|(text, count)| add(3, text, *count));
        add(3, "timed out", tally.timeouts);
        add(3, "cancelled", tally.cancelled);
        add(3, "connection lost", tally.connections_lost);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|((end, _), count)| (*end, std::cmp::Reverse(*count)));
    let bar = |((end, reason), count): ((usize, String), u64)| {
        let mut values = vec![0.0; 2];
        values[end - 2] = count as f64;
        Bar { name: reason, values }
    };
    let rows: Vec<Bar> = counts.into_iter().take(BARS_MAX).map(bar).collect();
    let title = "Refusals and failures";
    (!rows.is_empty()).then(|| bars(title, "requests", &ENDS[2..], &rows))
}
