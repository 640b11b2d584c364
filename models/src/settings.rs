//! punctual.toml, beside config.pbtxt: what Triton's configuration has no word for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::CatalogError;
use crate::bytes::deserialize_bytes_option;
use crate::complaint::{complaint, line_of};
use crate::duration::deserialize_duration_option;

/// Our own settings of a model. `models/punctual.example.toml` shows each with its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// Within which time of its arrival an answer is useful; none for best effort.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub slo: Option<Duration>,
    /// The most rows that are run together; by default as many as pay by the measured profile.
    pub batch_max: Option<u32>,
    /// Whether requests may share a run.
    pub batching: BatchingMode,
    /// The priority level of requests that name none; 1 is the most urgent.
    pub priority: Option<u32>,
    /// How many priority levels clients may name.
    pub priority_levels: Option<u32>,
    /// The most requests that wait.
    pub queue_max: Option<usize>,
    /// Its share of executor time next to the other models', where the dispatch policy shares it out.
    pub weight: Option<f64>,
    /// CPU threads of one run.
    pub threads: Option<u32>,
    /// On how many executors the model is loaded; all by default.
    pub executors: Option<u32>,
    /// Bytes that it takes of an executor's memory; the size of its files by default.
    #[serde(deserialize_with = "deserialize_bytes_option")]
    pub memory: Option<u64>,
    /// The batching policy.
    pub policy: Option<String>,
    /// Bytes of answers that are kept to answer equal requests; none are kept by default.
    #[serde(deserialize_with = "deserialize_bytes_option")]
    pub cache: Option<u64>,
    /// Keeps them though the model draws at random.
    pub cache_despite_chance: bool,
    /// Outputs whose classes have names: the output, and the file of one name a line in the model's folder.
    pub labels: BTreeMap<String, String>,
    /// Inputs that are padded, so that requests of different lengths can share a run.
    pub pad: BTreeMap<String, PadRule>,
    #[serde(skip)]
    text: Text,
}

/// The text that settings were read from, to find a key's line again; not a part of what they say.
#[derive(Clone, Debug, Default)]
struct Text(String);

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Whether requests may share a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchingMode {
    /// If it pays by the profile and the self-check finds every row unchanged.
    #[default]
    Auto,
    /// Though the self-check finds rows changed.
    Always,
    /// Each request runs alone.
    Never,
}

/// How one input is padded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadRule {
    /// Which axis, counted with the batch axis as 0.
    pub axis: usize,
    /// The axis is filled up to a multiple of this.
    pub to_multiple_of: u64,
    /// With what: a number of the input's type.
    #[serde(default)]
    pub value: i64,
    /// Outputs of which that axis is cut back to the request's own length: name and axis.
    #[serde(default)]
    pub outputs: BTreeMap<String, usize>,
}

impl ModelSettings {
    /// Reads punctual.toml; `file` is for messages.
    ///
    /// # Errors
    /// Names file, line, key and what is allowed.
    pub fn from_text(file: &str, text: &str) -> Result<Self, CatalogError> {
        let wrong = |line, reason| CatalogError::Settings { file: file.to_owned(), line, reason };
        let mut settings: Self = toml::from_str(text).map_err(|error| {
            let (line, reason) = complaint(text, &error);
            wrong(line, reason)
        })?;
        settings.check().map_err(|(path, rule)| {
            wrong(line_at(text, &path), format!("`{}` {rule}", path.join(".")))
        })?;
        settings.text = Text(text.to_owned());
        Ok(settings)
    }

    /// The line of a key in the file, counted from 1, by its path; that of the table it would stand in where it is not
    /// there.
    #[must_use]
    pub fn line(&self, path: &[&str]) -> usize {
        line_at(&self.text.0, path)
    }

