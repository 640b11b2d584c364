//! The JSON before the tensors, straight into owned names and shapes; `data` stay text of the body.

use std::fmt;
use std::marker::PhantomData;

use models::DataType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::parameters::Parameters;
use crate::http::words::{Object, Whole};
use crate::tensor::RANK_MAX;

/// Most inputs, and most outputs, that one request may name: far above any model served, far below what would hurt.
pub(super) const TENSORS_MAX: usize = 1024;

#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub(super) id: Option<String>,
    #[serde(borrow, default)]
    pub(super) parameters: Parameters<'a>,
    #[serde(borrow)]
    pub(super) inputs: AtMost<Object<Input<'a>>, TENSORS_MAX>,
    #[serde(borrow)]
    pub(super) outputs: Option<AtMost<Object<Output<'a>>, TENSORS_MAX>>,
}

#[derive(Deserialize)]
pub(super) struct Input<'a> {
    pub(super) name: String,
    pub(super) shape: AtMost<Whole, RANK_MAX>,
    pub(super) datatype: Named,
    #[serde(borrow, default)]
    pub(super) parameters: Parameters<'a>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    pub(super) name: String,
    #[serde(borrow, default)]
    pub(super) parameters: Parameters<'a>,
}

/// An element type by its protocol name.
pub(super) struct Named(pub(super) DataType);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a datatype such as FP32")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Named, E> {
                DataType::from_name(name)
                    .map(Named)
                    .ok_or_else(|| E::custom(format_args!("unknown datatype '{name}'")))
            }
        }
        from.deserialize_str(Name)
    }
}

/// A list of at most `MAX` entries.
pub(super) struct AtMost<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for AtMost<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = AtMost<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() == MAX {
                        return Err(A::Error::custom(format_args!(
                            "a list has more than the {MAX} entries allowed"
                        )));
                    }
                    entries.push(entry);
                }
                Ok(AtMost(entries))
            }
        }
        from.deserialize_seq(List(PhantomData))
    }
}
