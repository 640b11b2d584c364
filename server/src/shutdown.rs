//! The end of the server: refuse at once, finish what was accepted, exit.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All accepted requests were answered.
    Finished,
    /// Time was up before all were answered.
    TimedOut,
    /// A second signal ended it at once.
    Forced,
}

impl Exit {
    /// The exit code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::TimedOut | Self::Forced => 1,
        }
    }
}

/// Tells everyone how far the end has come.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: watch::Sender<bool>,
    closed: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { begun: watch::Sender::new(false), closed: watch::Sender::new(false) }
    }
}

impl Shutdown {
    /// Begins the end: new work is refused, and everything else still answered.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Ends the serving: the accepted work is done.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Completes when the end has begun.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        told(self.begun.subscribe())
    }

    /// Completes when serving ends; for listeners.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        told(self.closed.subscribe())
    }

    /// Waits for the end and sees it through: on a first signal (or [`Self::begin`]) calls `refuse` and then gives
    /// `finished`, which closes, as long as `limit`, unless a second signal comes.
    pub async fn run(
        &self,
        mut signals: impl Signals,
        refuse: impl FnOnce(),
        finished: impl Future<Output = ()>,
        limit: Duration,
    ) -> Exit {
        tokio::select! {
            () = signals.next() => {}
            () = self.begun() => {}
        }
        refuse();
        self.begin();
        tokio::select! {
            biased;
            () = signals.next() => Exit::Forced,
            () = finished => Exit::Finished,
            () = tokio::time::sleep(limit) => Exit::TimedOut,
        }
    }
}

async fn told(mut by: watch::Receiver<bool>) {
    if by.wait_for(|&told| told).await.is_err() {
        // Nobody is left to say it.
        pending::<()>().await;
    }
}

/// Where wishes to end come from.
pub trait Signals {
    /// Completes with the next one.
    fn next(&mut self) -> impl Future<Output = ()>;
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct ProcessSignals {
    term: Signal,
    interrupt: Signal,
}

impl ProcessSignals {
    /// Takes the signals over from the system, which would kill the process.
    ///
    /// # Errors
    /// Where the system does not allow it.
    pub fn listen() -> std::io::Result<Self> {
        let term = signal(SignalKind::terminate())?;
        Ok(Self { term, interrupt: signal(SignalKind::interrupt())? })
    }
}

impl Signals for ProcessSignals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use tokio::sync::mpsc;

    use super::*;

    impl Signals for mpsc::Receiver<()> {
        async fn next(&mut self) {
            if self.recv().await.is_none() {
                pending::<()>().await;
            }
        }
    }

    /// Runs the end with so many signals waiting.
    fn end(signals: usize, finished: impl Future<Output = ()>, limit: Duration) -> (Exit, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (send, inbox) = mpsc::channel(2);
            for _ in 0..signals {
                send.send(()).await.unwrap();
            }
            let refused = Cell::new(false);
            let shutdown = Shutdown::default();
            let heard = tokio::spawn(shutdown.begun());
            let exit = shutdown.run(inbox, || refused.set(true), finished, limit).await;
            heard.await.unwrap();
            (exit, refused.get())
        })
    }

    #[test]
    fn a_first_signal_refuses_and_lets_accepted_work_finish() {
        let (exit, refused) = end(1, ready(()), Duration::from_secs(60));
        assert_eq!((exit, exit.code(), refused), (Exit::Finished, 0, true));
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let (exit, _) = end(2, pending(), Duration::from_secs(60));
        assert_eq!((exit, exit.code()), (Exit::Forced, 1));
    }

    #[test]
    fn work_that_does_not_finish_is_left_when_time_is_up() {
        let (exit, _) = end(1, pending(), Duration::ZERO);
        assert_eq!((exit, exit.code()), (Exit::TimedOut, 1));
    }
}
