//! Where log lines go and which: settings that can change while the server runs, in Triton's keys.

use std::fs::File;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::{Layer, Registry, fmt};

/// `GET /v2/logging`, in Triton's keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "Triton's own keys")]
pub struct LogSettings {
    pub log_file: String,
    pub log_info: bool,
    pub log_warning: bool,
    pub log_error: bool,
    pub log_verbose_level: u32,
    pub log_format: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            log_file: String::new(),
            log_info: true,
            log_warning: true,
            log_error: true,
            log_verbose_level: 0,
            log_format: "default".into(),
        }
    }
}

/// From this verbose level on, the libraries' details are logged too.
const LIBRARIES_LEVEL: u32 = 3;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text with the time in the form of RFC 3339.
    Text,
    /// One JSON object.
    Json,
}

impl LogFormat {
    /// The name of the usual form.
    pub const DEFAULT: &str = "default";
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            Self::DEFAULT | "ISO8601" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("unknown format {text:?}; allowed are default, ISO8601, json")),
        }
    }
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// The way to change what is logged.
#[derive(Clone)]
pub struct Logging {
    output: Handle<Output, Registry>,
    settings: Arc<Mutex<LogSettings>>,
}

impl Logging {
    /// Makes the subscriber that follows `settings`, and the way to change them.
    ///
    /// # Errors
    /// Where the log file cannot be opened or the format is unknown.
    pub fn new(settings: LogSettings) -> Result<(impl Subscriber + Send + Sync, Self), String> {
        let (layer, output) = reload::Layer::new(output(&settings)?);
        let subscriber = tracing_subscriber::registry().with(layer);
        Ok((subscriber, Self { output, settings: Arc::new(Mutex::new(settings)) }))
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> LogSettings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows other settings from now on. The file stays: clients say what is logged, and not where on the server's
    /// disk.
    ///
    /// # Errors
    /// Where the file is another one, and as for [`Self::new`]; the settings in force then stay.
    pub fn set(&self, settings: LogSettings) -> Result<LogSettings, String> {
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.log_file != current.log_file {
            return Err("'log_file' cannot be changed over the network: it is set with --log-file when the server is \
                        started"
                .into());
        }
        let output = output(&settings)?;
        self.output.reload(output).map_err(|error| format!("cannot change the log: {error}"))?;
        *current = settings.clone();
        Ok(settings)
    }
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Logging").field(&self.settings()).finish()
    }
}

fn output(settings: &LogSettings) -> Result<Output, String> {
    let format: LogFormat = settings.log_format.parse()?;
    let rule = Rule::new(settings);
    if settings.log_file.is_empty() {
        return Ok(lines(format, rule, std::io::stderr));
    }
    let file = File::options().create(true).append(true).open(&settings.log_file);
    let file = file.map_err(|error| format!("cannot open {}: {error}", settings.log_file))?;
    Ok(lines(format, rule, Arc::new(file)))
}

fn lines<W>(format: LogFormat, rule: Rule, writer: W) -> Output
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(false).with_writer(writer);
    // The rule comes last: a layer that stands directly on the registry is taken for one that may filter for itself
    // alone, and its "never" becomes a question at each of the hundred places that a request passes in h2.
    match format {
        LogFormat::Text => Box::new(lines.and_then(rule)),
        LogFormat::Json => Box::new(lines.json().and_then(rule)),
    }
}

/// Which lines are logged. The levels are switches: Triton's clients may turn errors off and leave warnings on.
#[derive(Clone, Copy, Debug)]
struct Rule {
    error: bool,
    warning: bool,
    info: bool,
    verbose: u32,
}

impl Rule {
    fn new(settings: &LogSettings) -> Self {
        Self {
            error: settings.log_error,
            warning: settings.log_warning,
            info: settings.log_info,
            verbose: settings.log_verbose_level,
        }
    }

