//! Plans the shares of variants once an epoch, on a thread of its own and away from the driver's lock.

use std::sync::{Arc, Weak};
use std::time::Duration;

use router::{Event, mix};

use super::Driver;

impl Driver {
    /// The latest plan, and how long ago it was made; `None` before the first.
    #[must_use]
    pub fn plan(&self) -> Option<(Duration, mix::Plan)> {
        let state = self.state.lock();
        let (at, plan) = state.plan.as_ref()?;
        Some((self.clock.now().since(*at), plan.clone()))
    }
}

/// Starts the thread.
pub(super) fn start(driver: &Arc<Driver>) -> std::io::Result<()> {
    let driver = Arc::downgrade(driver);
    let plan = move || keep_planning(&driver);
    std::thread::Builder::new().name("planner".into()).spawn(plan).map(|_| ())
}

/// Plans as long as some task follows a plan, and sleeps while none does.
fn keep_planning(driver: &Weak<Driver>) {
    while let Some(driver) = driver.upgrade() {
        let mut state = driver.state.lock();
        if state.stopped {
            return;
        }
        let Some(survey) = state.router.survey(driver.clock.now()) else {
            driver.planner.wait(&mut state);
            continue;
        };
        drop(state);
        let plan = survey.foresee();
        let mut state = driver.state.lock();
        driver.feed(&mut state, Event::MixPlanned { mix: plan.mix.clone() });
        state.plan = Some((driver.clock.now(), plan));
        if !state.stopped {
            driver.planner.wait_for(&mut state, mix::EPOCH);
        }
    }
}
