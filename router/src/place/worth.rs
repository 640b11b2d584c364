//! What a placement is worth: answers a second, each counted as often as it is right, by arithmetic alone.
//!
//! Demand is cut into equal parts. Each part goes to whoever answers it with the least time, on the executor that is
//! least busy; then, as long as executors have time left, parts move to more accurate variants. What no executor has time
//! for is worth nothing, so that answering comes before answering well.

use std::time::Duration;

use models::LatencyProfile;

use super::bin_pack::BUSY_MAX;
use super::{Family, Placement, Problem};

/// Parts into which each stream of requests is cut: the worth is then known to about a sixteenth of a stream.
const PARTS: u32 = 16;

/// Requests that the same variants can answer.
struct Stream {
    /// Rows a second of one part.
    part: f64,
    options: Vec<Way>,
}

/// A way to answer.
struct Way {
    variant: usize,
    /// How often such an answer is right.
    value: f64,
    /// Executor time of a row, in seconds.
    cost: f64,
}

/// A part of a stream and how it is answered.
#[derive(Clone, Copy)]
struct Part {
    stream: usize,
    way: usize,
    executor: usize,
}

/// All that is asked for.
pub(super) struct Demands {
    streams: Vec<Stream>,
}

impl Demands {
    /// Those of a problem.
    pub(super) fn of(problem: &Problem) -> Self {
        let mut streams = Vec::new();
        let members = || problem.families.iter().flat_map(|family| &family.members);
        for (variant, wanted) in problem.variants.iter().enumerate() {
            let wished = members().filter(|member| member.variant == variant);
            let own = wanted.rate - wished.map(|member| member.rate).sum::<f64>();
            if own > 0.0 {
                let cost = row_time(&wanted.profile, wanted.within);
                let options = vec![Way { variant, value: 1.0, cost }];
                streams.push(Stream { part: own / f64::from(PARTS), options });
            }
        }
        for family in &problem.families {
            streams.extend(family.members.iter().enumerate().filter_map(|(place, member)| {
                let part = member.rate / f64::from(PARTS);
                (part > 0.0).then(|| Stream { part, options: ways(problem, family, place) })
            }));
        }
        Self { streams }
    }

    /// What that placement is worth.
    pub(super) fn worth(&self, placement: &Placement, variants: usize) -> f64 {
        let mut holders = vec![Vec::new(); variants];
        for executor in 0..placement.executors() {
            placement.variants(executor).for_each(|variant| holders[variant].push(executor));
        }
        let mut busy = vec![0.0_f64; placement.executors()];
        let mut parts = self.served(&holders, &mut busy);
        while self.improve(&holders, &mut busy, &mut parts) {}
        let value = |part: &Part| {
            let stream = &self.streams[part.stream];
            stream.part * stream.options[part.way].value
        };
        parts.iter().map(value).sum()
    }

    /// As many parts as can be answered, each in the way that takes least time.
    fn served(&self, holders: &[Vec<usize>], busy: &mut [f64]) -> Vec<Part> {
        let mut parts = Vec::new();
        for _ in 0..PARTS {
            for (index, stream) in self.streams.iter().enumerate() {
                let ways = stream.options.iter().enumerate();
                let places = ways.flat_map(|(way, option)| {
                    let after = move |executor: usize, busy: &[f64]| {
                        busy[executor] + option.cost * stream.part
                    };
                    let on = holders[option.variant].iter();
                    on.map(move |&executor| (way, executor, after))
                });
                let best = places
                    .map(|(way, executor, after)| (after(executor, busy), way, executor))
                    .min_by(|one, other| one.0.total_cmp(&other.0));
                if let Some((after, way, executor)) = best.filter(|best| best.0 <= BUSY_MAX) {
                    busy[executor] = after;
                    parts.push(Part { stream: index, way, executor });
                }
            }
        }
        parts
    }

    /// Moves each part to the next better way that an executor has time for; false if there was none.
    fn improve(&self, holders: &[Vec<usize>], busy: &mut [f64], parts: &mut [Part]) -> bool {
        let mut improved = false;
        for part in parts {
            let stream = &self.streams[part.stream];
            let present = &stream.options[part.way];
            let freed = present.cost * stream.part;
            let mut next: Option<(f64, f64, Part)> = None;
            for (way, option) in stream.options.iter().enumerate() {
                if option.value <= present.value
                    || next.is_some_and(|(value, ..)| option.value > value)
                {
                    continue;
                }
                for &executor in &holders[option.variant] {
                    let same = if executor == part.executor { freed } else { 0.0 };
                    let after = busy[executor] - same + option.cost * stream.part;
                    let better =
                        |(value, least, _): (f64, f64, Part)| option.value < value || after < least;
                    if after <= BUSY_MAX && next.is_none_or(better) {
                        next = Some((option.value, after, Part { way, executor, ..*part }));
                    }
                }
            }
            if let Some((_, after, to)) = next {
                busy[part.executor] -= freed;
                // On the same executor the time that was freed is in `after` already.
                busy[to.executor] = after;
                *part = to;
                improved = true;
            }
        }
        improved
    }
}

/// How requests that wish for that member of a family can be answered. An answer more accurate than the one wished for
/// is worth no more: who asks for less has a reason.
fn ways(problem: &Problem, family: &Family, wished: usize) -> Vec<Way> {
    let best = family.members[wished].accuracy;
    let way = |member: &super::Member| Way {
        variant: member.variant,
        value: member.accuracy.min(best),
        cost: row_time(&problem.variants[member.variant].profile, family.within),
    };
    family.members.iter().map(way).collect()
}

/// Executor time of a row in the batches that run under load: the best of those of which two in a row are in time, as a
/// request that just missed one needs (Nexus, SOSP'19).
fn row_time(profile: &LatencyProfile, within: Option<Duration>) -> f64 {
    let budget = within.map_or(Duration::MAX, |within| within / 2);
    let sizes = profile.points().iter().map(|point| point.batch);
    let fits = sizes.filter(|&size| profile.time(size) <= budget);
    let time = |size: u32| profile.median(size).as_secs_f64() / f64::from(size);
    fits.map(time).min_by(f64::total_cmp).unwrap_or_else(|| time(1))
}
