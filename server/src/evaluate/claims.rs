//! Writes what was measured into a task's punctual.toml: values change in place, all else stays as it was written.

use std::ops::Range;
use std::path::Path;

use models::TaskSettings;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// What the file is to claim of a variant.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The variant's place in the file.
    pub place: usize,
    /// How often it is right, as a share of 1.
    pub accuracy: f64,
    /// What that is the share of.
    pub metric: String,
    /// Who measured it, on what.
    pub source: String,
    /// What an answer costs; as it stands, where that is not to change.
    pub cost: Option<f64>,
}

/// The text with the claims in it.
///
/// # Errors
/// The text is not a task's with those variants.
pub fn write_into(file: &str, text: &str, claims: &[Claim]) -> Result<String, String> {
    let table = DeTable::parse(text).map_err(|error| format!("{file}: {error}"))?;
    let variants = table.get_ref().get("variant").and_then(|value| value.get_ref().as_array());
    let variants =
        variants.ok_or_else(|| format!("{file}: `variant` must be there at least once"))?;
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    for claim in claims {
        changes.extend(
            changes_of(variants, text, claim).map_err(|reason| format!("{file}: {reason}"))?,
        );
    }
    changes.sort_by_key(|(span, _)| span.start);
    let mut written = text.to_owned();
    for (span, value) in changes.into_iter().rev() {
        written.replace_range(span, &value);
    }
    TaskSettings::from_text(file, &written)
        .map_err(|error| format!("{error} (with the measured values; nothing was written)"))?;
    Ok(written)
}

fn changes_of(
    variants: &DeArray<'_>,
    text: &str,
    claim: &Claim,
) -> Result<Vec<(Range<usize>, String)>, String> {
    let place = claim.place;
    let variant = variants.get(place).and_then(|variant| variant.get_ref().as_table());
    let variant = variant.ok_or_else(|| format!("there is no variant {}", place + 1))?;
    let span = |key: &str| variant.get(key).map(|value: &Spanned<DeValue<'_>>| value.span());
    let required =
        |key: &str| span(key).ok_or_else(|| format!("the variant {} has no `{key}`", place + 1));
    let mut changes = vec![
        (required("accuracy")?, format!("{:.4}", claim.accuracy)),
        (required("metric")?, quoted(&claim.metric)),
        (required("source")?, quoted(&claim.source)),
    ];
    if let Some(cost) = claim.cost {
        let cost = significant(cost);
        match span("cost") {
            Some(span) => changes.push((span, cost)),
            None => {
                // On a line of its own behind the source's, whose comment stays with it.
                let source = required("source")?.end;
                let (line, _) = text[source..].split_once('\n').unwrap_or((&text[source..], ""));
                if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                    return Err(format!(
                        "the variant {} has no `cost`; its other keys share a line, so add one",
                        place + 1
                    ));
                }
                let end = source + line.len();
                changes.push((end..end, format!("\ncost = {cost}")));
            }
        }
    }
    Ok(changes)
}

/// A text as TOML.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A number with three significant digits or so.
#[must_use]
pub fn significant(number: f64) -> String {
    match number {
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

/// Writes the whole file or nothing.
///
/// # Errors
/// The folder cannot be written; the text names the file.
pub fn replace(file: &Path, text: &str) -> Result<(), String> {
    let unfinished = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::write(&unfinished, text);
    written
        .and_then(|()| std::fs::rename(&unfinished, file))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# The task.
[task]
slo = \"50ms\" # a limit

[[variant]]
model = \"a\"   # the first
accuracy = 0.5 # guessed
metric = 'none'
source = \"nobody\" # ask
cost = 3

[[variant]]
source = \"nobody\" # ask
model = \"b\"
metric = \"none\"
accuracy = 1
";

    fn claim(place: usize, accuracy: f64) -> Claim {
        Claim {
            place,
            accuracy,
            metric: "top-1".into(),
            source: "898 rows of \"x.npz\"".into(),
            cost: Some(12.345),
        }
    }

    #[test]
    fn values_change_and_comments_and_layout_stay() {
        let written = write_into("t", TEXT, &[claim(1, 0.9), claim(0, 0.98765)]).unwrap();
        let expected = TEXT
            .replace("0.5 #", "0.9877 #")
            .replace("'none'", "\"top-1\"")
            .replace("\"none\"", "\"top-1\"")
            .replace("\"nobody\"", "'898 rows of \"x.npz\"'")
            .replace("cost = 3", "cost = 12.3")
            .replace("# ask\nmodel", "# ask\ncost = 12.3\nmodel")
            .replace("accuracy = 1\n", "accuracy = 0.9000\n");
        assert_eq!(written, expected);
    }

    #[test]
    fn what_would_leave_no_variant_above_the_floor_is_not_written() {
        let text = TEXT.replace("[task]", "[task]\naccuracy_floor = 0.95");
        let error = write_into("t", &text, &[claim(0, 0.9), claim(1, 0.9)]).unwrap_err();
        assert!(error.contains("no variant is above `accuracy_floor`"), "{error}");
        let error = write_into("t", TEXT, &[claim(2, 0.9)]).unwrap_err();
        assert_eq!(error, "t: there is no variant 3");
    }
}
