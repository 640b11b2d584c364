//! What a TOML reader complains of, in words for operators: the line, the key, and what is allowed.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The line, counted from 1, of what cannot be read in a TOML text, and a sentence with its key and what is allowed.
#[must_use]
pub fn complaint(text: &str, error: &toml::de::Error) -> (usize, String) {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let reason = error.message().replace('\n', " ");
    let about_table = ["unknown field", "missing field"].iter().any(|it| reason.starts_with(it));
    let key = key_at(text, offset).filter(|_| !about_table);
    let reason = allowed(&reason);
    let sentence = match key {
        Some(key) => format!("`{key}`: {reason}"),
        None => reason,
    };
    (line_of(text, offset), sentence)
}

/// The line of a text, counted from 1, in which an offset is.
#[must_use]
pub fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

/// What a reader calls what it expects, and what an operator may write.
const EXPECTED: [(&str, &str); 14] = [
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0"),
    ("u64", "a whole number from 0"),
    ("usize", "a whole number from 0"),
    ("a nonzero u32", "a whole number from 1"),
    ("i64", "a whole number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "text in quotes"),
    ("path string", "a path in quotes"),
    ("IP address", "an IP address in quotes, such as \"0.0.0.0\""),
    ("a sequence", "a list in brackets, such as [\"..\", \"..\"]"),
    ("a map", "a table of keys and values"),
    ("string or table", "one of its words in quotes"),
];

fn allowed(reason: &str) -> String {
    if reason.starts_with("invalid IP address") {
        return format!("{reason}; expected one such as \"0.0.0.0\"");
    }
    let Some((found, expected)) = reason.rsplit_once("expected ") else {
        return reason.to_owned();
    };
    let named = EXPECTED.iter().find(|(name, _)| *name == expected);
    let expected = match named {
        Some((_, words)) => words,
        None if expected.starts_with("struct ") => "a table of keys and values",
        None => expected,
    };
    format!("{found}expected {expected}")
}

/// The key whose value is at an offset, if it is not a table's.
fn key_at(text: &str, offset: usize) -> Option<String> {
    match DeTable::parse(text) {
        Ok(document) => key_in(document.get_ref(), offset),
        Err(_) => key_before(text.get(..offset)?),
    }
}

fn key_in(table: &DeTable<'_>, offset: usize) -> Option<String> {
    let entry =
        |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
            let here = holds(&value.span(), offset).then(|| key.get_ref().to_string());
            match value.get_ref() {
                // Tables may have parts in several places, so that their spans say little.
                DeValue::Table(inner) => key_in(inner, offset).or(here),
                DeValue::Array(items) => {
                    let mut tables = items.iter().filter_map(|item| item.get_ref().as_table());
                    tables.find_map(|inner| key_in(inner, offset)).or(here)
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => here,
            }
        };
    table.iter().find_map(entry)
}

fn holds(span: &Range<usize>, offset: usize) -> bool {
    span.contains(&offset) || span.start == offset
}

/// The key of an assignment of which only the value is missing.
fn key_before(text: &str) -> Option<String> {
    let before = text.trim_end().strip_suffix('=')?.trim_end();
    let in_key = |c: char| c.is_alphanumeric() || ['_', '-', '.', '"'].contains(&c);
    before.rsplit(|c| !in_key(c)).next().filter(|key| !key.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::path::PathBuf;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct All {
        port: Option<u16>,
        count: Option<u64>,
        flag: Option<bool>,
        name: Option<String>,
        path: Option<PathBuf>,
        address: Option<IpAddr>,
        list: Option<Vec<String>>,
        table: Option<BTreeMap<String, u32>>,
        items: Option<Vec<Item>>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Item {
        share: f64,
    }

    #[test]
    fn what_is_of_another_type_is_named_with_its_key_and_what_is_allowed() {
        let table = [
            (
                "port = \"a\"",
                1,
                "`port`: invalid type: string \"a\", expected a whole number from 0 to 65535",
            ),
            (
                "\nport = 70000",
                2,
                "`port`: invalid value: integer `70000`, expected a whole number from 0 to 65535",
            ),
            (
                "count = -1",
                1,
                "`count`: invalid value: integer `-1`, expected a whole number from 0",
            ),
            ("flag = 1", 1, "`flag`: invalid type: integer `1`, expected true or false"),
            ("name = 1", 1, "`name`: invalid type: integer `1`, expected text in quotes"),
            ("path = 1", 1, "`path`: invalid type: integer `1`, expected a path in quotes"),
            (
                "address = \"x\"",
                1,
                "`address`: invalid IP address syntax; expected one such as \"0.0.0.0\"",
            ),
            (
                "list = \"a\"",
                1,
                "`list`: invalid type: string \"a\", expected a list in brackets, such as [\"..\", \"..\"]",
            ),
            (
                "list = [\n\"a\", 2]",
                2,
                "`list`: invalid type: integer `2`, expected text in quotes",
            ),
            (
                "[table]\na = \"x\"",
                2,
                "`a`: invalid type: string \"x\", expected a whole number from 0",
            ),
            (
                "[[items]]\nshare = 1.0\n[[items]]\nshare = \"x\"",
                4,
                "`share`: invalid type: string \"x\", expected a number",
            ),
            (
                "items = [{ share = true }]",
                1,
                "`share`: invalid type: boolean `true`, expected a number",
            ),
            ("\n[[items]]", 2, "missing field `share`"),
        ];
        for (text, line, sentence) in table {
            let error = toml::from_str::<All>(text).map(drop).unwrap_err();
            assert_eq!(complaint(text, &error), (line, sentence.to_owned()), "{text}");
        }
    }
}
