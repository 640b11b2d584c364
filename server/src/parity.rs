//! Sums of requests, and the answer of one of them from those of the others and of the sum.
//!
//! For f(x) = Wx + c the answers to x, y and x + y say: f(x) = f(x + y) + f(0) - f(y). What a number that is much larger
//! than the others leaves of them is rounding error, so that only like is added to like.

use std::sync::Arc;

use bytes::Bytes;
use gpu::{InputPart, Output};
use models::{DataType, TensorSpec};

use crate::answer;
use crate::outcome::Answer;
use crate::served::Served;

/// By how much the largest numbers of a row may differ between the terms of a sum. A sum of 32-bit numbers is right to
/// 6e-8 of the largest of them, and so to 4e-6 of each.
const ALIKE: f64 = 64.0;

/// Requests with larger numbers, or larger sums, share no parity request: nobody has seen whether the model is linear there.
pub(crate) const LARGEST: f64 = 1e5;

/// The numbers of a request or an answer, by tensor.
pub(crate) type Numbers = Vec<Vec<f64>>;

/// The numbers of an answer; `None` if there are none.
#[must_use]
pub(crate) fn numbers(answer: &Answer, served: &Served) -> Option<Numbers> {
    let outputs = served.signature.outputs.iter().enumerate();
    let own = outputs.map(|(index, spec)| {
        let tensor = answer::own_rows(answer, index, &spec.name, served.into()).ok()?;
        answer::numbers(tensor.datatype, &tensor.data)
    });
    own.collect()
}

/// A request for the sum of these, which have equally many rows; `None` where too little of one would be left in it.
#[must_use]
pub(crate) fn sum(parts: &[InputPart], specs: &[TensorSpec]) -> Option<InputPart> {
    let rows = parts.first()?.rows;
    let tensor = |(index, spec): (usize, &TensorSpec)| {
        let own = |part: &InputPart| answer::numbers(spec.datatype, part.tensors.get(index)?);
        let terms: Vec<Vec<f64>> = parts.iter().map(own).collect::<Option<_>>()?;
        let sum = added(&terms)?;
        let alike = by_row(sum.len(), rows).all(|row| {
            let peaks = || terms.iter().map(|term| peak(&term[row.clone()]));
            peaks().fold(0.0, f64::max) <= ALIKE * peaks().fold(f64::INFINITY, f64::min)
        });
        alike.then(|| bytes(spec.datatype, &sum))
    };
    let tensors = specs.iter().enumerate().map(tensor).collect::<Option<_>>()?;
    Some(InputPart::new(rows, tensors))
}

/// Whether a request has only numbers up to [`LARGEST`].
#[must_use]
pub(crate) fn within_reach(part: &InputPart, specs: &[TensorSpec]) -> bool {
    specs.iter().zip(&part.tensors).all(|(spec, tensor)| {
        answer::numbers(spec.datatype, tensor).is_some_and(|numbers| peak(&numbers) <= LARGEST)
    })
}

/// The one answer of so many rows that is missing beside `others` of the answer to their sum; `zero` is that to a row of
/// zeros. `None` where it would not be right to its digits.
#[must_use]
pub(crate) fn missing(
    sum: &Numbers,
    others: &[Numbers],
    zero: &Numbers,
    rows: u32,
) -> Option<Numbers> {
    let output = |(index, sum): (usize, &Vec<f64>)| {
        let base = zero.get(index)?.iter().map(|at_zero| at_zero * others.len() as f64);
        let base: Vec<f64> = base.collect::<Vec<_>>().repeat(rows as usize);
        let other =
            |other: &Numbers| Some(other.get(index)?.iter().map(|number| -number).collect());
        let mut terms: Vec<Vec<f64>> = others.iter().map(other).collect::<Option<_>>()?;
        terms.extend([sum.clone(), base]);
        let own = added(&terms)?;
        let mut rows = by_row(own.len(), rows);
        let right = rows.all(|row| {
            let largest = terms.iter().map(|term| peak(&term[row.clone()])).fold(0.0, f64::max);
            largest <= ALIKE * peak(&own[row])
        });
        right.then_some(own)
    };
    sum.iter().enumerate().map(output).collect()
}

