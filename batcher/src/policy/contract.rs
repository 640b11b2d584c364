//! What holds of every policy, and the promises where they are made, over random queues.

use std::time::Duration;

use models::LatencyProfile;
use proptest::prelude::*;

use super::{ALL, Candidate, Entry, Load, PolicySettings, Ran, View, by_name};
use crate::{Deadline, Instant, Queue, Request, RequestId};

fn us(us: u64) -> Instant {
    Instant::from_nanos(us * 1000)
}

/// A queue in the world, and what ran before.
#[derive(Clone, Debug)]
struct Scene {
    /// Arrival and time until the deadline in microseconds, rows, priority.
    waiting: Vec<(u64, Option<u64>, u32, u32)>,
    /// Microseconds between offers before.
    gap: u64,
    /// Rows, time and objective in microseconds.
    ran: Vec<(u32, u64, Option<u64>)>,
    settings: PolicySettings,
    fixed: u64,
    per_item: u64,
    now: u64,
    /// From the present to the start asked about.
    ahead: u64,
    executors: (u32, u32),
    running: u32,
    rivals: u32,
    load: Load,
}

fn scene() -> impl Strategy<Value = Scene> {
    let deadline = prop::option::weighted(0.9, 0_u64..40_000);
    let request = (0_u64..20_000, deadline, 1_u32..4, 1_u32..3);
    let batch = (1_u32..20, 1_u64..40_000, prop::option::of(1_u64..40_000));
    let since_loss = prop_oneof![0_u64..10_000, Just(u64::MAX)];
    let busy = (0.0_f64..10.0, 0.0_f64..20.0);
    let load = (busy, 0_u64..40_000, 1.0_f64..20.0, since_loss, any::<bool>());
    let load = load.prop_map(|((busy, alone), run_us, queues, since_loss, overloaded)| Load {
        busy,
        alone,
        run: Duration::from_micros(run_us),
        queues,
        since_loss,
        overloaded,
    });
    let world = (0_u64..30_000, 0_u64..5000, (1_u32..9, 0_u32..9), (0_u32..3, 0_u32..4), load);
    let queue = (prop::collection::vec(request, 1..40), prop_oneof![1_u64..300, 1_u64..20_000]);
    let settings = (1_u32..16, prop::sample::subsequence(vec![2, 4, 6], 0..=3), 0_u64..5000);
    let times = (1_u64..2000, 1_u64..1000);
    (queue, prop::collection::vec(batch, 0..60), settings, times, world).prop_map(
        |((waiting, gap), ran, (batch_max, preferred, delay), (fixed, per_item), world)| {
            let delay = Duration::from_micros(delay);
            let settings = PolicySettings { batch_max, preferred, delay };
            let (now, ahead, (executors, idle), (running, rivals), load) = world;
            let executors = (executors, idle.min(executors));
            Scene {
                waiting,
                gap,
                ran,
                settings,
                fixed,
                per_item,
                now,
                ahead,
                executors,
                running,
                rivals,
                load,
            }
        },
    )
}

impl Scene {
    fn queue(&self) -> Queue {
        let mut queue = Queue::default();
        for offer in 0..500 {
            queue.note_offer(1, us(offer * self.gap));
        }
        for (id, &(arrived, slo, rows, priority)) in (0..).zip(&self.waiting) {
            let arrived = us(arrived.min(self.now));
            let slo = slo.map(Duration::from_micros);
            let deadline = slo.map_or(Deadline::NONE, |slo| Deadline(arrived + slo));
            queue.push(Request { id: RequestId(id), rows, priority, arrived, deadline });
        }
        queue
    }

    fn profile(&self) -> LatencyProfile {
        let (fixed, per_item) = (self.fixed, self.per_item);
        LatencyProfile::linear(Duration::from_micros(fixed), Duration::from_micros(per_item), 32)
    }

    fn view<'a>(
        &self,
        queue: &'a Queue,
        profile: &'a LatencyProfile,
        now: Instant,
        start: Instant,
    ) -> View<'a> {
        let ((executors, idle), load) = (self.executors, self.load);
        let (running, rivals) = (self.running, self.rivals);
        View { queue, profile, now, start, executors, idle, running, rivals, load }
    }

    fn feedback(&self) -> impl Iterator<Item = Ran> {
        self.ran.iter().map(|&(rows, elapsed, slo)| {
            let elapsed = Duration::from_micros(elapsed);
            let slo = slo.map_or(Duration::MAX, Duration::from_micros);
            Ran { rows, elapsed, slo, in_time: elapsed <= slo }
        })
    }
}

