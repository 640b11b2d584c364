//! Rows taken out of a request, and rows of several answers put together.

use bytes::{Bytes, BytesMut};
use gpu::InputPart;
use models::{DataType, TensorSpec};

use crate::infer::OutputTensor;

/// Some rows of a request's tensors, in order. All of them cost nothing.
#[must_use]
pub fn take(part: &InputPart, specs: &[TensorSpec], rows: &[u32]) -> InputPart {
    if rows.len() == part.rows as usize {
        return part.clone();
    }
    let tensor = |(data, spec): (&Bytes, &TensorSpec)| {
        let cuts = cuts(data, spec.datatype, part.rows as usize);
        gather(rows.iter().map(|&row| data.slice(cuts[row as usize]..cuts[row as usize + 1])))
    };
    let tensors = part.tensors.iter().zip(specs).map(tensor).collect();
    InputPart::new(u32::try_from(rows.len()).expect("some of counted rows"), tensors)
}

/// Tensors of the same outputs by several variants: of each row, whose it is and which row of that one's.
/// `None` where they do not fit each other.
#[must_use]
pub fn join(
    answers: &[(Vec<OutputTensor>, usize)],
    rows: &[(usize, usize)],
) -> Option<Vec<OutputTensor>> {
    let (first, _) = answers.first()?;
    (0..first.len()).map(|output| join_output(answers, rows, output)).collect()
}

fn join_output(
    answers: &[(Vec<OutputTensor>, usize)],
    rows: &[(usize, usize)],
    output: usize,
) -> Option<OutputTensor> {
    let first = answers.first()?.0.get(output)?;
    let mut parts = Vec::new();
    for (tensors, count) in answers {
        let tensor = tensors.get(output)?;
        let fits = tensor.datatype == first.datatype
            && tensor.shape.first() == i64::try_from(*count).ok().as_ref()
            && tensor.shape[1..] == first.shape[1..];
        if !fits {
            return None;
        }
        parts.push((&tensor.data, cuts(&tensor.data, tensor.datatype, *count)));
    }
    let row = |&(by, row): &(usize, usize)| {
        let (data, cuts) = parts.get(by)?;
        Some(data.slice(*cuts.get(row)?..*cuts.get(row + 1)?))
    };
    let data: Option<Vec<Bytes>> = rows.iter().map(row).collect();
    let mut shape = first.shape.clone();
    shape[0] = i64::try_from(rows.len()).ok()?;
    let data = gather(data?.into_iter());
    Some(OutputTensor { name: first.name.clone(), datatype: first.datatype, shape, data })
}

fn gather(parts: impl Iterator<Item = Bytes>) -> Bytes {
    let mut all = BytesMut::new();
    parts.for_each(|part| all.extend_from_slice(&part));
    all.freeze()
}

/// Where each row begins, and the end of the last.
fn cuts(data: &Bytes, datatype: DataType, rows: usize) -> Vec<usize> {
    if datatype.size().is_some() {
        return (0..=rows).map(|row| data.len() / rows.max(1) * row).collect();
    }
    let mut starts = vec![0];
    let mut at = 0;
    while let Some(length) = data.get(at..at + 4).and_then(|length| length.try_into().ok()) {
        at = (at + 4 + u32::from_le_bytes(length) as usize).min(data.len());
        starts.push(at);
    }
    let per_row = (starts.len() - 1) / rows.max(1);
    (0..=rows).map(|row| starts[row * per_row]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: DataType) -> TensorSpec {
        TensorSpec { name: "x".into(), datatype, dims: Vec::new() }
    }

    fn texts(texts: &[&str]) -> Bytes {
        let mut data = Vec::new();
        for text in texts {
            data.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            data.extend(text.as_bytes());
        }
        data.into()
    }

    #[test]
    fn rows_are_taken_out_of_numbers_and_of_texts() {
        let numbers = Bytes::from(vec![1, 1, 2, 2, 3, 3]);
        let tensors = vec![numbers, texts(&["a", "bb", "", "dddd", "e", "f"])];
        let part = InputPart::new(3, tensors);
        let some = take(&part, &[spec(DataType::Uint8), spec(DataType::Bytes)], &[0, 2]);
        assert_eq!(some.rows, 2);
        assert_eq!(some.tensors[0][..], [1, 1, 3, 3]);
        assert_eq!(some.tensors[1], texts(&["a", "bb", "e", "f"]));
    }

    #[test]
    fn rows_of_several_answers_are_put_together_in_the_requests_order() {
        let tensor = |data: &[u8], rows: usize| {
            let shape = vec![i64::try_from(rows).unwrap(), 2];
            let data = Bytes::copy_from_slice(data);
            OutputTensor { name: "y".into(), datatype: DataType::Uint8, shape, data }
        };
        let answers = [(vec![tensor(&[1, 1, 2, 2, 3, 3], 3)], 3), (vec![tensor(&[9, 9], 1)], 1)];
        let joined = join(&answers, &[(0, 0), (1, 0), (0, 2)]).unwrap();
        assert_eq!(
            (joined[0].shape.as_slice(), &joined[0].data[..]),
            (&[3, 2][..], &[1, 1, 9, 9, 3, 3][..])
        );
        let other = [(vec![tensor(&[1, 1], 1)], 1), (vec![tensor(&[9, 9], 2)], 2)];
        assert_eq!(join(&other, &[(0, 0), (1, 0)]).map(|_| ()), Some(()));
        let misfit = [(vec![tensor(&[1, 1], 1)], 1), (vec![tensor(&[9, 9], 1)], 2)];
        assert!(join(&misfit, &[(0, 0), (1, 0)]).is_none());
    }
}
