//! The crate's only clock: instants, the time a thread was on a core, and waits that end on time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// How long before an instant a wait stops sleeping and spins: the kernel's wake-ups are later than asked by up to
/// this much on an idle core (timer slack is set to 1 ns, see the worker).
const SPIN: Duration = Duration::from_micros(50);

/// Returns the monotonic now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the crate's clock file")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns how long the calling thread has been on a core: a measure that neighbours on the machine do not disturb.
#[must_use]
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("a thread's CPU time is positive");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below 1e9"))
}

/// Returns the time on the wall since this was first called: a span for differences only.
#[must_use]
pub(crate) fn since_first_use() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    now() - *FIRST.get_or_init(now)
}

/// Waits until `instant`, sleeping first and spinning for the last [`SPIN`].
pub(crate) fn sleep_until(instant: Instant) {
    loop {
        let left = instant.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => pause(sleep),
            Some(_) | None => std::hint::spin_loop(),
        }
    }
}

/// Sleeps once; an interrupted sleep is short, and the caller looks at the clock again.
fn pause(time: Duration) {
    let request = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    match nanosleep(&request) {
        NanosleepRelativeResult::Ok | NanosleepRelativeResult::Interrupted(_) => {}
        NanosleepRelativeResult::Err(_) => std::hint::spin_loop(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_never_ends_early_and_sleeps_instead_of_spinning() {
        let (start, cpu) = (now(), thread_cpu());
        sleep_until(start + Duration::from_millis(20));
        assert!(now() - start >= Duration::from_millis(20));
        assert!(thread_cpu() - cpu < Duration::from_millis(10));
    }
}
