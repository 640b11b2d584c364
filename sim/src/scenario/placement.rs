//! Which models are on which executors of a scenario, and when that changes.

use std::time::Duration;

use models::deserialize_duration_option;
use router::place::{PLACEMENTS, PlacementEntry};
use serde::Deserialize;

/// How models come to executors whose memory is limited.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementSpec {
    /// The placement policy; if absent nothing is in place at the beginning.
    pub policy: Option<String>,
    /// Devices that form one executor together and run a model as a pipeline; 0 is 1.
    pub group: u32,
    /// Time between placements; only one at the beginning if absent.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub every: Option<Duration>,
    /// Each placement knows the demand until the next one, in place of that since the last one.
    pub foresight: bool,
    /// Weights take no time to load: what the papers grant to re-placement.
    pub free: bool,
    /// The most weights that one placement loads.
    pub moves_max: Option<usize>,
    /// How many placements a policy that searches follows at once; 0 is 1.
    pub beam: u32,
    /// A request that no executor can answer in time has the weights brought to one more.
    pub on_demand: bool,
    /// How long a world runs in which a policy tries a placement; as long as the scenario if absent.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub trial: Option<Duration>,
}

impl PlacementSpec {
    /// From a `NAME` of a policy, a `/GROUP` of devices, a time `@EVERY` so often, and `+demand` in any combination and in
    /// that order; what cannot be named so stays as it is. What is loaded on demand takes its time.
    ///
    /// # Errors
    /// What cannot be read, or a name that no policy has.
    pub fn named(&self, text: &str) -> Result<Self, String> {
        let mut spec = Self { every: None, group: 1, on_demand: false, ..self.clone() };
        let text = match text.strip_suffix("+demand") {
            Some(text) => {
                (spec.on_demand, spec.free) = (true, false);
                text
            }
            None => text,
        };
        let (name, every) = text.split_once('@').map_or((text, None), |(a, b)| (a, Some(b)));
        let (name, group) = name.split_once('/').map_or((name, None), |(a, b)| (a, Some(b)));
        spec.policy = Some(name.to_owned());
        if let Some(every) = every {
            spec.every = Some(models::parse_duration(every)?);
        }
        if let Some(group) = group {
            spec.group = group.parse().map_err(|_| format!("{group:?} is no number of devices"))?;
        }
        spec.check()?;
        Ok(spec)
    }

    /// The policy of the beginning.
    pub(crate) fn entry(&self) -> Result<Option<&'static PlacementEntry>, String> {
        let Some(name) = &self.policy else { return Ok(None) };
        let found = PLACEMENTS.iter().find(|entry| entry.name == name);
        let known = PLACEMENTS.map(|entry| entry.name).join(", ");
        found
            .map(Some)
            .ok_or_else(|| format!("unknown placement policy {name:?}; known are: {known}"))
    }

    /// The router moves weights while requests are served.
    pub(crate) fn moves(&self) -> bool {
        self.on_demand || self.every.is_some()
    }
}
