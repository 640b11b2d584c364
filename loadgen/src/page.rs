//! Results as one HTML file that needs nothing else: key figures, plots and tables. It prints well.

mod files;
mod plots;
mod tables;

use std::fmt::{Arguments, Write};

use crate::chart::{escape, number};
use crate::result::{Finding, Kind, Point, ResultFile, Series};
use crate::{CLIENT_BUSY_MAX, LAG_P99_MAX, Report};

pub use files::{make_folder, write, write_all};

const STYLE: &str = include_str!("page/style.css");

/// What a page shows: one result, or several laid over each other.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    kind: Kind,
    series: Vec<Series>,
    results: &'a [ResultFile],
}

impl<'a> Shown<'a> {
    /// Lays results over each other.
    #[must_use]
    pub fn of(results: &'a [ResultFile]) -> Self {
        let kinds: Vec<Kind> = results.iter().map(|result| result.kind).collect();
        let mut series: Vec<Series> =
            results.iter().flat_map(|result| result.series.iter().cloned()).collect();
        // The same server measured twice is told apart.
        for index in 1..series.len() {
            let name = series[index].name.clone();
            let before = series[..index].iter().filter(|one| one.name == name).count();
            if before > 0 {
                series[index].name = format!("{name} ({})", before + 1);
            }
        }
        let kind = match kinds[..] {
            [kind] => kind,
            _ if series.iter().any(rises) => Kind::Sweep,
            _ => Kind::Compare,
        };
        Self { kind, series, results }
    }

    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let title = match self.results {
            [one] => one.title.clone(),
            _ => {
                let names: Vec<&str> =
                    self.series.iter().map(|series| series.name.as_str()).collect();
                match names[..] {
                    [first, second] => format!("{first} and {second}"),
                    _ => names.join(", "),
                }
            }
        };
        let mut page = Page::default();
        let heading = escape(&title);
        page.put(format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{heading}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>{STYLE}</style></head>\n<body>\n\
             <header><h1>{heading}</h1>\n"
        ));
        self.made(&mut page);
        page.put(format_args!("</header>\n"));
        self.doubts(&mut page);
        self.tiles(&mut page);
        page.put(format_args!("<div class=\"plots\">\n"));
        for plot in plots::all(self) {
            page.put(format_args!(
                "<figure>{}<figcaption>{}</figcaption></figure>\n",
                plot.svg,
                escape(&plot.caption)
            ));
        }
        page.put(format_args!("</div>\n"));
        tables::points(&mut page, self);
        tables::models(&mut page, self);
        self.footer(&mut page);
        page.text + "</body></html>\n"
    }

    /// The plot of goodput against offered load alone, as an SVG file; none without several loads.
    #[must_use]
    pub fn goodput_svg(&self) -> Option<String> {
        plots::goodput(self)
    }

    /// The plot of a latency percentile against offered load alone; none without several loads.
    #[must_use]
    pub fn latency_svg(&self) -> Option<String> {
        plots::latency(self)
    }

    /// Every plot of the page as an SVG file, with a name for it.
    #[must_use]
    pub fn plots(&self) -> Vec<(&'static str, String)> {
        plots::all(self).into_iter().map(|plot| (plot.name, plot.svg)).collect()
    }

    fn points(&self) -> impl Iterator<Item = (&Series, &Point)> {
        self.series.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)))
    }

    /// The only point there is.
    fn single(&self) -> Option<&Point> {
        match &self.series[..] {
            [Series { points, .. }] => match &points[..] {
                [point] => Some(point),
                _ => None,
            },
            _ => None,
        }
    }

    fn made(&self, page: &mut Page) {
        for result in self.results {
            let of = match &result.series[..] {
                [series] => {
                    let target = series.target.as_ref().map(|url| format!(" at {url}"));
                    let loads = match &series.points[..] {
                        [point] => format!(", {}", point.load),
                        _ => String::new(),
                    };
                    format!("{}{}{loads}. ", series.server, target.unwrap_or_default())
                }
                _ => String::new(),
            };
            let simulated = result.series.iter().all(|series| series.simulated);
            let how = if simulated { "Simulated" } else { "Measured" };
            let (date, machine) = (result.date.replace(['T', 'Z'], " "), &result.machine);
            let text = format!("{of}{how} {} UTC on {machine}.", date.trim());
            page.put(format_args!("<p class=\"made\">{}</p>\n", escape(&text)));
        }
    }

    fn doubts(&self, page: &mut Page) {
        let all = self.points().count();
        let late = self.points().filter(|(_, point)| !point.trusted()).count();
        if late > 0 {
            page.put(format_args!(
                "<p class=\"doubt\"><b>Do not trust {late} of {all} points.</b> There the client itself sent late \
                 (its lag was above {} ms at the 99th percentile) or had no time left (above {:.0} % of its core), so that \
                 the numbers are partly its own. They are ringed in plots and red in tables.</p>\n",
                LAG_P99_MAX.as_millis(),
                100.0 * CLIENT_BUSY_MAX
            ));
        }
    }

    fn tiles(&self, page: &mut Page) {
        let findings: Vec<Finding> =
            self.results.iter().flat_map(|result| result.findings.iter().cloned()).collect();
        let tiles = if findings.is_empty() { self.figures() } else { findings };
        page.put(format_args!("<div class=\"tiles\">\n"));
        for Finding { what, value, unit, interval, note } in tiles {
            let value = value.map_or("none".to_owned(), number);
            let interval = interval.map(|[low, high]| {
                format!("<i>95 % within {} … {}</i>", number(low), number(high))
            });
            let note = if note.is_empty() { note } else { format!("<i>{}</i>", escape(&note)) };
            page.put(format_args!(
                "<div class=\"tile\"><span>{}</span><b>{value} <small>{}</small></b>{}{note}</div>\n",
                escape(&what),
                escape(&unit),
                interval.unwrap_or_default()
            ));
        }
        page.put(format_args!("</div>\n"));
    }

    /// The key figures of what asked no question of its own.
    fn figures(&self) -> Vec<Finding> {
        let figure = |what: &str, value: f64, unit: &str, note: String| Finding {
            what: what.to_owned(),
            value: Some(value),
            unit: unit.to_owned(),
            interval: None,
            note,
        };
        if let Some(point) = self.single() {
            let (report, latency) = (&point.report, &point.report.latency);
            let percent = 100.0 * report.attainment;
            return vec![
                figure("Offered", report.offered_rate, "/s", point.load.clone()),
                figure("Goodput", report.goodput, "/s", "answered in time".into()),
                figure("In time", percent, "%", "of requests".into()),
                figure("Median latency", latency.p50_ms, "ms", String::new()),
                figure("99th percentile", latency.p99_ms, "ms", String::new()),
                figure("Client's own lag", report.lag.p99_ms, "ms", "99th percentile".into()),
            ];
        }
        let best = |series: &Series| {
            let better =
                |one: &&Point, other: &&Point| one.report.goodput.total_cmp(&other.report.goodput);
            let point = series.points.iter().max_by(better)?;
            let at = format!("at {}/s offered", number(point.report.offered_rate));
            let what = if rises(series) { "Best goodput" } else { "Goodput" };
            let what = format!("{what}, {}", series.name);
            Some(figure(&what, point.report.goodput, "/s", at))
        };
        let mut figures: Vec<Finding> = self.series.iter().filter_map(best).collect();
        if let [series] = &self.series[..]
            && let Some(Report { offered_rate, latency, .. }) = highest_kept(series)
        {
            let what = "Highest load with 99 % in time";
            figures.push(figure(what, *offered_rate, "/s", "of those that were tried".into()));
            figures.push(figure("99th percentile there", latency.p99_ms, "ms", String::new()));
        }
        figures
    }

    fn footer(&self, page: &mut Page) {
        page.put(format_args!("<footer>"));
        for result in self.results {
            page.put(format_args!(
                "<p>{}: <code>{}</code></p>\n",
                escape(&result.program),
                escape(&result.command)
            ));
        }
        page.put(format_args!(
            "<p>Latency counts from when a request was due, whenever it was sent; it is that of answered requests. Goodput \
             counts the requests that were answered within their deadline, or answered where they had none.</p></footer>\n"
        ));
    }
}

/// The highest of several loads below which all, and it as well, had 99 % in time.
fn highest_kept(series: &Series) -> Option<&Report> {
    let mut reports: Vec<&Report> = series.points.iter().map(|point| &point.report).collect();
    reports.sort_by(|one, other| one.offered_rate.total_cmp(&other.offered_rate));
    reports
        .into_iter()
        .take_while(|report| report.attainment >= 0.99)
        .last()
        .filter(|_| rises(series))
}

/// Whether its points are of different loads.
fn rises(series: &Series) -> bool {
    let loads = || series.points.iter().map(|point| point.report.offered_rate);
    let (low, high) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max));
    series.points.len() > 1 && high > 1.1 * low
}

/// A text that is being written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn put(&mut self, text: Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes all");
    }
}
