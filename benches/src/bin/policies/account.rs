//! The tables, plots and the last line of a comparison on the grid.

use std::path::Path;

use benches::Table;
use benches::contest::Contest;
use benches::grid::Grid;
use loadgen::chart::{Curve, escape, plot_over};
use sim::bound::Point;

/// All that was found.
pub(crate) struct Account<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) contests: &'a [Contest],
    /// How to get the same again.
    pub(crate) command: String,
}

/// More cells than this are not listed one by one.
const CELLS_MAX: usize = 100;

/// How cells are grouped.
type Axis = (&'static str, fn(&Grid, &Contest) -> String);

const AXES: [Axis; 5] = [
    ("profile", |grid, contest| grid.profiles[contest.spot.profile].name.to_owned()),
    ("slo / l(1)", |_, contest| contest.spot.slo.to_string()),
    ("devices", |_, contest| contest.spot.devices.to_string()),
    ("models", |_, contest| contest.spot.models.to_string()),
    ("arrivals", |grid, contest| grid.arrivals[contest.spot.arrivals].to_owned()),
];

fn geomean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> =
        ratios.filter(|ratio| *ratio > 0.0 && ratio.is_finite()).map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"))
}

impl Account<'_> {
    /// Values of an axis in the order of the grid.
    fn values(&self, axis: &Axis) -> Vec<String> {
        let mut sorted: Vec<&Contest> = self.contests.iter().collect();
        sorted.sort_by(|a, b| {
            let key = |contest: &Contest| {
                let spot = contest.spot;
                (spot.profile, spot.arrivals, spot.devices, spot.models)
            };
            a.spot.slo.total_cmp(&b.spot.slo).then(key(a).cmp(&key(b)))
        });
        if axis.0 != "slo / l(1)" {
            let key = |contest: &&Contest| match axis.0 {
                "profile" => contest.spot.profile,
                "devices" => contest.spot.devices as usize,
                "models" => contest.spot.models as usize,
                _ => contest.spot.arrivals,
            };
            sorted.sort_by_key(key);
        }
        let mut values: Vec<String> =
            sorted.into_iter().map(|contest| axis.1(self.grid, contest)).collect();
        values.dedup();
        values
    }

    fn of<'b>(&'b self, axis: &'b Axis, value: &'b str) -> impl Iterator<Item = &'b Contest> {
        self.contests.iter().filter(move |contest| axis.1(self.grid, contest) == value)
    }

    /// A row a value: each policy's goodput as a share of the best of all, and ours over the best of the others.
    fn tables(&self) -> Vec<(String, Vec<Vec<String>>)> {
        let mut head = vec!["cells".to_owned(), "ours/best min".to_owned(), "geomean".to_owned()];
        head.push("ours/staggered".to_owned());
        head.push("ours/best at 2x".to_owned());
        head.extend(batcher::ALL.iter().map(|entry| entry.name.to_owned()));
        let mut tables = Vec::new();
        for axis in &AXES {
            let mut rows = vec![[vec![axis.0.to_owned()], head.clone()].concat()];
            for value in self.values(axis) {
                let cells: Vec<&Contest> = self.of(axis, &value).collect();
                rows.push([vec![value.clone()], group(&cells)].concat());
            }
            if axis.0 == "arrivals" {
                let cells: Vec<&Contest> = self.contests.iter().collect();
                rows.push([vec!["all".to_owned()], group(&cells)].concat());
            }
            tables.push((axis.0.to_owned(), rows));
        }
        tables
    }

    /// A row a cell with both bounds and the goodput of every policy.
    fn cells(&self) -> Table {
        let mut head = vec!["cell", "uncoordinated", "staggered"];
        head.extend(batcher::ALL.iter().map(|entry| entry.name));
        let mut table = Table::new(&head);
        for contest in self.contests {
            let bound = |point: Option<Point>| {
                point.map_or("none".to_owned(), |point| format!("{:.1}", point.goodput))
            };
            let mut row = vec![self.name(contest)];
            row.extend([contest.forms.uncoordinated, contest.forms.staggered].map(bound));
            row.extend(contest.entrants.iter().map(|entrant| format!("{:.1}", entrant.goodput)));
            table.push(row);
        }
        table
    }

    /// Everything but the last line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if self.contests.len() <= CELLS_MAX {
            text += &format!(
                "\ngoodput in requests/s; bounds for even arrivals of one model\n{}",
                self.cells()
            );
        }
        for (_, rows) in self.tables() {
            let head: Vec<&str> = rows[0].iter().map(String::as_str).collect();
            let mut table = Table::new(&head);
            rows[1..].iter().for_each(|row| table.push(row.clone()));
            text += &format!("\n{table}");
        }
        let mut table =
            Table::new(&["the lowest cells", "ours/best", "ours", "best other", "its name"]);
        for contest in self.lowest().into_iter().take(10) {
            let other = contest.entrants[1..].iter().max_by(|a, b| a.goodput.total_cmp(&b.goodput));
            let (rate, name) = other.map_or((0.0, "-".to_owned()), |other| {
                (other.goodput, format!("{} {}", other.policy, other.setting))
            });
            table.push(vec![
                self.name(contest),
                shown(contest.ratio()),
                format!("{:.1}", contest.entrants[0].goodput),
                format!("{rate:.1}"),
                name.trim_end().to_owned(),
            ]);
        }
        let versus: Vec<String> = (1..batcher::ALL.len())
            .map(|other| format!("{} {}", batcher::ALL[other].name, shown(self.versus(other))))
            .collect();
        let served = self.contests.iter().filter(|contest| contest.ratio().is_none()).count();
        text + &format!(
            "\n{table}\nours over each other policy, geometric mean: {}\n\
             cells left out of the ratios, since no policy serves anything there: {served}\n",
            versus.join(", ")
        )
    }

    /// Our goodput over that policy's, where both serve something.
    fn versus(&self, other: usize) -> Option<f64> {
        let ratio =
            |contest: &Contest| contest.entrants[0].goodput / contest.entrants[other].goodput;
        geomean(self.contests.iter().map(ratio))
    }

    fn lowest(&self) -> Vec<&Contest> {
        let mut sorted: Vec<&Contest> =
            self.contests.iter().filter(|contest| contest.ratio().is_some()).collect();
        let ratio = |contest: &Contest| contest.ratio().unwrap_or(f64::INFINITY);
        sorted.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        sorted
    }

    fn name(&self, contest: &Contest) -> String {
        let spot = contest.spot;
        format!(
            "{}, slo {} l(1), {} devices, {} models, {}",
            self.grid.profiles[spot.profile].name,
            spot.slo,
            spot.devices,
            spot.models,
            self.grid.arrivals[spot.arrivals]
        )
    }

    pub(crate) fn last_line(&self) -> String {
        let sorted = self.lowest();
        let mean = geomean(sorted.iter().filter_map(|contest| contest.ratio()));
        let worst = sorted.first();
        format!(
            "ours/best per cell: min {} geomean {}; worst cell {}",
            shown(worst.and_then(|contest| contest.ratio())),
            shown(mean),
            worst.map_or("none".to_owned(), |contest| self.name(contest))
        )
    }

    /// Writes every number as CSV, and a page with tables and plots.
    pub(crate) fn write(&self, folder: &Path, form: &str) -> Result<(), String> {
        let put = |name: String, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        put(format!("{form}.csv"), &self.csv())?;
        for (name, svg) in self.plots() {
            put(format!("{form}_{name}.svg"), &svg)?;
        }
        put(format!("{form}.html"), &self.html())
    }

    fn csv(&self) -> String {
        let mut text = format!(
            "# {}\nprofile,slo_factor,devices,models,arrivals,requests,policy,goodput,goodput_at_2x,setting,uncoordinated,staggered,capacity\n",
            self.command
        );
        for contest in self.contests {
            let forms =
                [contest.forms.uncoordinated, contest.forms.staggered, contest.forms.capacity];
            let forms =
                forms.map(|form| form.map_or(String::new(), |p| format!("{:.3}", p.goodput)));
            let spot = contest.spot;
            for entrant in &contest.entrants {
                text += &format!(
                    "{},{},{},{},{},{},{},{:.3},{:.3},{},{}\n",
                    self.grid.profiles[spot.profile].name,
                    spot.slo,
                    spot.devices,
                    spot.models,
                    self.grid.arrivals[spot.arrivals],
                    contest.requests,
                    entrant.policy,
                    entrant.goodput,
                    entrant.overload,
                    entrant.setting,
                    forms.join(",")
                );
            }
        }
        text
    }

    /// A plot an axis of numbers: each policy's goodput as a share of the best.
    fn plots(&self) -> Vec<(&'static str, String)> {
        let named = [("slo", 1), ("devices", 2), ("models", 3)];
        let plots = named.map(|(name, axis)| {
            let axis = &AXES[axis];
            let values = self.values(axis);
            let curves: Vec<Curve> = (0..batcher::ALL.len())
                .map(|policy| {
                    let points = values.iter().filter_map(|value| {
                        let cells: Vec<&Contest> = self.of(axis, value).collect();
                        // Values are far apart: even steps show more.
                        let place = values.iter().position(|other| other == value)?;
                        Some((place as f64 + 1.0, share(&cells, policy)?))
                    });
                    Curve { name: batcher::ALL[policy].name.to_owned(), points: points.collect() }
                })
                .collect();
            let labels = ["Goodput, geometric mean", axis.0, "share of the best policy"];
            (name, plot_over(&values, labels, &curves))
        });
        plots.to_vec()
    }

    fn html(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Policies on the grid</title>\n\
             <style>body{{font:15px/1.45 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}}\
             table{{border-collapse:collapse;margin:1rem 0}}th,td{{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:right}}\
             th:first-child,td:first-child{{text-align:left}}svg{{width:100%;max-width:44rem;height:auto}}</style></head><body>\n\
             <h1>Policies on the grid</h1><p><code>{}</code></p><p>{}</p>\n",
            escape(&self.command),
            escape(&self.last_line())
        );
        for (name, rows) in self.tables() {
            page += &format!("<h2>By {}</h2>\n<table>", escape(&name));
            for (index, row) in rows.iter().enumerate() {
                let tag = if index == 0 { "th" } else { "td" };
                let cells = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
                page += &format!("<tr>{}</tr>\n", cells.collect::<String>());
            }
            page += "</table>\n";
        }
        for (_, svg) in self.plots() {
            page += &svg;
        }
        page + "</body></html>\n"
    }
}

