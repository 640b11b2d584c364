//! Where results go: files for programs and people.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use loadgen::Error;
use loadgen::client::wall;
use loadgen::page::{make_folder, write_all};
use loadgen::result::{Made, ResultFile};

use super::{EXIT_INTERRUPTED, print, table};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Out {
    /// Writes the result as JSON, CSV, histogram log and HTML page: into a folder, or under that name (result.json).
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
}

impl Out {
    /// How this result comes about; a place that it cannot be written to is told before hours of measuring.
    pub(super) fn made(&self) -> Result<Made, Error> {
        if let Some(path) = &self.out {
            make_folder(path)?;
        }
        let words: Vec<String> = std::env::args().skip(1).collect();
        Ok(Made {
            program: format!("punctual-bench {}", env!("CARGO_PKG_VERSION")),
            command: format!("punctual-bench {}", words.join(" ")),
            began: wall(),
        })
    }

    /// Writes everything, if anything was asked for, and says where.
    pub(super) fn write(&self, result: &ResultFile, began: SystemTime) -> Result<(), Error> {
        let Some(path) = &self.out else { return Ok(()) };
        let page = write_all(result, began, path)?;
        eprintln!("wrote {} and beside it .json, .csv, -timeline.csv, .hlog", page.display());
        Ok(())
    }
}

/// Prints a result of several runs, writes it, and ends the program.
pub(super) fn finish(
    result: &ResultFile,
    out: &Out,
    began: SystemTime,
    interrupted: bool,
) -> Result<ExitCode, Error> {
    print(&table::of_result(result));
    out.write(result, began)?;
    Ok(if interrupted { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS })
}
