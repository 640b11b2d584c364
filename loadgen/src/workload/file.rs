//! The keys of a workload file. Unknown ones are refused, and every error names file, line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use models::{Slo, line_of};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Clients, Deal, Pace, Recording, Workload};
use crate::{Arrivals, Error, Rate, Within, parse_duration};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadKeys {
    #[serde(default = "one")]
    seed: u64,
    #[serde(deserialize_with = "duration")]
    duration: Duration,
    #[serde(default, deserialize_with = "some_duration")]
    warm_up: Option<Duration>,
    #[serde(default, deserialize_with = "some_duration")]
    timeout: Option<Duration>,
    rate: Option<Rate>,
    #[serde(default, deserialize_with = "arrivals")]
    arrivals: Option<Arrivals>,
    concurrency: Option<usize>,
    #[serde(default, deserialize_with = "some_duration")]
    think_time: Option<Duration>,
    trace: Option<TraceKeys>,
    #[serde(default)]
    clients: Vec<Spanned<ClientsKeys>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsKeys {
    name: Option<String>,
    model: String,
    #[serde(default, deserialize_with = "positive")]
    share: Option<f64>,
    #[serde(default, deserialize_with = "some_duration")]
    slo: Option<Duration>,
    #[serde(default)]
    priority: u64,
    #[serde(default = "one")]
    rows: u64,
    #[serde(default)]
    shapes: BTreeMap<String, Vec<i64>>,
    input: Option<PathBuf>,
    #[serde(default)]
    functions: Vec<String>,
    rate: Option<Rate>,
    #[serde(default, deserialize_with = "arrivals")]
    arrivals: Option<Arrivals>,
    concurrency: Option<usize>,
    #[serde(default, deserialize_with = "some_duration")]
    think_time: Option<Duration>,
    trace: Option<TraceKeys>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceKeys {
    file: PathBuf,
    #[serde(default, deserialize_with = "some_duration")]
    from: Option<Duration>,
    #[serde(default, deserialize_with = "positive")]
    speed: Option<f64>,
    #[serde(default, deserialize_with = "positive")]
    copies: Option<f64>,
    #[serde(default, deserialize_with = "positive")]
    rate: Option<f64>,
    #[serde(default)]
    within: Within,
    #[serde(default)]
    deal: Deal,
    #[serde(default)]
    functions: Vec<String>,
}

fn one() -> u64 {
    1
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn arrivals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arrivals>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number > 0.0 {
        Ok(Some(number))
    } else {
        Err(serde::de::Error::custom(format!("must be above 0, not {number}")))
    }
}

/// The keys by which a pace is given, for all clients or for some.
struct PaceKeys {
    rate: Option<Rate>,
    arrivals: Option<Arrivals>,
    concurrency: Option<usize>,
    think_time: Option<Duration>,
    trace: Option<TraceKeys>,
}

impl PaceKeys {
    /// The pace, or what is wrong with the keys together.
    fn pace(self, folder: &Path) -> Result<Option<Pace>, String> {
        let Self { rate, arrivals, concurrency, think_time, trace } = self;
        if concurrency.is_none() && think_time.is_some() {
            return Err("think_time: belongs to concurrency".into());
        }
        if rate.is_none() && arrivals.is_some() {
            return Err("arrivals: belongs to rate".into());
        }
        match (rate, concurrency, trace) {
            (None, None, None) => Ok(None),
            (Some(rate), None, None) => {
                Ok(Some(Pace::Open { rate, arrivals: arrivals.unwrap_or(Arrivals::Poisson) }))
            }
            (None, Some(0), None) => Err("concurrency: must be at least 1".into()),
            (None, Some(concurrency), None) => {
                let think_time = think_time.unwrap_or(Duration::ZERO);
                Ok(Some(Pace::Closed { concurrency, think_time }))
            }
            (None, None, Some(trace)) => trace.recording(folder).map(Pace::Recorded).map(Some),
            _ => Err("rate, concurrency, trace: only one of them can be given".into()),
        }
    }
}

impl TraceKeys {
    fn recording(self, folder: &Path) -> Result<Recording, String> {
        let read = Recording::read(&folder.join(&self.file));
        let mut recording = read.map_err(|error| format!("trace.file: {error}"))?;
        let names = recording.trace.functions.iter().map(|function| function.name.as_str());
        known("trace.functions", &self.functions, &names.collect())?;
        recording.functions = self.functions;
        recording.from = self.from.unwrap_or(Duration::ZERO);
        recording.speed = self.speed.unwrap_or(1.0);
        recording.copies = self.copies.unwrap_or(1.0);
        recording.within = self.within;
        recording.deal = self.deal;
        match (self.copies, self.rate) {
            (Some(_), Some(_)) => Err("trace.rate, trace.copies: only one can be given".into()),
            (None, Some(rate)) => Ok(recording.at_rate(rate)),
            (_, None) => Ok(recording),
        }
    }
}

fn known(key: &str, functions: &[String], names: &BTreeSet<&str>) -> Result<(), String> {
    match functions.iter().find(|name| !names.contains(name.as_str())) {
        Some(name) => Err(format!("{key}: the trace has no function '{name}'")),
        None => Ok(()),
    }
}

pub(super) fn parse(file: &str, text: &str) -> Result<Workload, Error> {
    let wrong_at = |at: usize, reason: String| Error::Workload {
        file: file.to_owned(),
        line: line_of(text, at),
        reason,
    };
    let keys: WorkloadKeys = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        wrong_at(at, format!("{}{}", key_at(text, at), error.message().replace('\n', ", ")))
    })?;
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let WorkloadKeys { rate, arrivals, concurrency, think_time, trace, .. } = keys;
    let common = PaceKeys { rate, arrivals, concurrency, think_time, trace };
    let pace = common.pace(folder).map_err(|reason| wrong_at(0, reason))?;
    let mut clients = Vec::new();
    for spanned in keys.clients {
        let at = spanned.span().start;
        let one = spanned.into_inner().clients(folder, pace.as_ref());
        clients.push(one.map_err(|reason| wrong_at(at, reason))?);
    }
    if clients.is_empty() {
        return Err(wrong_at(0, "clients: at least one [[clients]] is needed".into()));
    }
    let (seed, duration) = (keys.seed, keys.duration);
    let warm_up = keys.warm_up.unwrap_or(Duration::ZERO);
    Ok(Workload { seed, duration, warm_up, timeout: keys.timeout, pace, clients })
}

