use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::grpc::inference::InferTensorContents;

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        contents,
        ..InferInputTensor::default()
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".into(),
        inputs,
        raw_input_contents: raw.iter().map(|raw| Bytes::from_static(raw)).collect(),
        ..ModelInferRequest::default()
    }
}

fn parameters(list: Vec<(&str, ParameterChoice)>) -> Parameters {
    list.into_iter()
        .map(|(key, value)| (key.to_owned(), InferParameter { parameter_choice: Some(value) }))
        .collect()
}

fn sentence(message: ModelInferRequest) -> String {
    decode(message, None).unwrap_err().to_string()
}

#[test]
fn raw_contents_of_every_type_are_slices_of_the_message() {
    for datatype in DataType::ALL {
        let raw = match datatype.size() {
            Some(size) => vec![1; 2 * size],
            None => vec![1, 0, 0, 0, b'a', 0, 0, 0, 0],
        };
        let mut message = request(vec![input(datatype.name(), &[1, 2], None)], &[]);
        message.raw_input_contents = vec![raw.clone().into()];
        let wire = Bytes::from(message.encode_to_vec());
        let decoded = decode(ModelInferRequest::decode(wire.clone()).unwrap(), None).unwrap();
        let tensor = &decoded.inputs[0];
        assert_eq!(
            (tensor.datatype, &tensor.shape[..], &tensor.data[..]),
            (Some(datatype), &[1, 2][..], &raw[..])
        );
        assert!(wire.as_ptr_range().contains(&tensor.data.as_ptr()), "{datatype} was copied");
    }
}

#[test]
fn contents_of_every_type_become_little_endian_elements() {
    type List = InferTensorContents;
    let none = List::default;
    let cases: [(DataType, List, Vec<u8>); 12] = [
        (DataType::Bool, List { bool_contents: vec![true, false], ..none() }, vec![1, 0]),
        (DataType::Int8, List { int_contents: vec![-128, 127], ..none() }, vec![0x80, 0x7f]),
        (DataType::Int16, List { int_contents: vec![-32768, 258], ..none() }, vec![0, 0x80, 2, 1]),
        (
            DataType::Int32,
            List { int_contents: vec![-2, 1], ..none() },
            vec![0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0],
        ),
        (
            DataType::Int64,
            List { int64_contents: vec![i64::MIN, 1], ..none() },
            [i64::MIN.to_le_bytes(), 1_i64.to_le_bytes()].concat(),
        ),
        (DataType::Uint8, List { uint_contents: vec![0, 255], ..none() }, vec![0, 255]),
        (DataType::Uint16, List { uint_contents: vec![65535, 1], ..none() }, vec![255, 255, 1, 0]),
        (
            DataType::Uint32,
            List { uint_contents: vec![u32::MAX, 1], ..none() },
            vec![255, 255, 255, 255, 1, 0, 0, 0],
        ),
        (
            DataType::Uint64,
            List { uint64_contents: vec![u64::MAX, 1], ..none() },
            [u64::MAX.to_le_bytes(), 1_u64.to_le_bytes()].concat(),
        ),
        (
            DataType::Fp32,
            List { fp32_contents: vec![1.5, -0.0], ..none() },
            [1.5_f32.to_le_bytes(), (-0.0_f32).to_le_bytes()].concat(),
        ),
        (
            DataType::Fp64,
            List { fp64_contents: vec![f64::NAN, 1.0], ..none() },
            [f64::NAN.to_le_bytes(), 1_f64.to_le_bytes()].concat(),
        ),
        (
            DataType::Bytes,
            List { bytes_contents: vec![Bytes::from_static(b"ab"), Bytes::new()], ..none() },
            vec![2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0],
        ),
    ];
    for (datatype, contents, raw) in cases {
        let message = request(vec![input(datatype.name(), &[2], Some(contents.clone()))], &[]);
        assert_eq!(decode(message, None).unwrap().inputs[0].data, raw, "{datatype}");
        let message = request(vec![input(datatype.name(), &[3], Some(contents.clone()))], &[]);
        let short = &decode(message, None).unwrap().inputs[0];
        assert!(
            tensor::check(short, "m").is_err(),
            "{datatype}: two elements for a shape of three"
        );
        for other in DataType::ALL.into_iter().filter(|other| !same_list(*other, datatype)) {
            let taken = contents::to_raw(&contents, other, "x", "m");
            assert!(taken.is_err(), "{datatype} contents were taken for {other}");
        }
    }
}

