//! How a batching policy is set: its largest and preferred batches, and its delay.

use std::fmt;
use std::time::Duration;

use crate::Scenario;
use crate::bound::ClosedForms;

/// What is changed of a scenario's models; what is absent stays as they say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// How long the oldest request may wait for company.
    pub delay: Option<Delay>,
    /// The most rows of a batch.
    pub batch_max: Option<u32>,
    /// The size to stop at rather than wait for more.
    pub preferred: Option<u32>,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// So long.
    Time(Duration),
    /// A share of each model's objective; none for those without.
    OfSlo(f64),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(batch_max) = self.batch_max {
            write!(f, " batch_max={batch_max}")?;
        }
        if let Some(preferred) = self.preferred {
            write!(f, " preferred={preferred}")?;
        }
        match self.delay {
            Some(Delay::Time(time)) => write!(f, " delay={time:?}"),
            Some(Delay::OfSlo(share)) => write!(f, " delay={share}slo"),
            None => Ok(()),
        }
    }
}

impl Setting {
    /// From what stands behind a policy's name: `BATCH_MAX`, or `BATCH_MAX/DELAY`.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn behind(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "cannot read the setting {text:?}: write POLICY:BATCH_MAX or POLICY:BATCH_MAX/DELAY, such as timeout:8/2ms"
            )
        };
        let (batch_max, delay) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let batch_max = batch_max.trim().parse().ok().filter(|size| *size > 0).ok_or_else(wrong)?;
        let delay = delay.map(|delay| models::parse_duration(delay).map(Delay::Time));
        let delay = delay.transpose().map_err(|_| wrong())?;
        Ok(Self { delay, batch_max: Some(batch_max), preferred: None })
    }

    /// Sets all models so.
    pub fn apply(&self, scenario: &mut Scenario) {
        for model in &mut scenario.models {
            match self.delay {
                Some(Delay::Time(time)) => model.delay = Some(time),
                Some(Delay::OfSlo(share)) => {
                    model.delay = model.slo.map(|slo| slo.mul_f64(share)).or(model.delay);
                }
                None => {}
            }
            model.batch_max = self.batch_max.or(model.batch_max);
            if let Some(size) = self.preferred {
                model.preferred = vec![size];
            }
        }
    }
}

/// The axes of a setting that are tried one after the other.
pub(super) const AXES: usize = 3;

/// What is tried on an axis from a setting on: delays of an eighth to half of the objective, then largest batches, then
/// preferred ones of these sizes.
#[must_use]
pub fn tried(axis: usize, from: &Setting, sizes: &[u32]) -> Vec<Setting> {
    let delays = [0.125, 0.25, 0.5].map(|share| Some(Delay::OfSlo(share)));
    match axis {
        0 => delays.into_iter().map(|delay| Setting { delay, ..from.clone() }).collect(),
        1 => sizes.iter().map(|&size| Setting { batch_max: Some(size), ..from.clone() }).collect(),
        2 => sizes.iter().map(|&size| Setting { preferred: Some(size), ..from.clone() }).collect(),
        _ => Vec::new(),
    }
}

/// The sizes that the closed forms call best, their halves, and 1.
#[must_use]
pub fn sizes(forms: &ClosedForms) -> Vec<u32> {
    let points = [forms.uncoordinated, forms.staggered, forms.capacity];
    let mut sizes: Vec<u32> = points.iter().flatten().map(|point| point.batch).collect();
    sizes.extend(sizes.clone().iter().map(|size| size.div_ceil(2)));
    sizes.push(1);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}