    /// The path of the first key whose value cannot be, and the rule that it breaks.
    fn check(&self) -> Result<(), (Vec<&str>, String)> {
        let wrong = |path: &[&'static str], rule: &str| Err((path.to_vec(), rule.to_owned()));
        if self.slo.is_some_and(|slo| slo.is_zero()) {
            return wrong(&["slo"], "must be above 0");
        }
        for (key, value) in [
            ("batch_max", self.batch_max),
            ("priority_levels", self.priority_levels),
            ("priority", self.priority),
            ("threads", self.threads),
            ("executors", self.executors),
        ] {
            if value == Some(0) {
                return wrong(&[key], "must be at least 1");
            }
        }
        if self.batch_max.is_some_and(|rows| rows > BATCH_LIMIT) {
            return wrong(&["batch_max"], &format!("must be at most {BATCH_LIMIT}"));
        }
        if self.queue_max == Some(0) {
            return wrong(&["queue_max"], "must be at least 1");
        }
        if self.cache == Some(0) {
            return wrong(&["cache"], "must be above 0; without the key nothing is kept");
        }
        if self.weight.is_some_and(|weight| !(WEIGHT_MIN..=WEIGHT_MAX).contains(&weight)) {
            return wrong(&["weight"], &format!("must be from {WEIGHT_MIN} to {WEIGHT_MAX}"));
        }
        if self.priority.unwrap_or(1) > self.priority_levels.unwrap_or(u32::MAX) {
            return wrong(&["priority"], "must be one of the priority_levels");
        }
        for (input, rule) in &self.pad {
            if !(1..=MULTIPLE_LIMIT).contains(&rule.to_multiple_of) {
                let path = vec!["pad", input, "to_multiple_of"];
                return Err((path, format!("must be from 1 to {MULTIPLE_LIMIT}")));
            }
        }
        Ok(())
    }
}

/// Rows of a run beyond which no model gains, far from exhausting memory.
const BATCH_LIMIT: u32 = 1 << 16;

/// Shares of executor time that differ by more than a million times are a mistake.
const WEIGHT_MIN: f64 = 0.001;
const WEIGHT_MAX: f64 = 1000.0;

/// Lengths are padded by less than this, so that a short request cannot become a huge one.
const MULTIPLE_LIMIT: u64 = 1 << 16;

/// The line of a key, or of the table it stands in where that is written otherwise.
fn line_at(text: &str, path: &[&str]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 1 };
    let mut table = document.get_ref();
    let mut offset = 0;
    for key in path {
        let Some((key, value)) = table.get_key_value(*key) else { break };
        offset = key.span().start;
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    line_of(text, offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        ModelSettings::from_text("m/punctual.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_example_file_holds_the_defaults_and_all_keys() {
        let example = include_str!("../punctual.example.toml");
        assert_eq!(ModelSettings::from_text("example", example), Ok(ModelSettings::default()));
        let uncommented: String = example
            .lines()
            .filter_map(|line| line.strip_prefix("#: "))
            .flat_map(|line| [line, "\n"])
            .collect();
        let all = ModelSettings::from_text("example", &uncommented).unwrap();
        assert_eq!(all.slo, Some(Duration::from_millis(25)));
        assert!(all.batch_max.is_some() && all.priority.is_some() && all.priority_levels.is_some());
        assert!(all.queue_max.is_some() && all.threads.is_some() && all.executors.is_some());
        assert_eq!((all.weight, all.memory), (Some(2.0), Some(120 << 20)));
        assert_eq!(all.policy.as_deref(), Some("window"));
        assert_eq!(all.labels["scores"], "labels.txt");
        assert_eq!(all.pad["input_ids"].outputs["last_hidden_state"], 1);
    }

    #[test]
    fn errors_name_file_line_key_and_what_is_allowed() {
        let text = error("slo = \"25ms\"\nbatchmax = 4\n");
        assert!(
            text.starts_with(
                "m/punctual.toml:2: unknown field `batchmax`, expected one of `slo`, `batch_max`"
            ),
            "{text}"
        );
        assert_eq!(
            error("threads = 2\nbatch_max = 0"),
            "m/punctual.toml:2: `batch_max` must be at least 1"
        );
    }

    #[test]
    fn every_error_has_its_sentence() {
        let table = [
            (
                "priority_levels = 2\npriority = 3",
                "2: `priority` must be one of the priority_levels",
            ),
            ("slo = \"0ms\"", "1: `slo` must be above 0"),
            (
                "\nslo = \"25\"",
                "2: `slo`: expected a duration such as \"25ms\", \"1.5s\" or \"200us\", found \"25\"",
            ),
            (
                "slo = 25",
                "1: `slo`: invalid type: integer `25`, expected a duration as text, such as \"25ms\"",
            ),
            (
                "cache = 64",
                "1: `cache`: invalid type: integer `64`, expected a size as text, such as \"64MiB\"",
            ),
            ("policy = 1", "1: `policy`: invalid type: integer `1`, expected text in quotes"),
            ("batch_max = 65537", "1: `batch_max` must be at most 65536"),
            ("queue_max = 0", "1: `queue_max` must be at least 1"),
            ("executors = 0", "1: `executors` must be at least 1"),
            ("cache = \"0MiB\"", "1: `cache` must be above 0; without the key nothing is kept"),
            (
                "cache = \"64 MO\"",
                "1: `cache`: expected a size such as \"120MiB\", \"2GiB\" or \"500MB\", found \"64 MO\"",
            ),
            ("threads = 1\nweight = 0", "2: `weight` must be from 0.001 to 1000"),
            ("weight = nan", "1: `weight` must be from 0.001 to 1000"),
            ("weight = \"two\"", "1: `weight`: invalid type: string \"two\", expected a number"),
            (
                "threads = \"two\"",
                "1: `threads`: invalid type: string \"two\", expected a whole number from 0",
            ),
            (
                "threads = -1",
                "1: `threads`: invalid value: integer `-1`, expected a whole number from 0",
            ),
            (
                "batching = \"sometimes\"",
                "1: `batching`: unknown variant `sometimes`, expected one of `auto`, `always`, `never`",
            ),
            (
                "slo = \"1s\"\n[pad.x]\naxis = 1\nto_multiple_of = 0",
                "4: `pad.x.to_multiple_of` must be from 1 to 65536",
            ),
            (
                "threads = 1\npad.x = { axis = 1, to_multiple_of = 65537 }",
                "2: `pad.x.to_multiple_of` must be from 1 to 65536",
            ),
            (
                "[pad.x]\naxis = 1\nmultiple = 2",
                "3: unknown field `multiple`, expected one of `axis`, `to_multiple_of`, `value`, `outputs`",
            ),
            ("[pad.x]\naxis = 1", "1: missing field `to_multiple_of`"),
            (
                "[labels]\nscores = 1",
                "2: `scores`: invalid type: integer `1`, expected text in quotes",
            ),
        ];
        for (text, sentence) in table {
            assert_eq!(error(text), format!("m/punctual.toml:{sentence}"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            slo in prop::option::of(1_u64..1_000_000),
            batch_max in prop::option::of(1_u32..=BATCH_LIMIT),
            levels in prop::option::of(1_u32..9),
            queue_max in prop::option::of(1_usize..1_000_000),
            (axis, to_multiple_of, value) in (0_usize..9, 1..=MULTIPLE_LIMIT, any::<i64>()),
        ) {
            let key = |key: &str, value: Option<String>| value.map_or(String::new(), |value| format!("{key} = {value}\n"));
            let text = [
                key("slo", slo.map(|slo| format!("\"{slo}us\""))),
                key("batch_max", batch_max.map(|rows| rows.to_string())),
                key("priority_levels", levels.map(|levels| levels.to_string())),
                key("priority", levels.map(|levels| levels.to_string())),
                key("queue_max", queue_max.map(|requests| requests.to_string())),
                format!("[pad.x]\naxis = {axis}\nto_multiple_of = {to_multiple_of}\nvalue = {value}\noutputs = {{ y = {axis} }}\n"),
            ].concat();
            let outputs = BTreeMap::from([("y".to_owned(), axis)]);
            let expected = ModelSettings {
                slo: slo.map(Duration::from_micros),
                batch_max,
                priority: levels,
                priority_levels: levels,
                queue_max,
                pad: BTreeMap::from([("x".to_owned(), PadRule { axis, to_multiple_of, value, outputs })]),
                ..ModelSettings::default()
            };
            prop_assert_eq!(ModelSettings::from_text("m", &text), Ok(expected));
        }

        #[test]
        fn a_file_with_a_piece_replaced_is_read_or_refused(from in 0_usize..400, length in 0_usize..9, piece in "[a-z0-9=\\[\\]{}\"\n. é#-]{0,6}") {
            let example: String = include_str!("../punctual.example.toml").lines().filter_map(|line| line.strip_prefix("#: ")).flat_map(|line| [line, "\n"]).collect();
            let from = from.min(example.len());
            let text = [&example[..from], &piece, &example[(from + length).min(example.len())..]].concat();
            if let Err(error) = ModelSettings::from_text("m", &text) {
                prop_assert!(error.to_string().starts_with("m:"));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z_]{0,8} ?=? ?[\"0-9a-z\\[{]{0,8}\n?.{0,20}") {
            let _ = ModelSettings::from_text("m", &text);
        }
    }
}
