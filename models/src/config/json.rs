//! What the reader of the JSON form leaves out of its complaints: the key, and what is allowed.

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::places::Places;

/// A complaint about what stands at a line and a column from 1, with the key and what is allowed.
pub(super) fn sentence(
    descriptor: &MessageDescriptor,
    (text, (line, column)): (&str, (usize, usize)),
    reason: &str,
) -> String {
    let list = |names: Vec<String>| format!("{reason}; allowed are: {}", names.join(", "));
    if reason.starts_with("unrecognized field name") {
        let value = serde_json::from_str(text).ok();
        return match value.and_then(|value| stranger(descriptor, &value)) {
            Some(own) => list(own.fields().map(|field| field.name().to_owned()).collect()),
            None => reason.to_owned(),
        };
    }
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let before = text.get(..start + column).unwrap_or(text);
    let Some(path) = Places::last_key(before) else { return reason.to_owned() };
    let key = path.rsplit('.').next().unwrap_or_default();
    match kind_of(descriptor, &path) {
        Some(Kind::Enum(values)) if reason.starts_with("unrecognized enum value") => {
            let names = values.values().map(|value| value.name().to_owned()).collect();
            format!("`{key}`: {}", list(names))
        }
        _ => format!("`{key}`: {reason}"),
    }
}

/// The kind of a key by its path.
fn kind_of(descriptor: &MessageDescriptor, path: &str) -> Option<Kind> {
    let mut message = descriptor.clone();
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        let field = message.get_field_by_name(key).or_else(|| message.get_field_by_json_name(key));
        let kind = field?.kind();
        match (keys.peek(), kind) {
            (None, kind) => return Some(kind),
            (Some(_), Kind::Message(inner)) => message = inner,
            (Some(_), _) => return None,
        }
    }
    None
}

/// The first message that has a key it does not know.
fn stranger(descriptor: &MessageDescriptor, value: &Value) -> Option<MessageDescriptor> {
    value.as_object()?.iter().find_map(|(key, value)| {
        let field =
            descriptor.get_field_by_name(key).or_else(|| descriptor.get_field_by_json_name(key));
        let Some(field) = field else { return Some(descriptor.clone()) };
        let Kind::Message(inner) = field.kind() else { return None };
        if !field.is_map() {
            return match value.as_array() {
                Some(items) => items.iter().find_map(|item| stranger(&inner, item)),
                None => stranger(&inner, value),
            };
        }
        let Kind::Message(inner) = inner.map_entry_value_field().kind() else { return None };
        value.as_object()?.values().find_map(|value| stranger(&inner, value))
    })
}
