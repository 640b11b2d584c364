//! Where in a scenario's text an error is: the line of the key that its sentence names, else of its table.

use models::line_of;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ScenarioError;

/// The error with the file and the line that it is about.
pub(super) fn placed(file: &str, text: &str, error: ScenarioError) -> ScenarioError {
    let offset = DeTable::parse(text).ok().and_then(|root| offset(root.get_ref(), &error));
    let line = line_of(text, offset.unwrap_or(0));
    ScenarioError::At { file: file.to_owned(), line, error: Box::new(error) }
}

fn offset(root: &DeTable<'_>, error: &ScenarioError) -> Option<usize> {
    match error {
        ScenarioError::Executor { index, reason } => {
            let tables = tables(root, "executor");
            tables.get(index.checked_sub(1)?).map(|table| within(table, reason))
        }
        ScenarioError::Model { model, reason } => {
            named(tables(root, "model"), ("name", model)).map(|table| within(table, reason))
        }
        ScenarioError::Composition { task, reason } => {
            named(tables(root, "composition"), ("task", task)).map(|table| within(table, reason))
        }
        ScenarioError::Whole(reason) | ScenarioError::Policy(reason) => key(&keys(root), reason),
        ScenarioError::File { .. } | ScenarioError::At { .. } => None,
    }
}

/// The tables of an array of them.
fn tables<'a, 'i>(root: &'a DeTable<'i>, name: &str) -> Vec<&'a Spanned<DeValue<'i>>> {
    let array = root.get(name).and_then(|value| value.get_ref().as_array());
    array.into_iter().flat_map(|array| array.iter()).collect()
}

/// The table whose key has that text; of two the second, which is too many.
fn named<'a, 'i>(
    tables: Vec<&'a Spanned<DeValue<'i>>>,
    (key, text): (&str, &str),
) -> Option<&'a Spanned<DeValue<'i>>> {
    tables.into_iter().rfind(|table| {
        let value = table.get_ref().as_table().and_then(|table| table.get(key));
        value.and_then(|value| value.get_ref().as_str()) == Some(text)
    })
}

/// The key of a table that a reason names, else the table.
fn within(table: &Spanned<DeValue<'_>>, reason: &str) -> usize {
    let keys = table.get_ref().as_table().map(keys).unwrap_or_default();
    key(&keys, reason).unwrap_or(table.span().start)
}

/// The place of the first key that a reason names.
fn key(keys: &[(String, usize)], reason: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let mut words = reason.split(|c| !is_part(c)).map(|word| word.trim_matches('.'));
    words.find_map(|word| {
        let ends = |path: &str| path.strip_suffix(word).is_some_and(|rest| rest.ends_with('.'));
        let found = keys.iter().find(|(path, _)| path == word || (!word.is_empty() && ends(path)));
        found.map(|(_, offset)| *offset)
    })
}

/// All keys of a table with dots between those of tables in tables, and where they stand; arrays of tables by their name alone.
fn keys(table: &DeTable<'_>) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for (name, value) in table {
        all.push((name.get_ref().to_string(), name.span().start));
        let inner = value.get_ref().as_table().map(keys).unwrap_or_default();
        all.extend(inner.into_iter().map(|(path, at)| (format!("{}.{path}", name.get_ref()), at)));
    }
    all
}
