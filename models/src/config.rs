//! config.pbtxt: Triton's `ModelConfig`, as text, as JSON, and as the few facts that are acted on.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions, Value,
};

use crate::{CatalogError, DataType};

/// The compiled `models/proto/model_config.proto`.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../proto/model_config.bin").as_slice())
        .expect("a test compares it with its source")
});

fn descriptor() -> MessageDescriptor {
    POOL.get_message_by_name("inference.ModelConfig").expect("the descriptor has the configuration")
}

/// Keys that are acted on; all others are named in a warning where they are set.
const SUPPORTED: [&str; 27] = [
    "name",
    "platform",
    "backend",
    "version_policy.latest.num_versions",
    "version_policy.all",
    "version_policy.specific.versions",
    "max_batch_size",
    "input.name",
    "input.data_type",
    "input.dims",
    "output.name",
    "output.data_type",
    "output.dims",
    "output.label_filename",
    "instance_group.name",
    "instance_group.count",
    "instance_group.kind",
    "default_model_filename",
    "parameters.intra_op_thread_count",
    "dynamic_batching",
    "dynamic_batching.preferred_batch_size",
    "dynamic_batching.max_queue_delay_microseconds",
    "dynamic_batching.priority_levels",
    "dynamic_batching.default_priority_level",
    "dynamic_batching.default_queue_policy.default_timeout_microseconds",
    "dynamic_batching.default_queue_policy.allow_timeout_override",
    "dynamic_batching.default_queue_policy.max_queue_size",
];

/// A model's configuration in Triton's form.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    message: DynamicMessage,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { message: DynamicMessage::new(descriptor()) }
    }
}

impl ModelConfig {
    /// Reads config.pbtxt; `file` is for messages.
    ///
    /// # Errors
    /// Names file, line and key, and the allowed keys where one is unknown.
    pub fn from_text(file: &str, text: &str) -> Result<Self, CatalogError> {
        let message = DynamicMessage::parse_text_format(descriptor(), &with_colons(text)).map_err(
            |error| {
                let offset = miette_offset(&error).unwrap_or(text.len());
                let line =
                    with_colons(text).bytes().take(offset).filter(|&byte| byte == b'\n').count()
                        + 1;
                CatalogError::Config {
                    file: file.to_owned(),
                    line,
                    reason: with_allowed(&error.to_string()),
                }
            },
        )?;
        Ok(Self { message })
    }

    /// Reads the JSON form, as load requests carry it.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn from_json(text: &str) -> Result<Self, CatalogError> {
        let wrong = |error: serde_json::Error| CatalogError::Config {
            file: "the load request's config".into(),
            line: error.line(),
            reason: error.to_string(),
        };
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let mut json = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize_with_options(descriptor(), &mut json, &options)
            .map_err(wrong)?;
        json.end().map_err(wrong)?;
        Ok(Self { message })
    }

    /// Triton's JSON form: proto names, enums as text, every scalar, whatever its value.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let options = SerializeOptions::new()
            .stringify_64_bit_integers(false)
            .use_proto_field_name(true)
            .skip_default_fields(false);
        let json = self.message.serialize_with_options(serde_json::value::Serializer, &options);
        json.expect("a configuration has a JSON form")
    }

    /// The configuration as a message of its descriptor.
    #[must_use]
    pub fn message(&self) -> &DynamicMessage {
        &self.message
    }

    /// The protobuf encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.message.encode_to_vec()
    }

    /// The keys that are set and not acted on, each once, as dotted paths.
    #[must_use]
    pub fn unsupported_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        walk(&self.message, "", &mut keys);
        keys.retain(|key| !SUPPORTED.contains(&key.as_str()));
        keys.sort();
        keys.dedup();
        keys
    }

    pub(crate) fn fields(&self) -> Fields {
        Fields::decode(self.encode().as_slice())
            .expect("the fields are a part of the configuration")
    }

    /// The same configuration with these fields laid over it; lists are appended to.
    pub(crate) fn with(&self, fields: &Fields) -> Self {
        let mut message = self.message.clone();
        message
            .merge(fields.encode_to_vec().as_slice())
            .expect("the fields are a part of the configuration");
        Self { message }
    }
}

/// Puts a colon before each list that has none: `input [ { .. } ]` is legal text, but not to our parser. Lines stay.
fn with_colons(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars();
    let mut last = ' ';
    while let Some(c) = chars.next() {
        match c {
            '#' => {
                out.push(c);
                out.extend(chars.by_ref().take_while(|&c| c != '\n'));
                out.push('\n');
                continue;
            }
            '"' | '\'' => {
                out.push(c);
                copy_string(c, &mut chars, &mut out);
            }
            '[' if last.is_alphanumeric() || last == '_' => out.push_str(":["),
            _ => out.push(c),
        }
        if !c.is_whitespace() {
            last = c;
        }
    }
    out
}

/// Copies the rest of a string literal, its closing quote included.
fn copy_string(quote: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    while let Some(c) = chars.next() {
        out.push(c);
        if c == quote {
            return;
        }
        if c == '\\' {
            out.extend(chars.next());
        }
    }
}

/// The offset of a parser's complaint.
fn miette_offset(error: &prost_reflect::text_format::ParseError) -> Option<usize> {
    let labels = miette::Diagnostic::labels(error)?;
    labels.map(|label| label.offset()).next()
}

