//! A line to paste: one request to a model that is served.

use models::DataType;

use crate::service::{ModelMetadata, TensorMetadata};

/// Elements of all inputs of a line that can still be pasted.
const ELEMENTS_MAX: usize = 128;

/// The curl line of the first of these models that takes few numbers; models whose shapes are fixed come first.
#[must_use]
pub fn curl_line(models: &[ModelMetadata], url: &str) -> Option<String> {
    let free = |model: &&ModelMetadata| model.inputs.iter().any(|input| free_dims(input) > 1);
    let (free, fixed): (Vec<_>, Vec<_>) = models.iter().partition(free);
    fixed.into_iter().chain(free).find_map(|model| line(model, url))
}

fn free_dims(input: &TensorMetadata) -> usize {
    input.shape.iter().filter(|&&dim| dim < 0).count()
}

fn line(model: &ModelMetadata, url: &str) -> Option<String> {
    let inputs = model.inputs.iter().map(input).collect::<Option<Vec<_>>>()?;
    let elements: usize = inputs.iter().map(|(count, _)| count).sum();
    if elements > ELEMENTS_MAX || inputs.is_empty() {
        return None;
    }
    let inputs: Vec<_> = inputs.into_iter().map(|(_, input)| input).collect();
    let body = serde_json::json!({ "inputs": inputs }).to_string();
    // A name or text with a quote would end the shell's word.
    let body = body.replace('\'', "\\u0027");
    let name =
        percent_encoding::utf8_percent_encode(&model.name, percent_encoding::NON_ALPHANUMERIC);
    let name = name.to_string().replace("%5F", "_").replace("%2D", "-").replace("%2E", ".");
    Some(format!("curl -s {url}/v2/models/{name}/infer -d '{body}'"))
}

/// One row of an input as JSON, and how many elements it has; `None` for what JSON cannot carry or a line cannot hold.
fn input(input: &TensorMetadata) -> Option<(usize, serde_json::Value)> {
    let shape: Vec<usize> =
        input.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(1)).collect();
    let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim))?;
    if count > ELEMENTS_MAX {
        return None;
    }
    let datatype = DataType::from_name(input.datatype)?;
    let data = (0..count).map(|index| element(datatype, index)).collect::<Option<Vec<_>>>()?;
    let (name, datatype) = (&input.name, input.datatype);
    let input =
        serde_json::json!({ "name": name, "shape": shape, "datatype": datatype, "data": data });
    Some((count, input))
}

fn element(datatype: DataType, index: usize) -> Option<serde_json::Value> {
    use serde_json::Value;
    match datatype {
        DataType::Bool => Some(Value::from(index.is_multiple_of(2))),
        DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => Some(Value::from(1)),
        DataType::Fp32 | DataType::Fp64 => Some(Value::from(index * 7 % 17)),
        DataType::Bytes => Some(Value::from("text")),
        DataType::Fp16 | DataType::Bf16 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, inputs: &[(&'static str, &[i64])]) -> ModelMetadata {
        let input = |&(datatype, shape): &(&'static str, &[i64])| TensorMetadata {
            name: "x".into(),
            datatype,
            shape: shape.to_vec(),
        };
        ModelMetadata {
            name: name.into(),
            versions: vec!["1".into()],
            platform: "onnxruntime_onnx",
            inputs: inputs.iter().map(input).collect(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn a_small_model_of_fixed_shapes_is_asked_for_one_row() {
        let models = [
            model("big", &[("FP32", &[-1, 3, 224, 224])]),
            model("free", &[("INT64", &[-1, -1])]),
            model("half", &[("FP16", &[-1, 4])]),
            model("a b", &[("FP32", &[-1, 3])]),
        ];
        let line = curl_line(&models, "http://localhost:8000").unwrap();
        let expected = r#"curl -s http://localhost:8000/v2/models/a%20b/infer -d '{"inputs":[{"data":[0,7,14],"datatype":"FP32","name":"x","shape":[1,3]}]}'"#;
        assert_eq!(line, expected);
        assert!(curl_line(&models[..3], "u").unwrap().contains("/free/"));
        assert_eq!(curl_line(&models[..1], "u"), None);
    }
}
