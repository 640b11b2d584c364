//! Where results go: files for programs and people.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use loadgen::Error;
use loadgen::client::wall;
use loadgen::page::write_all;
use loadgen::result::{Made, ResultFile};

use super::{EXIT_INTERRUPTED, print, table};

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Out {
    /// Writes the result as JSON, CSV, histogram log and HTML page: into a folder, or under that name (result.json).
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
}

/// How this result comes about.
pub(super) fn made() -> Made {
    let words: Vec<String> = std::env::args().skip(1).collect();
    Made {
        program: format!("punctual-bench {}", env!("CARGO_PKG_VERSION")),
        command: format!("punctual-bench {}", words.join(" ")),
        began: wall(),
    }
}

impl Out {
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
