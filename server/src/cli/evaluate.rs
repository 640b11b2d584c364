//! `punctual evaluate NAME`: measures how often a model, or each variant of a task, is right on labelled rows.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use models::{Adapter, QUEUE_MAX, Signature, TaskSettings};

use super::devices::DeviceArgs;
use crate::evaluate::claims::{self, Claim};
use crate::evaluate::example::{Example, Form, Label};
use crate::evaluate::examples;
use crate::evaluate::metric::{Answer, Metric, Score, agreement};
use crate::evaluate::run;
use crate::profiles::ProfileStore;
use crate::repository::loader::Load;
use crate::repository::prepare::{Workshop, WorkshopSettings};
use crate::repository::{FoundModel, Prepare, Scan};
use crate::service::Loaded;

/// What to measure, and on what.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// The task's or the model's name
    pub name: String,
    /// Folder of models; may be given several times
    #[arg(long, alias = "model-store", value_name = "FOLDER", required = true)]
    pub model_repository: Vec<PathBuf>,
    /// Labelled rows: .npz (arrays named like the inputs, and labels), .csv, .jsonl (requests with `label`), or a folder
    /// with a sub-folder of .npy, .bin or .json files for each class
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// How answers are scored [default: top-1 or sequence by labels, agreement with --reference]
    #[arg(long)]
    pub metric: Option<Metric>,
    /// The model whose answers count as right where there are no labels
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,
    /// The output that is scored [default: the first that can be]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// The array or column of labels [default: label, labels, or the name of an output]
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// Where it runs.
    #[command(flatten)]
    pub on: DeviceArgs,
    /// Writes accuracy, metric and source into the task's punctual.toml; comments and layout stay
    #[arg(long)]
    pub write: bool,
    /// With --write: also cost, in microseconds of a row alone by the measured profile
    #[arg(long, requires = "write")]
    pub write_cost: bool,
}

/// Measures and, where asked, writes. Returns the table.
///
/// # Errors
/// A sentence on what kept it from being measured.
pub fn evaluate(args: &EvaluateArgs) -> Result<String, String> {
    let scan = Scan::of(&args.model_repository)?;
    let subject = Subject::find(&scan, args)?;
    let bench = Bench::new(&scan, &args.on)?;
    let asked =
        Asked { members: &subject.members, task: subject.task.as_ref().map(|(_, task)| task) };
    let measurement = evaluate_members(args, &bench, asked)?;
    let head = format!(
        "{}: {}, on {} ({})\n",
        args.name, measurement.source, args.on.device, bench.runtime
    );
    let mut text = head + &table(&measurement);
    if args.write {
        text += &write(&subject, &measurement, args.write_cost)?;
    }
    Ok(text)
}

/// What was measured of several models on the same rows.
pub(super) struct Measurement {
    pub(super) results: Vec<Measured>,
    pub(super) metric: String,
    pub(super) source: String,
    rows: usize,
}

/// Runs the rows through all members.
pub(super) fn evaluate_members(
    args: &EvaluateArgs,
    bench: &Bench<'_>,
    asked: Asked<'_>,
) -> Result<Measurement, String> {
    let (like, member) = asked.like().ok_or("there is nothing to measure")?;
    let mut first = bench.load(member)?;
    let form = Form { signature: &first.description.signature, label: args.label.as_deref() };
    let rows = examples::read(&args.data, form)?;
    let metric = metric(args, &rows)?;
    let output = metric.output(&first.description.signature, args.output.as_deref())?;
    let read = |datatype, inner: &[i64], row: &[u8]| metric.answer(datatype, inner, row);
    let reference = match reference(metric, args)? {
        None => None,
        Some(name) => {
            let member = Member { place: 0, model: name.to_owned(), version: None };
            let mut loaded = bench.load(&member)?;
            same_form(&first, &loaded)?;
            Some(run::run(&mut loaded, &rows, (output, None), read)?.answers)
        }
    };
    let mut results = Vec::new();
    let signature = first.description.signature.clone();
    for (index, member) in asked.members.iter().enumerate() {
        let mut loaded = if index == like { None } else { Some(bench.load(member)?) };
        let loaded = loaded.as_mut().unwrap_or(&mut first);
        let adapter = asked.adapter(&signature, member, &loaded.description.signature)?;
        let own = adapter.as_ref().map_or(output, |adapter| adapter.outputs[output].from);
        let name = format!("{}/{}", member.model, loaded.version);
        let answers = run::run(loaded, &rows, (output, adapter.as_ref()), read)
            .map_err(|reason| format!("{name}: {reason}"))?;
        let names = loaded.description.labels.get(own).map(Vec::as_slice).unwrap_or_default();
        let worth = match &reference {
            Some(reference) => agreement(&answers.answers, reference, metric),
            None => by_label(&answers.answers, &rows, names, &args.data)?,
        };
        let (score, profiled) = (Score::of(&worth), loaded.profile.median(1));
        let (place, per_row) = (member.place, answers.per_row);
        results.push(Measured { place, name, score, per_row, profiled });
    }
    Ok(Measurement {
        results,
        metric: metric.named(args.reference.as_deref().unwrap_or_default()),
        source: format!("punctual evaluate, {} rows of {}", rows.len(), file_name(&args.data)),
        rows: rows.len(),
    })
}