    fn allows(self, level: Level, target: &str) -> bool {
        // The runtime logs each failed run as an error; we answer and report it ourselves, and at a load the search for
        // a shape that runs may fail a few times.
        let repeats_us = target.starts_with("ort::") && level <= Level::ERROR;
        if !ours(target) && (level > Level::WARN || repeats_us) && self.verbose < LIBRARIES_LEVEL {
            return false;
        }
        match level {
            Level::ERROR => self.error,
            Level::WARN => self.warning,
            Level::INFO => self.info,
            Level::DEBUG => self.verbose >= 1,
            Level::TRACE => self.verbose >= 2,
        }
    }
}

fn ours(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or(target);
    ["punctual", "server", "gpu", "router", "batcher", "models"].contains(&krate)
}

impl<S: Subscriber> Layer<S> for Rule {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.allows(*metadata.level(), metadata.target())
    }

    fn register_callsite(
        &self,
        metadata: &'static Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        // Never changes for one set of settings; a change rebuilds all interests.
        if self.allows(*metadata.level(), metadata.target()) {
            tracing::subscriber::Interest::always()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.verbose {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            2.. => LevelFilter::TRACE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &std::path::Path) -> LogSettings {
        LogSettings {
            log_file: file.display().to_string(),
            log_info: true,
            log_warning: true,
            log_error: true,
            log_verbose_level: 0,
            log_format: "json".into(),
        }
    }

    fn speak() {
        tracing::error!(target: "server", "an error");
        tracing::warn!(target: "server", "a warning");
        tracing::info!(target: "server", "a note");
        tracing::debug!(target: "server", "a detail");
        tracing::info!(target: "h2", "a library's note");
    }

    fn messages(file: &std::path::Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["fields"]["message"].as_str().unwrap().to_owned()
        };
        text.lines().map(message).collect()
    }

    #[test]
    fn settings_can_change_while_lines_are_logged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let (subscriber, logging) = Logging::new(settings(&file)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            speak();
            let changed = LogSettings {
                log_error: false,
                log_info: false,
                log_verbose_level: 1,
                ..settings(&file)
            };
            assert_eq!(logging.set(changed.clone()), Ok(changed.clone()));
            assert_eq!(logging.settings(), changed);
            speak();
        });
        let (before, after) = (["an error", "a warning", "a note"], ["a warning", "a detail"]);
        assert_eq!(messages(&file), [&before[..], &after].concat());
    }

    #[test]
    fn what_is_not_logged_is_ruled_out_once_and_not_asked_for_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (subscriber, logging) = Logging::new(settings(&folder.path().join("log"))).unwrap();
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            let library = tracing::info_span!(target: "h2", "a library's span");
            assert!(library.metadata().is_none(), "it may be enabled");
            let verbose = LogSettings { log_verbose_level: 2, ..logging.settings() };
            logging.set(verbose).unwrap();
            assert_eq!(LevelFilter::current(), LevelFilter::TRACE);
        });
    }

    #[test]
    fn settings_that_cannot_be_followed_leave_the_old_ones_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let old = settings(&folder.path().join("log"));
        let (_subscriber, logging) = Logging::new(old.clone()).unwrap();
        let unknown = LogSettings { log_format: "xml".into(), ..old.clone() };
        assert!(logging.set(unknown).unwrap_err().contains("allowed are default"));
        assert_eq!(logging.settings(), old);
        let nowhere = settings(&folder.path().join("no/such/folder"));
        assert!(Logging::new(nowhere).err().unwrap().starts_with("cannot open"));
    }

    #[test]
    fn the_file_stays_the_operators() {
        let folder = tempfile::tempdir().unwrap();
        let old = settings(&folder.path().join("log"));
        let (_subscriber, logging) = Logging::new(old.clone()).unwrap();
        let other = folder.path().join("other");
        for file in [other.display().to_string(), String::new()] {
            let refused = logging.set(LogSettings { log_file: file, ..old.clone() }).unwrap_err();
            assert!(refused.contains("--log-file"), "{refused}");
        }
        assert!(!other.exists());
        assert_eq!(logging.settings(), old);
    }
}
