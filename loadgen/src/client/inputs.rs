//! What a share of the requests sends: from a file, or any values that its model can run on, made from the metadata.

use models::DataType;
use rand::{Rng, RngExt};

use super::tensor::{InputMetadata, Tensor, elements, shape};
use super::{Plan, Source, file};
use crate::Error;

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
