//! The kinds of device a latency profile is valid for.

use serde::{Deserialize, Serialize};

/// What kind of machine an executor runs on; a profile measured on one kind says nothing of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// ONNX Runtime on a set of pinned CPU cores.
    Cpu {
        /// Cores of one executor, which are also the threads of one run.
        threads: u32,
    },
    /// ONNX Runtime's CUDA provider on a stream of its own.
    Cuda {
        /// The ordinal of the GPU.
        ordinal: u32,
    },
    /// No device: a run takes as long as a profile says.
    Emulated {
        /// The name of that profile.
        profile: String,
    },
}

impl DeviceKind {
    /// The word for all of its like, as tasks name them.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Cpu { .. } => "cpu",
            Self::Cuda { .. } => "cuda",
            Self::Emulated { .. } => "emulated",
        }
    }
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu { threads } => write!(f, "cpu:{threads}"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
            Self::Emulated { profile } => write!(f, "emulated:{profile}"),
        }
    }
}
