//! Inputs made from a model's metadata: any values that a model can run on.

use std::collections::BTreeMap;

use models::DataType;
use rand::{Rng, RngExt};
use serde::Deserialize;

use super::{Plan, Source, file};
use crate::Error;

/// Elements of an input at most; gRPC has messages of up to 4 GiB.
const ELEMENTS_MAX: usize = 1 << 29;

/// An input (or output) as the metadata of either protocol describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct InputMetadata {
    /// Its name.
    pub name: String,
    /// The protocol's name of its type.
    pub datatype: String,
    /// Its shape, -1 where an axis varies.
    pub shape: Vec<i64>,
}

/// An input with its elements, little-endian and row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) shape: Vec<i64>,
    pub(super) raw: Vec<u8>,
}

/// The requests of a share, sent in turn: from its file, or one that is made from the metadata.
pub(super) fn requests(
    plan: &Plan,
    share: usize,
    inputs: Option<&[InputMetadata]>,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<Tensor>>, Error> {
    let source = plan.source(share);
    let model = &plan.mix.shares()[share].model;
    if let Some(inputs) = inputs {
        let own = plan.sources.get(share).into_iter().flat_map(|source| source.shapes.keys());
        for name in own {
            known(model, name, inputs)?;
        }
    }
    match &source.input {
        Some(path) => file::requests(path, inputs, &source),
        None => Ok(vec![tensors(model, inputs.unwrap_or_default(), &source, rng)?]),
    }
}

/// Refuses a shape of an input that the model does not have.
fn known(model: &str, name: &str, inputs: &[InputMetadata]) -> Result<(), Error> {
    if inputs.iter().any(|input| input.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    Err(Error::Input {
        model: model.to_owned(),
        input: name.to_owned(),
        problem: format!("has a shape, but the model has only {}", names.join(", ")),
    })
}

/// Makes all inputs of a model. Floating-point elements lie within 0 and 1; integers are 1 and strings `a`, which token
/// ids, masks and lengths can all be.
fn tensors(
    model: &str,
    inputs: &[InputMetadata],
    source: &Source,
    rng: &mut impl Rng,
) -> Result<Vec<Tensor>, Error> {
    let tensor = |input: &InputMetadata| {
        let wrong = |problem: String| Error::Input {
            model: model.to_owned(),
            input: input.name.clone(),
            problem,
        };
        let datatype = DataType::from_name(&input.datatype)
            .ok_or_else(|| wrong(format!("has the unknown type '{}'", input.datatype)))?;
        let shape = shape(input, source.rows.unwrap_or(1), &source.shapes).map_err(wrong)?;
        let elements =
            elements(&shape).ok_or_else(|| wrong(format!("cannot have the shape {shape:?}")))?;
        let mut raw = Vec::with_capacity(elements * datatype.size().unwrap_or(5));
        for _ in 0..elements {
            push(&mut raw, datatype, rng);
        }
        Ok(Tensor { name: input.name.clone(), datatype, shape, raw })
    };
    inputs.iter().map(tensor).collect()
}

/// How many elements a shape has, where that is a number of a size that can be sent.
pub(super) fn elements(shape: &[i64]) -> Option<usize> {
    let product = shape.iter().try_fold(1_i64, |product, axis| product.checked_mul(*axis))?;
    usize::try_from(product).ok().filter(|elements| *elements <= ELEMENTS_MAX)
}

pub(super) fn shape(
    input: &InputMetadata,
    rows: u64,
    shapes: &BTreeMap<String, Vec<i64>>,
) -> Result<Vec<i64>, String> {
    if let Some(shape) = shapes.get(&input.name) {
        return Ok(shape.clone());
    }
    let rows = i64::try_from(rows).map_err(|_| "cannot have that many rows".to_owned())?;
    let mut shape = input.shape.clone();
    match shape.first_mut() {
        Some(first) if *first == -1 => *first = rows,
        Some(first) if rows != 1 && *first != rows => {
            return Err(format!("has the fixed shape {:?}: leave --rows at 1", input.shape));
        }
        Some(_) | None => {}
    }
    if shape.iter().any(|axis| *axis < 0) {
        return Err(format!(
            "has the shape {:?}: give it with --shape {}:1,...",
            input.shape, input.name
        ));
    }
    Ok(shape)
}

fn push(raw: &mut Vec<u8>, datatype: DataType, rng: &mut impl Rng) {
    match datatype {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => raw.push(1),
        DataType::Uint16 | DataType::Int16 => raw.extend(1u16.to_le_bytes()),
        DataType::Uint32 | DataType::Int32 => raw.extend(1u32.to_le_bytes()),
        DataType::Uint64 | DataType::Int64 => raw.extend(1u64.to_le_bytes()),
        // One half in either format.
        DataType::Fp16 => raw.extend(0x3800u16.to_le_bytes()),
        DataType::Bf16 => raw.extend(0x3f00u16.to_le_bytes()),
        DataType::Fp32 => raw.extend(rng.random::<f32>().to_le_bytes()),
        DataType::Fp64 => raw.extend(rng.random::<f64>().to_le_bytes()),
        DataType::Bytes => raw.extend([1, 0, 0, 0, b'a']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: &[i64]) -> InputMetadata {
        InputMetadata { name: "x".into(), datatype: "FP32".into(), shape: shape.to_vec() }
    }

    #[test]
    fn the_first_axis_takes_the_rows_and_the_rest_must_be_known() {
        let none = BTreeMap::new();
        assert_eq!(shape(&input(&[-1, 64]), 4, &none), Ok(vec![4, 64]));
        assert_eq!(shape(&input(&[1, 64]), 1, &none), Ok(vec![1, 64]));
        assert_eq!(shape(&input(&[]), 1, &none), Ok(vec![]));
        assert!(shape(&input(&[1, 64]), 2, &none).is_err());
        assert!(shape(&input(&[-1, -1]), 1, &none).unwrap_err().contains("--shape x:"));
        let shapes = BTreeMap::from([("x".to_owned(), vec![1, 16])]);
        assert_eq!(shape(&input(&[-1, -1]), 1, &shapes), Ok(vec![1, 16]));
    }

    #[test]
    fn an_element_has_the_size_of_its_type() {
        let mut rng = rand_pcg::Pcg64Mcg::new(1);
        for datatype in DataType::ALL {
            let mut raw = Vec::new();
            push(&mut raw, datatype, &mut rng);
            assert_eq!(raw.len(), datatype.size().unwrap_or(5), "{datatype}");
        }
    }
}
