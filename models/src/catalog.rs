//! Merges a model file, config.pbtxt and punctual.toml into one description, completing what they leave out.

mod check;
mod tensors;
mod warnings;

use std::collections::BTreeMap;
use std::time::Duration;

use check::{Misfit, THREADS};
use tensors::{labels, pads};

use crate::config::{DynamicBatching, Fields, InputFields, OutputFields, type_number};
use crate::onnx::{can_be_held, drawing_operator, read_signature};
use crate::{BatchingMode, Dim, ModelConfig, ModelSettings, PadRule, Signature, Slo, TensorSpec};

/// Rows of a request, and of a batch before it is measured, where nobody says: a power of two. The Gemm-bound example still
/// does a quarter more rows a second by 64 than by 32; measuring one more size costs no time, as sizes share a budget.
pub const ROWS_MAX: u32 = 64;

/// Waiting requests of a model where nobody says.
pub const QUEUE_MAX: usize = 1000;

/// Bytes that a kept answer takes beside its own: its key, its names and shapes, and its places in the tables.
pub const KEPT_BESIDE: usize = 512;

/// What is wrong with a model's files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// config.pbtxt cannot be read.
    #[error("{file}:{line}: {reason}")]
    Config {
        /// Which file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// punctual.toml cannot be read.
    #[error("{file}:{line}: {reason}")]
    Settings {
        /// Which file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// The model file cannot be read.
    #[error("{file}: {reason}")]
    Onnx {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

/// The files of a model version, read by the shell.
#[derive(Clone, Copy, Debug)]
pub struct ModelFiles<'a> {
    /// The folder's name, which is the model's.
    pub model: &'a str,
    /// The model file: its path for messages, and its bytes.
    pub onnx: (&'a str, &'a [u8]),
    /// config.pbtxt: its path for messages, and what it says.
    pub config: Option<(&'a str, &'a ModelConfig)>,
    /// punctual.toml: its path for messages, and what it says.
    pub settings: Option<(&'a str, &'a ModelSettings)>,
    /// Label files by name.
    pub labels: &'a BTreeMap<String, String>,
}

/// All that is known of a model version before it is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDescription {
    /// The model's name.
    pub name: String,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The most rows of a request; 1 where there is no batch axis.
    pub rows_max: u32,
    /// The most rows run together that the operator allows.
    pub batch_max: u32,
    /// Whether requests may share a run.
    pub batching: BatchingMode,
    /// What clients want that state no deadline.
    pub slo: Option<Slo>,
    /// The priority level of requests that name none.
    pub priority: u32,
    /// How many levels there are.
    pub priority_levels: u32,
    /// The most requests that wait.
    pub queue_max: usize,
    /// Its share of executor time next to the other models'.
    pub weight: f64,
    /// The batching policy asked for; `None` for the server's.
    pub policy: Option<String>,
    /// Batch sizes to stop at.
    pub preferred: Vec<u32>,
    /// How long the oldest request may wait for others.
    pub delay: Duration,
    /// CPU threads of one run; `None` for the cores of its executor.
    pub threads: Option<u32>,
    /// On how many executors it is loaded; `None` for all.
    pub executors: Option<u32>,
    /// Bytes of answers that are kept to answer equal requests; 0 for none.
    pub cache: u64,
    /// By output: the names of its classes.
    pub labels: Vec<Vec<String>>,
    /// By input position.
    pub pads: Vec<(usize, PadRule)>,
    /// The completed configuration, as clients see it.
    pub config: ModelConfig,
    /// Sentences for the operator.
    pub warnings: Vec<String>,
}

/// Which versions of a model are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The newest so many.
    Latest(usize),
    /// Every one.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl VersionPolicy {
    /// The choice of a configuration: the newest one where it says nothing, as in Triton.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        let choice = config.fields().version_policy.unwrap_or_default();
        if choice.all.is_some() {
            return Self::All;
        }
        if let Some(specific) = choice.specific {
            return Self::Specific(
                specific
                    .versions
                    .into_iter()
                    .filter_map(|version| version.try_into().ok())
                    .collect(),
            );
        }
        Self::Latest(choice.latest.map_or(1, |latest| latest.num_versions.max(1) as usize))
    }

    /// The versions served of those that are there, oldest first.
    #[must_use]
    pub fn choose(&self, there: &[u64]) -> Vec<u64> {
        let mut chosen = there.to_vec();
        chosen.sort_unstable();
        match self {
            Self::All => {}
            Self::Latest(count) => drop(chosen.drain(..chosen.len().saturating_sub(*count))),
            Self::Specific(versions) => chosen.retain(|version| versions.contains(version)),
        }
        chosen
    }
}

/// The model file's name that a configuration asks for.
#[must_use]
pub fn model_filename(config: Option<&ModelConfig>) -> String {
    let named = config.map(|config| config.fields().default_model_filename);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "model.onnx".into())
}

