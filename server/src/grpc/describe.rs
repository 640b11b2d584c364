//! What the server says about itself and its models, as messages.

use prost_reflect::DynamicMessage;

use super::inference::model_metadata_response::TensorMetadata;
use super::inference::repository_index_response::ModelIndex;
use super::inference::{
    InferBatchStatistics, InferStatistics, MemoryUsage, ModelConfig, ModelMetadataResponse,
    ModelStatistics, ServerMetadataResponse, StatisticDuration,
};
use crate::service;
use crate::status::Failure;

impl From<service::ServerMetadata> for ServerMetadataResponse {
    fn from(server: service::ServerMetadata) -> Self {
        let extensions = server.extensions.into_iter().map(str::to_owned).collect();
        Self { name: server.name, version: server.version, extensions }
    }
}

impl From<service::ModelMetadata> for ModelMetadataResponse {
    fn from(model: service::ModelMetadata) -> Self {
        let tensors = |tensors: Vec<service::TensorMetadata>| {
            tensors.into_iter().map(TensorMetadata::from).collect()
        };
        Self {
            name: model.name,
            versions: model.versions,
            platform: model.platform.to_owned(),
            inputs: tensors(model.inputs),
            outputs: tensors(model.outputs),
            ..Self::default()
        }
    }
}

impl From<service::TensorMetadata> for TensorMetadata {
    fn from(tensor: service::TensorMetadata) -> Self {
        Self { name: tensor.name, datatype: tensor.datatype.to_owned(), shape: tensor.shape }
    }
}

impl From<service::IndexEntry> for ModelIndex {
    fn from(entry: service::IndexEntry) -> Self {
        Self {
            name: entry.name,
            version: entry.version,
            state: entry.state.to_owned(),
            reason: entry.reason,
        }
    }
}

/// The same configuration in the generated type.
pub(super) fn config(config: &DynamicMessage) -> Result<ModelConfig, Failure> {
    config.transcode_to().map_err(|error| {
        Failure::Internal(format!("the model configuration cannot be sent: {error}"))
    })
}

impl From<service::ModelStatistics> for ModelStatistics {
    fn from(model: service::ModelStatistics) -> Self {
        Self {
            name: model.name,
            version: model.version,
            last_inference: model.last_inference,
            inference_count: model.inference_count,
            execution_count: model.execution_count,
            inference_stats: Some(model.inference_stats.into()),
            batch_stats: model.batch_stats.into_iter().map(InferBatchStatistics::from).collect(),
            memory_usage: model.memory_usage.into_iter().map(MemoryUsage::from).collect(),
            response_stats: Default::default(),
        }
    }
}

impl From<service::InferenceStatistics> for InferStatistics {
    fn from(stats: service::InferenceStatistics) -> Self {
        Self {
            success: Some(stats.success.into()),
            fail: Some(stats.fail.into()),
            queue: Some(stats.queue.into()),
            compute_input: Some(stats.compute_input.into()),
            compute_infer: Some(stats.compute_infer.into()),
            compute_output: Some(stats.compute_output.into()),
            cache_hit: Some(stats.cache_hit.into()),
            cache_miss: Some(stats.cache_miss.into()),
        }
    }
}

impl From<service::StatisticDuration> for StatisticDuration {
    fn from(duration: service::StatisticDuration) -> Self {
        Self { count: duration.count, ns: duration.ns }
    }
}

impl From<service::BatchStatistics> for InferBatchStatistics {
    fn from(batch: service::BatchStatistics) -> Self {
        Self {
            batch_size: batch.batch_size,
            compute_input: Some(batch.compute_input.into()),
            compute_infer: Some(batch.compute_infer.into()),
            compute_output: Some(batch.compute_output.into()),
        }
    }
}

impl From<service::MemoryUsage> for MemoryUsage {
    fn from(memory: service::MemoryUsage) -> Self {
        Self { r#type: memory.kind, id: memory.id, byte_size: memory.byte_size }
    }
}
