//! The part of `ModelConfig` that is acted on, as plain structs.

use prost::Message;

/// The fields that are acted on, with the numbers of `model_config.proto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Fields {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) platform: String,
    #[prost(string, tag = "17")]
    pub(crate) backend: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) version_policy: Option<VersionChoice>,
    #[prost(int32, tag = "4")]
    pub(crate) max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub(crate) input: Vec<InputFields>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) output: Vec<OutputFields>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) instance_group: Vec<InstanceGroup>,
    #[prost(string, tag = "8")]
    pub(crate) default_model_filename: String,
    #[prost(message, optional, tag = "11")]
    pub(crate) dynamic_batching: Option<DynamicBatching>,
    #[prost(map = "string, message", tag = "14")]
    pub(crate) parameters: std::collections::HashMap<String, Parameter>,
    #[prost(message, optional, tag = "15")]
    pub(crate) ensemble: Option<Present>,
    #[prost(message, optional, tag = "13")]
    pub(crate) sequence_batching: Option<Present>,
    #[prost(message, optional, tag = "19")]
    pub(crate) transaction: Option<Transaction>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Present {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(string, tag = "1")]
    pub(crate) string_value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Transaction {
    #[prost(bool, tag = "1")]
    pub(crate) decoupled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionChoice {
    #[prost(message, optional, tag = "1")]
    pub(crate) latest: Option<Latest>,
    #[prost(message, optional, tag = "2")]
    pub(crate) all: Option<Present>,
    #[prost(message, optional, tag = "3")]
    pub(crate) specific: Option<Specific>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Latest {
    #[prost(uint32, tag = "1")]
    pub(crate) num_versions: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Specific {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) versions: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InputFields {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub(crate) dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OutputFields {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) dims: Vec<i64>,
    #[prost(string, tag = "4")]
    pub(crate) label_filename: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InstanceGroup {
    #[prost(int32, tag = "2")]
    pub(crate) count: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DynamicBatching {
    #[prost(int32, repeated, tag = "1")]
    pub(crate) preferred_batch_size: Vec<i32>,
    #[prost(uint64, tag = "2")]
    pub(crate) max_queue_delay_microseconds: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) priority_levels: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) default_priority_level: u64,
    #[prost(message, optional, tag = "6")]
    pub(crate) default_queue_policy: Option<QueuePolicy>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueuePolicy {
    #[prost(uint64, tag = "2")]
    pub(crate) default_timeout_microseconds: u64,
    #[prost(bool, tag = "3")]
    pub(crate) allow_timeout_override: bool,
    #[prost(uint32, tag = "4")]
    pub(crate) max_queue_size: u32,
}
