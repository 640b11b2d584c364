use models::DataType;
use proptest::prelude::*;

use super::*;

fn decode_json(text: &str) -> Result<(InferRequest, OutputForms), Failure> {
    decode(
        Envelope { model: "m".into(), ..Default::default() },
        &Bytes::copy_from_slice(text.as_bytes()),
    )
}

/// A request for model `m` with that JSON and binary tensors after it.
fn decode_binary(json: &str, tensors: &[u8]) -> Result<(InferRequest, OutputForms), Failure> {
    let envelope = Envelope {
        model: "m".into(),
        header_length: Some(json.len() as u64),
        ..Default::default()
    };
    decode(envelope, &Bytes::from([json.as_bytes(), tensors].concat()))
}

#[test]
fn a_json_request_carries_everything_it_says() {
    let (request, forms) = decode_json(
        r#"{"id":"7","model_name":"ignored","parameters":{"timeout":2500,"priority":2,"binary_data_output":true,
        "sequence_id":1,"sequence_start":true,"own":null},"inputs":[{"name":"x","shape":[2,1],"datatype":"INT8",
        "data":[[1],[2]],"extra":{"deep":[[]]}}],"outputs":[{"name":"y","parameters":{"binary_data":false}},
        {"name":"z","parameters":{"classification":3}}]}"#,
    )
    .unwrap();
    assert_eq!((request.model.as_str(), request.id.as_str(), request.priority), ("m", "7", 2));
    assert_eq!(request.timeout, Some(Duration::from_micros(2500)));
    let input = &request.inputs[0];
    assert_eq!((input.name.as_str(), input.datatype), ("x", Some(DataType::Int8)));
    assert_eq!(
        (input.shape.as_slice(), input.data.as_ref()),
        ([2, 1].as_slice(), [1, 2].as_slice())
    );
    let outputs = [("y", None), ("z", Some(3))]
        .map(|(name, classification)| RequestedOutput { name: name.into(), classification });
    assert_eq!(request.outputs, outputs);
    assert_eq!(forms, OutputForms { binary_default: true, binary: vec![Some(false), None] });
}

