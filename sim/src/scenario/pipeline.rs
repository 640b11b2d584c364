//! Models that several devices run as a pipeline: a group of devices is one executor, busy for the longest stage.
//!
//! A batch enters when the first stage is free and leaves after all stages. No stage takes longer than the longest, so
//! that batches which enter so far apart never wait inside. The router therefore sees an executor that is busy for the
//! longest stage, and deadlines that are earlier by the rest of the way (`tail`). Models of different stages in one group
//! could wait inside; that is not simulated.

use std::time::Duration;

use super::{CopyIn, ModelSpec, ProfileSpec, Scenario, ScenarioError};

impl Scenario {
    /// The same world with groups in place of devices, where the placement wants groups.
    pub(crate) fn grouped(&self) -> Result<Self, ScenarioError> {
        let group = self.placement.as_ref().map_or(1, |placement| placement.group.max(1));
        let mut scenario = self.clone();
        if group > 1 {
            for executor in &mut scenario.executors {
                executor.count /= group;
                executor.memory_mb = executor.memory_mb.map(|memory| memory * f64::from(group));
                // Each device loads its own stage.
                executor.copy = executor
                    .copy
                    .map(|copy| CopyIn { mb_per_s: copy.mb_per_s * f64::from(group), ..copy });
            }
        }
        for model in &mut scenario.models {
            if !model.pipelines.is_empty() || group > 1 {
                model.enter_pipeline(group as usize)?;
            }
        }
        Ok(scenario)
    }
}

impl ModelSpec {
    fn enter_pipeline(&mut self, devices: usize) -> Result<(), ScenarioError> {
        let stages = self.pipelines.iter().find(|stages| stages.0.len() == devices);
        let stages =
            stages.ok_or_else(|| self.wrong(format!("no pipeline of {devices} stages")))?;
        let longest = stages.0.iter().max().copied().unwrap_or_default();
        let whole: Duration = stages.0.iter().sum();
        self.profile =
            ProfileSpec::Linear { fixed: longest, per_item: Duration::ZERO, batch_max: 1 };
        self.tail = whole - longest;
        Ok(())
    }
}
