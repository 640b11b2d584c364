//! `punctual variants make MODEL`: derives another form of a model, checks it and puts it into the repository.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use models::TaskSettings;

use super::devices::DeviceArgs;
use super::evaluate::{
    Asked, Bench, EvaluateArgs, Measurement, Member, evaluate_members, find, table,
};
use crate::config::DeviceChoice;
use crate::evaluate::claims::{quoted, replace, significant};
use crate::evaluate::derive::{Form, derive};
use crate::evaluate::metric::Metric;
use crate::repository::{FoundModel, Scan};

/// What to do with variants.
#[derive(Subcommand, Clone, Debug)]
pub enum VariantsCommand {
    /// Derives another form of a model with onnxruntime's tools, checks it and adds it to the repository
    Make(MakeArgs),
}

/// What to derive, and from what.
#[derive(Args, Clone, Debug)]
pub struct MakeArgs {
    /// The model's name
    pub model: String,
    /// Folder of models; may be given several times
    #[arg(long, alias = "model-store", value_name = "FOLDER", required = true)]
    pub model_repository: Vec<PathBuf>,
    /// The form
    #[arg(long = "as", value_name = "FORM", default_value = "int8")]
    pub form: Form,
    /// The new model's name [default: MODEL_FORM]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Rows that both are measured on, as for `evaluate`
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// How answers are scored [default: by the labels of --data, else agreement with MODEL]
    #[arg(long, requires = "data")]
    pub metric: Option<Metric>,
    /// The output that is scored [default: the first that can be]
    #[arg(long, requires = "data", value_name = "NAME")]
    pub output: Option<String>,
    /// The array or column of labels
    #[arg(long, requires = "data", value_name = "NAME")]
    pub label: Option<String>,
    /// The task that it becomes a variant of, with what is measured on --data
    #[arg(long, requires = "data", value_name = "TASK")]
    pub task: Option<String>,
    /// A Python with the packages onnxruntime and onnx
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: String,
    /// cpu:1xT (T cores) | cuda:K
    #[arg(long, value_name = "DEVICE", default_value = "cpu:1")]
    pub device: DeviceChoice,
    /// The ONNX Runtime library, or its folder [default: beside the program, or target/onnxruntime/lib]
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl MakeArgs {
    fn on(&self) -> DeviceArgs {
        DeviceArgs { device: self.device.clone(), onnxruntime: self.onnxruntime.clone() }
    }
}

/// Derives, checks and registers. Returns what was made and how it compares.
///
/// # Errors
/// A sentence on what kept it from being made; nothing of it stays then.
pub fn variants(command: &VariantsCommand) -> Result<String, String> {
    let VariantsCommand::Make(args) = command;
    let scan = Scan::of(&args.model_repository)?;
    let found = find(&scan, &args.model)?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}_{}", args.model, args.form.name()));
    if scan.models.contains_key(&name) {
        return Err(format!(
            "'{name}' is in the repository already; --name gives the new model another name"
        ));
    }
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(format!("--name: '{name}' is no folder's name"));
    }
    let task = args.task.as_deref().map(|task| task_file(&scan, task)).transpose()?;
    let (version, _) = found
        .versions
        .last_key_value()
        .ok_or_else(|| format!("'{}' has no version to derive from", args.model))?;
    let source = found.folder.join(version.to_string()).join("model.onnx");
    if !source.is_file() {
        return Err(format!(
            "{}: only a version of one file, model.onnx, can be derived from",
            source.display()
        ));
    }
    let folder = found.repository.join(&name);
    let made = make(args, found, (&source, &folder))
        .and_then(|()| register(args, &name, *version, task.as_deref()));
    if made.is_err() {
        // What is left of it would be served.
        drop(std::fs::remove_dir_all(&folder));
    }
    made
}

fn make(
    args: &MakeArgs,
    found: &FoundModel,
    (source, folder): (&Path, &Path),
) -> Result<(), String> {
    let unwritable = |error: std::io::Error| format!("cannot write {}: {error}", folder.display());
    // A server that polls must not find it half made.
    let unfinished = found.repository.join(format!(".making-{}", std::process::id()));
    std::fs::create_dir_all(unfinished.join("1")).map_err(unwritable)?;
    let derived = derive(&args.python, args.form, source, &unfinished.join("1/model.onnx"));
    let placed = derived.and_then(|()| {
        let settings = found.folder.join("punctual.toml");
        if settings.is_file() {
            std::fs::copy(&settings, unfinished.join("punctual.toml")).map_err(unwritable)?;
        }
        std::fs::rename(&unfinished, folder).map_err(unwritable)
    });
    if placed.is_err() {
        drop(std::fs::remove_dir_all(&unfinished));
    }
    placed
}

