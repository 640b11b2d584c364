//! The head of an ONNX file: any bytes give a signature or a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = models::read_signature("model.onnx", bytes) {
        assert!(!error.to_string().is_empty());
    }
});
