//! What happened, by model and by reason.

use std::fmt;
use std::time::Duration;

use router::Rejection;

use crate::{Latencies, Table};

/// What happened to the requests of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelReport {
    /// Its name.
    pub name: String,
    /// Which `[[model]]` of the scenario it is of.
    pub entry: usize,
    /// How often its answers are right, where it answers a task.
    pub accuracy: Option<f64>,
    /// Requests that asked.
    pub offered: u64,
    /// Answered within their deadline, or without one.
    pub in_time: u64,
    /// Answered after their deadline.
    pub late: u64,
    /// Refused, by [`Rejection::index`].
    pub refused: [u64; Rejection::ALL.len()],
    /// Of batches that failed.
    pub failed: u64,
    /// Left while they waited.
    pub cancelled: u64,
    /// Batches launched after the warm-up and run to their end.
    pub batches: u64,
    /// Rows of those batches.
    pub rows: u64,
    /// How long executors ran batches after the warm-up.
    pub busy: Duration,
    /// From arrival to answer, of those answered.
    pub latencies: Latencies,
    /// Requests to variants for its own, where more than one variant answers them.
    pub asked: u64,
    /// Of its answers, how many were given unsettled: who was left out was late, refused, failed or too costly.
    pub short: u64,
    /// Of its answers, how many followed from those of others and of a sum.
    pub reconstructed: u64,
    /// Of its requests answered in time by more than one variant, how many were answered rightly; a share of their rows each.
    pub right: f64,
}

impl ModelReport {
    /// Adds another model's counts.
    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.in_time += other.in_time;
        self.late += other.late;
        self.refused.iter_mut().zip(other.refused).for_each(|(sum, count)| *sum += count);
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.batches += other.batches;
        self.rows += other.rows;
        self.busy += other.busy;
        self.latencies.add(&other.latencies);
    }

    /// Rows of a batch, on average.
    #[must_use]
    pub fn batch_mean(&self) -> f64 {
        self.rows as f64 / self.batches.max(1) as f64
    }

    /// All refusals.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// What happened in a simulated world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How long requests arrived that are counted.
    pub duration: Duration,
    /// By model, in the scenario's order.
    pub models: Vec<ModelReport>,
    /// Requests that were late, refused or failed.
    pub bad: u64,
    /// The run was ended early, for there were too many of those.
    pub stopped: bool,
    /// How many executors there were.
    pub executors: u32,
    /// From the end of the warm-up to the end of the last run.
    pub span: Duration,
    /// How long executors ran batches in that time, together.
    pub busy: Duration,
    /// The same by executor.
    pub busy_by_executor: Vec<Duration>,
    /// Runs that were broken off for larger batches.
    pub aborted: u64,
    /// Weights that were loaded while requests were served.
    pub loads: u64,
}

/// More models than this are shown together with the equal ones.
const ROWS_MAX: usize = 40;