/// The geometric mean of a policy's goodput as a share of the best, where it serves something.
fn share(cells: &[&Contest], policy: usize) -> Option<f64> {
    geomean(cells.iter().map(|contest| {
        let best = contest.entrants[0].goodput.max(contest.best_other());
        contest.entrants[policy].goodput / best
    }))
}

fn group(cells: &[&Contest]) -> Vec<String> {
    let ratios: Vec<f64> = cells.iter().filter_map(|contest| contest.ratio()).collect();
    let least = ratios.iter().copied().min_by(f64::total_cmp);
    let staggered = geomean(cells.iter().filter_map(|contest| {
        Some(contest.entrants[0].goodput / contest.forms.staggered?.goodput)
    }));
    let overload = geomean(cells.iter().map(|contest| {
        let others = contest.entrants[1..].iter().map(|entrant| entrant.overload);
        contest.entrants[0].overload / others.fold(0.0, f64::max)
    }));
    let mut row = vec![ratios.len().to_string(), shown(least)];
    row.extend([shown(geomean(ratios.into_iter())), shown(staggered), shown(overload)]);
    row.extend((0..batcher::ALL.len()).map(|policy| shown(share(cells, policy))));
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use benches::contest::Entrant;
    use sim::bound::ClosedForms;

    use super::*;

    fn contest(grid: &Grid, index: usize, goodputs: [f64; 2]) -> Contest {
        let entrant = |(policy, goodput): (&'static str, f64)| {
            let setting = String::new();
            Entrant { policy, goodput, overload: goodput, setting }
        };
        Contest {
            spot: grid.all()[index],
            entrants: ["ours", "other"].into_iter().zip(goodputs).map(entrant).collect(),
            forms: ClosedForms { uncoordinated: None, staggered: None, capacity: None },
            requests: 5000,
            cpu: Duration::ZERO,
        }
    }

    #[test]
    fn the_last_line_names_the_least_ratio_and_leaves_out_where_none_serves() {
        let grid = Grid::present().unwrap();
        let contests = [
            contest(&grid, 0, [80.0, 100.0]),
            contest(&grid, 1, [125.0, 100.0]),
            contest(&grid, 2, [0.0, 0.0]),
        ];
        let account = Account { grid: &grid, contests: &contests, command: String::new() };
        let name = "resnet50 linear, slo 1.5 l(1), 1 devices, 1 models, poisson";
        let line = format!("ours/best per cell: min 0.800 geomean 1.000; worst cell {name}");
        assert_eq!(account.last_line(), line);
        let nothing = [contest(&grid, 0, [0.0, 5.0])];
        let account = Account { contests: &nothing, ..account };
        assert!(account.last_line().starts_with("ours/best per cell: min 0.000 geomean -; "));
    }
}
