//! A workload file: who asks for what, and when. It is played against a server or in the simulator.

mod file;
mod schedule;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use models::Slo;

use crate::{Arrivals, Error, Mix, Rate, Share, Trace, Within};
pub use schedule::{Due, Loop, Schedule};
pub(crate) use schedule::{draw, due};

/// Several kinds of clients and how long they ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Of all that is random.
    pub seed: u64,
    /// How long requests are due, without the warm-up.
    pub duration: Duration,
    /// How long requests are due before those that count.
    pub warm_up: Duration,
    /// How long after it was due a request without an answer is given up.
    pub timeout: Option<Duration>,
    /// How the clients without a pace of their own ask together.
    pub pace: Option<Pace>,
    /// Who asks; at least one.
    pub clients: Vec<Clients>,
}

/// Clients that ask for the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// Their name in reports; the model's if the file gives none.
    pub name: String,
    /// The model they ask for.
    pub model: String,
    /// Their part of the common pace, relative to the others' shares.
    pub share: f64,
    /// When an answer is worth something; sent with each request.
    pub slo: Option<Slo>,
    /// 1 is the highest; 0 leaves it to the server.
    pub priority: u64,
    /// Rows of a request.
    pub rows: u64,
    /// Whole shapes of inputs, by name.
    pub shapes: BTreeMap<String, Vec<i64>>,
    /// A file with the inputs of a request, or a folder of them.
    pub input: Option<PathBuf>,
    /// The functions of the common trace that are theirs.
    pub functions: Vec<String>,
    /// How they ask, if not by a share of the common pace.
    pub pace: Option<Pace>,
}

/// How requests follow each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// Each when it is due, whatever became of those before.
    Open {
        /// How many.
        rate: Rate,
        /// How they lie.
        arrivals: Arrivals,
    },
    /// Each when one before it has ended.
    Closed {
        /// Clients that ask, one request at a time each.
        concurrency: usize,
        /// Between an end and the next request of a client.
        think_time: Duration,
    },
    /// As recorded.
    Recorded(Recording),
}

/// A trace and how it is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What was recorded; shared, since traces are long.
    pub trace: Arc<Trace>,
    /// The functions that are played; all if empty.
    pub functions: Vec<String>,
    /// Where in the recording the run begins.
    pub from: Duration,
    /// Recorded seconds a second of the run.
    pub speed: f64,
    /// Arrivals for each recorded one.
    pub copies: f64,
    /// How arrivals lie where only their number is known.
    pub within: Within,
    /// How requests come to the clients that share the trace.
    pub deal: Deal,
}

/// How requests of a trace come to several clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deal {
    /// Functions that no clients name are dealt to those that name none, in turn.
    #[default]
    Functions,
    /// Each request goes to clients drawn by their shares.
    Requests,
}

impl Recording {
    /// All of a trace as it was recorded.
    ///
    /// # Errors
    /// A trace that cannot be read, or in which nothing is asked.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let trace = Trace::read(file)?;
        if trace.functions.iter().all(|function| function.recorded.is_empty()) {
            let reason = "nothing is asked in this trace".to_owned();
            return Err(Error::File { file: file.display().to_string(), reason });
        }
        Ok(Self {
            trace: Arc::new(trace),
            functions: Vec::new(),
            from: Duration::ZERO,
            speed: 1.0,
            copies: 1.0,
            within: Within::default(),
            deal: Deal::default(),
        })
    }

    /// How long it is when played.
    #[must_use]
    pub fn length(&self) -> Duration {
        let spans = self.trace.functions.iter().map(|function| function.recorded.span_ns());
        let recorded = Duration::from_nanos(spans.max().unwrap_or(0));
        let length = recorded.saturating_sub(self.from).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(length).unwrap_or(Duration::MAX)
    }

    /// The same at that mean rate: more or fewer arrivals in the same time.
    #[must_use]
    pub fn at_rate(mut self, rate: f64) -> Self {
        self.copies = rate / (self.trace.rate() * self.speed);
        self
    }
}

impl Clients {
    /// Clients of a model without an objective, whose requests are made from its metadata.
    #[must_use]
    pub fn of(model: &str) -> Self {
        Self {
            name: model.to_owned(),
            model: model.to_owned(),
            share: 1.0,
            slo: None,
            priority: 0,
            rows: 1,
            shapes: BTreeMap::new(),
            input: None,
            functions: Vec::new(),
            pace: None,
        }
    }
}

impl Workload {
    /// Reads a workload file; the files that it names are found from its folder.
    ///
    /// # Errors
    /// What is wrong, with the file, the line and the key.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::File { file: name.clone(), reason: error.to_string() })?;
        Self::from_text(&name, &text)
    }

    /// Reads the text of a workload file; `file` is for messages, and says where the files are that the text names.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_text(file: &str, text: &str) -> Result<Self, Error> {
        file::parse(file, text)
    }

    /// The models with their objectives and shares; a request's share is the index of its clients.
    ///
    /// # Errors
    /// As [`Mix::new`].
    pub fn mix(&self) -> Result<Mix, Error> {
        let share = |clients: &Clients| Share {
            model: clients.model.clone(),
            weight: clients.share,
            slo: clients.slo,
            priority: clients.priority,
        };
        Mix::new(self.clients.iter().map(share).collect())
    }

    /// The names of the clients, by share.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.clients.iter().map(|clients| clients.name.as_str()).collect()
    }

    /// The same with all rates and concurrencies multiplied.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        let paces = scaled.clients.iter_mut().filter_map(|clients| clients.pace.as_mut());
        scaled.pace.iter_mut().chain(paces).for_each(|pace| pace.multiply(factor));
        scaled
    }
}

impl Pace {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of clients, at least one"
    )]
    fn multiply(&mut self, factor: f64) {
        match self {
            Self::Open { rate, .. } => *rate = rate.times(factor),
            Self::Closed { concurrency, .. } => {
                *concurrency = (*concurrency as f64 * factor).round().max(1.0) as usize;
            }
            Self::Recorded(recording) => recording.copies *= factor,
        }
    }
}