/// Loads both, holds their forms against each other, measures and writes.
fn register(
    args: &MakeArgs,
    name: &str,
    version: u64,
    task: Option<&Path>,
) -> Result<String, String> {
    let scan = Scan::of(&args.model_repository)?;
    let bench = Bench::new(&scan, &args.on())?;
    let members = [
        Member { place: 0, model: args.model.clone(), version: Some(version) },
        Member { place: 1, model: name.to_owned(), version: Some(1) },
    ];
    let signatures = [bench.load(&members[0])?, bench.load(&members[1])?]
        .map(|loaded| loaded.description.signature);
    if let Some(difference) = signatures[0].difference(&signatures[1]) {
        return Err(format!("'{name}' has another form than '{}': {difference}", args.model));
    }
    let bytes = |model: &str, version: u64| {
        let file = scan.models[model].folder.join(version.to_string()).join("model.onnx");
        std::fs::metadata(file).map_or(0, |metadata| metadata.len())
    };
    let (made, original) = (bytes(name, 1), bytes(&args.model, version));
    if made > original / 20 * 19 {
        return Err(format!(
            "the tools found next to nothing in '{}' to make {} of: {:.1} MB of {:.1}",
            args.model,
            args.form.name(),
            megabytes(made),
            megabytes(original)
        ));
    }
    let mut text = format!(
        "{name}: {} of {}, {:.1} MB of {:.1}; it loads and has the same inputs and outputs\n",
        args.form.name(),
        args.model,
        megabytes(made),
        megabytes(original)
    );
    let Some(data) = &args.data else {
        writeln!(text, "how right it is was not measured: that needs --data")
            .expect("text can be written to");
        return Ok(text);
    };
    let measurement = measure(args, data, &bench, &members)?;
    text += &table(&measurement);
    if let Some(file) = task {
        append(file, args, name, &measurement)?;
        writeln!(text, "a variant in {}", file.display()).expect("text can be written to");
    }
    Ok(text)
}

#[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn measure(
    args: &MakeArgs,
    data: &Path,
    bench: &Bench<'_>,
    members: &[Member],
) -> Result<Measurement, String> {
    let mut asked = EvaluateArgs {
        name: args.model.clone(),
        model_repository: args.model_repository.clone(),
        data: data.to_owned(),
        metric: args.metric,
        reference: None,
        output: args.output.clone(),
        label: args.label.clone(),
        on: args.on(),
        write: false,
        write_cost: false,
    };
    let by_label = args.metric.is_none_or(Metric::is_by_label);
    if by_label {
        match evaluate_members(&asked, bench, Asked { members, task: None }) {
            Ok(measurement) => return Ok(measurement),
            // Without labels what it agrees with is where it comes from.
            Err(error) if args.metric.is_some() || !error.contains("have no label") => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    asked.reference = Some(args.model.clone());
    evaluate_members(&asked, bench, Asked { members, task: None })
}

fn task_file(scan: &Scan, task: &str) -> Result<PathBuf, String> {
    let file = find(scan, task)?.folder.join("punctual.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if !TaskSettings::is_task(&text) {
        return Err(format!("--task: '{task}' is a model"));
    }
    Ok(file)
}

/// Adds the variant behind all else that the file says.
fn append(
    file: &Path,
    args: &MakeArgs,
    name: &str,
    measurement: &Measurement,
) -> Result<(), String> {
    let shown = file.display().to_string();
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let settings = TaskSettings::from_text(&shown, &text).map_err(|error| error.to_string())?;
    let [first, second] = &measurement.results[..] else {
        return Err("two models were to be measured".into());
    };
    let original = settings.variants.iter().find(|claim| *claim.model.get_ref() == args.model);
    if original.is_some_and(|claim| claim.adapt.is_some()) {
        return Err(format!(
            "--task: {shown} says how '{}' is adapted; name the new variant there by hand, with the same `adapt`",
            args.model
        ));
    }
    let ratio = second.profiled.as_secs_f64() / first.profiled.as_secs_f64().max(1e-9);
    let mut written = text.trim_end().to_owned();
    let accuracy = second.score.mean.clamp(0.0, 1.0);
    let lines = [
        ("model", quoted(name)),
        ("precision", quoted(args.form.name())),
        ("accuracy", format!("{accuracy:.4}")),
        ("metric", quoted(&measurement.metric)),
        ("source", quoted(&measurement.source)),
        // In the task's own unit, by the profiles of both.
        (
            "cost",
            original.map_or_else(String::new, |claim| significant(f64::from(claim.cost) * ratio)),
        ),
    ];
    written += "\n\n[[variant]]\n";
    for (key, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(written, "{key} = {value}").expect("text can be written to");
    }
    TaskSettings::from_text(&shown, &written).map_err(|error| error.to_string())?;
    replace(file, &written)
}
