//! config.pbtxt: Triton's `ModelConfig`, as text, as JSON, and as the few facts that are acted on.

mod fields;
mod json;
mod places;
mod text;

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions, Value,
};

use self::places::Places;
use crate::{CatalogError, DataType};

pub(crate) use fields::{DynamicBatching, Fields, InputFields, OutputFields};

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
    "default_model_filename",
    "model_transaction_policy.decoupled",
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
#[derive(Clone)]
pub struct ModelConfig {
    message: DynamicMessage,
    /// Where in its text what stands; not a part of what it says.
    places: Places,
}

impl PartialEq for ModelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl std::fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelConfig({})", self.message.to_text_format())
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { message: DynamicMessage::new(descriptor()), places: Places::default() }
    }
}

impl ModelConfig {
    /// Reads config.pbtxt; `file` is for messages.
    ///
    /// # Errors
    /// Names file, line and key, and the allowed keys where one is unknown.
    pub fn from_text(file: &str, text: &str) -> Result<Self, CatalogError> {
        let wrong = |(line, reason)| CatalogError::Config { file: file.to_owned(), line, reason };
        let message = text::parse(descriptor(), text).map_err(wrong)?;
        let read = Self { message, places: Places::of(text) };
        read.check_filename().map_err(|reason| wrong((read.line(FILENAME), reason)))?;
        Ok(read)
    }

    /// Reads the JSON form, as load requests carry it.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn from_json(text: &str) -> Result<Self, CatalogError> {
        let wrong = |line: usize, reason: String| {
            let file = Self::OF_REQUEST.to_owned();
            CatalogError::Config { file, line, reason }
        };
        let unread = |error: serde_json::Error| {
            let reason = error.to_string();
            let place = (error.line(), error.column());
            wrong(error.line(), json::sentence(&descriptor(), (text, place), &reason))
        };
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let mut json = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize_with_options(descriptor(), &mut json, &options)
            .map_err(unread)?;
        json.end().map_err(unread)?;
        let read = Self { message, places: Places::of(text) };
        read.check_filename().map_err(|reason| wrong(read.line(FILENAME), reason))?;
        Ok(read)
    }

    /// What a configuration that came with a load request is called in messages, where others have a file's path.
    pub const OF_REQUEST: &'static str = "the load request's config";

    /// The line of a key in the text that this was read from, by its dotted path; that of the key it would stand in
    /// where it is not there.
    #[must_use]
    pub fn line(&self, path: &str) -> usize {
        self.line_in(path, 0)
    }

    /// Whether a key stands in the text, be it with the value that it has anyway.
    pub(crate) fn mentions(&self, path: &str) -> bool {
        self.places.has(path)
    }

    /// The line of a key in one item of the list that its path begins with.
    pub(crate) fn line_in(&self, path: &str, item: usize) -> usize {
        self.places.line(path, item)
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
        keys.retain(|key| !has_effect(key));
        keys.sort();
        keys.dedup();
        keys
    }

    pub(crate) fn fields(&self) -> Fields {
        Fields::decode(self.encode().as_slice())
            .expect("the fields are a part of the configuration")
    }

    /// The model file must stand in the version's folder.
    fn check_filename(&self) -> Result<(), String> {
        let name = self.fields().default_model_filename;
        let outside = name.contains(['/', '\\', '\0']) || name == "." || name == "..";
        match outside {
            true => Err(format!(
                "`{FILENAME}` is {name:?}; it must name a file in the version's folder, without a path"
            )),
            false => Ok(()),
        }
    }

    /// Gives the tensors of a list, `input` or `output`, the types and dimensions that they leave out.
    pub(crate) fn fill_tensors(
        &mut self,
        list: &str,
        facts: impl Fn(&str) -> Option<(i32, Vec<i64>)>,
    ) {
        let tensors = self.message.get_field_by_name_mut(list).and_then(Value::as_list_mut);
        for tensor in tensors.into_iter().flatten().filter_map(Value::as_message_mut) {
            let name = tensor.get_field_by_name("name");
            let facts = name.as_deref().and_then(Value::as_str).and_then(&facts);
            let Some((data_type, dims)) = facts else { continue };
            if !tensor.has_field_by_name("data_type") {
                tensor.set_field_by_name("data_type", Value::EnumNumber(data_type));
            }
            if !tensor.has_field_by_name("dims") {
                let dims = dims.into_iter().map(Value::I64).collect();
                tensor.set_field_by_name("dims", Value::List(dims));
            }
        }
    }

    /// The same configuration with these fields laid over it; lists are appended to.
    pub(crate) fn with(&self, fields: &Fields) -> Self {
        let mut message = self.message.clone();
        message
            .merge(fields.encode_to_vec().as_slice())
            .expect("the fields are a part of the configuration");
        Self { message, places: self.places.clone() }
    }
}