/// The key of the line at that place, where it has one.
fn key_at(text: &str, at: usize) -> String {
    let line = text.lines().nth(line_of(text, at) - 1).unwrap_or_default();
    line.split_once('=').map_or(String::new(), |(key, _)| format!("{}: ", key.trim()))
}

impl ClientsKeys {
    fn clients(self, folder: &Path, common: Option<&Pace>) -> Result<Clients, String> {
        let Self { rate, arrivals, concurrency, think_time, trace, .. } = self;
        let pace = PaceKeys { rate, arrivals, concurrency, think_time, trace }.pace(folder)?;
        if pace.is_none() && common.is_none() {
            return Err(format!(
                "rate: '{}' needs a rate, a concurrency or a trace, its own or one for all clients",
                self.model
            ));
        }
        if pace.is_some() && self.share.is_some() {
            return Err("share: has no meaning beside a pace of its own".into());
        }
        if let (None, Some(Pace::Recorded(recording))) = (&pace, common) {
            let names = recording.trace.functions.iter().map(|function| function.name.as_str());
            known("functions", &self.functions, &names.collect())?;
        } else if !self.functions.is_empty() {
            return Err("functions: belongs to a trace for all clients".into());
        }
        if self.rows == 0 {
            return Err("rows: must be at least 1".into());
        }
        if let Some((name, shape)) =
            self.shapes.iter().find(|(_, axes)| axes.iter().any(|axis| *axis < 0))
        {
            return Err(format!("shapes.{name}: no axis of {shape:?} can be negative"));
        }
        Ok(Clients {
            name: self.name.unwrap_or_else(|| self.model.clone()),
            model: self.model,
            share: self.share.unwrap_or(1.0),
            slo: self.slo.map(|latency| Slo { latency }),
            priority: self.priority,
            rows: self.rows,
            shapes: self.shapes,
            input: self.input.map(|input| folder.join(input)),
            functions: self.functions,
            pace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("w.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_file_line_and_key() {
        let clients = "[[clients]]\nmodel = \"m\"\n";
        let cases = [
            ("duration = \"1 fortnight\"\n".to_owned(), "w.toml:1: duration: '1 fortnight' is not"),
            (format!("duration = \"1s\"\nrate = -5\n{clients}"), "w.toml:2: rate: the rate must"),
            (
                format!("duration = \"1s\"\nrate = 5\nspeed = 2\n{clients}"),
                "w.toml:3: speed: unknown field `speed`",
            ),
            (
                format!("duration = \"1s\"\nrate = 5\nconcurrency = 5\n{clients}"),
                "w.toml:1: rate, concurrency, trace: only one",
            ),
            (format!("duration = \"1s\"\n{clients}"), "w.toml:2: rate: 'm' needs a rate"),
            (format!("duration = \"1s\"\nrate = 5\n{clients}rows = 0"), "w.toml:3: rows: must be"),
            (
                format!("duration = \"1s\"\nrate = 5\n{clients}slo = 5"),
                "w.toml:5: slo: invalid type",
            ),
            ("duration = \"1s\"\nrate = 5".to_owned(), "w.toml:1: clients: at least one"),
        ];
        for (text, wanted) in cases {
            let found = error(&text);
            assert!(found.starts_with(wanted), "{found}");
            assert!(!found.contains('\n'), "{found}");
        }
    }

    #[test]
    fn the_shipped_example_says_what_it_shows() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/example.toml");
        let workload = Workload::read(&file).unwrap();
        assert_eq!(workload.names(), ["search", "batch jobs", "night"]);
        assert_eq!(workload.clients[0].slo.unwrap().latency, Duration::from_millis(25));
        assert!(matches!(workload.clients[2].pace, Some(Pace::Recorded(_))));
        let schedule = workload.schedule().unwrap();
        assert!(schedule.due.is_sorted_by_key(|due| due.at_ns));
        for share in [0, 2] {
            assert!(schedule.due.iter().any(|due| due.share == share), "{share}");
        }
        assert_eq!(schedule.loops.len(), 1);
    }
}
