//! Holds a decoded request against the model's signature: after this, nothing can be wrong with its form.

use std::sync::Arc;

use bytes::Bytes;
use gpu::InputPart;
use models::{DataType, Dim, TensorSpec};

use crate::driver::Inference;
use crate::infer::{InferRequest, InputTensor, RequestedOutput};
use crate::pad::{Cut, pad};
use crate::served::Served;
use crate::status::Failure;

/// A request that fits its model.
#[derive(Debug)]
pub struct Checked {
    /// For the scheduler.
    pub inference: Inference,
    /// Which outputs are wanted, by position in the signature, in the client's order.
    pub outputs: Vec<(usize, RequestedOutput)>,
    /// Axes of outputs that grew with padded inputs.
    pub cuts: Vec<Cut>,
}

/// Checks names, types, shapes and sizes.
///
/// # Errors
/// Triton's sentences, with the request's id in front where the client gave one.
pub fn check(request: InferRequest, served: &Served) -> Result<Checked, Failure> {
    let id = request.id.clone();
    check_form(request, served).map_err(|text| match id.is_empty() {
        true => Failure::Invalid(text),
        false => Failure::Invalid(format!("[request id: {id}] {text}")),
    })
}

fn check_form(request: InferRequest, served: &Served) -> Result<Checked, String> {
    // That of the task, where one was asked: the version is one of its variants' then.
    let model = &request.model;
    let outputs = wanted_outputs(request.outputs, served, model)?;
    let mut inputs = if request.raw {
        raw_input(request.inputs, served, model)?
    } else {
        in_order(request.inputs, served, model)?
    };
    let mut rows = None;
    for (tensor, spec) in inputs.iter().zip(&served.signature.inputs) {
        check_tensor(tensor, spec, model)?;
        if served.signature.batched {
            check_rows(tensor, &mut rows, (served.rows_max, model))?;
        }
    }
    let rows = rows.unwrap_or(1);
    let cuts = pad(&mut inputs, served)?;
    let skip = usize::from(served.signature.batched);
    let known =
        served.shapes.number(|| inputs.iter().map(|input| input.shape[skip..].to_vec()).collect());
    let priority = served.level(request.priority);
    let deadline = request.timeout.into_iter().chain(served.slo.map(|slo| slo.latency)).min();
    let part = InputPart::new(rows, inputs.into_iter().map(|input| input.data).collect());
    let inner_shapes = Arc::clone(&known.inner);
    let inference = Inference {
        variant: served.variant,
        shape: known.shape,
        inner_shapes,
        part,
        priority,
        deadline,
        task: None,
        forms: None,
    };
    Ok(Checked { inference, outputs, cuts })
}

fn wanted_outputs(
    asked: Vec<RequestedOutput>,
    served: &Served,
    model: &str,
) -> Result<Vec<(usize, RequestedOutput)>, String> {
    if asked.is_empty() {
        let all = served.signature.outputs.iter().enumerate();
        let all = all.map(|(index, spec)| {
            (index, RequestedOutput { name: spec.name.clone(), classification: None })
        });
        return Ok(all.collect());
    }
    let find = |asked: RequestedOutput| match served.signature.output(&asked.name) {
        Some((index, _)) => Ok((index, asked)),
        None => Err(format!("unexpected inference output '{}' for model '{model}'", asked.name)),
    };
    asked.into_iter().map(find).collect()
}

/// Puts the inputs into the model's order.
fn in_order(
    given: Vec<InputTensor>,
    served: &Served,
    model: &str,
) -> Result<Vec<InputTensor>, String> {
    let specs = &served.signature.inputs;
    let mut slots: Vec<Option<InputTensor>> = specs.iter().map(|_| None).collect();
    let count = given.len();
    for tensor in given {
        let Some((index, _)) = served.signature.input(&tensor.name) else {
            let allowed: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
            let allowed = allowed.join(", ");
            return Err(format!(
                "unexpected inference input '{}' for model '{model}'. Allowed inputs are: {allowed}",
                tensor.name
            ));
        };
        if slots[index].is_some() {
            return Err(format!("input '{}' already exists in request", tensor.name));
        }
        slots[index] = Some(tensor);
    }
    if count < specs.len() {
        let quoted = |wanted: bool| {
            let names = specs.iter().zip(&slots).filter(|(_, slot)| slot.is_some() == wanted);
            names.map(|(spec, _)| format!("'{}'", spec.name)).collect::<Vec<_>>().join(",")
        };
        let (got, missing) = (quoted(true), quoted(false));
        return Err(format!(
            "expected {} inputs but got {count} inputs for model '{model}'. Got input(s) [{got}], but missing required \
             input(s) [{missing}]. Please provide all required input(s).",
            specs.len()
        ));
    }
    Ok(slots.into_iter().map(|slot| slot.expect("as many distinct inputs as slots")).collect())
}

