//! What a page draws of results; a plot whose numbers are not there is left out.

mod loads;
mod run;
mod server;

use super::{Shown, rises};
use crate::chart::{Axis, Chart, Curve, Layer, number};
use crate::result::{Kind, Point, Series};

pub(super) use loads::{goodput, latency};

/// Colours of what became of requests: in time, late, refused, failed.
const ENDS: [(&str, &str); 4] =
    [("in time", "#12805c"), ("late", "#e0a100"), ("refused", "#9aa5b1"), ("failed", "#b91c1c")];
/// From the median to the tail, each darker.
const TAILS: [&str; 4] = ["#8fb8de", "#4a8fcb", "#0b5a9c", "#082f57"];

/// A plot of a page.
pub(super) struct Plot {
    /// What it is called as a file.
    pub(super) name: &'static str,
    /// The plot.
    pub(super) svg: String,
    /// What a reader should know.
    pub(super) caption: String,
}

/// Every plot, in the order of the page.
pub(super) fn all(shown: &Shown<'_>) -> Vec<Plot> {
    let rising = shown.series.iter().any(rises);
    let deadline = deadline_ms(shown);
    let within = deadline.map_or(String::new(), |ms| format!(" Deadline {} ms.", number(ms)));
    let lies =
        if rising { "The dashed line is what would be answered if all were in time." } else { "" };
    let plots = [
        ("goodput", goodput(shown), format!("{lies}{within}")),
        ("latency", latency(shown), "Of answered requests, from when they were due.".to_owned()),
        ("ends", loads::ends(shown), "What became of all requests under each load.".to_owned()),
        (
            "timeline",
            run::timeline(shown),
            format!("Requests by the second in which they were due.{within}"),
        ),
        (
            "latency-timeline",
            run::latency_timeline(shown),
            "Of the requests that were due in each second.".to_owned(),
        ),
        (
            "distribution",
            run::quantiles(shown),
            "How slow the slowest part of the answers was.".to_owned(),
        ),
        ("rounds", run::rounds(shown), "Each run of the series, in order.".to_owned()),
        ("memory", run::memory(shown), "Of the server's process after each run.".to_owned()),
        (
            "batches",
            server::batches(shown),
            "Rows that ran in a batch of that size, by the server's account.".to_owned(),
        ),
        (
            "batch-means",
            server::batch_means(shown),
            "Rows of a batch on average, by the server's account.".to_owned(),
        ),
        (
            "phases",
            server::phases(shown),
            "Where an answered request's time went, by the server's account.".to_owned(),
        ),
        (
            "refusals",
            server::refusals(shown),
            "Everything that was not answered, by reason.".to_owned(),
        ),
    ];
    let plot =
        |(name, svg, caption): (_, Option<String>, _)| Some(Plot { name, svg: svg?, caption });
    plots.into_iter().filter_map(plot).collect()
}

/// The deadline, if all have the same.
fn deadline_ms(shown: &Shown<'_>) -> Option<f64> {
    let first = shown.series.first()?.deadline_ms?;
    shown.series.iter().all(|series| series.deadline_ms == Some(first)).then_some(first)
}

/// A grey line across a chart at the deadline.
fn deadline(shown: &Shown<'_>, from: f64, to: f64) -> Option<Layer> {
    let ms = deadline_ms(shown)?;
    let points = vec![(from, ms), (to, ms)];
    Some(Layer::Guide(Curve { name: format!("deadline {} ms", number(ms)), points }))
}
