//! What the files of a model come to, by table.

use super::*;

/// x: f32[N,4] -> y: f32[N,2] with a named first axis.
fn onnx(batch: &str) -> Vec<u8> {
    onnx_of(&[("x", 1, &[batch, "4"])], &[("y", 1, &[batch, "2"])])
}

/// A tensor: its name, its ONNX type, and its axes as numbers or names.
type Tensor<'a> = (&'a str, u8, &'a [&'a str]);

/// A model of those tensors and no nodes. The numbers are those of the ONNX IR; all lengths fit one byte.
fn onnx_of(inputs: &[Tensor<'_>], outputs: &[Tensor<'_>]) -> Vec<u8> {
    let dim = |text: &&str| match text.parse() {
        Ok(length) => field(1, &[8, length]),
        Err(_) => field(1, &field(2, text.as_bytes())),
    };
    let value = |(name, element, dims): &Tensor<'_>| {
        let dims: Vec<_> = dims.iter().flat_map(dim).collect();
        let tensor = [vec![8, *element], field(2, &dims)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let inputs = inputs.iter().flat_map(|tensor| field(11, &value(tensor)));
    let outputs = outputs.iter().flat_map(|tensor| field(12, &value(tensor)));
    field(7, &inputs.chain(outputs).collect::<Vec<_>>())
}

/// A length-delimited protobuf field; lengths take two bytes, which is legal for short ones too.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() % 128, bytes.len() / 128);
    assert!(high < 128);
    let byte = |number: usize| u8::try_from(number).unwrap();
    [&[tag << 3 | 2, byte(low) | 128, byte(high)], bytes].concat()
}

fn described(config: &str, settings: &str) -> Result<ModelDescription, String> {
    described_of(&onnx("N"), config, settings)
}

fn described_of(onnx: &[u8], config: &str, settings: &str) -> Result<ModelDescription, String> {
    let text = |error: CatalogError| error.to_string();
    let config = (!config.is_empty())
        .then(|| ModelConfig::from_text("m/config.pbtxt", config))
        .transpose()
        .map_err(text)?;
    let settings = ModelSettings::from_text("m/punctual.toml", settings).map_err(text)?;
    let labels = BTreeMap::from([("digits.txt".to_owned(), "zero\none\n".to_owned())]);
    let files = ModelFiles {
        model: "m",
        onnx: ("m/1/model.onnx", onnx),
        config: config.as_ref().map(|config| ("m/config.pbtxt", config)),
        settings: Some(("m/punctual.toml", &settings)),
        labels: &labels,
    };
    describe(files).map_err(text)
}

#[test]
fn a_folder_with_only_a_model_file_is_completed() {
    let described = described("", "").unwrap();
    assert_eq!((described.rows_max, described.batch_max), (ROWS_MAX, ROWS_MAX));
    assert_eq!((described.batching, described.slo), (BatchingMode::Auto, None));
    let json = described.config.to_json();
    assert_eq!(json["name"], "m");
    assert_eq!(json["max_batch_size"], ROWS_MAX);
    assert_eq!(json["input"][0]["dims"], serde_json::json!([4]));
    assert_eq!(json["output"][0]["data_type"], "TYPE_FP32");
    assert!(json["dynamic_batching"].is_object());
}

