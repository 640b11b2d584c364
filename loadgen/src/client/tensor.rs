//! An input: as its model's metadata describe it, and with its elements.

use std::collections::BTreeMap;

use models::DataType;
use serde::Deserialize;

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
}