/// Asks a policy, and again when its window opens, until it starts a batch or has given all up.
fn follow(entry: &Entry, scene: &Scene) -> Result<Vec<Option<Candidate>>, TestCaseError> {
    let (mut queue, profile) = (scene.queue(), scene.profile());
    let mut policy = (entry.build)(&scene.settings);
    scene.feedback().for_each(|ran| policy.ran(&ran));
    let (mut now, mut start) = (us(scene.now), us(scene.now + scene.ahead));
    let mut answers = Vec::new();
    let mut drop = Vec::new();
    if scene.ahead > 0 {
        policy.foresee(&scene.view(&queue, &profile, now, start), &mut drop);
        remove(&mut drop, &mut queue, |_| !entry.promises.drops_only_hopeless)?;
    }
    loop {
        let candidate = policy.plan(&scene.view(&queue, &profile, now, start), &mut drop);
        answers.push(candidate);
        remove(&mut drop, &mut queue, |dropped| {
            let hopeless = start + profile.time(dropped.rows) > dropped.deadline.0;
            hopeless || !entry.promises.drops_only_hopeless
        })?;
        prop_assert!(candidate.is_some() || queue.is_empty(), "no progress");
        let Some(candidate) = candidate else { return Ok(answers) };
        legal(entry, &candidate, &queue, scene)?;
        prop_assert!(candidate.earliest >= start && candidate.latest >= candidate.earliest);
        if candidate.earliest == start {
            return Ok(answers);
        }
        prop_assert!(candidate.earliest < Instant::NEVER, "the window stays shut");
        prop_assert!(answers.len() < 100, "the window is put off again and again");
        (now, start) = (candidate.earliest, candidate.earliest);
    }
}

fn remove(
    drop: &mut Vec<RequestId>,
    queue: &mut Queue,
    may: impl Fn(&Request) -> bool,
) -> Result<(), TestCaseError> {
    for id in drop.drain(..) {
        let dropped = queue.remove(id).expect("only waiting requests are dropped, each once");
        prop_assert!(may(&dropped), "drops {:?}", dropped);
    }
    Ok(())
}

fn legal(
    entry: &Entry,
    candidate: &Candidate,
    queue: &Queue,
    scene: &Scene,
) -> Result<(), TestCaseError> {
    let taken: Vec<_> = queue.iter().take(candidate.requests).collect();
    prop_assert!(!taken.is_empty() && taken.len() == candidate.requests);
    prop_assert_eq!(taken.iter().map(|request| request.rows).sum::<u32>(), candidate.rows);
    prop_assert!(candidate.rows <= scene.settings.batch_max || candidate.requests == 1);
    if entry.promises.in_time {
        let end = candidate.latest + scene.profile().time(candidate.rows);
        prop_assert!(taken.iter().all(|request| end <= request.deadline.0), "late in its window");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_policy_keeps_the_contract_and_its_promises(scene in scene()) {
        for entry in &ALL {
            let named = |error| match error {
                TestCaseError::Fail(reason) => TestCaseError::fail(format!("{}: {reason}", entry.name)),
                TestCaseError::Reject(reason) => TestCaseError::Reject(reason),
            };
            let answers = follow(entry, &scene).map_err(named)?;
            prop_assert_eq!(answers, follow(entry, &scene).map_err(named)?, "{} is not a function of its arguments", entry.name);
        }
    }
}

#[test]
fn policies_have_names_of_their_own() {
    for entry in &ALL {
        assert_eq!(by_name(entry.name).map(|found| found.summary), Ok(entry.summary));
    }
}

#[test]
fn an_unknown_policy_is_refused_with_the_known_names() {
    let text = by_name("clockwork").map(|entry| entry.name).unwrap_err().to_string();
    let begin = "unknown batching policy \"clockwork\"; known are: window, deadline, single, ";
    assert!(text.starts_with(begin), "{text}");
}