impl Report {
    /// Requests answered in time, a second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.total().in_time as f64 / self.duration.as_secs_f64()
    }

    /// The share of requests answered in time, of those whose clients stayed.
    #[must_use]
    pub fn attainment(&self) -> f64 {
        let total = self.total();
        let stayed = total.offered.saturating_sub(total.cancelled);
        if stayed == 0 { 1.0 } else { total.in_time as f64 / stayed as f64 }
    }

    /// The share of their time that executors ran batches, after the warm-up.
    #[must_use]
    pub fn busy_share(&self) -> f64 {
        let time = self.span.as_secs_f64() * f64::from(self.executors.max(1));
        if time > 0.0 { self.busy.as_secs_f64() / time } else { 0.0 }
    }

    /// How often an answer in time is right, on average over those of tasks; `None` without any.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let of_tasks =
            self.models.iter().filter_map(|model| Some((model.accuracy?, model.in_time)));
        let (right, all) = of_tasks.fold((0.0, 0), |(right, all), (accuracy, in_time)| {
            (right + accuracy * in_time as f64, all + in_time)
        });
        (all > 0).then(|| right / all as f64)
    }

    /// All models together.
    #[must_use]
    pub fn total(&self) -> ModelReport {
        let mut total = ModelReport { name: "all".to_owned(), ..ModelReport::default() };
        self.models.iter().for_each(|model| total.add(model));
        total
    }

    /// The rows to show: each model, or where they are many the equal ones together.
    fn rows(&self) -> Vec<ModelReport> {
        if self.models.len() <= ROWS_MAX {
            return self.models.clone();
        }
        let mut rows: Vec<ModelReport> = Vec::new();
        for (index, model) in self.models.iter().enumerate() {
            match rows.last_mut().filter(|row| row.entry == model.entry) {
                Some(row) => row.add(model),
                None => {
                    let equal = self.models[index..].iter();
                    let equal = equal.take_while(|other| other.entry == model.entry).count();
                    let name = match (equal, model.name.rsplit_once('-')) {
                        (2.., Some((name, _))) => format!("{name} ({equal} models)"),
                        _ => model.name.clone(),
                    };
                    rows.push(ModelReport { name, ..model.clone() });
                }
            }
        }
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "model",
            "offered",
            "in time",
            "late",
            "refused",
            "failed",
            "cancelled",
            "batch",
            "busy s",
            "p50 ms",
            "p99 ms",
        ];
        let mut table = Table::new(&head);
        for model in &self.rows() {
            let ms =
                |share| format!("{:.3}", model.latencies.percentile(share).as_secs_f64() * 1e3);
            let counts = [model.offered, model.in_time, model.late, model.refused_total()];
            let mut row = vec![model.name.clone()];
            row.extend(counts.iter().chain([&model.failed, &model.cancelled]).map(u64::to_string));
            let busy = format!("{:.3}", model.busy.as_secs_f64());
            row.extend([format!("{:.2}", model.batch_mean()), busy, ms(0.5), ms(0.99)]);
            table.push(row);
        }
        write!(f, "{table}")?;
        let total = self.total();
        let reasons = Rejection::ALL.iter().zip(total.refused).filter(|(_, count)| *count > 0);
        for (reason, count) in reasons {
            writeln!(f, "{count} refused: {}", reason.name())?;
        }
        let given_up = total.refused[Rejection::DeadlineHopeless.index()];
        let admitted = total.offered - (total.refused_total() - given_up);
        let late = total.late;
        writeln!(f, "{admitted} admitted, of them {late} late and {given_up} given up")?;
        if self.aborted > 0 {
            writeln!(f, "{} runs broken off", self.aborted)?;
        }
        if self.loads > 0 {
            writeln!(f, "{} weights loaded", self.loads)?;
        }
        for model in self.models.iter().filter(|model| model.asked > 0) {
            let asked = model.asked as f64 / model.offered.max(1) as f64;
            writeln!(f, "{}: {asked:.3} variants asked a request", model.name)?;
            if model.short > 0 {
                writeln!(f, "{}: {} answers cut short", model.name, model.short)?;
            }
            if model.reconstructed > 0 {
                writeln!(f, "{}: {} answers reconstructed", model.name, model.reconstructed)?;
            }
        }
        if let Some(accuracy) = self.accuracy() {
            writeln!(f, "{accuracy:.5} accuracy of answers in time, on average")?;
        }
        write!(
            f,
            "goodput {:.1} requests/s, {:.2} % in time",
            self.goodput(),
            100.0 * self.attainment()
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::{Scenario, World};

    const TEXT: &str = "duration = '3s'\nwarmup = '1s'\n[[executor]]\n[[model]]\nname = 'm'\nrate = 1000\n\
        arrivals = 'constant'\nprofile = { fixed = '500us', per_item = '0s', batch_max = 1 }\n";

    fn report(text: &str) -> super::Report {
        let scenario = Scenario::from_text("s.toml", text).unwrap();
        World::new(&scenario).unwrap().run().unwrap().0
    }

    #[test]
    fn requests_batches_and_time_are_counted_after_the_warm_up() {
        let report = report(TEXT);
        let model = &report.models[0];
        assert!(model.offered.abs_diff(2000) <= 1 && model.batches.abs_diff(2000) <= 1, "{report}");
        assert!((model.busy.as_secs_f64() - 1.0).abs() < 0.002, "{:?}", model.busy);
        assert_eq!(model.rows, model.batches);
        assert!((report.busy_share() - 0.5).abs() < 0.002, "{}", report.busy_share());
    }

    #[test]
    fn a_row_of_many_models_says_how_many() {
        let many = TEXT.replace("rate = 1000", "rate = 1000\ncount = 50");
        let text = report(&many).to_string();
        assert!(text.contains("\nm (50 models)") && !text.contains("m-0"), "{text}");
        let text = report(&TEXT.replace("rate = 1000", "rate = 1000\ncount = 5")).to_string();
        assert!(text.contains("\nm-4"), "{text}");
    }
}
