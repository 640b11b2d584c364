//! The highest offered rate of which at most so many requests are late or refused.

use crate::bound::closed_forms;
use crate::{Scenario, ScenarioError, Violation, World};

/// Why a world has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Something happened that never must.
    #[error("seed {seed}: {violation}")]
    Violation {
        /// Of the world.
        seed: u64,
        /// What happened.
        violation: Violation,
    },
}

/// How the highest rate is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The share of requests that may be late, refused or failed.
    pub bad_max: f64,
    /// Rates that are tried differ by this share: the answer is the last that is good.
    pub step: f64,
}

impl Default for Search {
    /// At most 1 % bad, rates half a per cent apart.
    fn default() -> Self {
        Self { bad_max: 0.01, step: 0.005 }
    }
}

/// The highest good rate that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goodput {
    /// As a multiple of the scenario's rates; 0 where even the lowest rate was bad.
    pub load: f64,
    /// Requests a second.
    pub rate: f64,
    /// Worlds that were run.
    pub runs: u32,
}

/// Rates below this share of the capacity are not searched: there a policy serves nothing to speak of.
const LOAD_MIN: f64 = 1e-3;

impl Search {
    /// Searches by bisection over one row of rates, the same for all policies and with the same random numbers, so
    /// that equal behaviour gives equal numbers. Where good and bad rates alternate, one border between them is found.
    ///
    /// # Errors
    /// Where the scenario makes no sense.
    pub fn goodput(&self, scenario: &Scenario) -> Result<Goodput, SimError> {
        let rate = scenario.offered_rate()?;
        let capacity = scenario.capacity()?;
        let at = |place: i32| capacity * (1.0 + self.step).powi(place);
        let lowest = (LOAD_MIN.ln() / self.step.ln_1p()).floor();
        #[expect(clippy::cast_possible_truncation, reason = "a thousand steps")]
        let (mut low, mut high) = (lowest as i32, (0.2 / self.step) as i32);
        let mut runs = 0;
        let mut good = |place: i32| -> Result<bool, SimError> {
            runs += 1;
            self.good(&Scenario { load: scenario.load * at(place) / rate, ..scenario.clone() })
        };
        // From near the capacity down in growing strides, for most goodputs are near it.
        let mut stride = 16;
        let mut place = -stride;
        while place > low {
            if good(place)? {
                low = place;
                break;
            }
            high = place;
            stride *= 2;
            place -= stride;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if good(middle)? {
                low = middle;
            } else {
                high = middle;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "as above")]
        if low == lowest as i32 {
            return Ok(Goodput { load: 0.0, rate: 0.0, runs });
        }
        Ok(Goodput { load: at(low) / rate, rate: at(low), runs })
    }

    /// Whether few enough requests are bad.
    fn good(&self, scenario: &Scenario) -> Result<bool, SimError> {
        let expected = scenario.offered_rate()?
            * scenario.duration.saturating_sub(scenario.warmup).as_secs_f64();
        // Beyond twice the allowed share of twice the expected requests nothing can save the run.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let hopeless = (4.0 * self.bad_max * expected) as u64 + 16;
        let world = World::new(scenario)?.unchecked().stop_beyond(hopeless);
        let (report, _) = world
            .run()
            .map_err(|violation| SimError::Violation { seed: scenario.seed, violation })?;
        let total = report.total();
        let stayed = total.offered - total.cancelled;
        Ok(!report.stopped && report.bad as f64 <= self.bad_max * stayed as f64)
    }
}

impl Scenario {
    /// Requests a second of all models together, as the scenario states them.
    ///
    /// # Errors
    /// Where a model has neither a rate nor a trace.
    pub fn offered_rate(&self) -> Result<f64, ScenarioError> {
        let mut sum = 0.0;
        for model in &self.models {
            sum += model.rate_alone()? * self.load;
        }
        Ok(sum)
    }

    /// Requests a second if all executors always ran the best batches that are in time, in the scenario's mix.
    ///
    /// # Errors
    /// Where the scenario makes no sense.
    pub fn capacity(&self) -> Result<f64, ScenarioError> {
        let executors = self.executor_count();
        let (mut rates, mut seconds) = (0.0, 0.0);
        for model in &self.models {
            let profile = model.latency_profile()?;
            let slo = model.slo.unwrap_or(self.duration);
            let alone = 1.0 / profile.median(1).as_secs_f64();
            let forms = closed_forms(&profile, slo, 1);
            let best = forms.capacity.map_or(alone, |point| point.goodput);
            let rate = model.rate_alone()?;
            rates += rate;
            seconds += rate / best;
        }
        Ok(f64::from(executors) * rates / seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ExecutorSpec, ModelSpec, ProfileSpec, RouterChoice};

    fn scenario(arrivals: &str) -> Scenario {
        let ms = Duration::from_millis;
        let profile = ProfileSpec::Linear { fixed: ms(5), per_item: ms(1), batch_max: 64 };
        let model = ModelSpec {
            slo: Some(ms(30)),
            arrivals: arrivals.into(),
            ..ModelSpec::new("m", profile, 100.0)
        };
        Scenario {
            seed: 1,
            duration: Duration::from_secs(10),
            warmup: Duration::ZERO,
            load: 1.0,
            router: RouterChoice::default(),
            executors: vec![ExecutorSpec { count: 2, ..ExecutorSpec::default() }],
            models: vec![model],
        }
    }

    #[test]
    fn the_rate_that_is_found_is_good_and_the_next_is_bad() {
        let search = Search::default();
        let scenario = scenario("poisson");
        let found = search.goodput(&scenario).unwrap();
        let at = |load: f64| search.good(&Scenario { load, ..scenario.clone() }).unwrap();
        assert!(found.rate > 500.0, "{found:?}");
        assert!(at(found.load) && !at(found.load * 1.005), "{found:?}");
        assert!((found.rate / found.load - 100.0).abs() < 1e-6);
    }

    #[test]
    fn burstier_arrivals_have_less_goodput() {
        let rate = |arrivals| Search::default().goodput(&scenario(arrivals)).unwrap().rate;
        assert!(rate("gamma:4") < rate("poisson") && rate("poisson") < rate("constant"));
    }

    #[test]
    fn without_time_for_one_request_there_is_no_goodput() {
        let mut scenario = scenario("poisson");
        scenario.models[0].slo = Some(Duration::from_millis(5));
        assert_eq!(Search::default().goodput(&scenario).unwrap().rate, 0.0);
    }
}
