//! Small cases for the tests of policies: a queue, a profile of `l(b) = 4 + b` ms, and what the policy answers.

use std::time::Duration;

use models::LatencyProfile;

use super::{BatchPolicy, Candidate, Entry, Load, PolicySettings, Ran, View};
use crate::{Deadline, Instant, Queue, Request, RequestId};

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) fn ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// One row of a table.
pub(super) struct Case {
    pub(super) queue: Queue,
    pub(super) profile: LatencyProfile,
    pub(super) settings: PolicySettings,
    pub(super) start: Instant,
    pub(super) executors: u32,
    pub(super) idle: u32,
    pub(super) load: Load,
}

/// What a policy answered: how many requests from when until when, in milliseconds, after which were given up.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) requests: usize,
    pub(super) earliest: f64,
    pub(super) latest: f64,
    pub(super) dropped: Vec<u64>,
}

pub(super) const NEVER: f64 = f64::INFINITY;

/// The answer without anything given up.
pub(super) fn batch(requests: usize, earliest: f64, latest: f64) -> Answer {
    Answer { requests, earliest, latest, dropped: Vec::new() }
}

impl Case {
    /// Requests of one row that arrived and are wanted at those milliseconds; 0 for no deadline.
    pub(super) fn of(waiting: &[(u64, u64)]) -> Self {
        let mut queue = Queue::default();
        for (id, &(arrived, deadline)) in (0..).zip(waiting) {
            let deadline = if deadline == 0 { Deadline::NONE } else { Deadline(ms(deadline)) };
            let (id, arrived) = (RequestId(id), ms(arrived));
            queue.push(Request { id, rows: 1, priority: 1, arrived, deadline });
        }
        Self {
            queue,
            profile: LatencyProfile::linear(4 * MS, MS, 32),
            settings: PolicySettings { batch_max: 8, ..PolicySettings::default() },
            start: Instant::ZERO,
            executors: 1,
            idle: 1,
            load: Load::default(),
        }
    }

    /// Requests of one row that arrived at the beginning and are wanted at those milliseconds.
    pub(super) fn wanted_at(deadlines_ms: &[u64]) -> Self {
        Self::of(&deadlines_ms.iter().map(|&deadline| (0, deadline)).collect::<Vec<_>>())
    }

    pub(super) fn at(mut self, start_ms: u64) -> Self {
        self.start = ms(start_ms);
        self
    }

    /// So many executors, all of which are idle.
    pub(super) fn executors(mut self, executors: u32) -> Self {
        (self.executors, self.idle) = (executors, executors);
        self
    }

    /// Something was lost of late; so many queues compete and keep so many executors busy.
    pub(super) fn pressed(mut self, queues: f64, busy: f64) -> Self {
        self.load = Load { busy, queues, since_loss: 0, ..Load::default() };
        self
    }

    /// Executors are held for so many milliseconds at a time.
    pub(super) fn held_for(mut self, run_ms: u32) -> Self {
        self.load.run = MS * run_ms;
        self
    }

    /// So many rows were offered, one every so many milliseconds, the last at the start asked about.
    pub(super) fn offered(mut self, rows: u64, every_ms: u64) -> Self {
        let first = self.start - MS * u32::try_from(rows * every_ms).unwrap();
        for offer in 1..=rows {
            self.queue.note_offer(1, first + Duration::from_millis(offer * every_ms));
        }
        self
    }

    pub(super) fn batch_max(mut self, batch_max: u32) -> Self {
        self.settings.batch_max = batch_max;
        self
    }

    pub(super) fn delay(mut self, delay_ms: u64) -> Self {
        self.settings.delay = Duration::from_millis(delay_ms);
        self
    }

    pub(super) fn preferred(mut self, preferred: &[u32]) -> Self {
        self.settings.preferred = preferred.to_vec();
        self
    }

    pub(super) fn idle(mut self, idle: u32) -> Self {
        self.idle = idle;
        self
    }

    /// One row was offered every so many milliseconds for long.
    pub(super) fn every(mut self, gap_ms: u64) -> Self {
        for offer in 0..2000 {
            self.queue.note_offer(1, ms(offer * gap_ms));
        }
        self
    }

    pub(super) fn policy(&self, entry: &Entry) -> Box<dyn BatchPolicy> {
        (entry.build)(&self.settings)
    }

    pub(super) fn ask(&self, policy: &mut dyn BatchPolicy) -> Option<Answer> {
        let view = View {
            queue: &self.queue,
            profile: &self.profile,
            now: self.start,
            start: self.start,
            executors: self.executors,
            idle: self.idle,
            running: 0,
            rivals: 0,
            load: self.load,
        };
        let mut drop = Vec::new();
        let Candidate { requests, earliest, latest, .. } = policy.plan(&view, &mut drop)?;
        let dropped = drop.iter().map(|id| id.0).collect();
        let (earliest, latest) = (millis(earliest), millis(latest));
        Some(Answer { requests, earliest, latest, dropped })
    }

    pub(super) fn answer(&self, entry: &Entry) -> Answer {
        self.ask(self.policy(entry).as_mut()).expect("some request is left")
    }
}

fn millis(at: Instant) -> f64 {
    if at == Instant::NEVER {
        return NEVER;
    }
    // To a hundredth, so that answers can be compared.
    (at.since(Instant::ZERO).as_secs_f64() * 1e5).round() / 1e2
}

/// A batch that took so many milliseconds, of requests with an objective of `slo_ms`.
pub(super) fn ran(rows: u32, elapsed_ms: u64, slo_ms: u64) -> Ran {
    let (elapsed, slo) = (Duration::from_millis(elapsed_ms), Duration::from_millis(slo_ms));
    Ran { rows, elapsed, slo, in_time: elapsed <= slo }
}
