//! A device that is only time: a run takes as long as a latency profile says, and answers zeros.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use models::{DataType, DeviceKind, Dim, LatencyProfile, ProfileError, Signature, TensorSpec};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg32;

use crate::executor::byte_length;
use crate::{
    Batch, Executor, LoadError, LoadedModel, ModelSource, Output, RunError, Timing, clock,
};

/// The profiles that come with the program, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("resnet50_linear", include_str!("../../models/profiles/resnet50_linear.csv")),
    ("resnet50_v100", include_str!("../../models/profiles/resnet50_v100.csv")),
];

/// Returns the names of the built-in profiles.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Returns the built-in profile of that name, as CSV text.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// How much a run's time varies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Standard deviation of the logarithm of the time, nearly its relative deviation; 0 for exact times.
    pub sigma: f64,
    /// The same seed gives the same times.
    pub seed: u64,
}

/// An executor whose runs take the time of a profile, whatever the model.
pub struct Emulated {
    name: String,
    profile: LatencyProfile,
    noise: Noise,
    /// Models loaded so far: each has its own stream of noise.
    loaded: AtomicU64,
}

impl Emulated {
    /// Makes the device of a profile; `name` appears in the kind of the device.
    #[must_use]
    pub fn new(name: impl Into<String>, profile: LatencyProfile, noise: Noise) -> Self {
        Self { name: name.into(), profile, noise, loaded: AtomicU64::new(0) }
    }

    /// Makes the device of a profile given as CSV text: a built-in one, or a file that the caller read.
    ///
    /// # Errors
    /// Where the text is no profile.
    pub fn from_csv(
        name: impl Into<String>,
        text: &str,
        noise: Noise,
    ) -> Result<Self, ProfileError> {
        Ok(Self::new(name, LatencyProfile::from_csv(text)?, noise))
    }

    /// The profile that runs follow.
    #[must_use]
    pub fn profile(&self) -> &LatencyProfile {
        &self.profile
    }
}

impl Executor for Emulated {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn LoadedModel>, LoadError> {
        let stream = self.loaded.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(EmulatedModel {
            signature: source.signature.clone(),
            profile: self.profile.clone(),
            sigma: self.noise.sigma,
            noise: Pcg32::new(self.noise.seed, stream),
        }))
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Emulated { profile: self.name.clone() }
    }
}

struct EmulatedModel {
    signature: Signature,
    profile: LatencyProfile,
    sigma: f64,
    noise: Pcg32,
}

impl EmulatedModel {
    fn time(&mut self, rows: u32) -> Duration {
        let normal: f64 = StandardNormal.sample(&mut self.noise);
        self.profile.median(rows).mul_f64((self.sigma * normal).exp())
    }
}

impl LoadedModel for EmulatedModel {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        let start = clock::now();
        let end = start + self.time(batch.rows);
        let batched = self.signature.batched;
        let outputs = self.signature.outputs.iter().map(|spec| zeros(spec, batched, batch.rows));
        let outputs = outputs.collect::<Result<_, _>>()?;
        clock::sleep_until(end);
        timing.infer = clock::now() - start;
        Ok(outputs)
    }
}

/// Zeros of the output's shape: the batch axis has `rows`, other free axes 1; a `BYTES` element is the empty string.
fn zeros(spec: &TensorSpec, batched: bool, rows: u32) -> Result<Output, RunError> {
    let mut shape: Vec<i64> = spec.dims.iter().map(zero_dim).collect();
    if batched && let Some(first) = shape.first_mut() {
        *first = rows.into();
    }
    // The empty string is its length alone, a u32.
    let size = spec.datatype.size().unwrap_or(size_of::<u32>());
    let length = byte_length(&shape, size).ok_or_else(|| {
        RunError::Failed(format!("output {} of shape {shape:?} is too large", spec.name))
    })?;
    let datatype: DataType = spec.datatype;
    Ok(Output { datatype, shape, data: Bytes::from(vec![0; length]) })
}

fn zero_dim(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
        Dim::Any(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use models::{BatchId, VariantId};

    use super::*;

    fn spec(name: &str, datatype: DataType, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: name.into(), datatype, dims }
    }

    fn source() -> ModelSource {
        let rows = Dim::Any(None);
        let signature = Signature {
            inputs: vec![spec("x", DataType::Fp32, vec![rows.clone(), Dim::Fixed(4)])],
            outputs: vec![
                spec(
                    "scores",
                    DataType::Fp16,
                    vec![rows.clone(), Dim::Any(Some("n".into())), Dim::Fixed(3)],
                ),
                spec("label", DataType::Bytes, vec![rows]),
            ],
            batched: true,
        };
        ModelSource { name: "m".into(), path: PathBuf::new(), signature, rows_max: 8, threads: 1 }
    }

    fn batch(rows: u32) -> Batch {
        Batch {
            id: BatchId(0),
            variant: VariantId(0),
            rows,
            inner_shapes: vec![vec![4]],
            parts: vec![],
        }
    }

    fn device(noise: Noise) -> Emulated {
        let (fixed, per_item) = (Duration::from_millis(2), Duration::from_millis(1));
        Emulated::new("test", LatencyProfile::linear(fixed, per_item, 8), noise)
    }

    #[test]
    fn a_run_takes_the_time_of_its_rows_and_answers_zeros_of_the_right_shapes() {
        let mut model = device(Noise::default()).load(&source()).unwrap();
        let mut timing = Timing::default();
        let outputs = model.run(&batch(3), &mut timing).unwrap();
        assert!(timing.total() >= Duration::from_millis(5));
        assert_eq!(outputs[0].shape, [3, 1, 3]);
        assert_eq!(outputs[0].data.len(), 3 * 3 * 2);
        assert_eq!(
            (outputs[1].shape.as_slice(), outputs[1].data.as_ref()),
            ([3].as_slice(), [0; 12].as_slice())
        );
    }

    #[test]
    fn noise_is_repeated_by_its_seed_and_absent_without_sigma() {
        let times = |noise| {
            let device = device(noise);
            let mut model = EmulatedModel {
                signature: source().signature,
                profile: device.profile.clone(),
                sigma: noise.sigma,
                noise: Pcg32::new(noise.seed, 0),
            };
            (0..50).map(|_| model.time(1)).collect::<Vec<_>>()
        };
        let noisy = times(Noise { sigma: 0.1, seed: 7 });
        assert_eq!(noisy, times(Noise { sigma: 0.1, seed: 7 }));
        assert_ne!(noisy, times(Noise { sigma: 0.1, seed: 8 }));
        assert!(noisy.iter().all(|time| (1.5..6.0).contains(&(time.as_secs_f64() * 1e3))));
        assert!(
            times(Noise { sigma: 0.0, seed: 7 })
                .iter()
                .all(|&time| time == Duration::from_millis(3))
        );
    }

    #[test]
    fn every_built_in_profile_is_a_profile() {
        for name in built_in_names() {
            let device =
                Emulated::from_csv(name, built_in(name).unwrap(), Noise::default()).unwrap();
            assert_eq!(device.kind().to_string(), format!("emulated:{name}"));
            assert!(device.profile().batching_gain() > 1.5, "{name}");
        }
        assert_eq!(built_in("unknown"), None);
    }
}