/// Shapes the body of a raw request after the model's one input.
fn raw_input(
    mut given: Vec<InputTensor>,
    served: &Served,
    model: &str,
) -> Result<Vec<InputTensor>, String> {
    let ([spec], Some(tensor), 0) = (&served.signature.inputs[..], given.pop(), given.len()) else {
        return Err(format!(
            "Raw request must only have 1 input (found {}) to be deduced but got model '{model}'",
            served.signature.inputs.len()
        ));
    };
    let skip = usize::from(served.signature.batched);
    let inner = &spec.dims[skip..];
    let variable = inner.iter().filter(|dim| matches!(dim, Dim::Any(_))).count();
    if variable > 1 {
        return Err(format!(
            "The shape of Raw input '{}' can not be deduced because there are more than one variable-sized dimension",
            spec.name
        ));
    }
    let mut shape: Vec<i64> = vec![1; skip];
    let known: i64 = inner.iter().map(Dim::protocol).filter(|&dim| dim > 0).product();
    let elements = spec.datatype.size().map_or(1, |size| tensor.data.len() / size);
    let rest = i64::try_from(elements).unwrap_or(i64::MAX) / known.max(1);
    shape.extend(inner.iter().map(|dim| if dim.protocol() < 0 { rest } else { dim.protocol() }));
    let data =
        if spec.datatype == DataType::Bytes { one_element(&tensor.data)? } else { tensor.data };
    Ok(vec![InputTensor { name: spec.name.clone(), datatype: Some(spec.datatype), shape, data }])
}

/// The whole body as the one element of a `BYTES` tensor.
fn one_element(body: &Bytes) -> Result<Bytes, String> {
    let length = u32::try_from(body.len())
        .map_err(|_| "a BYTES element is at most 4 GiB long".to_owned())?;
    Ok([&length.to_le_bytes(), &body[..]].concat().into())
}

fn check_tensor(tensor: &InputTensor, spec: &TensorSpec, model: &str) -> Result<(), String> {
    let name = &spec.name;
    if tensor.datatype != Some(spec.datatype) {
        let got = tensor.datatype.map_or("nothing", DataType::name);
        return Err(format!(
            "inference input '{name}' data-type is '{got}', but model '{model}' expects '{}'",
            spec.datatype
        ));
    }
    let fits = |(length, dim): (&i64, &Dim)| {
        *length >= 0 && (dim.protocol() < 0 || dim.protocol() == *length)
    };
    if tensor.shape.len() != spec.dims.len() || !tensor.shape.iter().zip(&spec.dims).all(fits) {
        let expected: Vec<_> = spec.dims.iter().map(Dim::protocol).collect();
        return Err(format!(
            "unexpected shape for input '{name}' for model '{model}'. Expected {}, got {}",
            list(&expected),
            list(&tensor.shape)
        ));
    }
    crate::tensor::check(tensor, model).map_err(|failure| failure.to_string())
}

fn check_rows(
    tensor: &InputTensor,
    rows: &mut Option<u32>,
    (rows_max, model): (u32, &str),
) -> Result<(), String> {
    let asked = u32::try_from(tensor.shape[0]).unwrap_or(u32::MAX);
    if asked == 0 || asked > rows_max {
        return Err(format!(
            "inference request batch-size must be >= 1 and <= {rows_max} for '{model}', got {asked}"
        ));
    }
    match rows.replace(asked) {
        Some(other) if other != asked => Err(format!(
            "input '{}' batch size does not match other inputs for '{model}': {asked} and {other}",
            tensor.name
        )),
        Some(_) | None => Ok(()),
    }
}

