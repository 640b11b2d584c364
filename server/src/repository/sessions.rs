//! A thread of the usual priority that makes sessions with threads of their own: those inherit its priority.

use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use crossbeam::channel::{Sender, bounded};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on a thread that was not made less urgent.
#[derive(Debug)]
pub(super) struct Sessions {
    jobs: Sender<Job>,
}

impl Sessions {
    /// Starts the thread; the caller must be of the usual priority itself.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, inbox) = bounded::<Job>(1);
        Builder::new()
            .name("sessions".into())
            .spawn(move || inbox.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Runs a job there and waits for its result.
    ///
    /// # Panics
    /// If the job does.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = sync_channel(1);
        let work = std::panic::AssertUnwindSafe(job);
        let job = move || drop(done.send(std::panic::catch_unwind(work)));
        self.jobs.send(Box::new(job)).expect("the thread lives as long as this");
        match result.recv().expect("every job sends its result") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_leaves_the_thread_to_the_next() {
        let sessions = Sessions::start().unwrap();
        let panics = || sessions.run(|| panic!("asked to"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(sessions.run(|| 7), 7);
    }
}