/// Whom to measure.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) members: &'a [Member],
    /// The task of which they are variants.
    pub(super) task: Option<&'a TaskSettings>,
}

impl<'a> Asked<'a> {
    /// The one whose inputs and outputs the rows have, and its place: the first that answers as it is.
    pub(super) fn like(self) -> Option<(usize, &'a Member)> {
        let own = |member: &Member| {
            self.task.is_none_or(|task| task.variants[member.place].adapt.is_none())
        };
        self.members.iter().enumerate().find(|(_, member)| own(member))
    }

    /// How a member answers in that form, where its own is another.
    pub(super) fn adapter(
        self,
        like: &Signature,
        member: &Member,
        own: &Signature,
    ) -> Result<Option<Adapter>, String> {
        let (Some(task), Some((_, first))) = (self.task, self.like()) else { return Ok(None) };
        task.fit((first.place, like), (member.place, own)).map_err(|error| error.to_string())
    }
}

/// What is measured.
struct Subject {
    /// The task's file and what it says, where it is a task.
    task: Option<(PathBuf, TaskSettings)>,
    members: Vec<Member>,
}

/// A model to measure, and its place in the task's file.
pub(super) struct Member {
    pub(super) place: usize,
    pub(super) model: String,
    pub(super) version: Option<u64>,
}

impl Member {
    /// The variants of a task.
    pub(super) fn all(settings: &TaskSettings) -> Vec<Self> {
        let member = |(place, claim): (usize, &models::VariantClaim)| Self {
            place,
            model: claim.model.get_ref().clone(),
            version: claim.version,
        };
        settings.variants.iter().enumerate().map(member).collect()
    }
}

impl Subject {
    fn find(scan: &Scan, args: &EvaluateArgs) -> Result<Self, String> {
        let found = find(scan, &args.name)?;
        let file = found.folder.join("punctual.toml");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if !TaskSettings::is_task(&text) {
            if args.write {
                return Err(format!(
                    "--write: '{}' is a model; only a task's file claims accuracies",
                    args.name
                ));
            }
            let members = vec![Member { place: 0, model: args.name.clone(), version: None }];
            return Ok(Self { task: None, members });
        }
        let settings = TaskSettings::from_text(&file.display().to_string(), &text)
            .map_err(|error| error.to_string())?;
        let members = Member::all(&settings);
        Ok(Self { task: Some((file, settings)), members })
    }
}

/// The folder of that name.
pub(super) fn find<'a>(scan: &'a Scan, name: &str) -> Result<&'a FoundModel, String> {
    let found = scan.models.get(name).ok_or_else(|| {
        let names: Vec<_> = scan.models.keys().map(String::as_str).collect();
        format!("'{name}' is in no repository; there are {}", names.join(", "))
    })?;
    found.problem.clone().map_or(Ok(found), Err)
}

/// Where models are loaded.
pub(super) struct Bench<'a> {
    scan: &'a Scan,
    workshop: Workshop,
    pub(super) runtime: String,
}

impl<'a> Bench<'a> {
    pub(super) fn new(scan: &'a Scan, on: &DeviceArgs) -> Result<Self, String> {
        let devices = on.devices()?;
        let settings = WorkshopSettings {
            budget: gpu::measure::BUDGET,
            auto_complete: true,
            queue_max: QUEUE_MAX,
            anew: false,
            memory_max: None,
        };
        let runtime = devices.runtime.clone();
        let workshop =
            Workshop::new(devices.places, ProfileStore::default(), devices.runtime, settings)
                .map_err(|error| format!("the system gives no thread: {error}"))?;
        Ok(Self { scan, workshop, runtime })
    }

