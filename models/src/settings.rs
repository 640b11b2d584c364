//! punctual.toml, beside config.pbtxt: what Triton's configuration has no word for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::CatalogError;
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
    /// CPU threads of one run.
    pub threads: Option<u32>,
    /// On how many executors the model is loaded; all by default.
    pub executors: Option<u32>,
    /// The batching policy.
    pub policy: Option<String>,
    /// Inputs that are padded, so that requests of different lengths can share a run.
    pub pad: BTreeMap<String, PadRule>,
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
        let settings: Self = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
            CatalogError::Settings {
                file: file.to_owned(),
                line,
                reason: error.message().replace('\n', " "),
            }
        })?;
        let wrong = |key: &str, reason: &str| {
            let line = text
                .lines()
                .position(|line| line.trim_start().starts_with(key))
                .map_or(1, |at| at + 1);
            Err(CatalogError::Settings {
                file: file.to_owned(),
                line,
                reason: format!("`{key}` {reason}"),
            })
        };
        if settings.slo.is_some_and(|slo| slo.is_zero()) {
            return wrong("slo", "must be above 0");
        }
        for (key, value) in [
            ("batch_max", settings.batch_max),
            ("priority_levels", settings.priority_levels),
            ("priority", settings.priority),
            ("threads", settings.threads),
            ("executors", settings.executors),
        ] {
            if value == Some(0) {
                return wrong(key, "must be at least 1");
            }
        }
        if settings.queue_max == Some(0) {
            return wrong("queue_max", "must be at least 1");
        }
        if settings.priority.unwrap_or(1) > settings.priority_levels.unwrap_or(u32::MAX) {
            return wrong("priority", "must be one of the priority_levels");
        }
        if settings.pad.values().any(|rule| rule.to_multiple_of == 0) {
            return wrong("to_multiple_of", "must be at least 1");
        }
        Ok(settings)
    }
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
        assert_eq!(all.policy.as_deref(), Some("deadline"));
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
        let text = error("\nslo = \"25\"\n");
        assert!(
            text.starts_with("m/punctual.toml:2: expected a duration such as \"25ms\""),
            "{text}"
        );
        let text = error("batching = \"sometimes\"");
        assert!(text.contains("expected one of `auto`, `always`, `never`"), "{text}");
        assert_eq!(
            error("threads = 2\nbatch_max = 0"),
            "m/punctual.toml:2: `batch_max` must be at least 1"
        );
        assert_eq!(
            error("priority = 3\npriority_levels = 2"),
            "m/punctual.toml:1: `priority` must be one of the priority_levels"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z_]{0,8} ?=? ?[\"0-9a-z\\[{]{0,8}\n?.{0,20}") {
            let _ = ModelSettings::from_text("m", &text);
        }
    }
}