/// Merges and checks the files of a model version.
///
/// # Errors
/// Names the file and what does not fit.
pub fn describe(files: ModelFiles<'_>) -> Result<ModelDescription, CatalogError> {
    let mut signature = read_signature(files.onnx.0, files.onnx.1)?;
    let nothing = ModelSettings::default();
    let (settings_file, settings) = files.settings.unwrap_or(("punctual.toml", &nothing));
    let config_file = files.config.map_or("config.pbtxt", |(file, _)| file);
    let given = files.config.map(|(_, config)| config.clone()).unwrap_or_default();
    let (config, own) = ((config_file, &given), (settings_file, settings));
    let fields = given.fields();
    let checked = check::check_kind(&fields, files.model)
        .and_then(|()| check::check_numbers(&fields))
        .and_then(|()| check::check_tensors(&fields, &signature));
    checked.and_then(|()| narrow(&mut signature, &fields)).map_err(|misfit| misfit.of(config))?;
    let rows_max = rows_max(&fields, settings, &signature);
    let dynamic = fields.dynamic_batching.clone().unwrap_or_default();
    let queue = dynamic.default_queue_policy.clone().unwrap_or_default();
    let micros = |micros: u64| (micros > 0).then(|| Duration::from_micros(micros));
    let (priority, priority_levels) = priorities(settings, &dynamic);
    let batching = match settings.batching {
        BatchingMode::Auto if !wants_batches(&fields) && settings.batch_max.is_none() => {
            BatchingMode::Never
        }
        mode @ (BatchingMode::Auto | BatchingMode::Always | BatchingMode::Never) => mode,
    };
    let threads = fields.parameters.get(THREADS).and_then(|value| value.string_value.parse().ok());
    let group = fields
        .instance_group
        .iter()
        .fold(0_i32, |sum, group| sum.saturating_add(group.count.max(1)));
    Ok(ModelDescription {
        name: files.model.to_owned(),
        rows_max,
        batch_max: if signature.batched {
            settings.batch_max.unwrap_or(rows_max).min(rows_max)
        } else {
            1
        },
        batching,
        slo: settings
            .slo
            .or_else(|| micros(queue.default_timeout_microseconds))
            .map(|latency| Slo { latency }),
        priority,
        priority_levels,
        queue_max: settings
            .queue_max
            .or((queue.max_queue_size > 0).then_some(queue.max_queue_size as usize))
            .unwrap_or(QUEUE_MAX),
        weight: settings.weight.unwrap_or(1.0),
        cache: cache(&files, own, &signature)?,
        policy: settings.policy.clone(),
        preferred: dynamic
            .preferred_batch_size
            .iter()
            .filter_map(|&size| u32::try_from(size).ok())
            .collect(),
        delay: Duration::from_micros(dynamic.max_queue_delay_microseconds),
        threads: settings.threads.or(threads).filter(|&threads| threads > 0),
        executors: settings
            .executors
            .or_else(|| u32::try_from(group).ok())
            .filter(|&count| count > 0),
        labels: labels((&fields, config), own, &signature, files.labels)?,
        pads: pads(own, &signature)?,
        warnings: warnings::of(&files, rows_max, &signature),
        config: complete(&given, &fields, files.model, rows_max, &signature),
        signature,
    })
}

/// The error that a key of punctual.toml holds what cannot be.
fn wrong((file, settings): Own<'_>, path: &[&str], reason: String) -> CatalogError {
    CatalogError::Settings { file: file.to_owned(), line: settings.line(path), reason }
}

/// punctual.toml: its path for messages, and what it says.
type Own<'a> = (&'a str, &'a ModelSettings);

/// The bytes of answers to keep.
fn cache(files: &ModelFiles<'_>, own: Own<'_>, signature: &Signature) -> Result<u64, CatalogError> {
    let Some(bytes) = own.1.cache else { return Ok(0) };
    let elements = |spec: &TensorSpec| {
        let lengths = spec.dims.iter().map(|dim| match dim {
            Dim::Fixed(length) => *length,
            Dim::Any(_) => 1,
        });
        lengths.fold(1, u64::saturating_mul)
    };
    // A text may be empty, but for its length.
    let size =
        |spec: &TensorSpec| elements(spec).saturating_mul(spec.datatype.size().unwrap_or(4) as u64);
    // A request may ask for one output alone.
    let smallest = signature.outputs.iter().map(size).min().unwrap_or_default();
    let least = smallest.saturating_add(KEPT_BESIDE as u64);
    if bytes < least {
        let reason = format!(
            "`cache` is {bytes} bytes, but the smallest answer takes {least}, with {KEPT_BESIDE} for its key and names"
        );
        return Err(wrong(own, &["cache"], reason));
    }
    match drawing_operator(files.onnx.1).filter(|_| !own.1.cache_despite_chance) {
        None => Ok(bytes),
        Some(operator) => {
            let reason = format!(
                "`cache`: the model draws at random (`{operator}`), so that equal requests get different answers; `cache_despite_chance = true` keeps them all the same"
            );
            Err(wrong(own, &["cache"], reason))
        }
    }
}

