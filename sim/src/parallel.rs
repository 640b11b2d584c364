//! Many independent worlds on all cores, their results in the order asked for.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads for that many jobs: `asked`, else one a core.
#[must_use]
pub fn threads(asked: Option<usize>, jobs: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.unwrap_or(cores).clamp(1, jobs.max(1))
}

/// Does every job, on so many threads; the results are those of one thread. Says on standard error how far it is,
/// where that is a terminal.
pub fn map<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    name: impl Fn(&J) -> String + Sync,
    job: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(jobs.len()));
    progress(0, jobs.len(), "");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(asked) = jobs.get(index) else { break };
                    let result = job(asked);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    progress(count, jobs.len(), &name(asked));
                }
            });
        }
    });
    clear();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, result)| result).collect()
}

/// A bar of so many signs.
const BAR: usize = 30;

/// Says on standard error how far something is, where that is a terminal.
pub fn progress(done: usize, all: usize, name: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A terminal that is gone is no reason to stop.
        let _ = write!(stderr, "\r\x1b[2K{}", bar(done, all, name));
    }
}

/// Takes away what [`progress`] wrote.
pub fn clear() {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[2K");
    }
}

fn bar(done: usize, all: usize, name: &str) -> String {
    let full = done.min(all) * BAR / all.max(1);
    format!("[{}{}] {done} of {all}  {name}", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_jobs_however_many_threads_there_are() {
        let jobs: Vec<u64> = (0..200).collect();
        let square = |job: &u64| job * job;
        let one = map(&jobs, 1, u64::to_string, square);
        assert_eq!(one[199], 199 * 199);
        for threads in [2, 7] {
            assert_eq!(map(&jobs, threads, u64::to_string, square), one);
        }
    }

    #[test]
    fn a_bar_fills_from_the_left() {
        assert_eq!(bar(1, 3, "x"), format!("[{}{}] 1 of 3  x", "#".repeat(10), ".".repeat(20)));
        assert_eq!(bar(3, 3, "x"), format!("[{}] 3 of 3  x", "#".repeat(30)));
        assert!(bar(0, 0, "").starts_with("[..."));
    }

    #[test]
    fn there_is_a_thread_for_a_job_and_no_more() {
        assert_eq!((threads(Some(8), 3), threads(Some(0), 3), threads(Some(2), 0)), (3, 1, 1));
        assert!(threads(None, 1000) >= 1);
    }
}
