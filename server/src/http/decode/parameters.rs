//! `parameters` of a request, an input and an output: which mean something, and which are refused.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use models::Goals;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::goals::{self, Stated};
use crate::status::Failure;

/// Most parameters of one object.
const PARAMETERS_MAX: usize = 256;

/// One `parameters` object, in the client's order; `null` is as good as absent.
#[derive(Default)]
pub(super) struct Parameters<'a>(Vec<(Text<'a>, Scalar<'a>)>);

/// A string or key, borrowed from the body unless it has escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Number(f64),
    Text(Cow<'a, str>),
}

/// What the parameters of a request ask for.
pub(super) struct RequestParameters {
    pub(super) goals: Goals,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: u64,
    pub(super) binary: bool,
}

/// What the parameters of an input say.
pub(super) struct InputParameters {
    pub(super) binary_size: Option<u64>,
    pub(super) shared_memory: bool,
}

/// What the parameters of an output ask for.
pub(super) struct OutputParameters {
    pub(super) binary: Option<bool>,
    pub(super) classification: Option<u32>,
}

impl Parameters<'_> {
    /// Unknown keys are for the model, and ignored; so are those of sequences, which are served like any other request.
    pub(super) fn request(&self) -> Result<RequestParameters, Failure> {
        let mut request = RequestParameters {
            goals: Goals::default(),
            timeout: None,
            priority: 0,
            binary: false,
        };
        for (Text(key), value) in &self.0 {
            match key.as_ref() {
                "timeout" => {
                    let micros = value.unsigned(key)?;
                    // Triton's default, which means none.
                    let timeout = (micros > 0).then(|| Duration::from_micros(micros));
                    request.timeout = request.timeout.into_iter().chain(timeout).min();
                }
                goal if goals::is_goal(goal) => {
                    let timeout = goals::state(&mut request.goals, goal, &value.stated())?;
                    request.timeout = request.timeout.into_iter().chain(timeout).min();
                }
                "priority" => request.priority = value.unsigned(key)?,
                "binary_data_output" => request.binary = value.bool(key)?,
                reserved if reserved.starts_with("triton_") || reserved == "headers" => {
                    return Err(Failure::Invalid(format!(
                        "parameter '{reserved}' is reserved, it cannot be set by a request"
                    )));
                }
                _ => {}
            }
        }
        Ok(request)
    }

    pub(super) fn input(&self, name: &str) -> Result<InputParameters, Failure> {
        let mut input = InputParameters { binary_size: None, shared_memory: false };
        for (Text(key), value) in &self.0 {
            match key.as_ref() {
                "binary_data_size" => {
                    input.binary_size =
                        Some(value.unsigned(key).map_err(|failure| of("input", name, &failure))?);
                }
                "shared_memory_region" => input.shared_memory = true,
                _ => {}
            }
        }
        Ok(input)
    }

    pub(super) fn output(&self, name: &str) -> Result<OutputParameters, Failure> {
        let mut output = OutputParameters { binary: None, classification: None };
        for (Text(key), value) in &self.0 {
            match key.as_ref() {
                "binary_data" => {
                    output.binary =
                        Some(value.bool(key).map_err(|failure| of("output", name, &failure))?);
                }
                "classification" => {
                    let top =
                        value.unsigned(key).map_err(|failure| of("output", name, &failure))?;
                    // More than there are classes means all of them; zero means the plain output.
                    output.classification =
                        (top > 0).then(|| u32::try_from(top).unwrap_or(u32::MAX));
                }
                "shared_memory_region" => return Err(no_shared_memory("output", name)),
                _ => {}
            }
        }
        Ok(output)
    }
}

/// The refusal of shared memory, which this server does not serve.
pub(super) fn no_shared_memory(kind: &str, name: &str) -> Failure {
    Failure::Unsupported(format!(
        "shared memory is not supported by this server: send the data of {kind} '{name}' in the body, in binary"
    ))
}

fn of(kind: &str, name: &str, failure: &Failure) -> Failure {
    Failure::Invalid(format!("{kind} '{name}': {failure}"))
}

impl Scalar<'_> {
    fn stated(&self) -> Stated<'_> {
        match self {
            Self::Null => Stated::Nothing,
            Self::Bool(_) => Stated::Else,
            #[expect(clippy::cast_precision_loss, reason = "no goal is near 2^53")]
            Self::Unsigned(number) => Stated::Number(*number as f64),
            Self::Number(number) => Stated::Number(*number),
            Self::Text(text) => Stated::Text(text),
        }
    }

    fn unsigned(&self, key: &str) -> Result<u64, Failure> {
        match self {
            Self::Unsigned(number) => Ok(*number),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {
                Err(Failure::Invalid(format!(
                    "parameter '{key}' must be a whole number that is not negative, got: {self}"
                )))
            }
        }
    }

    fn bool(&self, key: &str) -> Result<bool, Failure> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::Null | Self::Unsigned(_) | Self::Number(_) | Self::Text(_) => Err(
                Failure::Invalid(format!("parameter '{key}' must be true or false, got: {self}")),
            ),
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => write!(f, "{:?}", value.chars().take(40).collect::<String>()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Parameters<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Parameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Parameters::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, Scalar<'de>>()? {
                    if entries.len() == PARAMETERS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "more than {PARAMETERS_MAX} parameters"
                        )));
                    }
                    if !matches!(value, Scalar::Null) {
                        entries.push((key, value));
                    }
                }
                Ok(Parameters(entries))
            }
        }
        from.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a bool as a parameter")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Unsigned(value))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a negative number is only shown in a message"
            )]
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(value))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(text.to_owned().into()))
            }
        }
        from.deserialize_any(Value)
    }
}