#[test]
fn null_is_as_good_as_absent() {
    let (request, _) =
        decode_json(r#"{"id":null,"parameters":null,"inputs":[],"outputs":null}"#).unwrap();
    assert!(request.id.is_empty() && request.outputs.is_empty());
}

#[test]
fn binary_tensors_are_slices_of_the_body() {
    let json = r#"{"inputs":[{"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},
        {"name":"j","shape":[1],"datatype":"INT8","data":[9]},
        {"name":"e","shape":[0],"datatype":"FP32","parameters":{"binary_data_size":0}},
        {"name":"b","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}"#;
    let body = Bytes::from([json.as_bytes(), &[1, 0, 2, 0, 1, 0, 0, 0, b'q']].concat());
    let envelope = Envelope {
        model: "m".into(),
        header_length: Some(json.len() as u64),
        ..Default::default()
    };
    let (request, _) = decode(envelope, &body).unwrap();
    let data: Vec<&[u8]> = request.inputs.iter().map(|input| input.data.as_ref()).collect();
    assert_eq!(data, [&[1, 0, 2, 0][..], &[9], &[], &[1, 0, 0, 0, b'q']]);
    assert_eq!(request.inputs[0].data.as_ptr(), body[json.len()..].as_ptr());
}

#[test]
fn a_header_length_of_zero_makes_the_body_the_one_input() {
    let deadline = Some(Duration::from_millis(5));
    let envelope =
        Envelope { model: "m".into(), header_length: Some(0), deadline, ..Default::default() };
    let (request, forms) = decode(envelope, &Bytes::from_static(b"abc")).unwrap();
    assert!(request.raw && forms.is_binary(0));
    assert_eq!((request.inputs[0].data.as_ref(), request.timeout), (&b"abc"[..], deadline));
}

#[test]
fn the_earliest_of_timeout_and_deadline_header_counts() {
    let body = Bytes::from_static(br#"{"parameters":{"timeout":2000},"inputs":[]}"#);
    for (header, expected) in [(None, 2000), (Some(1500), 1500), (Some(9000), 2000)] {
        let deadline = header.map(Duration::from_micros);
        let (request, _) = decode(Envelope { deadline, ..Default::default() }, &body).unwrap();
        assert_eq!(request.timeout, Some(Duration::from_micros(expected)));
    }
}

#[test]
fn a_timeout_of_zero_is_none() {
    assert_eq!(decode_json(r#"{"parameters":{"timeout":0},"inputs":[]}"#).unwrap().0.timeout, None);
}

#[test]
fn headers_that_are_not_numbers_are_refused() {
    let cases = [
        (DEADLINE, "soon", false),
        (DEADLINE, "-1", false),
        (DEADLINE, "NaN", false),
        (DEADLINE, "1e300", false),
        (DEADLINE, "0", false),
        (DEADLINE, "2.5", true),
        (HEADER_LENGTH, "-1", false),
        (HEADER_LENGTH, "99999999999999999999", false),
        (HEADER_LENGTH, "12", true),
    ];
    for (name, value, good) in cases {
        let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert_eq!(Envelope::new("m".into(), None, &headers).is_ok(), good, "{headers:?}");
    }
}

#[test]
fn wrong_bodies_are_400_with_a_sentence() {
    let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
    let cases = [
        ("{".to_owned(), "failed to parse the request JSON buffer: EOF"),
        ("{}".to_owned(), "missing field `inputs`"),
        (r#"{"inputs":[]} x"#.to_owned(), "trailing characters"),
        (r#"{"id":5,"inputs":[]}"#.to_owned(), "expected a string"),
        (r#"[null,null,[],null]"#.to_owned(), "expected an object"),
        (r#"[]"#.to_owned(), "expected an object"),
        (r#"{"inputs":[["x",[1],"FP32",null,[1]]]}"#.to_owned(), "expected an object"),
        (r#"{"inputs":[],"outputs":[["y",null]]}"#.to_owned(), "expected an object"),
        (input(r#""shape":["1"],"datatype":"FP32","data":[1]"#), "expected a whole number"),
        (
            r#"{"inputs":[],"parameters":{"timeout":-1}}"#.to_owned(),
            "parameter 'timeout' must be a whole number",
        ),
        (r#"{"inputs":[],"parameters":{"timeout":1.5}}"#.to_owned(), "got: 1.5"),
        (
            r#"{"inputs":[],"parameters":{"triton_x":1}}"#.to_owned(),
            "parameter 'triton_x' is reserved",
        ),
        (r#"{"inputs":[],"parameters":{"x":[]}}"#.to_owned(), "a string, a number or a bool"),
        (
            r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}"#.to_owned(),
            "must be true or false",
        ),
        (input(r#""shape":[1.5],"datatype":"FP32","data":[1]"#), "invalid type: floating point"),
        (input(r#""shape":[-1],"datatype":"FP32","data":[1]"#), "negative dimension -1"),
        (
            input(r#""shape":[99999999999999999999],"datatype":"FP32","data":[1]"#),
            "failed to parse",
        ),
        (
            input(r#""shape":[4294967296,4294967296],"datatype":"FP32","data":[1]"#),
            "more elements than can be counted",
        ),
        (
            input(&format!(r#""shape":{:?},"datatype":"FP32","data":[1]"#, [1; 17])),
            "more than the 16 entries",
        ),
        (input(r#""shape":[1],"datatype":"FP31","data":[1]"#), "unknown datatype 'FP31'"),
        (input(r#""shape":[1],"datatype":"FP32","data":[NaN]"#), "failed to parse"),
        (input(r#""shape":[1],"datatype":"FP32""#), "'parameters'. But no field is set"),
        (
            input(
                r#""shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}"#,
            ),
            "But set 'data' 'binary_data_size'",
        ),
        (
            input(r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#),
            "unexpected size for input 'x', expecting 4 additional bytes for model 'm'",
        ),
        (
            input(
                r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":18446744073709551615}"#,
            ),
            "unexpected size for input 'x', expecting 18446744073709551615 additional bytes for model 'm'",
        ),
    ];
    for (body, part) in cases {
        let failure = decode_json(&body).unwrap_err();
        assert!(failure.to_string().contains(part), "{body}: {failure}");
        assert_eq!(failure.http(), 400, "{body}");
    }
}

#[test]
fn ten_thousand_outputs_are_refused() {
    let outputs = vec![r#"{"name":"y"}"#; 10_000].join(",");
    let failure = decode_json(&format!(r#"{{"inputs":[],"outputs":[{outputs}]}}"#)).unwrap_err();
    assert!(
        failure.to_string().contains("a list has more than the 1024 entries allowed"),
        "{failure}"
    );
}

#[test]
fn a_million_nested_arrays_are_refused_without_recursion() {
    let deep = "[".repeat(1_000_000);
    assert_eq!(decode_json(&format!(r#"{{"inputs":[],"x":{deep}"#)).unwrap_err().http(), 400);
    let closed = deep.clone() + &"]".repeat(1_000_000);
    let json =
        format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":{closed}}}]}}"#);
    assert!(decode_json(&json).unwrap_err().to_string().contains("nested more than 16 deep"));
}

#[test]
fn binary_lengths_that_do_not_add_up_are_refused_in_tritons_words() {
    let json = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}"#;
    let cases: [(&[u8], &str); 3] = [
        (&[1, 2, 3], "unexpected additional input data for model 'm'"),
        (&[1], "unexpected size for input 'x', expecting 1 additional bytes for model 'm'"),
        (&[], "unexpected size for input 'x', expecting 2 additional bytes for model 'm'"),
    ];
    for (tensors, sentence) in cases {
        assert_eq!(decode_binary(json, tensors).unwrap_err().to_string(), sentence);
    }
    let envelope = Envelope { header_length: Some(3), ..Default::default() };
    let failure = decode(envelope, &Bytes::from_static(b"{}")).unwrap_err();
    assert_eq!(failure.to_string(), "inference header size should be in range (0, 2), got: 3");
}

#[test]
fn shared_memory_is_refused_with_the_way_out() {
    let parameters = r#""parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}"#;
    let input =
        format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32",{parameters}}}]}}"#);
    let output = format!(r#"{{"inputs":[],"outputs":[{{"name":"y",{parameters}}}]}}"#);
    for body in [input, output] {
        let failure = decode_json(&body).unwrap_err();
        assert_eq!(failure.http(), 501);
        assert!(failure.to_string().contains("in the body"), "{failure}");
    }
}

proptest! {
    #[test]
    fn any_body_is_decoded_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..300),
        header_length in prop::option::of(0_u64..400),
    ) {
        let envelope = Envelope { header_length, ..Default::default() };
        if let Err(failure) = decode(envelope, &body.into()) {
            prop_assert_eq!(failure.http(), 400);
        }
    }

    #[test]
    fn a_damaged_request_is_decoded_or_refused(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
        let json = r#"{"id":"7","parameters":{"timeout":2500},"inputs":[{"name":"x","shape":[2,1],"datatype":"INT8","data":[[1],[2]]},{"name":"b","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}],"outputs":[{"name":"y"}]}"#;
        let mut body = [json.as_bytes(), &[1, 0, 0, 0, b'q']].concat();
        body[at] = byte;
        body.truncate(body.len() - cut);
        let envelope = Envelope { header_length: Some(json.len() as u64), ..Default::default() };
        if let Err(failure) = decode(envelope, &body.into()) {
            prop_assert!(!failure.to_string().is_empty());
        }
    }

    #[test]
    fn raw_tensors_pass_unchanged(elements in prop::collection::vec(any::<i64>(), 0..50)) {
        let raw: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        let json = format!(
            r#"{{"inputs":[{{"name":"x","shape":[{}],"datatype":"INT64","parameters":{{"binary_data_size":{}}}}}]}}"#,
            elements.len(),
            raw.len(),
        );
        let (request, _) = decode_binary(&json, &raw).unwrap();
        prop_assert_eq!(request.inputs[0].data.as_ref(), raw.as_slice());
    }
}
