//! The highest offered rate of which at most so many requests are late or refused.

use std::time::Duration;

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

/// A little more than the capacity can be good, for so many may be bad.
const LOAD_MAX: f64 = 1.2;

/// How the highest rate is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The share of requests that may be late, refused or failed.
    pub bad_max: f64,
    /// Rates that are tried differ by this share: the answer is the last that is good.
    pub step: f64,
    /// Each run lasts as long as so many requests take at its rate, a tenth of it warm-up, in place of the scenario's
    /// duration: all rates then see the same requests, nearer together or farther apart.
    pub requests: Option<u64>,
}

/// A run of so many requests counts those after this share of its time.
const WARMUP: f64 = 0.1;

impl Default for Search {
    /// At most 1 % bad, rates half a per cent apart, the scenario's duration.
    fn default() -> Self {
        Self { bad_max: 0.01, step: 0.005, requests: None }
    }
}

/// The highest good rate that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goodput {
    /// As a multiple of the scenario's rates; 0 where even the lowest rate was bad.
    pub load: f64,
    /// Requests a second.
    pub rate: f64,
    /// Its place in the row of rates.
    pub(crate) place: i32,
    /// Worlds that were run.
    pub runs: u32,
}

impl Goodput {
    /// Nothing served, for a comparison to start from.
    pub const NONE: Self = Self { load: 0.0, rate: 0.0, place: i32::MIN / 2, runs: 0 };
}

/// The row of rates of a scenario: the same for all policies.
#[derive(Clone, Copy)]
struct Rates {
    capacity: f64,
    stated: f64,
    step: f64,
    lowest: i32,
    highest: i32,
}

impl Rates {
    fn of(scenario: &Scenario, step: f64) -> Result<Self, SimError> {
        #[expect(clippy::cast_possible_truncation, reason = "about a thousand steps")]
        let places = |ratio: f64| (ratio.ln() / step.ln_1p()).floor() as i32;
        let (capacity, stated) = (scenario.capacity()?, scenario.offered_rate()?);
        Ok(Self { capacity, stated, step, lowest: places(LOAD_MIN), highest: places(LOAD_MAX) })
    }

    fn at(self, place: i32) -> f64 {
        self.capacity * (1.0 + self.step).powi(place)
    }

    fn load(self, place: i32) -> f64 {
        self.at(place) / self.stated
    }
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
        let rates = Rates::of(scenario, self.step)?;
        // From near the capacity down in growing strides, for most goodputs are near it.
        let (mut low, mut high) = (rates.lowest, rates.highest);
        let (mut runs, mut stride) = (0, 16);
        let mut place = -stride;
        while place > low {
            runs += 1;
            if self.good_at(scenario, rates, place)? {
                low = place;
                break;
            }
            high = place;
            stride *= 2;
            place -= stride;
        }
        self.bisect(scenario, rates, (low, high), runs)
    }

    /// The goodput if it is higher than one already found for the same rates; it costs one run if it is not.
    ///
    /// # Errors
    /// Where the scenario makes no sense.
    pub fn higher(&self, scenario: &Scenario, than: &Goodput) -> Result<Option<Goodput>, SimError> {
        let rates = Rates::of(scenario, self.step)?;
        let mut low = than.place + 1;
        if low >= rates.highest || !self.good_at(scenario, rates, low)? {
            return Ok(None);
        }
        let (mut runs, mut stride) = (1, 4);
        let mut high = rates.highest;
        while low + stride < high {
            runs += 1;
            if !self.good_at(scenario, rates, low + stride)? {
                high = low + stride;
                break;
            }
            low += stride;
            stride *= 2;
        }
        self.bisect(scenario, rates, (low, high), runs).map(Some)
    }

    fn bisect(
        &self,
        scenario: &Scenario,
        rates: Rates,
        (mut low, mut high): (i32, i32),
        mut runs: u32,
    ) -> Result<Goodput, SimError> {
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            runs += 1;
            if self.good_at(scenario, rates, middle)? {
                low = middle;
            } else {
                high = middle;
            }
        }
        if low == rates.lowest {
            return Ok(Goodput { load: 0.0, rate: 0.0, place: low, runs });
        }
        Ok(Goodput { load: rates.load(low), rate: rates.at(low), place: low, runs })
    }

    fn good_at(&self, scenario: &Scenario, rates: Rates, place: i32) -> Result<bool, SimError> {
        self.good(&self.world_at(scenario, rates.load(place))?)
    }

    /// The world of one run, at a multiple of the scenario's rates.
    ///
    /// # Errors
    /// Where a model has neither a rate nor a trace.
    pub fn world_at(&self, scenario: &Scenario, load: f64) -> Result<Scenario, ScenarioError> {
        let mut world = Scenario { load: scenario.load * load, ..scenario.clone() };
        if let Some(requests) = self.requests {
            world.duration = Duration::from_secs_f64(requests as f64 / world.offered_rate()?);
            world.warmup = world.duration.mul_f64(WARMUP);
        }
        Ok(world)
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
            placement: None,
            seed: 1,
            duration: Duration::from_secs(10),
            warmup: Duration::ZERO,
            load: 1.0,
            router: RouterChoice::default(),
            executors: vec![ExecutorSpec { count: 2, ..ExecutorSpec::default() }],
            models: vec![model],
            compositions: Vec::new(),
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
    fn a_higher_goodput_is_found_from_a_lower_one_and_only_then() {
        let (search, poisson) = (Search::default(), scenario("poisson"));
        let found = search.goodput(&poisson).unwrap();
        assert_eq!(search.higher(&poisson, &found).unwrap(), None);
        let lower = search.goodput(&scenario("gamma:3")).unwrap();
        let higher = search.higher(&poisson, &lower).unwrap().unwrap();
        assert!((higher.rate - found.rate).abs() < 1e-9, "{higher:?} for {found:?}");
    }

    #[test]
    fn runs_of_so_many_requests_have_them_at_every_rate() {
        let search = Search { requests: Some(5000), ..Search::default() };
        for load in [0.5, 20.0] {
            let world = search.world_at(&scenario("constant"), load).unwrap();
            let report = World::new(&world).unwrap().run().unwrap().0;
            assert!(report.total().offered.abs_diff(4500) <= 1, "{}", report.total().offered);
        }
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
