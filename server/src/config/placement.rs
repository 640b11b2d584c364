//! Which models are where, as the operator sets it.

use std::time::Duration;

use super::{ConfigError, Flags};

/// How models come to executors whose memory is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementConfig {
    /// Bytes of models that an executor holds: one number for all, or one for each.
    pub memory: Vec<u64>,
    /// The placement policy's name.
    pub policy: String,
    /// Between two placements.
    pub every: Duration,
    /// The most loads that one placement begins.
    pub moves_max: usize,
    /// A request that no executor can answer in time has its model loaded.
    pub on_demand: bool,
}

/// The policy, unless told otherwise: the one that moves nothing without a gain.
const POLICY: &str = "by_accuracy";

/// Between two placements, unless told otherwise: long next to a load, short next to a change of demand.
const EVERY: Duration = Duration::from_secs(10);

/// Loads of one placement, unless told otherwise: few enough that what serves is not all in motion at once.
const MOVES_MAX: usize = 4;

/// `None` where every model is on every executor: nothing was said of memory or placement.
pub(super) fn placement(flags: &Flags) -> Result<Option<PlacementConfig>, ConfigError> {
    let wrong = |flag, reason: &str| Err(ConfigError::Value { flag, reason: reason.to_owned() });
    let memory: Option<Vec<u64>> =
        flags.device_memory.as_ref().map(|sizes| sizes.iter().map(|size| size.0).collect());
    if memory.is_none() && flags.placement.is_none() {
        let stated = [
            ("placement-epoch", flags.placement_epoch.is_some()),
            ("placement-moves", flags.placement_moves.is_some()),
            ("placement-on-demand", flags.placement_on_demand.is_some()),
        ];
        return match stated.iter().find(|(_, stated)| *stated) {
            Some((flag, _)) => wrong(flag, "needs --device-memory or --placement"),
            None => Ok(None),
        };
    }
    let every = flags.placement_epoch.map_or(EVERY, |span| span.0);
    if every.is_zero() {
        return wrong("placement-epoch", "must be above 0");
    }
    Ok(Some(PlacementConfig {
        memory: memory.unwrap_or_else(|| vec![u64::MAX]),
        policy: flags.placement.clone().unwrap_or_else(|| POLICY.to_owned()),
        every,
        moves_max: flags.placement_moves.unwrap_or(MOVES_MAX),
        on_demand: flags.placement_on_demand.unwrap_or(true),
    }))
}

impl PlacementConfig {
    /// The memory of each of so many executors.
    ///
    /// # Errors
    /// Where it is stated for another number of them.
    pub fn memory_of(&self, executors: usize) -> Result<Vec<u64>, String> {
        match self.memory.as_slice() {
            [all] => Ok(vec![*all; executors]),
            each if each.len() == executors => Ok(each.to_vec()),
            each => Err(format!(
                "--device-memory: {} sizes for {executors} executors; state one for all, or one for each",
                each.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_known() {
        assert!(router::place::PLACEMENTS.iter().any(|entry| entry.name == POLICY));
    }

    #[test]
    fn memory_is_stated_once_for_all_executors_or_once_for_each() {
        let stated = |memory: &[u64]| PlacementConfig {
            memory: memory.to_vec(),
            policy: POLICY.into(),
            every: EVERY,
            moves_max: MOVES_MAX,
            on_demand: true,
        };
        assert_eq!(stated(&[7]).memory_of(3), Ok(vec![7, 7, 7]));
        assert_eq!(stated(&[7, 8]).memory_of(2), Ok(vec![7, 8]));
        let error = stated(&[7, 8]).memory_of(3).unwrap_err();
        assert!(error.starts_with("--device-memory: 2 sizes for 3 executors"), "{error}");
    }
}
