//! Every policy on a grid of profiles, objectives, devices, models and arrivals, in virtual time.
#![expect(clippy::print_stdout, reason = "the tables are this program's output")]

mod account;
mod kept;

use std::path::PathBuf;
use std::process::ExitCode;

use account::Account;
use benches::against_bounds::{clairvoyant, staggered};
use benches::contest::{again, contest};
use benches::grid::{Grid, Spot};
use benches::robust::{WORLDS, robust};
use clap::Parser;
use kept::{Builds, Kept};
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
    /// Only the bars of the default policies: wrong profiles and bounds, without the comparison
    #[arg(long)]
    bars: bool,
    /// Keeps the contests in that file as they end; a run that was stopped goes on where it was
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Runs only these policies, in the cells that the file of --keep has, and takes the others from there, whichever build
    /// made it; the file stays as it is
    #[arg(long, value_name = "POLICIES", value_delimiter = ',', requires = "keep", value_parser = policy)]
    again: Vec<&'static str>,
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

/// The policy of that name, as the table has it.
fn policy(name: &str) -> Result<&'static str, String> {
    batcher::by_name(name).map(|entry| entry.name).map_err(|error| error.to_string())
}

fn run(cli: &Cli) -> Result<(), String> {
    let grid = Grid::present()?;
    for absent in &grid.absent {
        println!("left out: {absent}");
    }
    let builds = if cli.again.is_empty() { Builds::Same } else { Builds::Any };
    let open = |path| Kept::open(path, &grid, (cli.seed, cli.requests), builds);
    let kept = cli.keep.as_deref().map(open).transpose()?;
    let all = grid.all();
    let mut spots =
        if cli.full { all.clone() } else { grid.sample(usize::from(cli.cells), cli.seed) };
    let known = |spot: &Spot| kept.as_ref().is_some_and(|kept| kept.at(spot).is_some());
    spots.retain(|spot| cli.again.is_empty() || known(spot));
    if spots.is_empty() {
        return Err(
            "the file of --keep has none of these cells: run them without --again first".to_owned()
        );
    }
    bars(cli, &grid)?;
    if cli.bars {
        return Ok(());
    }
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
    let run = |spot: &_| {
        if let Some(known) = kept.as_ref().and_then(|kept| kept.at(spot)) {
            let anew = again(&grid, known, &cli.again, cli.seed);
            return anew.map_err(|error| error.to_string());
        }
        let contest = contest(&grid, spot, cli.seed, cli.requests);
        let contest = contest.map_err(|error| error.to_string())?;
        kept.as_ref().map_or(Ok(()), |kept| kept.add(&contest))?;
        Ok(contest)
    };
    let contests = parallel::map(&spots, threads, name, run);
    let contests = contests.into_iter().collect::<Result<Vec<_>, String>>()?;
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

/// One piece of what the default policies are held against.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Robust((u32, u32)),
    Staggered(usize),
    Clairvoyant(usize),
}

/// What the default policies reach where runs are not as profiled, and of what no policy can exceed.
fn bars(cli: &Cli, grid: &Grid) -> Result<(), String> {
    let profiles = || 0..grid.profiles.len();
    let pieces: Vec<Piece> = WORLDS
        .into_iter()
        .map(Piece::Robust)
        .chain(profiles().map(Piece::Staggered))
        .chain(profiles().map(Piece::Clairvoyant))
        .collect();
    let name = |piece: &Piece| format!("{piece:?}");
    let run = |piece: &Piece| match *piece {
        Piece::Robust(world) => robust(world, cli.seed),
        Piece::Staggered(profile) => staggered(grid, profile, cli.seed),
        Piece::Clairvoyant(profile) => clairvoyant(grid, profile, cli.seed),
    };
    let threads = parallel::threads(cli.threads, pieces.len());
    for lines in parallel::map(&pieces, threads, name, run) {
        lines.map_err(|error| error.to_string())?.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("policies {}", words.join(" ")).trim_end().to_owned()
}
