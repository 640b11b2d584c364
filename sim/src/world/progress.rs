//! How far a simulated world is, for those who wait for it.

use batcher::Instant;

use super::World;
use crate::parallel;

/// Happenings from one word about progress to the next: some tenths of a second.
const SHOWN_EVERY: u64 = 1 << 18;

impl World {
    /// Says while it runs how far it is, where somebody sees it.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    /// Says it now and then.
    pub(super) fn show(&self, step: u64) {
        if !self.shown || !step.is_multiple_of(SHOWN_EVERY) {
            return;
        }
        let ran = self.now.since(Instant::ZERO).as_secs_f64();
        let all = self.until.since(Instant::ZERO).as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "per cent")]
        let share = (100.0 * ran / all).min(100.0) as usize;
        parallel::progress(share, 100, "% of virtual time");
    }
}