/// An answer of as many rows with these numbers in place of its own.
#[must_use]
pub(crate) fn instead(of: &Answer, numbers: &Numbers, served: &Served) -> Option<Answer> {
    let specs = served.signature.outputs.iter().enumerate();
    let output = |((index, spec), numbers): ((usize, &TensorSpec), &Vec<f64>)| {
        let shape = answer::own_rows(of, index, &spec.name, served.into()).ok()?.shape;
        Some(Output { datatype: spec.datatype, shape, data: bytes(spec.datatype, numbers) })
    };
    let outputs: Option<Vec<Output>> = specs.zip(numbers).map(output).collect();
    Some(Answer { outputs: Arc::new(outputs?), row: 0, batch: of.rows, ..of.clone() })
}

/// Numbers as FP64, or else as FP32, in the encoding of requests and answers.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "they came from numbers of that type")]
pub(crate) fn bytes(datatype: DataType, numbers: &[f64]) -> Bytes {
    if datatype == DataType::Fp64 {
        return numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    }
    numbers.iter().flat_map(|&number| (number as f32).to_le_bytes()).collect()
}

/// Their sum, if they are equally many and finite.
fn added(terms: &[Vec<f64>]) -> Option<Vec<f64>> {
    let (first, rest) = terms.split_first()?;
    let mut sum = first.clone();
    for term in rest {
        if term.len() != sum.len() {
            return None;
        }
        sum.iter_mut().zip(term).for_each(|(sum, number)| *sum += number);
    }
    sum.iter().all(|number| number.is_finite()).then_some(sum)
}

/// The places of each row's numbers.
fn by_row(numbers: usize, rows: u32) -> impl Iterator<Item = std::ops::Range<usize>> {
    let width = numbers / rows.max(1) as usize;
    (0..rows as usize).map(move |row| row * width..(row + 1) * width)
}

fn peak(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |peak, number| peak.max(number.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: u32, numbers: &[f64]) -> InputPart {
        InputPart::new(rows, vec![bytes(DataType::Fp32, numbers)])
    }

    fn specs() -> [TensorSpec; 1] {
        [TensorSpec { name: "x".into(), datatype: DataType::Fp32, dims: Vec::new() }]
    }

    fn sum_of(parts: &[InputPart]) -> Option<Vec<f64>> {
        let sum = sum(parts, &specs())?;
        answer::numbers(DataType::Fp32, &sum.tensors[0])
    }

    #[test]
    fn rows_are_added_place_by_place_if_they_are_alike() {
        let added = sum_of(&[part(2, &[1.0, 2.0, 30.0, 40.0]), part(2, &[0.5, -2.0, 1.0, -10.0])]);
        assert_eq!(added, Some(vec![1.5, 0.0, 31.0, 30.0]));
        assert_eq!(sum_of(&[part(1, &[0.0, 0.0]), part(1, &[0.0, 0.0])]), Some(vec![0.0, 0.0]));
        for (what, one, other) in [
            ("another size", vec![1.0, 1.0], vec![65.0, 1.0]),
            ("nothing beside something", vec![0.0, 0.0], vec![1.0, 1.0]),
            ("not a number", vec![1.0, 1.0], vec![f64::NAN, 1.0]),
            ("no end", vec![1.0, 1.0], vec![f64::INFINITY, 1.0]),
            ("other lengths", vec![1.0, 1.0], vec![1.0]),
        ] {
            assert_eq!(sum_of(&[part(1, &one), part(1, &other)]), None, "{what}");
        }
        let rows = [part(2, &[1.0, 1.0, 50.0, 50.0]), part(2, &[100.0, 1.0, 50.0, 50.0])];
        assert_eq!(sum_of(&rows), None, "each row is held against its own");
    }

    #[test]
    fn what_a_sum_is_missing_follows_from_the_others_unless_rounding_ate_it() {
        // f(x) = 3x + 5 of rows of one number.
        let of = |numbers: &[f64]| vec![numbers.iter().map(|x| 3.0 * x + 5.0).collect::<Vec<_>>()];
        let zero = of(&[0.0]);
        let others = [of(&[1.0, 2.0]), of(&[-4.0, 8.0])];
        let own = missing(&of(&[7.0, 17.0]), &others, &zero, 2);
        assert_eq!(own, Some(of(&[10.0, 7.0])));
        let tiny = missing(&of(&[1.0]), &[of(&[2.65])], &zero, 1);
        assert_eq!(tiny, None, "0.05 of numbers beyond 64 times that");
        assert_eq!(missing(&of(&[f64::NAN]), &[of(&[1.0])], &zero, 1), None);
        assert_eq!(missing(&of(&[1.0]), &[of(&[1.0, 2.0])], &zero, 1), None, "another length");
    }
}
