//! The grid on which policies are compared: profiles x objectives x devices x models x arrivals.

use std::path::Path;
use std::time::Duration;

use models::{LatencyProfile, ProfilePoint};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use sim::{
    ExecutorSpec, ModelSpec, Popularity, ProfileSpec, RouterChoice, Scenario, TraceSpec, published,
};

/// A named profile of the grid, its planned times equal to its medians: runs are exact.
#[derive(Clone, Debug)]
pub struct NamedProfile {
    /// As tables show it.
    pub name: &'static str,
    /// Time by batch.
    pub profile: LatencyProfile,
}

/// Objectives as multiples of the time of one request alone.
pub const SLOS: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0];
/// Numbers of devices.
pub const DEVICES: [u32; 3] = [1, 8, 64];
/// Numbers of equal models, asked for by Zipf's law of exponent 0.9 as inference traces are.
pub const MODELS: [u32; 4] = [1, 8, 32, 128];
/// Arrival processes; the last is the recorded one of [`TRACE`].
pub const ARRIVALS: [&str; 4] = ["poisson", "gamma:2", "gamma:4", "bursty trace"];
/// Arrivals of a code completion service (Azure, 2023), the burstiest published: gaps vary by 13 times their mean.
pub const TRACE: &str = "../shared/data/traces/azure_llm_2023_code.csv.gz";
/// Larger batches are not measured in most profiles.
const BATCH_MAX: u32 = 64;

const OURS: [(&str, &str); 5] = [
    ("resnet50 linear", include_str!("../../models/profiles/resnet50_linear.csv")),
    ("resnet50 V100", include_str!("../../models/profiles/resnet50_v100.csv")),
    ("gemm mlp CPU", include_str!("../../models/profiles/cpu_gemm_mlp.csv")),
    ("minilm CPU", include_str!("../../models/profiles/cpu_minilm_seq8.csv")),
    ("silero CPU", include_str!("../../models/profiles/cpu_silero_vad.csv")),
];
const PUBLISHED: [(&str, &str); 2] = [
    ("efficientnet 1080Ti", "loki/eb0_checkpoint_150epochs"),
    ("vgg16 TITAN X", "nexus/caffe:vgg16:1"),
];

/// What of the grid can be run here, and what is left out and why.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The profiles that are present.
    pub profiles: Vec<NamedProfile>,
    /// The arrival processes that are present.
    pub arrivals: Vec<&'static str>,
    /// What is absent, a sentence each.
    pub absent: Vec<String>,
    trace: Option<TraceSpec>,
}

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// Index of the profile.
    pub profile: usize,
    /// The objective as a multiple of l(1).
    pub slo: f64,
    /// How many devices.
    pub devices: u32,
    /// How many models.
    pub models: u32,
    /// Index of the arrivals.
    pub arrivals: usize,
}

impl Grid {
    /// The grid of this machine.
    ///
    /// # Errors
    /// Where a file is there and wrong.
    pub fn present() -> Result<Self, String> {
        let (mut profiles, mut absent) = (Vec::new(), Vec::new());
        for (name, csv) in OURS {
            let profile = LatencyProfile::from_csv(csv).map_err(|error| error.to_string())?;
            profiles.push(NamedProfile { name, profile: exact(&profile) });
        }
        for (name, source) in PUBLISHED {
            match published::read(source) {
                Ok(profile) => profiles.push(NamedProfile { name, profile: exact(&profile) }),
                Err(published::PublishedError::Absent) => {
                    absent.push(format!("profile {name}: {}", published::PublishedError::Absent));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let mut arrivals = ARRIVALS.to_vec();
        let trace = Path::new(TRACE);
        let trace = if trace.exists() {
            Some(TraceSpec::read(trace).map_err(|error| error.to_string())?)
        } else {
            arrivals.pop();
            absent.push(format!("the bursty trace: {TRACE} is absent"));
            None
        };
        Ok(Self { profiles, arrivals, absent, trace })
    }

    /// Every point, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Spot> {
        let mut spots = Vec::new();
        for profile in 0..self.profiles.len() {
            for slo in SLOS {
                for devices in DEVICES {
                    for models in MODELS {
                        for arrivals in 0..self.arrivals.len() {
                            spots.push(Spot { profile, slo, devices, models, arrivals });
                        }
                    }
                }
            }
        }
        spots
    }

    /// So many points in which every value of every axis is as often as the others, the same for the same seed.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64) -> Vec<Spot> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut axis = |levels: usize| {
            let mut drawn: Vec<usize> = (0..count).map(|index| index % levels).collect();
            drawn.shuffle(&mut rng);
            drawn
        };
        let profiles = axis(self.profiles.len());
        let (slos, devices) = (axis(SLOS.len()), axis(DEVICES.len()));
        let (models, arrivals) = (axis(MODELS.len()), axis(self.arrivals.len()));
        let spot = |index: usize| Spot {
            profile: profiles[index],
            slo: SLOS[slos[index]],
            devices: DEVICES[devices[index]],
            models: MODELS[models[index]],
            arrivals: arrivals[index],
        };
        (0..count).map(spot).collect()
    }

