//! `punctual-sim fuzz`.

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use sim::{World, parallel, random_scenario};

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// How many
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; one a core if absent. The results are the same
    #[arg(long)]
    threads: Option<usize>,
}

/// Seeds that are listed at once.
const SEEDS_MAX: u64 = 1 << 20;

impl Fuzz {
    pub(crate) fn run(self) -> Result<String, String> {
        let Self { seeds, from, threads } = self;
        let end = from.saturating_add(seeds);
        let mut first = from;
        while first < end {
            let next = first.saturating_add(SEEDS_MAX).min(end);
            lowest(first..next, threads, broken).map_or(Ok(()), Err)?;
            first = next;
        }
        Ok(format!("{seeds} seeds from {from}: no invariant broke"))
    }
}

/// What breaks in the world of a seed.
fn broken(seed: u64) -> Option<String> {
    match World::new(&random_scenario(seed)) {
        Ok(world) => world.run().err().map(|violation| format!("seed {seed}: {violation}")),
        Err(error) => Some(format!("seed {seed}: {error}")),
    }
}

/// What is wrong with the lowest seed of which something is, whichever thread finds what first.
fn lowest(
    seeds: std::ops::Range<u64>,
    threads: Option<usize>,
    wrong: impl Fn(u64) -> Option<String> + Sync,
) -> Option<String> {
    let found = AtomicU64::new(u64::MAX);
    let jobs: Vec<u64> = seeds.collect();
    let job = |&seed: &u64| {
        // Those above one that is wrong do not matter any more.
        let wrong = if seed < found.load(Ordering::Relaxed) { wrong(seed) } else { None };
        if wrong.is_some() {
            found.fetch_min(seed, Ordering::Relaxed);
        }
        wrong
    };
    let threads = parallel::threads(threads, jobs.len());
    parallel::map(&jobs, threads, |seed| format!("seed {seed}"), job).into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_wrong_seed_is_named_however_many_threads_there_are() {
        let wrong = |seed: u64| (seed % 100 == 77).then(|| format!("seed {seed}"));
        for threads in [1, 2, 5] {
            assert_eq!(lowest(100..1000, Some(threads), wrong), Some("seed 177".to_owned()));
            assert_eq!(lowest(100..170, Some(threads), wrong), None);
        }
    }
}
