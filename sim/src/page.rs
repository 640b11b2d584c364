//! A comparison as one HTML file that needs nothing else: tables, and plots as inline SVG. It prints well.

use std::fmt::Write;

use loadgen::chart::{Curve, colour, escape, plot};

use crate::compare::{Cell, Choice};
use crate::{Goodput, Scenario};

/// Everything that was compared.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// With their names.
    pub scenarios: &'a [(String, Scenario)],
    /// The policies of each scenario; of all the same policies, perhaps set otherwise.
    pub choices: &'a [Vec<Choice>],
    /// What happened.
    pub cells: &'a [Cell],
    /// By scenario and then choice; empty if not asked for.
    pub goodputs: &'a [Goodput],
    /// How to get the same again.
    pub command: &'a str,
}

impl Comparison<'_> {
    /// The choice of a cell.
    #[must_use]
    pub fn choice(&self, cell: &Cell) -> &Choice {
        &self.choices[cell.scenario][cell.choice]
    }

    /// The goodput of a scenario's choice, if asked for.
    #[must_use]
    pub fn goodput(&self, scenario: usize, choice: usize) -> Option<&Goodput> {
        self.goodputs.get(scenario * self.choices[scenario].len() + choice)
    }
}

/// Where scripts run, curves are thin and grey but for the first, what is pointed at, and what was chosen among the names above the plots.
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:84rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1,h2{font-weight:600}table{border-collapse:collapse;margin:1rem 0;font-size:.9em;font-variant-numeric:tabular-nums}\
th,td{padding:.15rem .5rem;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}\
.wide{overflow-x:auto}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(32rem,100%),1fr));gap:1rem}\
svg{width:100%;height:auto}code{background:#f3f3f3;padding:.1rem .3rem;overflow-wrap:anywhere}\
.names{display:flex;flex-wrap:wrap;gap:.3rem;margin:.8rem 0}\
.names button{font:inherit;font-size:.85em;padding:.1rem .5rem;border:1px solid #ccc;border-left-width:.5rem;\
border-radius:.3rem;background:#fff;color:#444;cursor:pointer}.names button.on{background:#eef3f8;color:#000;font-weight:600}\
.live .line:not(.on) path,.live .name:not(.on) path{stroke:#c4cad2;stroke-width:1}.live .line:not(.on) circle{display:none}\
.live .name:not(.on) text{fill:#8a929d}.live .line.on>path{stroke-width:2.6}.live .name{cursor:pointer}.live .name.on text{font-weight:600}\
@media print{body{max-width:none;margin:0}section{break-inside:avoid}.plots{grid-template-columns:1fr 1fr}}";

/// Points at a curve in all plots of its section, or keeps it on.
const SCRIPT: &str = "document.body.className='live';for(const s of document.querySelectorAll('section')){const kept=new Set(['0']);let at=null;\
const all=[...s.querySelectorAll('[data-line]')];\
const show=()=>all.forEach(e=>e.classList.toggle('on',kept.has(e.dataset.line)||e.dataset.line===at));show();\
for(const e of all){e.addEventListener('mouseenter',()=>{at=e.dataset.line;show()});\
e.addEventListener('mouseleave',()=>{at=null;show()});\
e.addEventListener('click',()=>{const n=e.dataset.line;kept.has(n)?kept.delete(n):kept.add(n);show()})}}";

/// The columns of a row about a cell.
pub const COLUMNS: [&str; 14] = [
    "scenario",
    "policy",
    "load",
    "seed",
    "offered/s",
    "goodput/s",
    "in time %",
    "late %",
    "refused %",
    "batch",
    "busy %",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
];

/// A cell as text, in the order of [`COLUMNS`].
#[must_use]
pub fn row(comparison: &Comparison<'_>, cell: &Cell) -> Vec<String> {
    let (name, scenario) = &comparison.scenarios[cell.scenario];
    let total = cell.report.total();
    let of_offered = |count: u64| 100.0 * count as f64 / total.offered.max(1) as f64;
    let ms = |share| total.latencies.percentile(share).as_secs_f64() * 1e3;
    vec![
        name.clone(),
        comparison.choice(cell).to_string(),
        format!("{}", cell.load),
        scenario.seed.to_string(),
        format!("{:.1}", cell.offered),
        format!("{:.1}", cell.report.goodput()),
        format!("{:.2}", 100.0 * cell.report.attainment()),
        format!("{:.2}", of_offered(total.late + total.failed)),
        format!("{:.2}", of_offered(total.refused_total())),
        format!("{:.2}", total.batch_mean()),
        format!("{:.1}", 100.0 * cell.report.busy_share()),
        format!("{:.3}", ms(0.5)),
        format!("{:.3}", ms(0.99)),
        format!("{:.3}", ms(0.999)),
    ]
}

/// The page.
#[must_use]
pub fn html(comparison: &Comparison<'_>) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Policies compared</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Policies compared</h1>\n<p>Simulated in virtual time; the same command gives the same numbers:\n\
         <code>{}</code></p>\n",
        escape(comparison.command)
    );
    for scenario in 0..comparison.scenarios.len() {
        section(&mut page, comparison, scenario);
    }
    page + "<script>" + SCRIPT + "</script></body></html>\n"
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes all");
}

fn section(page: &mut String, comparison: &Comparison<'_>, scenario: usize) {
    let (name, spec) = &comparison.scenarios[scenario];
    put(page, format_args!("<section><h2>{}</h2>\n", escape(name)));
    let (executors, models) =
        (spec.executor_count(), spec.models.iter().map(|model| model.count).sum::<u32>());
    put(
        page,
        format_args!(
            "<p>{executors} executors, {models} models, {:?} of requests, seed {}.</p>\n",
            spec.duration, spec.seed
        ),
    );
    put(page, format_args!("<p class=\"names\">"));
    for (index, choice) in comparison.choices[scenario].iter().enumerate() {
        let (on, colour) = (if index == 0 { " class=\"on\"" } else { "" }, colour(index));
        let name = escape(&choice.to_string());
        put(
            page,
            format_args!(
                "<button{on} data-line=\"{index}\" style=\"border-left-color:{colour}\">{name}</button>\n"
            ),
        );
    }
    put(page, format_args!("</p><div class=\"plots\">\n{}</div>\n", plots(comparison, scenario)));
    let cells = comparison.cells.iter().filter(|cell| cell.scenario == scenario);
    let rows = cells.map(|cell| row(comparison, cell).split_off(1));
    table(page, &COLUMNS[1..], rows);
    let choices = comparison.choices[scenario].iter().enumerate();
    let found: Vec<Vec<String>> = choices
        .filter_map(|(index, choice)| {
            let found = comparison.goodput(scenario, index)?;
            Some(vec![
                choice.to_string(),
                format!("{:.1}", found.rate),
                format!("{:.3}", found.load),
            ])
        })
        .collect();
    if !found.is_empty() {
        put(
            page,
            format_args!("<h3>Goodput: the highest rate with at most 1 % late or refused</h3>\n"),
        );
        table(page, &["policy", "requests/s", "times the scenario's rate"], found.into_iter());
    }
    put(page, format_args!("</section>\n"));
}

fn table(page: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(&cell))).collect::<String>()
    };
    let head = cells("th", &mut head.iter().map(|cell| (*cell).to_owned()));
    put(page, format_args!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n"));
    for row in rows {
        put(page, format_args!("<tr>{}</tr>\n", cells("td", &mut row.into_iter())));
    }
    put(page, format_args!("</tbody></table></div>\n"));
}

fn plots(comparison: &Comparison<'_>, scenario: usize) -> String {
    type Y = fn(&Cell) -> f64;
    let latency =
        |cell: &Cell, share| cell.report.total().latencies.percentile(share).as_secs_f64() * 1e3;
    let plotted: [(&str, &str, Y); 5] = [
        ("Goodput", "answers in time/s", |cell| cell.report.goodput()),
        ("In time", "% of requests", |cell| 100.0 * cell.report.attainment()),
        ("Batch", "rows, mean", |cell| cell.report.total().batch_mean()),
        ("Latency, median", "ms", |_| 0.5),
        ("Latency, 99th percentile", "ms", |_| 0.99),
    ];
    let mut text = String::new();
    for (title, label, y) in plotted {
        let curves: Vec<Curve> = (0..comparison.choices[scenario].len())
            .map(|choice| Curve {
                name: comparison.choices[scenario][choice].to_string(),
                points: comparison
                    .cells
                    .iter()
                    .filter(|cell| cell.scenario == scenario && cell.choice == choice)
                    .map(|cell| {
                        let value = y(cell);
                        let value = if label == "ms" { latency(cell, value) } else { value };
                        (cell.offered, value)
                    })
                    .collect(),
            })
            .collect();
        text.push_str(&plot(title, "offered requests/s", label, &curves));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Asked, choices, compare};
    use crate::random_scenario;

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let scenarios = [("a <b>".to_owned(), random_scenario(1))];
        let choices = [choices(Asked::default()).unwrap()];
        let cells = compare(&scenarios, &choices, &[0.5, 1.0], Some(1)).unwrap();
        let goodput = Goodput { load: 1.5, rate: 77.7, ..Goodput::NONE };
        let goodputs = vec![goodput; choices[0].len()];
        let comparison = Comparison {
            scenarios: &scenarios,
            choices: &choices,
            cells: &cells,
            goodputs: &goodputs,
            command: "x",
        };
        let page = html(&comparison);
        assert!(page.contains("a &lt;b&gt;") && page.contains("77.7"));
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("<tr>").count(), 1 + cells.len() + 1 + choices[0].len());
        let named = page.matches("<button").count();
        assert_eq!((named, page.matches("class=\"line\"").count()), (choices[0].len(), 5 * named));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