#[test]
fn the_configuration_and_our_settings_are_merged() {
    let config = r#"
        platform: "onnxruntime_onnx" max_batch_size: 8
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "digits.txt" } ]
        instance_group [ { count: 2 } ]
        dynamic_batching {
          preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 300 priority_levels: 5
          default_queue_policy { default_timeout_microseconds: 70000 max_queue_size: 12 }
        }"#;
    let described = described(config, "batch_max = 4\nthreads = 2").unwrap();
    assert_eq!((described.rows_max, described.batch_max), (8, 4));
    assert_eq!((described.priority, described.priority_levels), (3, 5));
    assert_eq!(
        (described.queue_max, described.executors, described.threads),
        (12, Some(2), Some(2))
    );
    assert_eq!((described.preferred, described.delay), (vec![4, 8], Duration::from_micros(300)));
    assert_eq!(described.slo, Some(Slo { latency: Duration::from_millis(70) }));
    assert_eq!(described.labels, [["zero", "one"]]);
    assert_eq!(described.config.to_json()["output"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_configuration_without_dynamic_batching_runs_each_request_alone_as_in_triton() {
    assert_eq!(described("max_batch_size: 8", "").unwrap().batching, BatchingMode::Never);
    assert_eq!(
        described("max_batch_size: 8", "batching = \"always\"").unwrap().batching,
        BatchingMode::Always
    );
}

/// config.pbtxt, punctual.toml, and how the error begins.
const MISFITS: &[(&str, &str, &str)] = &[
    (
        "name: \"other\"",
        "",
        "m/config.pbtxt:1: `name` is \"other\", but the model's folder is \"m\"",
    ),
    (
        "backend: \"python\"",
        "",
        "m/config.pbtxt:1: `backend` \"python\" is not served; allowed is \"onnxruntime\"",
    ),
    (
        "input [ { name: \"z\" } ]",
        "",
        "m/config.pbtxt:1: `input.name`: the model has no input \"z\"; it has x",
    ),
    (
        "input [ { name: \"x\" data_type: TYPE_INT8 } ]",
        "",
        "m/config.pbtxt:1: `data_type` of \"x\" must be TYPE_FP32",
    ),
    (
        "max_batch_size: 4 input [ { name: \"x\" dims: [ 5 ] } ]",
        "",
        "m/config.pbtxt:1: `dims` of \"x\" are [5], but the model has [4] after",
    ),
    (
        "output [ { name: \"y\" label_filename: \"no.txt\" } ]",
        "",
        "m/config.pbtxt:1: `output.label_filename`: the label file \"no.txt\" is not in the model's folder, which has digits.txt",
    ),
    (
        "model_transaction_policy { decoupled: true }",
        "",
        "m/config.pbtxt:1: `model_transaction_policy.decoupled` is not",
    ),
    (
        "sequence_batching { }",
        "",
        "m/config.pbtxt:1: `sequence_batching` is not served; carry state",
    ),
    ("max_batch_size: -1", "", "m/config.pbtxt:1: `max_batch_size` is -1; it must be 0 or more"),
    (
        "instance_group { count: -2 }",
        "",
        "m/config.pbtxt:1: `instance_group.count` must be 0 or more",
    ),
    (
        "parameters { key: \"intra_op_thread_count\" value { string_value: \"two\" } }",
        "",
        "m/config.pbtxt:1: `parameters.intra_op_thread_count` is \"two\"; it must be a whole number",
    ),
    (
        "version_policy { latest { num_versions: 0 } }",
        "",
        "m/config.pbtxt:1: `version_policy.latest.num_versions` must be at least 1",
    ),
    (
        "version_policy { specific { versions: [ 1, -3 ] } }",
        "",
        "m/config.pbtxt:1: `version_policy.specific.versions` must be 1 or more each",
    ),
    (
        "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 16 ] }",
        "",
        "m/config.pbtxt:1: `dynamic_batching.preferred_batch_size` has 16; allowed are sizes from 1 to",
    ),
    (
        "dynamic_batching { priority_levels: 4294967296 }",
        "",
        "m/config.pbtxt:1: `dynamic_batching.priority_levels` is 4294967296; at most 4294967295",
    ),
    (
        "dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
        "",
        "m/config.pbtxt:1: `dynamic_batching.default_priority_level` is 3; allowed are levels from 1 to",
    ),
    (
        "input [ { name: \"x\" }, { name: \"x\" } ]",
        "",
        "m/config.pbtxt:1: `input` names \"x\" twice",
    ),
    (
        "max_batch_size: 4 input [ { name: \"x\" dims: [ -4 ] } ]",
        "",
        "m/config.pbtxt:1: `dims` of \"x\" has -4; allowed are -1 for any length and lengths above 0",
    ),
    (
        "input [ { name: \"x\" dims: [ 4 ] } ]",
        "",
        "m/config.pbtxt:1: `dims` of \"x\" are [4], but the model has [-1, 4]; set `max_batch_size` above 0",
    ),
    (
        "",
        "[pad.y]\naxis = 1\nto_multiple_of = 8",
        "m/punctual.toml:1: `pad.y`: the model has no input \"y\"; it has x",
    ),
    (
        "",
        "[pad.x]\naxis = 1\nto_multiple_of = 8",
        "m/punctual.toml:2: `pad.x.axis` is 1, which is not an axis of that input that varies: none",
    ),
];

#[test]
fn files_that_do_not_fit_are_refused_with_the_file_and_the_key() {
    for (config, settings, text) in MISFITS {
        let error = described(config, settings).unwrap_err();
        assert!(error.starts_with(text), "{error}\nshould begin with\n{text}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_line_of_its_key() {
    let table = [
        ("max_batch_size: 4\nname: \"other\"", 2),
        ("\n\nbackend: \"python\"", 3),
        ("\nplatform: \"python\"", 2),
        ("\ninput {\nname: \"z\" }", 3),
        ("max_batch_size: 4\ninput {\nname: \"x\"\ndata_type: TYPE_INT8 }", 4),
        ("max_batch_size: 4\ninput [ {\nname: \"x\"\ndims: [ 5 ] } ]", 4),
        ("\nmodel_transaction_policy {\ndecoupled: true }", 3),
        ("\nsequence_batching { }", 2),
        ("\nensemble_scheduling { }", 2),
        ("instance_group {\ncount: 1 }\ninstance_group {\ncount: -2 }", 4),
        ("parameters {\nkey: \"intra_op_thread_count\"\nvalue { string_value: \"two\" } }", 2),
        ("version_policy {\nlatest {\nnum_versions: 0 } }", 3),
        ("dynamic_batching {\npreferred_batch_size: [ 0 ] }", 2),
        ("dynamic_batching {\npriority_levels: 2\ndefault_priority_level: 3 }", 3),
        ("output {\nname: \"y\"\nlabel_filename: \"no.txt\" }", 3),
    ];
    for (config, line) in table {
        let error = described(config, "").unwrap_err();
        assert!(error.starts_with(&format!("m/config.pbtxt:{line}: `")), "{config}\n{error}");
    }
}

#[test]
fn a_configuration_of_a_load_request_is_refused_with_the_line_of_its_key() {
    let json = "{\n\"max_batch_size\": 4,\n\"input\": [{\"name\": \"x\",\n\"dims\": [5]}]}";
    let config = ModelConfig::from_json(json).unwrap();
    let labels = BTreeMap::new();
    let files = ModelFiles {
        model: "m",
        onnx: ("f", &onnx("N")),
        config: Some((ModelConfig::OF_REQUEST, &config)),
        settings: None,
        labels: &labels,
    };
    let error = describe(files).unwrap_err().to_string();
    assert!(error.starts_with("the load request's config:4: `dims` of \"x\" are [5]"), "{error}");
}

#[test]
fn a_batch_size_for_a_model_without_batch_axis_is_refused() {
    let config = ModelConfig::from_text("c", "max_batch_size: 4").unwrap();
    let labels = BTreeMap::new();
    let files = ModelFiles {
        model: "m",
        onnx: ("f", &onnx("")),
        config: Some(("c", &config)),
        settings: None,
        labels: &labels,
    };
    assert!(describe(files).is_ok(), "an axis without a name may be a batch");
    let fixed = onnx("1");
    let error = describe(ModelFiles { onnx: ("f", &fixed), ..files }).unwrap_err().to_string();
    assert!(
        error.starts_with("c:1: `max_batch_size` is above 0, but the model has no batch axis"),
        "{error}"
    );
}

#[test]
fn a_configuration_that_leaves_the_batch_size_to_us_shares_runs() {
    let described = described("platform: \"onnxruntime_onnx\"", "").unwrap();
    assert_eq!((described.batching, described.batch_max), (BatchingMode::Auto, ROWS_MAX));
    assert!(described.config.to_json()["dynamic_batching"].is_object());
}

#[test]
fn a_configuration_that_names_one_of_two_inputs_is_refused() {
    let two = onnx_of(&[("a", 1, &["N"]), ("b", 1, &["N"])], &[("y", 1, &["N"])]);
    let error = described_of(&two, "max_batch_size: 4 input { name: \"a\" }", "").unwrap_err();
    assert_eq!(
        error,
        "m/config.pbtxt:1: `input` lacks \"b\"; name every input of the model or none"
    );
}

#[test]
fn lengths_that_the_configuration_fixes_are_fixed() {
    let images = onnx_of(&[("x", 1, &["N", "3", "h", "w"])], &[("y", 1, &["N", "2"])]);
    let config = "max_batch_size: 64 input { name: \"x\" dims: [ 3, 48, -1 ] }";
    let described = described_of(&images, config, "").unwrap();
    let dims: Vec<_> = described.signature.inputs[0].dims.iter().map(Dim::protocol).collect();
    assert_eq!(dims, [-1, 3, 48, -1]);
    assert!(described.signature.batched);
}

#[test]
fn lengths_that_no_machine_holds_are_refused() {
    let open = onnx_of(&[("x", 1, &["N", "h", "w"])], &[("y", 1, &["N", "2"])]);
    let config = "max_batch_size: 64 input { name: \"x\" dims: [ 9223372036854775807, 9 ] }";
    let error = described_of(&open, config, "").unwrap_err();
    assert_eq!(error, "m/config.pbtxt:1: `dims` of \"x\" are more than any machine holds");
}

#[test]
fn class_names_come_from_our_settings_too() {
    let described = described("", "labels = { y = \"digits.txt\" }").unwrap();
    assert_eq!(described.labels, [["zero", "one"]]);
    let refused = |settings: &str| self::described("", settings).unwrap_err();
    assert_eq!(
        refused("labels = { y = \"no.txt\" }"),
        "m/punctual.toml:1: `labels.y`: the label file \"no.txt\" is not in the model's folder, which has digits.txt"
    );
    assert_eq!(
        refused("slo = \"1s\"\n[labels]\nz = \"no.txt\""),
        "m/punctual.toml:3: `labels.z`: the model has no output \"z\"; it has y"
    );
    assert_eq!(
        refused("labels = { z = \"digits.txt\" }"),
        "m/punctual.toml:1: `labels.z`: the model has no output \"z\"; it has y"
    );
}

#[test]
fn a_padding_that_its_type_cannot_hold_is_refused() {
    let open = onnx_of(&[("x", 2, &["N", "s"]), ("b", 8, &["N", "s"])], &[("y", 1, &["N", "2"])]);
    let refused = |settings: &str| described_of(&open, "", settings).unwrap_err();
    assert_eq!(
        refused("[pad.x]\naxis = 1\nto_multiple_of = 8\nvalue = 256"),
        "m/punctual.toml:4: `pad.x.value` is 256, which is no UINT8"
    );
    assert_eq!(
        refused("[pad.b]\naxis = 1\nto_multiple_of = 8"),
        "m/punctual.toml:1: `pad.b`: BYTES inputs cannot be padded"
    );
    assert_eq!(
        refused("[pad.x]\naxis = 1\nto_multiple_of = 8\noutputs = { y = 1 }"),
        "m/punctual.toml:4: `pad.x.outputs.y` is 1, which is not an axis that can be cut: none"
    );
}

#[test]
fn a_configuration_with_the_batch_axis_in_its_shapes_serves_whole_shapes_alone() {
    let config = "input { name: \"x\" data_type: TYPE_FP32 dims: [ -1, 4 ] }";
    let described = described(config, "").unwrap();
    assert!(!described.signature.batched);
    assert_eq!((described.rows_max, described.batch_max), (1, 1));
    let json = described.config.to_json();
    assert_eq!(
        (&json["max_batch_size"], &json["output"][0]["dims"]),
        (&0.into(), &serde_json::json!([-1, 2]))
    );
}

#[test]
fn a_model_with_its_state_in_another_axis_is_served_whole() {
    // silero-vad: the rows of its state are the second axis, and the sampling rate is a scalar.
    let inputs: [Tensor<'_>; 3] =
        [("input", 1, &["b", "s"]), ("state", 1, &["2", "b", "64"]), ("sr", 7, &[])];
    let silero = onnx_of(&inputs, &[("output", 1, &["b", "1"]), ("stateN", 1, &["2", "b", "64"])]);
    let described = described_of(&silero, "", "").unwrap();
    assert_eq!((described.signature.batched, described.rows_max), (false, 1));
    let json = described.config.to_json();
    assert_eq!(json["max_batch_size"], 0);
    assert_eq!(json["input"][1]["dims"], serde_json::json!([2, -1, 64]));
    assert_eq!(json["input"][2]["dims"], serde_json::json!([]));
    assert!(json.get("dynamic_batching").is_none());
}

#[test]
fn what_a_listed_tensor_leaves_out_is_filled_in_and_what_it_says_stays() {
    let config =
        "max_batch_size: 8 input { name: \"x\" format: FORMAT_NCHW } output { name: \"y\" }";
    let json = described(config, "").unwrap().config.to_json();
    assert_eq!(json["input"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["input"][0]["data_type"], "TYPE_FP32");
    assert_eq!(json["input"][0]["dims"], serde_json::json!([4]));
    assert_eq!(json["input"][0]["format"], "FORMAT_NCHW");
    assert_eq!(json["output"][0]["dims"], serde_json::json!([2]));
}

#[test]
fn the_completed_configuration_describes_the_same_model() {
    let first = described("", "").unwrap();
    let again = ModelConfig::from_json(&first.config.to_json().to_string()).unwrap();
    let labels = BTreeMap::new();
    let files = ModelFiles {
        model: "m",
        onnx: ("m/1/model.onnx", &onnx("N")),
        config: Some(("m/config.pbtxt", &again)),
        settings: None,
        labels: &labels,
    };
    let second = describe(files).unwrap();
    assert_eq!(second.config.to_json(), first.config.to_json());
    assert_eq!(ModelDescription { config: first.config.clone(), ..second }, first);
}

#[test]
fn settings_without_effect_are_named() {
    let warnings = |config: &str, settings: &str| described(config, settings).unwrap().warnings;
    let whole = "input { name: \"x\" dims: [ -1, 4 ] }";
    assert_eq!(
        warnings(whole, "batch_max = 4"),
        ["m/punctual.toml:1: `batch_max` has no effect: the model is served without a batch axis"]
    );
    assert_eq!(
        warnings(whole, "batching = \"always\""),
        ["m/punctual.toml:1: `batching` has no effect: the model is served without a batch axis"]
    );
    assert_eq!(
        warnings("max_batch_size: 8", "batch_max = 9"),
        ["m/punctual.toml:1: `batch_max` is 9, but `max_batch_size` of the configuration allows 8"]
    );
    assert_eq!(
        warnings("runtime: \"a\" response_cache { enable: true }", "batch_max = 9"),
        [
            "m/config.pbtxt: these keys have no effect here: response_cache.enable (line 1), runtime (line 1); answers are kept where punctual.toml says `cache = \"64MiB\"` (docs/cache.md)"
        ]
    );
    let timeout = |allowed: &str| {
        let queue = format!("default_queue_policy {{ default_timeout_microseconds: 9 {allowed} }}");
        warnings(&format!("dynamic_batching {{\n{queue} }}"), "")
    };
    assert_eq!((timeout("allow_timeout_override: true"), timeout("")), (Vec::new(), Vec::new()));
    assert_eq!(
        timeout("\nallow_timeout_override: false"),
        [
            "m/config.pbtxt:3: `dynamic_batching.default_queue_policy.allow_timeout_override: false` has no effect: a request may state a timeout, and the earlier of it and the default counts"
        ]
    );
}

#[test]
fn a_cache_that_holds_no_answer_is_refused_with_the_least() {
    let refused = described("", "slo = \"1s\"\ncache = \"10B\"").unwrap_err();
    assert_eq!(
        refused,
        "m/punctual.toml:2: `cache` is 10 bytes, but the smallest answer takes 520, with 512 for its key and names"
    );
    assert_eq!(described("", "cache = \"520B\"").map(|described| described.cache), Ok(520));
}

#[test]
fn versions_are_chosen_by_the_policy() {
    let policy = |text: &str| VersionPolicy::of(&ModelConfig::from_text("c", text).unwrap());
    let there = [3, 1, 10];
    assert_eq!(policy("").choose(&there), [10]);
    assert_eq!(policy("version_policy { latest { num_versions: 2 } }").choose(&there), [3, 10]);
    assert_eq!(policy("version_policy { all { } }").choose(&there), [1, 3, 10]);
    assert_eq!(policy("version_policy { specific { versions: [1, 7] } }").choose(&there), [1]);
}

#[test]
fn answers_of_a_model_that_draws_at_random_are_kept_only_if_its_operator_insists() {
    let node = |operator: &str| field(7, &field(1, &field(4, operator.as_bytes())));
    let with = |operator: &str, settings: &str| {
        // Two parts of one message are merged, but a file has one graph: so the node goes into it.
        let graph = &onnx("N")[3..];
        let whole = field(7, &[graph, &node(operator)[3..]].concat());
        described_of(&whole, "", settings).map(|described| described.cache)
    };
    assert_eq!(with("Relu", "cache = \"1KiB\""), Ok(1024));
    assert_eq!(with("RandomNormal", ""), Ok(0));
    assert_eq!(
        with("RandomNormal", "cache = \"1KiB\"").unwrap_err(),
        "m/punctual.toml:1: `cache`: the model draws at random (`RandomNormal`), so that equal requests get different answers; `cache_despite_chance = true` keeps them all the same"
    );
    assert_eq!(with("RandomNormal", "cache = \"1KiB\"\ncache_despite_chance = true"), Ok(1024));
}
