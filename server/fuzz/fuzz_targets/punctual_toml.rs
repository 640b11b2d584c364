//! punctual.toml: any text is read or refused with a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::ModelSettings;

fuzz_target!(|text: &str| {
    if let Err(error) = ModelSettings::from_text("punctual.toml", text) {
        assert!(error.to_string().contains("punctual.toml"));
    }
});
