//! Waits for an instant to within tens of microseconds, where tokio's own timer rounds to whole milliseconds.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::now;

/// So long before the instant the timer fires: about what an idle core takes to wake, 20 to 30 us in the virtual machines
/// that were measured.
const EARLY: Duration = Duration::from_micros(20);

/// A timer of the kernel that the runtime watches like a socket, so that one thread can both wait and serve sockets.
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for types that change their descriptor; an OwnedFd cannot"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)? })
    }

    /// Returns at that instant, at once if it has passed; never before it.
    pub(super) async fn until(&mut self, at: Instant) {
        loop {
            let left = at.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            if left <= EARLY {
                // Whoever has something to do meanwhile does it.
                tokio::task::yield_now().await;
                continue;
            }
            let left = left - EARLY;
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)
                .expect("the descriptor is a timer and the time is in range");
            let mut ready =
                self.timer.readable().await.expect("the runtime watches the timer while it lives");
            // Setting the timer again takes back its readiness in the kernel, so that it need not be read.
            ready.clear_ready();
        }
    }
}