/// The one key that is checked where it is read: its file is opened before the rest is looked at.
const FILENAME: &str = "default_model_filename";

/// Whether a set key is acted on; an empty message is, where any of its keys is.
fn has_effect(key: &str) -> bool {
    let below = |supported: &str| {
        supported.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    SUPPORTED.iter().any(|supported| below(supported))
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
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_)
        | Value::Message(_)
        | Value::List(_) => keys.push(path),
    }
}

/// The number of a type in config.pbtxt.
pub(crate) fn type_number(datatype: DataType) -> i32 {
    let types = POOL.get_enum_by_name("inference.DataType").expect("the descriptor has the types");
    types.get_value_by_name(datatype.config_name()).map_or(0, |value| value.number())
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
        let table = [
            (
                "name: \"m\"\ndynamic_batching {\n  prefered_batch_size: [4]\n}",
                "3: field 'prefered_batch_size' not found for message 'inference.ModelDynamicBatching'; \
                 allowed are: preferred_batch_size, max_queue_delay_microseconds, ",
            ),
            (
                "\nmax_batch: 4",
                "2: field 'max_batch' not found for message 'inference.ModelConfig'; allowed are: name, ",
            ),
            (
                "input {\n data_type: FP32 }",
                "2: `data_type`: value 'FP32' was not found for enum 'inference.DataType'; allowed are: TYPE_INVALID, TYPE_BOOL",
            ),
            ("\n\nmax_batch_size: \"8\"", "3: `max_batch_size`: expected an integer, but found "),
            (
                "max_batch_size: 3000000000",
                "1: `max_batch_size`: expected value to be a signed 32-bit integer",
            ),
            ("max_batch_size: 1\nmax_batch_size: 2", "2: 'max_batch_size' is already set"),
            ("name \"m\"", "1: `name`: expected ':' or a message value"),
            ("input [ {\n", "2: `input`: expected '}' or a field name, but reached end of input"),
            (
                "name: \"m\"\ndefault_model_filename: \"../m.onnx\"",
                "2: `default_model_filename` is \"../m.onnx\"; it must name a file in the version's folder",
            ),
        ];
        for (text, sentence) in table {
            let error = ModelConfig::from_text("m/config.pbtxt", text).unwrap_err().to_string();
            let expected = format!("m/config.pbtxt:{sentence}");
            assert!(error.starts_with(&expected), "{error}\nshould begin with\n{expected}");
        }
    }

    #[test]
    fn the_json_of_a_load_request_is_held_to_the_same_rules() {
        let table = [
            ("{\n\"nmae\": \"m\"}", "2: unrecognized field name 'nmae'"),
            ("{\"max_batch_size\": \"x\"}", "1: `max_batch_size`: "),
            (
                "{\"input\": [{\"data_type\": \"FP32\"}]}",
                "1: `data_type`: unrecognized enum value 'FP32'",
            ),
            ("{} {}", "1: "),
            (
                "{\n\"default_model_filename\": \"/etc/passwd\"}",
                "2: `default_model_filename` is \"/etc/passwd\"",
            ),
        ];
        for (text, sentence) in table {
            let error = ModelConfig::from_json(text).unwrap_err().to_string();
            let expected = format!("the load request's config:{sentence}");
            assert!(error.starts_with(&expected), "{error}\nshould begin with\n{expected}");
        }
    }

    #[test]
    fn an_unknown_key_in_json_is_refused_with_the_allowed_ones() {
        let table = [
            ("{\"nmae\": \"m\"}", "; allowed are: name, "),
            ("{\"input\": [{\"nmae\": \"m\"}]}", "; allowed are: name, data_type, "),
            ("{\"parameters\": {\"a\": {\"v\": \"m\"}}}", "; allowed are: string_value"),
            ("{\"dynamicBatching\": {\"v\": 1}}", "; allowed are: preferred_batch_size, "),
            ("{\"input\": [{\"data_type\": \"FP32\"}]}", "; allowed are: TYPE_INVALID, TYPE_BOOL"),
        ];
        for (text, allowed) in table {
            let error = ModelConfig::from_json(text).unwrap_err().to_string();
            assert!(error.contains(allowed), "{error}\nshould have\n{allowed}");
        }
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
            "instance_group.kind",
            "optimization.cuda.graphs",
            "parameters.execution_mode",
            "response_cache.enable",
        ];
        assert_eq!(config.unsupported_keys(), expected);
        let empty = "dynamic_batching { default_queue_policy { } } instance_group [ { } ]";
        let empty = ModelConfig::from_text("config.pbtxt", empty).unwrap();
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

    const WHOLE: &str = r#"
        name: "m" platform: "onnxruntime_onnx" max_batch_size: 8 # rows
        input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape { shape: [ 4 ] } } ]
        output { name: 'y' dims: 2 label_filename: "labels" ".txt" }
        version_policy: { specific { versions: [ 1, 0x10 ] } }
        dynamic_batching < preferred_batch_size: [ 4, 8 ]; max_queue_delay_microseconds: 100, >
        parameters { key: "intra_op_thread_count" value: { string_value: "\x32" } }
        model_metrics { metric_control { histogram_options { buckets: [ 1.5, inf ] } } }
    "#;

    #[test]
    fn all_forms_of_the_text_are_read() {
        let fields = ModelConfig::from_text("c", WHOLE).unwrap().fields();
        assert_eq!(fields.output[0].label_filename, "labels.txt");
        assert_eq!(fields.version_policy.unwrap().specific.unwrap().versions, [1, 16]);
        assert_eq!(fields.dynamic_batching.unwrap().preferred_batch_size, [4, 8]);
        assert_eq!(fields.parameters["intra_op_thread_count"].string_value, "2");
    }

    proptest! {
        #[test]
        fn text_json_and_encoding_say_the_same(
            name in "[a-z\"\\\\\n{}#é]{0,8}", rows: i32, dims in prop::collection::vec(any::<i64>(), 0..4),
            delay: u64, kind in 0_i32..4, flag: bool, file in "[a-z]{1,8}[.]onnx",
        ) {
            let fields = Fields {
                name,
                max_batch_size: rows,
                input: vec![InputFields { name: "x".into(), data_type: 11, dims }],
                dynamic_batching: flag.then(|| DynamicBatching {
                    max_queue_delay_microseconds: delay,
                    priority_levels: delay,
                    ..DynamicBatching::default()
                }),
                default_model_filename: file,
                ..Fields::default()
            };
            let mut config = ModelConfig::default().with(&fields);
            let group = format!("instance_group {{ kind: {kind} passive: {flag} }}");
            config.message.merge_text_format(&group).unwrap();
            let text = ModelConfig::from_text("c", &config.message.to_text_format()).unwrap();
            prop_assert_eq!(text.encode(), config.encode());
            let json = config.to_json();
            let read = ModelConfig::from_json(&json.to_string()).unwrap();
            prop_assert_eq!(read.to_json(), json);
            prop_assert_eq!(read.fields(), config.fields());
            let encoded = DynamicMessage::decode(descriptor(), config.encode().as_slice()).unwrap();
            prop_assert_eq!(encoded.encode_to_vec(), config.encode());
        }

        #[test]
        fn a_text_with_a_piece_replaced_is_read_or_refused(
            from in 0_usize..700, length in 0_usize..12, piece in "[a-z0-9:\\[\\]{}<>\"'\\\\\n,; .é#-]{0,6}",
        ) {
            let from = from.min(WHOLE.len());
            let rest = &WHOLE[(from + length).min(WHOLE.len())..];
            match ModelConfig::from_text("c", &[&WHOLE[..from], &piece, rest].concat()) {
                Ok(config) => prop_assert!(config.to_json().is_object()),
                Err(error) => prop_assert!(error.to_string().starts_with("c:")),
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = ModelConfig::from_text("c", &text);
            let _ = ModelConfig::from_json(&text);
        }
    }
}