fn list(shape: &[i64]) -> String {
    let dims: Vec<_> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::Signature;

    use super::*;
    use crate::served::for_test;

    fn spec(name: &str, datatype: DataType, dims: &[i64]) -> TensorSpec {
        let dim = |&dim: &i64| u64::try_from(dim).map_or(Dim::Any(None), Dim::Fixed);
        TensorSpec { name: name.into(), datatype, dims: dims.iter().map(dim).collect() }
    }

    fn simple() -> Served {
        let inputs = vec![
            spec("INPUT0", DataType::Int32, &[-1, 2]),
            spec("INPUT1", DataType::Int32, &[-1, 2]),
        ];
        let outputs = vec![spec("OUTPUT0", DataType::Int32, &[-1, 2])];
        for_test(1, Signature { inputs, outputs, batched: true })
    }

    fn tensor(name: &str, datatype: DataType, shape: &[i64], bytes: usize) -> InputTensor {
        InputTensor {
            name: name.into(),
            datatype: Some(datatype),
            shape: shape.to_vec(),
            data: vec![0; bytes].into(),
        }
    }

    fn request(inputs: Vec<InputTensor>) -> InferRequest {
        InferRequest { model: "simple".into(), inputs, ..InferRequest::default() }
    }

    fn error(inputs: Vec<InputTensor>) -> String {
        check(request(inputs), &simple()).unwrap_err().to_string()
    }

    #[test]
    fn inputs_are_put_into_the_models_order_and_the_earliest_deadline_wins() {
        let mut asked = request(vec![
            tensor("INPUT1", DataType::Int32, &[2, 2], 16),
            tensor("INPUT0", DataType::Int32, &[2, 2], 16),
        ]);
        asked.timeout = Some(Duration::from_millis(20));
        asked.priority = 9;
        let checked = check(asked, &simple()).unwrap();
        assert_eq!(checked.inference.part.rows, 2);
        assert_eq!(checked.inference.deadline, Some(Duration::from_millis(20)));
        assert_eq!(checked.inference.priority, 3);
        assert_eq!(*checked.inference.inner_shapes, [[2], [2]]);
        assert_eq!(checked.outputs.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_said_of_the_name_that_was_asked_for() {
        let of_task = |inputs| {
            let asked = InferRequest { model: "digits".into(), ..request(inputs) };
            check(asked, &simple()).unwrap_err().to_string()
        };
        let int = |name, shape: &[i64], bytes| tensor(name, DataType::Int32, shape, bytes);
        let table = [
            of_task(vec![int("INPUT0", &[1, 2], 8)]),
            of_task(vec![int("INPUT0", &[1, 3], 12), int("INPUT1", &[1, 2], 8)]),
            of_task(vec![int("INPUT0", &[9, 2], 72), int("INPUT1", &[9, 2], 72)]),
        ];
        for text in table {
            assert!(text.contains("'digits'") && !text.contains("simple"), "{text}");
        }
    }

    #[test]
    fn another_type_is_named_before_the_size_that_follows_from_it() {
        let text = error(vec![
            tensor("INPUT0", DataType::Int8, &[1, 2], 8),
            tensor("INPUT1", DataType::Int32, &[1, 2], 8),
        ]);
        assert!(text.contains("data-type is 'INT8', but model 'simple' expects 'INT32'"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_refused_in_tritons_words() {
        let (int, fp) = (DataType::Int32, DataType::Fp32);
        let good = || tensor("INPUT0", int, &[1, 2], 8);
        let with = |other: InputTensor| error(vec![good(), other]);
        let table = [
            (
                error(vec![good()]),
                "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required input(s) ['INPUT1']. Please provide all required input(s).",
            ),
            (
                with(tensor("INPUT1", fp, &[1, 2], 8)),
                "inference input 'INPUT1' data-type is 'FP32', but model 'simple' expects 'INT32'",
            ),
            (
                with(tensor("INPUT1", int, &[1, 3], 12)),
                "unexpected shape for input 'INPUT1' for model 'simple'. Expected [-1,2], got [1,3]",
            ),
            (
                with(tensor("INPUT1", int, &[-1, 2], 8)),
                "unexpected shape for input 'INPUT1' for model 'simple'. Expected [-1,2], got [-1,2]",
            ),
            (
                with(tensor("INPUT1", int, &[2, 2], 16)),
                "input 'INPUT1' batch size does not match other inputs for 'simple': 2 and 1",
            ),
            (
                with(tensor("INPUT1", int, &[5, 2], 40)),
                "inference request batch-size must be >= 1 and <= 4 for 'simple', got 5",
            ),
            (
                with(tensor("INPUT1", int, &[1, 2], 7)),
                "input byte size mismatch for input 'INPUT1' for model 'simple'. Expected 8, got 7",
            ),
            (with(good()), "input 'INPUT0' already exists in request"),
            (
                with(tensor("X", int, &[1, 2], 8)),
                "unexpected inference input 'X' for model 'simple'. Allowed inputs are: INPUT0, INPUT1",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn an_unknown_output_is_refused_with_the_clients_id() {
        let outputs = vec![RequestedOutput { name: "NOPE".into(), classification: None }];
        let asked = InferRequest { id: "q6".into(), outputs, ..request(vec![]) };
        let text = check(asked, &simple()).unwrap_err().to_string();
        assert_eq!(text, "[request id: q6] unexpected inference output 'NOPE' for model 'simple'");
    }
}