    /// The objective of a point.
    #[must_use]
    pub fn slo(&self, spot: &Spot) -> Duration {
        self.profiles[spot.profile].profile.median(1).mul_f64(spot.slo)
    }

    /// At least so many requests, and of the recorded arrivals whole rounds: each part of a recording counts once a round.
    #[must_use]
    pub fn whole_recordings(&self, spot: &Spot, requests: u64) -> u64 {
        let recorded = self.trace.as_ref().filter(|_| self.arrivals[spot.arrivals] == ARRIVALS[3]);
        recorded.map_or(requests, |trace| requests.next_multiple_of(trace.requests().max(1)))
    }

    /// The world of a point at 1 request a second; its length is set by the search.
    #[must_use]
    pub fn scenario(&self, spot: &Spot, seed: u64) -> Scenario {
        let csv = self.profiles[spot.profile].profile.to_csv();
        let arrivals = self.arrivals[spot.arrivals];
        let recorded = arrivals == ARRIVALS[3];
        let model = ModelSpec {
            count: spot.models,
            popularity: Popularity::Zipf(0.9),
            slo: Some(self.slo(spot)),
            arrivals: if recorded { ARRIVALS[0] } else { arrivals }.to_owned(),
            trace: if recorded { self.trace.clone() } else { None },
            ..ModelSpec::new("model", ProfileSpec::Csv { csv }, 1.0)
        };
        Scenario {
            compositions: Vec::new(),
            placement: None,
            seed,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            load: 1.0,
            router: RouterChoice::default(),
            executors: vec![ExecutorSpec { count: spot.devices, ..ExecutorSpec::default() }],
            models: vec![model],
        }
    }
}

fn exact(profile: &LatencyProfile) -> LatencyProfile {
    let points = profile.points().iter().filter(|point| point.batch <= BATCH_MAX);
    let points = points.map(|point| ProfilePoint { p99: point.median, ..*point });
    LatencyProfile::new(points.collect()).expect("medians are in order where all times are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_every_value_of_every_axis_equally_often() {
        let grid = Grid::present().unwrap();
        assert!(grid.profiles.len() >= OURS.len() && grid.arrivals.len() >= 3);
        let sample = grid.sample(24, 1);
        assert_eq!(sample, grid.sample(24, 1));
        assert_ne!(sample, grid.sample(24, 2));
        for slo in SLOS {
            assert_eq!(sample.iter().filter(|spot| spot.slo == slo).count(), 4);
        }
        for devices in DEVICES {
            assert_eq!(sample.iter().filter(|spot| spot.devices == devices).count(), 8);
        }
    }

    #[test]
    fn every_point_of_the_grid_is_a_world_that_makes_sense() {
        let grid = Grid::present().unwrap();
        let all = grid.all();
        let per_pair = SLOS.len() * DEVICES.len() * MODELS.len();
        assert_eq!(all.len(), grid.profiles.len() * grid.arrivals.len() * per_pair);
        for spot in all.iter().step_by(37) {
            assert_eq!(grid.scenario(spot, 1).check(), Ok(()), "{spot:?}");
        }
    }
}
