//! Every policy on a grid of profiles, objectives, devices, models and arrivals, in virtual time.
#![expect(clippy::print_stdout, reason = "the tables are this program's output")]

mod account;

use std::path::PathBuf;
use std::process::ExitCode;

use account::Account;
use benches::contest::contest;
use benches::grid::Grid;
use clap::Parser;
use sim::parallel;

/// Compares every batching policy: goodput is the highest offered rate with at most 1 % late or refused.
///
/// Runs in virtual time: the same command gives the same numbers on any machine, however many threads there are.
#[derive(Debug, Parser)]
#[command(name = "policies", version)]
struct Cli {
    /// The whole grid in place of a sample
    #[arg(long)]
    full: bool,
    /// How many cells the sample has; every value of every axis is in it as often as the others
    #[arg(long, default_value_t = 84, value_parser = clap::value_parser!(u16).range(1..))]
    cells: u16,
    /// Requests that are counted in each run, at least; more where 50 objectives take longer
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..))]
    requests: u32,
    /// Of the sample and of all arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; one a core if absent
    #[arg(long)]
    threads: Option<usize>,
    /// Writes the tables as CSV and a page with plots into that folder
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policies: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let grid = Grid::present()?;
    for absent in &grid.absent {
        println!("left out: {absent}");
    }
    let all = grid.all();
    let spots = if cli.full { all.clone() } else { grid.sample(usize::from(cli.cells), cli.seed) };
    println!(
        "{} of {} cells, {} policies, seed {}, at least {} requests and 50 objectives a run",
        spots.len(),
        all.len(),
        batcher::ALL.len(),
        cli.seed,
        cli.requests
    );
    let name = |spot: &_| format!("{spot:?}");
    let threads = parallel::threads(cli.threads, spots.len());
    let run = |spot: &_| contest(&grid, spot, cli.seed, cli.requests);
    let contests = parallel::map(&spots, threads, name, run);
    let contests =
        contests.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let account = Account { grid: &grid, contests: &contests, command: command_line() };
    println!("{}", account.text());
    let cpu: f64 = contests.iter().map(|contest| contest.cpu.as_secs_f64()).sum();
    let whole = cpu / contests.len() as f64 * all.len() as f64;
    println!(
        "took {:.1} min of CPU; the whole grid takes about {:.1} h of CPU",
        cpu / 60.0,
        whole / 3600.0
    );
    if let Some(folder) = &cli.write {
        let form = if cli.full { "grid" } else { "sample" };
        account.write(folder, form)?;
    }
    println!("{}", account.last_line());
    Ok(())
}

fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("policies {}", words.join(" ")).trim_end().to_owned()
}
