//! Where results go: files for programs and people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use loadgen::Error;
use loadgen::client::wall;
use loadgen::page::Shown;
use loadgen::result::{Kind, Made, ResultFile, log};

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

/// What a file is called that is written into a folder.
fn stem(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "run",
        Kind::Sweep => "sweep",
        Kind::Find => "find",
        Kind::Compare => "compare",
        Kind::Soak => "soak",
        Kind::Mlperf => "mlperf",
    }
}

impl Out {
    /// Writes everything, if anything was asked for, and says where.
    pub(super) fn write(&self, result: &ResultFile, began: SystemTime) -> Result<(), Error> {
        let Some(path) = &self.out else { return Ok(()) };
        let known = ["json", "csv", "hlog", "html"];
        let named = path.extension().is_some_and(|ending| known.iter().any(|one| ending == *one));
        let stem = if named { path.with_extension("") } else { path.join(stem(result.kind)) };
        let beside = |ending: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        write(&beside(".json"), result.to_json().as_bytes())?;
        write(&beside(".csv"), result.to_csv().as_bytes())?;
        write(&beside("-timeline.csv"), result.timeline_csv().as_bytes())?;
        write(&beside(".hlog"), &log(result, began))?;
        let page = beside(".html");
        write(&page, Shown::of(std::slice::from_ref(result)).html().as_bytes())?;
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

/// Writes a file, with the folder it is to be in.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(file, bytes)).map_err(|error| Error::File {
        file: file.display().to_string(),
        reason: error.to_string(),
    })
}
