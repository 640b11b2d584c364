//! config.pbtxt, and the JSON form of load requests: any text is read or refused, and what is read is describable.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use models::{ModelConfig, ModelFiles, VersionPolicy, describe};

/// A model of one FP32 input `x` and output `y` of shape [batch, 4].
const MODEL: &[u8] = include_bytes!("../seeds/onnx/identity");

fuzz_target!(|text: &str| {
    for config in [ModelConfig::from_text("config.pbtxt", text), ModelConfig::from_json(text)] {
        match config {
            Ok(config) => meets_its_model(&config),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});

fn meets_its_model(config: &ModelConfig) {
    let _ = (config.to_json(), config.unsupported_keys(), models::model_filename(Some(config)));
    assert!(VersionPolicy::of(config).choose(&[1, 2, 3]).len() <= 3);
    let files = ModelFiles {
        model: "m",
        onnx: ("model.onnx", MODEL),
        config: Some(("config.pbtxt", config)),
        settings: None,
        labels: &BTreeMap::new(),
    };
    match describe(files) {
        Ok(model) => assert!(model.batch_max >= 1 && model.batch_max <= model.rows_max.max(1)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
