//! Identities that the core and the executors share: dense numbers, so that tables are plain vectors.

use serde::{Deserialize, Serialize};

/// One deployable form of a model: a version that was loaded. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantId(pub u32);

/// A task: several variants that give the same kind of answer. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

/// Where batches run one at a time: a device or a share of one. Dense from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecutorId(pub u32);

/// One batch handed to an executor. Rises by one with each launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

impl VariantId {
    /// The index of this variant in a dense table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl TaskId {
    /// The index of this task in a dense table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ExecutorId {
    /// The index of this executor in a dense table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