/// Adds the allowed keys to a complaint about an unknown one.
fn with_allowed(text: &str) -> String {
    let message =
        POOL.all_messages().find(|message| text.contains(&format!("'{}'", message.full_name())));
    match message.filter(|_| text.contains("not found")) {
        None => text.to_owned(),
        Some(message) => {
            let names: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
            format!("{text}; allowed are: {}", names.join(", "))
        }
    }
}

/// Lists the paths of all that is set below `message`.
fn walk(message: &DynamicMessage, path: &str, keys: &mut Vec<String>) {
    for (field, value) in message.fields() {
        let path = if path.is_empty() {
            field.name().to_owned()
        } else {
            format!("{path}.{}", field.name())
        };
        walk_value(value, path, keys);
    }
}

fn walk_value(value: &Value, path: String, keys: &mut Vec<String>) {
    match value {
        Value::Message(message) if message.fields().next().is_some() => walk(message, &path, keys),
        Value::List(items) if items.iter().any(|item| item.as_message().is_some()) => {
            items.iter().for_each(|item| walk_value(item, path.clone(), keys));
        }
        Value::Map(entries) => {
            #[expect(clippy::disallowed_methods, reason = "the caller sorts")]
            let names = entries.keys().map(|key| key.as_str().unwrap_or("*"));
            keys.extend(names.map(|key| format!("{path}.{key}")));
        }
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_) => {
            keys.push(path);
        }
        Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_)
        | Value::Message(_)
        | Value::List(_) => keys.push(path),
    }
}

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

/// The number of a type in config.pbtxt.
pub(crate) fn type_number(datatype: DataType) -> i32 {
    let types = POOL.get_enum_by_name("inference.DataType").expect("the descriptor has the types");
    types.get_value_by_name(datatype.config_name()).map_or(0, |value| value.number())
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InstanceGroup {
    #[prost(int32, tag = "2")]
    pub(crate) count: i32,
    #[prost(int32, tag = "4")]
    pub(crate) kind: i32,
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
    #[prost(uint32, tag = "4")]
    pub(crate) max_queue_size: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/model_config.proto");

    #[test]
    fn the_committed_descriptor_is_compiled_from_the_committed_proto() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
        let set = protox::compile([PROTO], [folder]).unwrap();
        let committed = include_bytes!("../proto/model_config.bin");
        let fresh = set.encode_to_vec();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(format!("{folder}/model_config.bin"), &fresh).unwrap();
        }
        assert!(fresh == committed, "run: BLESS=1 cargo test -p models descriptor");
    }

    #[test]
    fn an_error_names_file_line_key_and_what_is_allowed() {
        let text = "name: \"m\"\ndynamic_batching {\n  prefered_batch_size: [4]\n}\n";
        let error = ModelConfig::from_text("m/config.pbtxt", text).unwrap_err().to_string();
        assert!(error.starts_with("m/config.pbtxt:3: "), "{error}");
        assert!(
            error.contains("prefered_batch_size")
                && error.contains("; allowed are: preferred_batch_size, max_queue"),
            "{error}"
        );
    }

    #[test]
    fn lists_of_messages_need_no_colon_and_text_in_quotes_or_comments_stays() {
        let text = "a [ {} ] # b [ \nc: \"d [\\\" e [\" f: [ 1 ]";
        assert_eq!(with_colons(text), "a :[ {} ] # b [ \nc: \"d [\\\" e [\" f: [ 1 ]");
    }

    #[test]
    fn every_key_that_is_not_acted_on_is_named() {
        let text = r#"
            name: "m" max_batch_size: 8
            input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] format: FORMAT_NCHW } ]
            instance_group [ { count: 2 kind: KIND_CPU host_policy: "a" } ]
            parameters { key: "intra_op_thread_count" value { string_value: "2" } }
            parameters { key: "execution_mode" value { string_value: "1" } }
            optimization { cuda { graphs: true } }
            response_cache { enable: true }
            dynamic_batching { preserve_ordering: true max_queue_delay_microseconds: 5 }
        "#;
        let config = ModelConfig::from_text("config.pbtxt", text).unwrap();
        let expected = [
            "dynamic_batching.preserve_ordering",
            "input.format",
            "instance_group.host_policy",
            "optimization.cuda.graphs",
            "parameters.execution_mode",
            "response_cache.enable",
        ];
        assert_eq!(config.unsupported_keys(), expected);
        let empty = ModelConfig::from_text("config.pbtxt", "dynamic_batching { }").unwrap();
        assert_eq!(empty.unsupported_keys(), Vec::<String>::new());
    }

    #[test]
    fn json_has_proto_names_and_every_scalar_and_is_read_back() {
        let config = ModelConfig::from_text(
            "c",
            r#"name: "m" input [ { name: "x" data_type: TYPE_INT32 dims: [ -1 ] } ]"#,
        )
        .unwrap();
        let json = config.to_json();
        assert_eq!(json["max_batch_size"], 0);
        assert_eq!(json["input"][0]["data_type"], "TYPE_INT32");
        assert_eq!(json["input"][0]["dims"][0], -1);
        assert_eq!(json["default_model_filename"], "");
        assert_eq!(ModelConfig::from_json(&json.to_string()).unwrap().to_json(), json);
        let error = ModelConfig::from_json("{\"nmae\": \"m\"}").unwrap_err().to_string();
        assert!(error.contains("nmae"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z_]{0,8}[ :{\\[]{0,3}[a-z0-9\"]{0,8}[}\\]\n]{0,3}.{0,20}") {
            let _ = ModelConfig::from_text("c", &text);
            let _ = ModelConfig::from_json(&text);
        }
    }
}