/// The default level and the number of levels.
fn priorities(settings: &ModelSettings, dynamic: &DynamicBatching) -> (u32, u32) {
    let levels = settings.priority_levels.or_else(|| to_u32(dynamic.priority_levels)).unwrap_or(1);
    let priority = settings.priority.or_else(|| to_u32(dynamic.default_priority_level));
    let priority = priority.unwrap_or(levels.div_ceil(2));
    (priority, levels.max(priority))
}

fn to_u32(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|&value| value > 0)
}

/// Lays the configuration's word on shapes over the model's: lengths that it fixes, and whole shapes where it writes
/// the batch axis out, whose requests then run alone.
fn narrow(signature: &mut Signature, fields: &Fields) -> Result<(), Misfit> {
    let mut dims = fields.input.iter().map(|input| &input.dims);
    let mut output_dims = fields.output.iter().map(|output| &output.dims);
    let whole = dims.any(|dims| !dims.is_empty()) || output_dims.any(|dims| !dims.is_empty());
    signature.batched &= fields.max_batch_size > 0 || !whole;
    let skip = usize::from(signature.batched);
    for spec in &mut signature.inputs {
        let listed = fields.input.iter().position(|input| input.name == spec.name);
        let Some(item) = listed else { continue };
        let input = &fields.input[item];
        for (dim, &length) in spec.dims.iter_mut().skip(skip).zip(&input.dims) {
            if let (Dim::Any(_), Ok(length)) = (&*dim, u64::try_from(length)) {
                *dim = Dim::Fixed(length);
            }
        }
        if !can_be_held(&spec.dims) {
            let reason = format!("`dims` of {:?} are more than any machine holds", spec.name);
            return Err(Misfit::new("input.dims", reason).in_item(item));
        }
    }
    Ok(())
}

/// Whether the configuration lets requests share runs: as in Triton it does where it leaves the batch size to us, and
/// says so itself where it sets one.
fn wants_batches(fields: &Fields) -> bool {
    fields.dynamic_batching.is_some() || fields.max_batch_size == 0
}

/// The most rows of a request: the configuration's word, else ours.
fn rows_max(fields: &Fields, settings: &ModelSettings, signature: &Signature) -> u32 {
    if !signature.batched {
        return 1;
    }
    match u32::try_from(fields.max_batch_size).unwrap_or(0) {
        0 => settings.batch_max.unwrap_or(ROWS_MAX).max(1),
        rows => rows,
    }
}

/// Fills in what the operator left out, as clients expect to read it.
fn complete(
    given: &ModelConfig,
    fields: &Fields,
    model: &str,
    rows_max: u32,
    signature: &Signature,
) -> ModelConfig {
    let batched = signature.batched;
    let skip = usize::from(batched);
    let dims =
        |spec: &TensorSpec| -> Vec<i64> { spec.dims[skip..].iter().map(Dim::protocol).collect() };
    let facts = |spec: &TensorSpec| (type_number(spec.datatype), dims(spec));
    let mut missing = Fields {
        name: model.to_owned(),
        platform: "onnxruntime_onnx".into(),
        backend: "onnxruntime".into(),
        max_batch_size: if batched { i32::try_from(rows_max).unwrap_or(i32::MAX) } else { 0 },
        default_model_filename: model_filename(Some(given)),
        ..Fields::default()
    };
    if fields.input.is_empty() {
        let input = |spec: &TensorSpec| InputFields {
            name: spec.name.clone(),
            data_type: type_number(spec.datatype),
            dims: dims(spec),
        };
        missing.input = signature.inputs.iter().map(input).collect();
    }
    if fields.output.is_empty() {
        let output = |spec: &TensorSpec| OutputFields {
            name: spec.name.clone(),
            data_type: type_number(spec.datatype),
            dims: dims(spec),
            label_filename: String::new(),
        };
        missing.output = signature.outputs.iter().map(output).collect();
    }
    if fields.dynamic_batching.is_none() && wants_batches(fields) && batched {
        missing.dynamic_batching = Some(DynamicBatching::default());
    }
    let mut complete = given.with(&missing);
    complete.fill_tensors("input", |name| signature.input(name).map(|(_, spec)| facts(spec)));
    complete.fill_tensors("output", |name| signature.output(name).map(|(_, spec)| facts(spec)));
    complete
}

#[cfg(test)]
mod tests;
