//! What planning variant shares and choosing a variant cost, in CPU time.

use models::{ExecutorId, TaskId, VariantId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::mix::{Contender, Demand, Survey};
use sim::clock::thread_cpu;

use crate::hot::choose::Choosing;
use crate::{Bar, Error, median, verdict};

const TASKS: u32 = 5;
const VARIANTS: u32 = 10;
const EXECUTORS: u32 = 100;
const REPEATS: u64 = 21;
/// Requests before choices are timed, and choices that are timed together.
const WARM: u32 = 2000;
const LOOKS: u32 = 500;

/// The bar of a plan for 50 variants on 100 executors of which no two hold the same ones.
#[must_use]
pub fn planning() -> (String, bool) {
    let times: Vec<f64> = (0..REPEATS).map(|seed| time(&survey(seed))).collect();
    let what = "CPU ms of a plan of 50 variants on 100 executors, none equal";
    verdict(what, median(&times), Bar::AtMost(50.0))
}

fn time(survey: &Survey) -> f64 {
    let before = thread_cpu();
    std::hint::black_box(survey.plan());
    (thread_cpu() - before).as_secs_f64() * 1e3
}

/// The bars of a choice among few and among many variants, where every one is looked at.
///
/// # Errors
/// Where the router cannot be made.
pub fn choosing() -> Result<[(String, bool); 2], Error> {
    Ok([choice(7, 1.0)?, choice(200, 5.0)?])
}

fn choice(variants: u32, micros_max: f64) -> Result<(String, bool), Error> {
    let mut choosing = Choosing::new(router::SELECTIONS[0].name, variants)?;
    (0..WARM).for_each(|_| choosing.arrive(|tell| tell()));
    let mut time = || {
        let before = thread_cpu();
        (0..LOOKS).for_each(|_| choosing.look());
        (thread_cpu() - before).as_secs_f64() * 1e6 / f64::from(LOOKS)
    };
    let times: Vec<f64> = (0..REPEATS).map(|_| time()).collect();
    let what = format!("CPU us of a choice that looks at all of {variants} variants");
    Ok(verdict(&what, median(&times), Bar::AtMost(micros_max)))
}

/// Five tasks of ten variants, each on about half of the executors, asked for a little more than fits the most accurate.
fn survey(seed: u64) -> Survey {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut contender = |task: u32, place: u32| Contender {
        variant: VariantId(task * VARIANTS + place),
        accuracy: 0.95 - 0.02 * f64::from(place),
        row_seconds: 0.02 * 0.75_f64.powi(place.cast_signed()) * rng.random_range(0.8..1.2),
        executors: (0..EXECUTORS).map(ExecutorId).filter(|_| rng.random_bool(0.5)).collect(),
    };
    let mut demand = |task: u32| Demand {
        task: TaskId(task),
        rate: 1000.0 * f64::from(1 + task),
        variants: (0..VARIANTS).map(|place| contender(task, place)).collect(),
    };
    Survey { tasks: (0..TASKS).map(&mut demand).collect(), taken: Vec::new() }
}
