//! What an answer is worth: right or wrong by a label, or how it agrees with the answer of another model.

use models::{DataType, Signature, TensorSpec};

use super::example::Label;
use crate::answer::numbers;

/// How answers are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// The class is that of the label
    #[value(name = "top-1")]
    Top1,
    /// The codes in order are those of the label: of a list of codes without zeros, or by greedy CTC of scores
    Sequence,
    /// The class, or the codes in order, are those of the reference
    Agreement,
    /// The other row with the nearest vector is the same as by the reference
    Nearest,
    /// The mean cosine between the vector and that of the reference
    Cosine,
}

impl Metric {
    /// Whether it needs labels; else it needs a reference.
    #[must_use]
    pub fn is_by_label(self) -> bool {
        match self {
            Self::Top1 | Self::Sequence => true,
            Self::Agreement | Self::Nearest | Self::Cosine => false,
        }
    }

    /// Its name in a task's file.
    #[must_use]
    pub fn named(self, reference: &str) -> String {
        match self {
            Self::Top1 => "top-1".into(),
            Self::Sequence => "exact sequence".into(),
            Self::Agreement => format!("agreement with {reference}"),
            Self::Nearest => format!("nearest-neighbour agreement with {reference}"),
            Self::Cosine => format!("mean cosine with {reference}"),
        }
    }

