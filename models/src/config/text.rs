//! config.pbtxt as text: what the parser needs, and its complaints with line, key and what is allowed.

use prost_reflect::text_format::ParseError;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use crate::complaint::line_of;

/// Reads the text form of a message.
///
/// # Errors
/// The line, counted from 1, and a sentence that names the key.
pub(super) fn parse(
    descriptor: MessageDescriptor,
    text: &str,
) -> Result<DynamicMessage, (usize, String)> {
    let text = with_colons(text);
    DynamicMessage::parse_text_format(descriptor.clone(), &text).map_err(|error| {
        let offset = offset(&error).unwrap_or(text.len()).min(text.len());
        let reason = with_allowed(&descriptor, &error.to_string());
        let reason = match key_before(&text.as_bytes()[..offset]) {
            Some(key) if !names_key(&reason, &key) => format!("`{key}`: {reason}"),
            Some(_) | None => reason,
        };
        (line_of(&text, offset), reason)
    })
}

fn names_key(reason: &str, key: &str) -> bool {
    reason.starts_with("field '") || reason.contains(&format!("'{key}'"))
}

/// Puts a colon before each list that has none: `input [ { .. } ]` is legal text, but not to our parser. Lines stay.
fn with_colons(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars();
    let mut last = ' ';
    while let Some(c) = chars.next() {
        match c {
            '#' => {
                out.push(c);
                out.extend(chars.by_ref().take_while(|&c| c != '\n'));
                out.push('\n');
                continue;
            }
            '"' | '\'' => {
                out.push(c);
                copy_string(c, &mut chars, &mut out);
            }
            '[' if last.is_alphanumeric() || last == '_' => out.push_str(":["),
            _ => out.push(c),
        }
        if !c.is_whitespace() {
            last = c;
        }
    }
    out
}

/// Copies the rest of a string literal, its closing quote included.
fn copy_string(quote: char, chars: &mut std::str::Chars<'_>, out: &mut String) {
    while let Some(c) = chars.next() {
        out.push(c);
        if c == quote {
            return;
        }
        if c == '\\' {
            out.extend(chars.next());
        }
    }
}

/// The offset of a parser's complaint.
fn offset(error: &ParseError) -> Option<usize> {
    let labels = miette::Diagnostic::labels(error)?;
    labels.map(|label| label.offset()).next()
}

/// Adds the allowed keys to a complaint about an unknown one, and the allowed values of an enum.
fn with_allowed(descriptor: &MessageDescriptor, text: &str) -> String {
    if !text.contains("not found") {
        return text.to_owned();
    }
    let pool = descriptor.parent_pool();
    let named = |full_name: &str| text.ends_with(&format!("'{full_name}'"));
    let message = pool.all_messages().find(|message| named(message.full_name()));
    let values = pool.all_enums().find(|values| named(values.full_name()));
    let allowed: Vec<_> = match (message, values) {
        (Some(message), _) => message.fields().map(|field| field.name().to_owned()).collect(),
        (None, Some(values)) => values.values().map(|value| value.name().to_owned()).collect(),
        (None, None) => return text.to_owned(),
    };
    format!("{text}; allowed are: {}", allowed.join(", "))
}

/// The key that the end of `text` belongs to: the name just before it, else the one whose value it stands in.
fn key_before(text: &[u8]) -> Option<String> {
    let (mut key, mut name) = (None, None);
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at += 1;
        match text[start] {
            b'#' => at += text[at..].iter().take_while(|&&byte| byte != b'\n').count(),
            quote @ (b'"' | b'\'') => {
                at += literal(quote, &text[at..]);
                name = None;
            }
            b':' | b'{' | b'<' => key = name.take().or(key),
            b'}' | b'>' | b']' => (key, name) = (None, None),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                at += text[at..].iter().take_while(is_name).count();
                name = Some(&text[start..at]);
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => name = None,
        }
    }
    name.or(key).map(|key| String::from_utf8_lossy(key).into_owned())
}

/// The length of the rest of a string literal, its closing quote included.
pub(super) fn literal(quote: u8, text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_messages_need_no_colon_and_text_in_quotes_or_comments_stays() {
        let text = "a [ {} ] # b [ \nc: \"d [\\\" e [\" f: [ 1 ]";
        assert_eq!(with_colons(text), "a :[ {} ] # b [ \nc: \"d [\\\" e [\" f: [ 1 ]");
    }

    #[test]
    fn the_key_of_a_place_is_the_name_before_it_or_the_one_whose_value_it_is() {
        let table = [
            ("max_batch_size: ", Some("max_batch_size")),
            ("name: \"m: {\" max_batch_size ", Some("max_batch_size")),
            ("input { name: \"\\\"x\" # dims:\n data_type: ", Some("data_type")),
            ("input: [ { dims: [ 1, ", Some("dims")),
            ("dynamic_batching { } ", None),
            ("", None),
        ];
        for (text, key) in table {
            assert_eq!(key_before(text.as_bytes()).as_deref(), key, "{text}");
        }
    }
}
