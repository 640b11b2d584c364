//! The pacer of the tests' clock, in place of the kernel's timer.

use std::io;
use std::time::Instant;

pub(super) struct Pacer;

impl Pacer {
    #[expect(clippy::unnecessary_wraps, reason = "as the one that asks the kernel")]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn until(&mut self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }
}
