//! `punctual-sim validate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use models::parse_duration;
use sim::{Comparison, Table, Times, Validated, Validation};

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The recording of `punctual serve --record FILE`
    recording: PathBuf,
    /// Where the run times of the prediction come from
    #[arg(long, value_enum, default_value_t = From::Recorded)]
    times: From,
    /// Requests that arrive so soon after the first are served and not counted
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Predictions, of which the median is taken
    #[arg(long, default_value_t = 5)]
    runs: u64,
    /// Of the first prediction
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share by which a prediction may be off
    #[arg(long, default_value_t = 0.05)]
    bar: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    /// Drawn from the runs recorded at about the same time, scaled to their rows
    Recorded,
    /// The profile measured at load, with its own spread
    Profile,
}

impl Validate {
    pub(crate) fn run(self) -> Result<String, String> {
        let file = self.recording.display().to_string();
        let text = super::read_recording(&self.recording)?;
        let times = match self.times {
            From::Recorded => Times::Recorded,
            From::Profile => Times::Profile,
        };
        let validation =
            Validation { times, warmup: self.warmup, runs: self.runs, seed: self.seed };
        let validated =
            sim::validate(&text, &validation).map_err(|error| format!("{file}: {error}"))?;
        Ok(validated.iter().map(|model| self.report(model)).collect::<Vec<_>>().join("\n"))
    }

    fn report(&self, model: &Validated) -> String {
        let head = format!(
            "variant {}: {:.1} requests/s, runs take {:.3} of the profile\n",
            model.variant.0, model.offered, model.over_profile
        );
        let mut table = Table::new(&["", "measured", "predicted", "ratio", ""]);
        let mut row = |name: &str, compared: Comparison, factor: f64, judged: bool| {
            let Comparison { measured, predicted } = compared;
            let ratio = compared.ratio();
            let verdict = match (judged, (ratio - 1.0).abs() <= self.bar) {
                (false, _) => "",
                (true, true) => "ok",
                (true, false) => "off",
            };
            table.push(vec![
                name.to_owned(),
                format!("{:.3}", measured * factor),
                format!("{:.3}", predicted * factor),
                format!("{ratio:.3}"),
                verdict.to_owned(),
            ]);
        };
        row("goodput/s", model.goodput, 1.0, true);
        row("p50 ms", model.p50, 1e3, true);
        row("p99 ms", model.p99, 1e3, true);
        row("refused %", model.refused, 1e2, false);
        row("rows of a batch", model.batch, 1.0, false);
        head + &table.to_string()
    }
}