    /// The output that it scores: the one asked for, else the first that it can.
    ///
    /// # Errors
    /// There is none; the text says which there are.
    pub fn output(self, signature: &Signature, asked: Option<&str>) -> Result<usize, String> {
        let names = || {
            signature
                .outputs
                .iter()
                .map(|output| output.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if let Some(name) = asked {
            let found = signature.output(name).map(|(position, _)| position);
            return found
                .ok_or_else(|| format!("there is no output '{name}'; there are {}", names()));
        }
        let skip = usize::from(signature.batched);
        let suits = |output: &TensorSpec| {
            let rank = output.dims.len().saturating_sub(skip);
            match self {
                Self::Top1 | Self::Sequence | Self::Agreement => true,
                Self::Nearest | Self::Cosine => rank == 1 && !is_whole(output.datatype),
            }
        };
        let found = signature.outputs.iter().position(suits);
        found.ok_or_else(|| {
            format!("no output is a vector of floats; --output takes one of {}", names())
        })
    }

    /// The answer in an output's row.
    ///
    /// # Errors
    /// What the row is and what is allowed.
    pub fn answer(self, datatype: DataType, inner: &[i64], row: &[u8]) -> Result<Answer, String> {
        let values = numbers(datatype, row)
            .ok_or_else(|| format!("the output is {datatype}; allowed are numbers"))?;
        if values.is_empty() {
            return Err("the output is empty".into());
        }
        Ok(match self {
            Self::Nearest | Self::Cosine => Answer::Vector(normal(&values)),
            Self::Sequence => Answer::Sequence(sequence(datatype, inner, &values)),
            Self::Top1 | Self::Agreement if values.len() == 1 && is_whole(datatype) => {
                Answer::Class(to_whole(values[0]))
            }
            Self::Agreement if inner.len() > 1 || is_whole(datatype) => {
                Answer::Sequence(sequence(datatype, inner, &values))
            }
            Self::Top1 | Self::Agreement => Answer::Class(greatest(&values)),
        })
    }
}

/// What a model said of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A class.
    Class(i64),
    /// Codes in order.
    Sequence(Vec<i64>),
    /// A vector of length one.
    Vector(Vec<f64>),
}

impl Answer {
    /// Whether it is what the label says; `names` are those of the classes.
    ///
    /// # Errors
    /// The label is of another kind; the text says what is allowed.
    pub fn is(&self, label: &Label, names: &[String]) -> Result<bool, String> {
        match (self, label) {
            (Self::Class(class), Label::Class(right)) => Ok(class == right),
            (Self::Class(class), Label::Text(right)) => {
                let place = names.iter().position(|name| name == right);
                let place = place.and_then(|place| i64::try_from(place).ok());
                let place = place.ok_or_else(|| {
                    format!("the label '{right}' is no class; allowed are whole numbers and the names of the model's label file ({} of them)", names.len())
                })?;
                Ok(*class == place)
            }
            (Self::Sequence(codes), Label::Sequence(right)) => Ok(codes == right),
            (Self::Sequence(codes), Label::Text(right)) => {
                let right = right.chars().map(|character| i64::from(u32::from(character)));
                Ok(codes.iter().copied().eq(right))
            }
            (Self::Sequence(codes), Label::Class(right)) => Ok(codes[..] == [*right]),
            (Self::Class(_), Label::Sequence(_)) => {
                Err("the label is a sequence and the answer a class; --metric sequence compares sequences".into())
            }
            (Self::Vector(_), _) => Err("a vector is compared with a reference, not with a label".into()),
        }
    }
}

/// The worth of each answer by the reference's.
#[must_use]
pub fn agreement(answers: &[Answer], reference: &[Answer], metric: Metric) -> Vec<f64> {
    let share = |same: bool| f64::from(u8::from(same));
    let pairs = answers.iter().zip(reference);
    match metric {
        Metric::Top1 | Metric::Sequence | Metric::Agreement => {
            pairs.map(|(one, other)| share(one == other)).collect()
        }
        Metric::Cosine => pairs.map(|(one, other)| product(one, other)).collect(),
        Metric::Nearest => (0..answers.len())
            .map(|row| share(nearest(answers, row) == nearest(reference, row)))
            .collect(),
    }
}

fn nearest(answers: &[Answer], row: usize) -> Option<usize> {
    let others = (0..answers.len()).filter(|&other| other != row);
    others.max_by(|&one, &other| {
        let to = |place: usize| product(&answers[row], &answers[place]);
        to(one).total_cmp(&to(other))
    })
}

fn product(one: &Answer, other: &Answer) -> f64 {
    match (one, other) {
        (Answer::Vector(one), Answer::Vector(other)) => {
            one.iter().zip(other).map(|(one, other)| one * other).sum()
        }
        _ => f64::NAN,
    }
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The mean.
    pub mean: f64,
    /// Where it would lie on other rows of the same kind, 95 times of 100.
    pub interval: (f64, f64),
}

/// 95 % of a normal distribution are nearer to its mean than so many deviations.
const Z: f64 = 1.96;

impl Score {
    /// Of shares that are 0 or 1 the interval is Wilson's, else that of a normal mean.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rows are fewer than 2^53")]
    pub fn of(worth: &[f64]) -> Self {
        let count = (worth.len() as f64).max(1.0);
        let mean = worth.iter().sum::<f64>() / count;
        if worth.iter().all(|&worth| worth == 0.0 || worth == 1.0) {
            let scale = 1.0 + Z * Z / count;
            let middle = (mean + Z * Z / (2.0 * count)) / scale;
            let half =
                Z * (mean * (1.0 - mean) / count + (Z / (2.0 * count)).powi(2)).sqrt() / scale;
            return Self { mean, interval: ((middle - half).max(0.0), (middle + half).min(1.0)) };
        }
        let spread =
            worth.iter().map(|worth| (worth - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        let half = Z * (spread / count).sqrt();
        Self { mean, interval: (mean - half, mean + half) }
    }
}

fn is_whole(datatype: DataType) -> bool {
    match datatype {
        DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => true,
        DataType::Bool
        | DataType::Fp16
        | DataType::Bf16
        | DataType::Fp32
        | DataType::Fp64
        | DataType::Bytes => false,
    }
}

/// Raw integers as numbers; `None` for other types. Beyond 2^53 they are rounded, as no class or code is.
#[must_use]
pub fn whole_numbers(datatype: DataType, raw: &[u8]) -> Option<Vec<i64>> {
    let values = numbers(datatype, raw).filter(|_| is_whole(datatype))?;
    Some(values.into_iter().map(to_whole).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "classes and codes are far below 2^53")]
fn to_whole(value: f64) -> i64 {
    value as i64
}

/// Where the greatest value is; of equals the first, and never where none is a number.
fn greatest(values: &[f64]) -> i64 {
    let numbers = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let best = numbers.rev().max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.and_then(|(place, _)| i64::try_from(place).ok()).unwrap_or(-1)
}

/// Codes in order. Of whole numbers: all but zeros. Of scores by step and code: the best code of each step, runs of
/// one code taken as one, and code 0, the blank of CTC, left out.
fn sequence(datatype: DataType, inner: &[i64], values: &[f64]) -> Vec<i64> {
    if is_whole(datatype) {
        return values.iter().map(|&value| to_whole(value)).filter(|&code| code != 0).collect();
    }
    let codes = inner.last().and_then(|&codes| usize::try_from(codes).ok()).unwrap_or(1).max(1);
    let mut best: Vec<i64> = values.chunks(codes).map(greatest).collect();
    best.dedup();
    best.retain(|&code| code != 0);
    best
}

fn normal(values: &[f64]) -> Vec<f64> {
    let length =
        values.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    values.iter().map(|value| value / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_class_is_the_number_said_or_the_greatest_score() {
        let said = Metric::Top1.answer(DataType::Int64, &[1], &7_i64.to_le_bytes());
        assert_eq!(said, Ok(Answer::Class(7)));
        let scores = floats(&[0.1, f32::NAN, 0.8, 0.8]);
        assert_eq!(Metric::Top1.answer(DataType::Fp32, &[4], &scores), Ok(Answer::Class(2)));
        let names = ["cat".to_owned(), "dog".to_owned(), "cow".to_owned()];
        let cow = Answer::Class(2);
        assert_eq!(cow.is(&Label::Text("cow".into()), &names), Ok(true));
        assert_eq!(cow.is(&Label::Class(1), &names), Ok(false));
        let error = cow.is(&Label::Text("hen".into()), &names).unwrap_err();
        assert!(error.starts_with("the label 'hen' is no class; allowed are"), "{error}");
    }

    #[test]
    fn a_text_is_read_from_codes_and_from_scores_by_step() {
        let codes: Vec<u8> =
            [0_i32, 111, 0, 107, 0].iter().flat_map(|code| code.to_le_bytes()).collect();
        let read = Metric::Sequence.answer(DataType::Int32, &[5], &codes).unwrap();
        assert_eq!(read.is(&Label::Text("ok".into()), &[]), Ok(true));
        // Steps: 2, 2, blank, 2, 1.
        let scores = floats(&[0., 0., 1., 0., 0., 1., 1., 0., 0., 0., 0., 1., 0., 1., 0.]);
        let read = Metric::Sequence.answer(DataType::Fp32, &[5, 3], &scores).unwrap();
        assert_eq!(read.is(&Label::Sequence(vec![2, 2, 1]), &[]), Ok(true));
    }

    #[test]
    fn vectors_agree_where_they_have_the_same_nearest_neighbour() {
        let vectors = |rows: &[[f32; 2]]| -> Vec<Answer> {
            let answer =
                |row: &[f32; 2]| Metric::Nearest.answer(DataType::Fp32, &[2], &floats(row));
            rows.iter().map(|row| answer(row).unwrap()).collect()
        };
        let reference = vectors(&[[1.0, 0.0], [2.0, 0.1], [0.0, 3.0], [0.1, 1.0]]);
        let same = vectors(&[[1.0, 0.0], [5.0, 0.5], [0.0, 1.0], [0.2, 1.0]]);
        assert_eq!(agreement(&same, &reference, Metric::Nearest), [1.0; 4]);
        let other = vectors(&[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.1]]);
        assert_eq!(agreement(&other, &reference, Metric::Nearest), [0.0; 4]);
        let cosine = agreement(&other, &reference, Metric::Cosine);
        assert!((cosine[0] - 1.0).abs() < 1e-9 && cosine[1] < 0.1, "{cosine:?}");
    }

    #[test]
    fn intervals_are_those_of_the_textbook() {
        let worth: Vec<f64> = (0..100).map(|row| f64::from(u8::from(row < 90))).collect();
        let score = Score::of(&worth);
        assert!((score.mean - 0.9).abs() < 1e-12);
        // Wilson's interval of 90 in 100.
        assert!(
            (score.interval.0 - 0.8256).abs() < 1e-4 && (score.interval.1 - 0.9448).abs() < 1e-4
        );
        assert_eq!(Score::of(&[1.0; 10]).interval.1, 1.0);
        let score = Score::of(&[0.9, 0.95, 1.0]);
        assert!((score.interval.1 - score.mean - 1.96 * 0.05 / 3_f64.sqrt()).abs() < 1e-9);
    }
}
