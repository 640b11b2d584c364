//! Which devices run models, as text: `cpu`, `cpu:2`, `cpu:2x4`, `cuda:0`, `emulated:resnet50_v100`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device, or several alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// An executor for each core but one, which is left to connections.
    Cpus,
    /// CPU executors of equal size.
    Cpu {
        /// How many.
        executors: usize,
        /// Cores of each.
        cores: usize,
    },
    /// A GPU.
    Cuda {
        /// Its ordinal.
        ordinal: u32,
    },
    /// No device: time from a profile.
    Emulated {
        /// The name of a built-in profile, or a CSV file.
        profile: String,
    },
}

/// Text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device; allowed are cpu, cpu:N, cpu:NxT, cuda:K and emulated:PROFILE")]
pub struct UnknownDevice(String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let device = match (kind, rest) {
            ("cpu", None) => Some(Self::Cpus),
            ("cpu", Some(rest)) => cpu(rest),
            ("cuda", None) => Some(Self::Cuda { ordinal: 0 }),
            ("cuda", Some(rest)) => rest.parse().ok().map(|ordinal| Self::Cuda { ordinal }),
            ("emulated", Some(profile)) if !profile.is_empty() => {
                Some(Self::Emulated { profile: profile.to_owned() })
            }
            _ => None,
        };
        device.ok_or_else(|| UnknownDevice(text.to_owned()))
    }
}

/// `N` or `NxT`, both from 1.
fn cpu(text: &str) -> Option<DeviceChoice> {
    let (executors, cores) = text.split_once('x').unwrap_or((text, "1"));
    let (executors, cores) = (executors.parse().ok()?, cores.parse().ok()?);
    (executors > 0 && cores > 0).then_some(DeviceChoice::Cpu { executors, cores })
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpus => f.write_str("cpu"),
            Self::Cpu { executors, cores } => write!(f, "cpu:{executors}x{cores}"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
            Self::Emulated { profile } => write!(f, "emulated:{profile}"),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = UnknownDevice;

    fn try_from(text: String) -> Result<Self, UnknownDevice> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(device: DeviceChoice) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_from_text_and_written_back() {
        let cases = [
            ("cpu", DeviceChoice::Cpus),
            ("cpu:2x4", DeviceChoice::Cpu { executors: 2, cores: 4 }),
            ("cuda:1", DeviceChoice::Cuda { ordinal: 1 }),
            ("emulated:a/b.csv", DeviceChoice::Emulated { profile: "a/b.csv".into() }),
        ];
        for (text, device) in cases {
            assert_eq!(text.parse(), Ok(device.clone()));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cpu:3".parse(), Ok(DeviceChoice::Cpu { executors: 3, cores: 1 }));
    }

    #[test]
    fn other_text_is_refused_with_what_is_allowed() {
        for text in ["", "gpu", "cpu:", "cpu:0", "cpu:1x0", "cuda:x", "emulated", "emulated:"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("allowed are"), "{text}");
        }
    }
}
