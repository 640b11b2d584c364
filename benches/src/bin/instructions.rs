//! Counts the instructions of the hot paths and holds them against the baseline in git.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use benches::hot::{COUNTED, Calls, Work};
use benches::{Error, Table, callgrind};
use clap::Parser;
use serde::{Deserialize, Serialize};

/// Fails if a hot path takes more instructions than its baseline allows.
#[derive(Debug, Parser)]
struct Cli {
    /// What was counted before.
    #[arg(long, default_value = "benches/baselines/instructions.json")]
    baseline: PathBuf,
    /// How much more is allowed, as a share.
    #[arg(long, default_value_t = 0.03)]
    tolerance: f64,
    /// Makes what is counted now the baseline.
    #[arg(long)]
    write: bool,
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    only: String,
    /// Does one piece of the work, without counting: what the counting runs.
    #[arg(long, value_name = "NAME", hide = true)]
    work: Option<String>,
}

/// Instructions a call, by name; of one compiler, which the repository pins.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.work {
        Some(name) => work(name).map(|()| true),
        None => gate(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints how often each counted function was called.
#[expect(clippy::print_stdout, reason = "the counting process reads it")]
fn work(name: &str) -> Result<(), Error> {
    let found = Work::all().into_iter().find(|work| work.name() == name);
    let work = found.ok_or_else(|| Error::Raw(format!("there is no work {name:?}")))?;
    let Calls(calls) = work.run()?;
    println!("{}", serde_json::to_string(&calls).expect("numbers are JSON"));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the bench")]
fn gate(cli: &Cli) -> Result<bool, Error> {
    let wanted = Work::all().into_iter().filter(|work| work.name().contains(&cli.only));
    let counted = count_all(&wanted.collect::<Vec<_>>())?;
    if cli.write {
        // A part of the work leaves the counts of the rest as they are.
        let kept = if cli.only.is_empty() { Baseline::default() } else { read(&cli.baseline)? };
        let mut instructions = kept.instructions;
        instructions.extend(counted.clone());
        write(&cli.baseline, &Baseline { instructions })?;
        println!("{} counts written to {}", counted.len(), cli.baseline.display());
        return Ok(true);
    }
    let (table, failed) = compare(&read(&cli.baseline)?, &counted, cli.tolerance);
    print!("{table}");
    println!("{} passed, {failed} failed, 0 skipped", counted.len().saturating_sub(failed));
    if failed > 0 {
        println!(
            "If the cost is meant, make it the baseline: make bench-instructions ARGS=--write"
        );
    }
    Ok(failed == 0)
}

/// Instructions a call of all that work, on as many threads as there are cores.
fn count_all(works: &[Work]) -> Result<BTreeMap<String, f64>, Error> {
    let (next, counted) = (AtomicUsize::new(0), Mutex::new(Ok(BTreeMap::new())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(works.len()) {
            scope.spawn(|| {
                while let Some(work) = works.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = count(work);
                    let mut counted = counted.lock().expect("no thread panics while it holds it");
                    match (&mut *counted, found) {
                        (Ok(all), Ok(found)) => all.extend(found),
                        (slot @ Ok(_), Err(error)) => *slot = Err(error),
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    counted.into_inner().expect("no thread panicked")
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn count(work: &Work) -> Result<BTreeMap<String, f64>, Error> {
    let program = std::env::current_exe().map_err(Error::system("finding this program"))?;
    let name = work.name();
    let (counts, said) = callgrind::count(&program, &["--work".into(), name.clone()], &COUNTED)?;
    let calls: [u64; COUNTED.len()] = serde_json::from_str(said.trim())
        .map_err(|error| Error::Raw(format!("{name} said {said:?}: {error}")))?;
    let called = COUNTED.iter().zip(calls).filter(|(_, calls)| *calls > 0);
    called
        .map(|(of, calls)| {
            let cost = counts.get(*of).ok_or_else(|| {
                Error::Raw(format!("callgrind saw no {of} in {name}: was it inlined?"))
            })?;
            Ok((format!("{name}/{of}"), (*cost as f64 / calls as f64 * 10.0).round() / 10.0))
        })
        .collect()
}

fn compare(baseline: &Baseline, counted: &BTreeMap<String, f64>, tolerance: f64) -> (Table, usize) {
    let mut table = Table::new(&["instructions a call", "baseline", "counted", "ratio", ""]);
    let mut failed = 0;
    for (name, &found) in counted {
        let before = baseline.instructions.get(name).copied();
        let ratio = before.map(|before| found / before);
        let verdict = match ratio {
            Some(ratio) if ratio <= 1.0 - tolerance => "less: worth a new baseline",
            Some(ratio) if ratio <= 1.0 + tolerance => "",
            Some(_) => "MORE",
            None => "NOT IN THE BASELINE",
        };
        failed += usize::from(ratio.is_none_or(|ratio| ratio > 1.0 + tolerance));
        let text = |value: Option<f64>, digits| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        table.push(vec![
            name.clone(),
            text(before, 1),
            text(Some(found), 1),
            text(ratio, 3),
            verdict.to_owned(),
        ]);
    }
    (table, failed)
}

fn read(path: &Path) -> Result<Baseline, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(Error::system(format!("reading {}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Error::Raw(format!("{}: {error}", path.display())))
}

fn write(path: &Path, baseline: &Baseline) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(baseline).expect("names and numbers are JSON");
    std::fs::write(path, text + "\n").map_err(Error::system(format!("writing {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_takes_more_than_allowed_or_has_no_baseline_fails() {
        let baseline =
            Baseline { instructions: counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]) };
        let counted = counts(&[("a", 102.0), ("b", 104.0), ("c", 50.0), ("d", 1.0)]);
        let (table, failed) = compare(&baseline, &counted, 0.03);
        assert_eq!(failed, 2);
        let verdicts = table.to_string();
        assert!(
            verdicts.contains("1.040  ") && verdicts.contains("NOT IN THE BASELINE"),
            "{verdicts}"
        );
    }
}