    /// Loads the version asked for, or the newest that is served.
    pub(super) fn load(&self, member: &Member) -> Result<Loaded, String> {
        let model = &member.model;
        let load = Load {
            model: model.clone(),
            found: find(self.scan, model)?.clone(),
            config: None,
            touched: BTreeSet::new(),
            files: None,
        };
        let newest = || self.workshop.wanted(&load).map(|versions| versions.last().copied());
        let version = match member.version {
            Some(version) => version,
            None => newest()?.ok_or_else(|| format!("'{model}' has no version to serve"))?,
        };
        self.workshop.prepare(&load, version)
    }
}

/// The metric asked for, else the one that suits the labels.
fn metric(args: &EvaluateArgs, rows: &[Example]) -> Result<Metric, String> {
    let file = args.data.display();
    let labelled = rows.iter().filter(|row| row.label.is_some()).count();
    let metric = match args.metric {
        Some(metric) => metric,
        None if args.reference.is_some() => Metric::Agreement,
        None => match rows.first().and_then(|row| row.label.as_ref()) {
            Some(Label::Sequence(_)) => Metric::Sequence,
            Some(Label::Class(_) | Label::Text(_)) | None => Metric::Top1,
        },
    };
    if metric.is_by_label() && labelled < rows.len() {
        return Err(format!(
            "{file}: {} of {} rows have no label; name the labels with --label, or a model to agree with by --reference",
            rows.len() - labelled,
            rows.len()
        ));
    }
    Ok(metric)
}

fn reference(metric: Metric, args: &EvaluateArgs) -> Result<Option<&str>, String> {
    match (metric.is_by_label(), args.reference.as_deref()) {
        (false, None) => {
            Err("this metric compares with a model's answers; name it with --reference".into())
        }
        (true, Some(_)) => Err("this metric compares with labels; leave --reference out".into()),
        (_, reference) => Ok(reference),
    }
}

fn same_form(first: &Loaded, reference: &Loaded) -> Result<(), String> {
    let difference = first.description.signature.difference(&reference.description.signature);
    difference.map_or(Ok(()), |difference| {
        let name = &reference.description.name;
        Err(format!("--reference: '{name}' has another form: {difference}"))
    })
}

fn by_label(
    answers: &[Answer],
    rows: &[Example],
    names: &[String],
    data: &Path,
) -> Result<Vec<f64>, String> {
    let pairs = answers.iter().zip(rows).enumerate();
    let judged = pairs.map(|(index, (answer, row))| {
        let label = row.label.as_ref().ok_or("it has no label")?;
        let right = answer.is(label, names);
        right
            .map(|right| f64::from(u8::from(right)))
            .map_err(|reason| format!("{}: row {}: {reason}", data.display(), index + 1))
    });
    judged.collect()
}

/// What a model made of the rows.
pub(super) struct Measured {
    place: usize,
    name: String,
    pub(super) score: Score,
    per_row: Duration,
    /// One row alone, by the profile: time on the core, which neighbours do not disturb.
    pub(super) profiled: Duration,
}

pub(super) fn table(Measurement { results, metric, rows, .. }: &Measurement) -> String {
    let width =
        results.iter().map(|result| result.name.len()).max().unwrap_or(0).max("variant".len());
    let metric_width = metric.len().max("metric".len());
    let mut text = format!(
        "{:width$}  {:metric_width$}  {:>8}  {:>16}  {:>6}  {:>11}\n",
        "variant", "metric", "accuracy", "95 % interval", "rows", "time a row"
    );
    for Measured { name, score, per_row, .. } in results {
        let interval = format!("{:.4}..{:.4}", score.interval.0, score.interval.1);
        let time = super::profile::time(*per_row);
        writeln!(
            text,
            "{name:width$}  {metric:metric_width$}  {:>8.4}  {interval:>16}  {rows:>6}  {time:>11}",
            score.mean
        )
        .expect("text can be written to");
    }
    text
}

fn write(subject: &Subject, measurement: &Measurement, cost: bool) -> Result<String, String> {
    let Some((file, _)) = &subject.task else { return Ok(String::new()) };
    let claim = |result: &Measured| Claim {
        place: result.place,
        // A mean cosine may be negative, and a claim is a share.
        accuracy: result.score.mean.clamp(0.0, 1.0),
        metric: measurement.metric.clone(),
        source: measurement.source.clone(),
        cost: cost.then_some(result.profiled.as_secs_f64() * 1e6),
    };
    let claims: Vec<_> = measurement.results.iter().map(claim).collect();
    let name = file.display().to_string();
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    claims::replace(file, &claims::write_into(&name, &text, &claims)?)?;
    Ok(format!("written to {name}\n"))
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
