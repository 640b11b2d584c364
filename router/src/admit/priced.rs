//! Executor time has a price that rises with how much of the time ahead is taken; who is worth less is refused.
//!
//! Online primal-dual admission as in OASiS (Bao, Peng, Wu and Li, INFOCOM'18) and AOnline. Our reading:
//! - The resource is the executor time until the request's deadline, on all executors that have its model.
//! - Taken are the batches that executors hold and all that waits for them, in full batches.
//! - A request is worth `1 / priority` and takes its share of the largest batch that fits into half of its time.
//! - With `U` and `L` the greatest and the least worth of an executor second of late, and a share `y` taken, a second
//!   costs `(L / e) (U e / L)^y`: less than anyone's worth when all is free, and `U` when all is taken. It is the price
//!   that Zhou, Chakrabarty and Lukose (WINE'08) show to be within `ln(U / L) + 1` of the optimum, and no online price
//!   to do better.
//!
//! Whom the price lets in but whose answer could not be in time even so is refused as elsewhere.

use std::time::Duration;

use batcher::Instant;

use super::{Admission, AdmissionEntry, Ask};
use crate::Rejection;

/// The time ahead of a request without a deadline: a person's patience with a web page.
const HORIZON: Duration = Duration::from_secs(1);
/// The share of one request in what is known of the greatest and the least worth: a few thousand requests are "of late".
const GAIN: f64 = 1.0 / 1024.0;

pub(super) const ENTRY: AdmissionEntry = AdmissionEntry {
    name: "priced",
    summary: "enters what is worth the executor time that it takes, at a price that rises exponentially as the time ahead is taken",
    source: "primal-dual online admission, OASiS (INFOCOM'18); worth and time ahead: our reading",
    build: || Box::new(Priced::default()),
};

#[derive(Default)]
struct Priced {
    /// The least and the greatest worth of an executor second of late.
    worth: Option<(f64, f64)>,
    /// Scratch space: when executors could start a batch.
    starts: Vec<Instant>,
}

impl Admission for Priced {
    fn admit(&mut self, ask: &Ask<'_>) -> Result<(), Rejection> {
        let earliest = ask.outlook.earliest_start();
        if earliest == Instant::NEVER {
            return Err(Rejection::NoExecutor);
        }
        let end = earliest + ask.profile.time(ask.request.rows);
        if end > ask.request.deadline.0 {
            let predicted = end.since(ask.now);
            return Err(Rejection::DeadlineUnreachable { predicted, soonest: None });
        }
        let until = ask.request.deadline.0.min(ask.now + HORIZON);
        let worth = worth(ask, until);
        let taken = self.taken(ask, until);
        if self.price(worth, taken) > worth {
            return Err(Rejection::PricedOut);
        }
        Ok(())
    }
}

/// What an executor second is worth to that request.
fn worth(ask: &Ask<'_>, until: Instant) -> f64 {
    let rows = ask.request.rows;
    let half = until.since(ask.now) / 2;
    let size = ask.profile.largest_batch_within(half).min(ask.batch_max).max(rows);
    let share = ask.profile.time(size).as_secs_f64() * f64::from(rows) / f64::from(size);
    1.0 / (f64::from(ask.request.priority.max(1)) * share)
}

impl Priced {
    /// The share of the executors' time until then that is taken.
    fn taken(&mut self, ask: &Ask<'_>, until: Instant) -> f64 {
        ask.outlook.starts(&mut self.starts);
        let held = self.starts.iter().map(|&start| start.min(until).since(ask.now));
        let taken = held.sum::<Duration>() + ask.outlook.backlog();
        let ahead = until.since(ask.now).as_secs_f64() * self.starts.len() as f64;
        taken.as_secs_f64() / ahead
    }

    /// What an executor second costs, having seen that request.
    fn price(&mut self, worth: f64, taken: f64) -> f64 {
        let (least, greatest) = self.worth.unwrap_or((worth, worth));
        let least = worth.min(least + GAIN * (worth - least));
        let greatest = worth.max(greatest + GAIN * (worth - greatest));
        self.worth = Some((least, greatest));
        least * (taken * (1.0 + (greatest / least).ln()) - 1.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use batcher::{Deadline, Queue, Request, RequestId};
    use models::LatencyProfile;

    use super::*;
    use crate::admit::Outlook;

    const MS: Duration = Duration::from_millis(1);

    /// One executor that is free after so long, with so much waiting for it.
    struct Ahead(Duration, Duration);

    impl Outlook for Ahead {
        fn earliest_start(&self) -> Instant {
            Instant::ZERO + self.0
        }

        fn sooner(&self) -> Duration {
            Duration::ZERO
        }

        fn choosy(&self) -> bool {
            false
        }

        fn backlog(&self) -> Duration {
            self.1
        }

        fn starts(&self, into: &mut Vec<Instant>) {
            into.clear();
            into.push(Instant::ZERO + self.0);
        }
    }

    /// A run takes 4 + b ms; the deadline is at 100 ms.
    fn admit(priced: &mut Priced, priority: u32, outlook: &Ahead) -> Result<(), Rejection> {
        let deadline = Deadline(Instant::ZERO + 100 * MS);
        let arrived = Instant::ZERO;
        let request = Request { id: RequestId(0), rows: 1, priority, arrived, deadline };
        priced.admit(&Ask {
            request: &request,
            queue: &Queue::default(),
            profile: &LatencyProfile::linear(4 * MS, MS, 8),
            batch_max: 8,
            outlook,
            now: Instant::ZERO,
        })
    }

    #[test]
    fn equal_requests_enter_until_all_time_is_taken() {
        let mut priced = Priced::default();
        assert_eq!(admit(&mut priced, 1, &Ahead(50 * MS, 49 * MS)), Ok(()));
        let full = Ahead(50 * MS, 51 * MS);
        assert_eq!(admit(&mut priced, 1, &full), Err(Rejection::PricedOut));
    }

    #[test]
    fn who_is_worth_less_is_refused_earlier() {
        let mut priced = Priced::default();
        let free = Ahead(Duration::ZERO, Duration::ZERO);
        for priority in [1, 8] {
            assert_eq!(admit(&mut priced, priority, &free), Ok(()));
        }
        // The least worthy pay while less than 1 / (1 + ln 8) = 0.325 is taken.
        for (taken, level_8) in [(30, Ok(())), (36, Err(Rejection::PricedOut))] {
            let outlook = Ahead(taken * MS, Duration::ZERO);
            assert_eq!(admit(&mut priced, 8, &outlook), level_8, "{taken} % taken");
            assert_eq!(admit(&mut priced, 1, &outlook), Ok(()), "{taken} % taken");
        }
        let nearly_full = Ahead(50 * MS, 45 * MS);
        assert_eq!(admit(&mut priced, 1, &nearly_full), Ok(()));
    }

    #[test]
    fn what_cannot_be_in_time_is_refused_at_any_price() {
        let late = Ahead(96 * MS, Duration::ZERO);
        let predicted = Rejection::DeadlineUnreachable { predicted: 101 * MS, soonest: None };
        assert_eq!(admit(&mut Priced::default(), 1, &late), Err(predicted));
        let none = Ahead(Instant::NEVER.since(Instant::ZERO), Duration::ZERO);
        assert_eq!(admit(&mut Priced::default(), 1, &none), Err(Rejection::NoExecutor));
    }
}
