//! Ends a run before its time, from another thread or a signal.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a run is asked to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    GoOn,
    Finish,
    Cancel,
}

/// A hand on a run.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<watch::Sender<Asked>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(Asked::GoOn)) }
    }
}

impl Stop {
    /// Has the run send no more and wait for what is under way.
    pub fn finish(&self) {
        self.ask(Asked::Finish);
    }

    /// Has the run end at once: what is under way counts as cancelled.
    pub fn cancel(&self) {
        self.ask(Asked::Cancel);
    }

    /// Cancels when the process is interrupted, as by Ctrl-C.
    pub(super) async fn cancel_on_interrupt(self) {
        if tokio::signal::ctrl_c().await.is_ok() {
            self.cancel();
        }
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow() > Asked::GoOn
    }

    /// Whether it was asked to end at once.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.asked.borrow() == Asked::Cancel
    }

    fn ask(&self, wanted: Asked) {
        self.asked.send_if_modified(|asked| {
            let more = *asked < wanted;
            *asked = wanted.max(*asked);
            more
        });
    }

    pub(super) async fn finishing(&self) {
        self.until(Asked::Finish).await;
    }

    pub(super) async fn cancelled(&self) {
        self.until(Asked::Cancel).await;
    }

    async fn until(&self, wanted: Asked) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| *asked >= wanted).await.expect("this sender lives as long as self");
    }
}
