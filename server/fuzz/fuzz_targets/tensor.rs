//! Binary tensors: sizes against shapes, elements of BYTES, and outputs written as JSON read back the same.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use models::DataType;
use server::infer::{InferResponse, InputTensor, OutputTensor};
use server::http::decode::{Envelope, OutputForms, decode};
use server::http::encode::encode;
use server::tensor;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    datatype: u8,
    shape: Vec<i64>,
    data: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let datatype = DataType::ALL[usize::from(input.datatype) % DataType::ALL.len()];
    let data = bytes::Bytes::copy_from_slice(input.data);
    let split: usize = tensor::elements(&data).filter_map(Result::ok).map(|element| element.len() + 4).sum();
    assert!(split <= data.len());

    let shape = input.shape;
    let tensor = InputTensor { name: "x".to_owned(), datatype: Some(datatype), shape: shape.clone(), data: data.clone() };
    if tensor::check(&tensor, "m").is_err() {
        return;
    }
    let output = OutputTensor { name: "x".to_owned(), datatype, shape, data };
    let response = InferResponse {
        model: "m".to_owned(),
        version: "1".to_owned(),
        id: String::new(),
        outputs: vec![output],
        timing: Default::default(),
        choice: None,
        cached: None,
    };
    // What goes out as JSON comes in as the same bytes.
    let Ok(encoded) = encode(&response, &OutputForms::default()) else { return };
    let text = std::str::from_utf8(&encoded.head).expect("JSON is UTF-8").replace("\"outputs\"", "\"inputs\"");
    let (request, _) = decode(Envelope::default(), &text.into_bytes().into()).expect("our own JSON is readable");
    assert_eq!(request.inputs[0].data, response.outputs[0].data);
    assert_eq!(request.inputs[0].shape, response.outputs[0].shape);
});
