//! What the files of a model come to, by table.

use super::*;

/// x: f32[N,4] -> y: f32[N,2] with a named first axis.
fn onnx(batch: &str) -> Vec<u8> {
    onnx_of(&field(2, batch.as_bytes()))
}

/// The same with any first dimension. The numbers are those of the ONNX IR; all lengths fit one byte.
fn onnx_of(dimension: &[u8]) -> Vec<u8> {
    let tensor = |name: &str, width: u8| {
        let dims = [field(1, dimension), field(1, &[8, width])].concat();
        let tensor = [vec![8, 1], field(2, &dims)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let graph = [field(11, &tensor("x", 4)), field(12, &tensor("y", 2))].concat();
    field(7, &graph)
}

/// A length-delimited protobuf field.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 128);
    [&[tag << 3 | 2, length], bytes].concat()
}

fn described(config: &str, settings: &str) -> Result<ModelDescription, String> {
    let text = |error: CatalogError| error.to_string();
    let config = (!config.is_empty())
        .then(|| ModelConfig::from_text("m/config.pbtxt", config))
        .transpose()
        .map_err(text)?;
    let settings = ModelSettings::from_text("m/punctual.toml", settings).map_err(text)?;
    let labels = BTreeMap::from([("digits.txt".to_owned(), "zero\none\n".to_owned())]);
    let files = ModelFiles {
        model: "m",
        onnx: ("m/1/model.onnx", &onnx("N")),
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

#[test]
fn files_that_do_not_fit_are_refused_with_the_file_and_the_key() {
    let table = [
        (
            "name: \"other\"",
            "",
            "m/config.pbtxt: `name` is \"other\", but the model's folder is \"m\"",
        ),
        (
            "backend: \"python\"",
            "",
            "m/config.pbtxt: platform \"\" and backend \"python\" are not served",
        ),
        ("input [ { name: \"z\" } ]", "", "m/config.pbtxt: the model has no input \"z\"; it has x"),
        (
            "input [ { name: \"x\" data_type: TYPE_INT8 } ]",
            "",
            "m/config.pbtxt: `data_type` of \"x\" must be TYPE_FP32",
        ),
        (
            "max_batch_size: 4 input [ { name: \"x\" dims: [ 5 ] } ]",
            "",
            "m/config.pbtxt: `dims` of \"x\" are [5], but the model has [4] after",
        ),
        (
            "output [ { name: \"y\" label_filename: \"no.txt\" } ]",
            "",
            "m/config.pbtxt: the label file \"no.txt\" is not",
        ),
        (
            "model_transaction_policy { decoupled: true }",
            "",
            "m/config.pbtxt: `model_transaction_policy.decoupled` is not",
        ),
        (
            "sequence_batching { }",
            "",
            "m/config.pbtxt: `ensemble_scheduling` and `sequence_batching` are not",
        ),
        (
            "",
            "[pad.x]\naxis = 1\nto_multiple_of = 8",
            "m/punctual.toml: `pad.x.axis` is 1, which is not an axis",
        ),
    ];
    for (config, settings, text) in table {
        let error = described(config, settings).unwrap_err();
        assert!(error.starts_with(text), "{error}\nshould begin with\n{text}");
    }
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
    let fixed = onnx_of(&[8, 1]);
    let error = describe(ModelFiles { onnx: ("f", &fixed), ..files }).unwrap_err().to_string();
    assert!(
        error.starts_with("c: `max_batch_size` is above 0, but the model has no batch axis"),
        "{error}"
    );
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