fn same_list(a: DataType, b: DataType) -> bool {
    let signed = [DataType::Int8, DataType::Int16, DataType::Int32];
    let unsigned = [DataType::Uint8, DataType::Uint16, DataType::Uint32];
    a == b || [signed, unsigned].iter().any(|list| list.contains(&a) && list.contains(&b))
}

#[test]
fn an_empty_tensor_may_have_empty_contents_or_empty_raw_contents() {
    let contents = Some(InferTensorContents::default());
    assert_eq!(
        decode(request(vec![input("FP32", &[0, 4], contents)], &[]), None).unwrap().inputs[0]
            .data
            .len(),
        0
    );
    assert_eq!(
        decode(request(vec![input("FP32", &[0, 4], None)], &[b""]), None).unwrap().inputs[0]
            .data
            .len(),
        0
    );
}

#[test]
fn raw_contents_go_to_the_inputs_in_order() {
    let decoded = decode(
        request(vec![input("UINT8", &[1], None), input("UINT8", &[2], None)], &[b"a", b"bc"]),
        None,
    );
    let data: Vec<_> = decoded.unwrap().inputs.into_iter().map(|input| input.data).collect();
    assert_eq!(data, [&b"a"[..], b"bc"]);
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_a_sentence() {
    let ints = |values: &[i32]| {
        Some(InferTensorContents { int_contents: values.to_vec(), ..Default::default() })
    };
    let shared = |mut input: InferInputTensor| {
        input.parameters =
            parameters(vec![("shared_memory_region", ParameterChoice::StringParam("r".into()))]);
        input
    };
    let cases = [
        (
            request(vec![input("INT8", &[1], ints(&[128]))], &[]),
            "128 of input 'x' is out of the range of its data-type",
        ),
        (
            request(vec![input("FP32", &[1], ints(&[1]))], &[]),
            "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'INT32', expected datatype 'FP32'",
        ),
        (
            request(vec![input("FP16", &[0], ints(&[]))], &[]),
            "FP16 has no contents field: send input 'x' for model 'm' in raw_input_contents",
        ),
        (
            request(vec![input("INT32", &[1], ints(&[1]))], &[b"1234"]),
            "contents field must not be specified when using raw_input_contents for 'x' for model 'm'",
        ),
        (
            request(vec![input("UINT8", &[1], None), input("UINT8", &[1], None)], &[b"1"]),
            "unable to find data for input tensor 'x' for model 'm' in request.",
        ),
        (
            request(vec![input("UINT8", &[1], None)], &[b"1", b"2"]),
            "unexpected additional input data for model 'm': 2 raw_input_contents for 1 inputs",
        ),
        (
            request(vec![input("INT32", &[-1], None)], &[b""]),
            "the shape of 'x' has the negative dimension -1",
        ),
        (
            request(vec![input("INT4", &[1], None)], &[b"1"]),
            "inference input 'x' has the unknown data-type 'INT4'",
        ),
        (
            request(vec![shared(input("UINT8", &[1], None))], &[]),
            "shared memory is not supported by this server: send the data of input 'x' in the message, as raw contents",
        ),
        (
            request(vec![input("UINT8", &[1], None); 1025], &[]),
            "1025 inputs, at most 1024 are allowed",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(sentence(message), expected);
    }
}

#[test]
fn timeout_and_priority_may_be_signed_or_not_and_the_earliest_deadline_counts() {
    use ParameterChoice::{Int64Param, Uint64Param};
    let ms = |ms| Some(Duration::from_millis(ms));
    let cases = [
        (vec![("timeout", Int64Param(5000)), ("priority", Uint64Param(2))], None, (ms(5), 2)),
        (vec![("timeout", Uint64Param(5000)), ("priority", Int64Param(1))], ms(4), (ms(4), 1)),
        (vec![("timeout", Uint64Param(0)), ("sequence_id", Int64Param(7))], ms(4), (ms(4), 0)),
        (
            vec![("triton_enable_empty_final_response", ParameterChoice::BoolParam(true))],
            None,
            (None, 0),
        ),
    ];
    for (list, deadline, expected) in cases {
        let message =
            ModelInferRequest { parameters: parameters(list), ..ModelInferRequest::default() };
        let decoded = decode(message, deadline).unwrap();
        assert_eq!((decoded.timeout, decoded.priority), expected);
    }
}

#[test]
fn parameters_of_the_wrong_kind_are_refused_with_a_sentence() {
    let whole = "must be a whole number that is not negative, got:";
    let cases = [
        (("timeout", ParameterChoice::Int64Param(-1)), format!("parameter 'timeout' {whole} -1")),
        (
            ("timeout", ParameterChoice::StringParam("1".into())),
            format!("parameter 'timeout' {whole} \"1\""),
        ),
        (
            ("priority", ParameterChoice::DoubleParam(1.5)),
            format!("parameter 'priority' {whole} 1.5"),
        ),
        (
            ("triton_enable_empty_final_response", ParameterChoice::Int64Param(1)),
            "parameter 'triton_enable_empty_final_response' must be true or false, got: 1".into(),
        ),
        (
            ("triton_final_response", ParameterChoice::BoolParam(true)),
            "parameter 'triton_final_response' is reserved, it cannot be set by a request".into(),
        ),
    ];
    for (parameter, expected) in cases {
        let message = ModelInferRequest {
            parameters: parameters(vec![parameter]),
            ..ModelInferRequest::default()
        };
        assert_eq!(sentence(message), expected);
    }
}

#[test]
fn outputs_asked_for_keep_their_order_and_their_classification() {
    let output = |name: &str, list| InferRequestedOutputTensor {
        name: name.into(),
        parameters: parameters(list),
    };
    let classes = |number| vec![("classification", number)];
    let message = ModelInferRequest {
        model_version: "3".into(),
        id: "7".into(),
        outputs: vec![
            output("b", classes(ParameterChoice::Int64Param(3))),
            output("a", classes(ParameterChoice::Uint64Param(0))),
            output("c", vec![]),
        ],
        ..ModelInferRequest::default()
    };
    let decoded = decode(message, None).unwrap();
    assert_eq!((decoded.version.as_deref(), decoded.id.as_str()), (Some("3"), "7"));
    let outputs: Vec<_> = decoded
        .outputs
        .iter()
        .map(|output| (output.name.as_str(), output.classification))
        .collect();
    assert_eq!(outputs, [("b", Some(3)), ("a", None), ("c", None)]);

    let message = ModelInferRequest {
        outputs: vec![output("b", classes(ParameterChoice::Int64Param(-3)))],
        ..Default::default()
    };
    assert_eq!(
        sentence(message),
        "output 'b': parameter 'classification' must be a whole number that is not negative, got: -3"
    );
}

fn any_contents() -> impl Strategy<Value = InferTensorContents> {
    let few = 0..3_usize;
    (
        prop::collection::vec(any::<bool>(), few.clone()),
        prop::collection::vec(any::<i32>(), few.clone()),
        prop::collection::vec(any::<u32>(), few.clone()),
        prop::collection::vec(any::<f64>(), few.clone()),
        prop::collection::vec(any::<Vec<u8>>(), few),
    )
        .prop_map(|(bools, ints, uints, doubles, strings)| InferTensorContents {
            bool_contents: bools,
            int_contents: ints,
            uint_contents: uints,
            fp64_contents: doubles,
            bytes_contents: strings.into_iter().map(Bytes::from).collect(),
            ..InferTensorContents::default()
        })
}

fn any_input() -> impl Strategy<Value = InferInputTensor> {
    let datatype = prop_oneof![
        prop::sample::select(DataType::ALL.map(DataType::name).to_vec()).prop_map(str::to_owned),
        any::<String>()
    ];
    let dim = prop_oneof![-1..4_i64, any::<i64>()];
    (datatype, prop::collection::vec(dim, 0..18), prop::option::of(any_contents()))
        .prop_map(|(datatype, shape, contents)| input(&datatype, &shape, contents))
}

proptest! {
    #[test]
    fn messages_of_any_kind_are_decoded_or_refused(
        inputs in prop::collection::vec(any_input(), 0..4),
        raw in prop::collection::vec(any::<Vec<u8>>(), 0..4),
    ) {
        let mut message = request(inputs, &[]);
        message.raw_input_contents = raw.into_iter().map(Bytes::from).collect();
        if let Ok(decoded) = decode(message, None) {
            for tensor in decoded.inputs {
                prop_assert!(tensor::element_count(&tensor.name, &tensor.shape).is_ok());
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_decoded_or_refused(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = ModelInferRequest::decode(Bytes::from(wire)) {
            let _ = decode(message, None);
        }
    }
}
