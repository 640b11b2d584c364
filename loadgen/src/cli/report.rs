//! `punctual-bench report`: results laid over each other, as a page or as plots for documents.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use loadgen::Error;
use loadgen::page::{Shown, write};
use loadgen::result::{Latencies, ResultFile};

use super::print;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("to").required(true).multiple(true).args(["out", "goodput_svg", "latency_svg", "plots", "merged"]))]
pub(crate) struct Report {
    /// Results of punctual-bench or punctual-sim, as JSON; NAME=FILE calls the server so.
    #[arg(required = true, value_name = "[NAME=]FILE")]
    results: Vec<String>,
    /// Writes a page there.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Writes the curve of goodput against offered load of all servers there.
    #[arg(long, value_name = "FILE.svg")]
    goodput_svg: Option<PathBuf>,
    /// Writes the curve of the 99th percentile against offered load there.
    #[arg(long, value_name = "FILE.svg")]
    latency_svg: Option<PathBuf>,
    /// Writes every plot of the page there, as an SVG file of its own.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Prints the percentiles of all answers together.
    #[arg(long)]
    merged: bool,
}

impl Report {
    pub(crate) fn run(&self) -> Result<ExitCode, Error> {
        let results: Vec<ResultFile> =
            self.results.iter().map(|result| read(result)).collect::<Result<_, _>>()?;
        let shown = Shown::of(&results);
        if let Some(file) = &self.out {
            write(file, shown.html().as_bytes())?;
        }
        let plots =
            [(&self.goodput_svg, shown.goodput_svg()), (&self.latency_svg, shown.latency_svg())];
        for (file, svg) in plots {
            let Some(file) = file else { continue };
            let svg = svg.ok_or_else(|| Error::File {
                file: file.display().to_string(),
                reason: "a curve needs a result with several loads, such as a sweep".to_owned(),
            })?;
            write(file, svg.as_bytes())?;
        }
        if let Some(folder) = &self.plots {
            for (name, svg) in shown.plots() {
                write(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
            }
        }
        if self.merged {
            let mut all = Latencies::default();
            let points = results.iter().flat_map(ResultFile::points);
            points.for_each(|(_, point)| all.add(&point.latencies));
            let at = |share| all.quantile_ms(share);
            print(&format!(
                "{} answers: p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms",
                all.len(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                at(1.0)
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(named: &str) -> Result<ResultFile, Error> {
    let (name, file) = match named.split_once('=') {
        // A file may have such a name itself.
        Some((name, file)) if !std::path::Path::new(named).exists() => (Some(name), file),
        Some(_) | None => (None, named),
    };
    let mut result = ResultFile::read(std::path::Path::new(file))?;
    if let Some(name) = name {
        result.series.iter_mut().for_each(|series| name.clone_into(&mut series.name));
    }
    Ok(result)
}
