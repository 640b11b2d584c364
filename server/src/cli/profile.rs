//! `punctual profile MODEL`: measures a model by batch size and says whether batching pays and is true.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use models::{LatencyProfile, QUEUE_MAX};

use super::devices::DeviceArgs;
use crate::config::Span;
use crate::profiles::ProfileStore;
use crate::repository::loader::Load;
use crate::repository::prepare::{Workshop, WorkshopSettings};
use crate::repository::{Prepare, Scan};
use crate::service::Loaded;

/// What to measure, and where.
#[derive(Args, Clone, Debug)]
pub struct ProfileArgs {
    /// The model's name
    pub model: String,
    /// Folder of models; may be given several times
    #[arg(long, alias = "model-store", value_name = "FOLDER", required = true)]
    pub model_repository: Vec<PathBuf>,
    /// Where it runs.
    #[command(flatten)]
    pub on: DeviceArgs,
    /// Longest time that the measuring may take
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub profile_budget: Span,
}

/// Measures the versions that the model's policy serves; the profile files are renewed. Returns the tables.
///
/// # Errors
/// A sentence on what kept the model from being measured.
pub fn profile(args: &ProfileArgs) -> Result<String, String> {
    let devices = args.on.devices()?;
    let scan = Scan::of(&args.model_repository)?;
    let found = scan.models.get(&args.model).ok_or_else(|| {
        let names: Vec<_> = scan.models.keys().map(String::as_str).collect();
        format!("'{}' is in no repository; there are {}", args.model, names.join(", "))
    })?;
    let settings = WorkshopSettings {
        budget: args.profile_budget.0,
        auto_complete: true,
        queue_max: QUEUE_MAX,
        anew: true,
        memory_max: None,
    };
    let runtime = devices.runtime.clone();
    let workshop =
        Workshop::new(devices.places, ProfileStore::default(), devices.runtime, settings)
            .map_err(|error| format!("the system gives no thread: {error}"))?;
    let load = Load {
        model: args.model.clone(),
        found: found.clone(),
        config: None,
        touched: BTreeSet::new(),
        files: None,
    };
    if let Some(problem) = &load.found.problem {
        return Err(problem.clone());
    }
    let known = |name: &str| scan.models.contains_key(name);
    if let Some(task) = workshop.task(&load, &known)? {
        let variants: Vec<_> =
            task.variants.iter().map(|variant| variant.model.get_ref().as_str()).collect();
        return Err(format!(
            "'{}' is a task; what can be measured are its variants: {}",
            args.model,
            variants.join(", ")
        ));
    }
    let mut text = String::new();
    for version in workshop.wanted(&load)? {
        let loaded = workshop.prepare(&load, version)?;
        let head = format!("{} version {version} on {} ({runtime})\n", args.model, args.on.device);
        text.push_str(&head);
        text.push_str(&table(&loaded));
    }
    Ok(text)
}

fn table(loaded: &Loaded) -> String {
    let profile = &loaded.profile;
    let mut text = lines(profile);
    let (pays, gain) = (profile.batch_that_pays(), profile.batching_gain());
    let verdict = match (pays, loaded.alone_because.as_str()) {
        (1, _) => "batching does not pay: no larger batch gives more rows a second".into(),
        (_, "") => format!(
            "batching pays: {gain:.1} times the rows a second at batch {pays}; rows come out the same alone and together"
        ),
        (_, reason) => format!(
            "batching would give {gain:.1} times the rows a second at batch {pays}, but {reason}"
        ),
    };
    writeln!(text, "{verdict}\nserved with up to {} rows a batch", loaded.batch_max)
        .expect("text can be written to");
    text
}

fn lines(profile: &LatencyProfile) -> String {
    let mut text = format!(
        "{:>6} {:>12} {:>12} {:>12} {:>12} {:>7}\n",
        "batch", "median", "p99", "per row", "rows/s", "runs"
    );
    for point in profile.points() {
        let per_row = point.median / point.batch;
        let rate = f64::from(point.batch) / point.median.as_secs_f64();
        writeln!(
            text,
            "{:>6} {:>12} {:>12} {:>12} {:>12.0} {:>7}",
            point.batch,
            time(point.median),
            time(point.p99),
            time(per_row),
            rate,
            point.runs
        )
        .expect("text can be written to");
    }
    text
}

/// A time with three significant digits or so.
pub(super) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        micros if micros < 1e3 => format!("{micros:.1} us"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn run(words: &[&str]) -> Result<String, String> {
        let words = ["punctual", "profile"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Profile(args) => profile(&args),
            Command::Serve(_) | Command::Evaluate(_) | Command::Fit(_) | Command::Variants(_) => {
                panic!("asked for a profile")
            }
        }
    }

    #[test]
    fn the_table_of_an_emulated_device_is_that_of_its_profile() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m/1");
        std::fs::create_dir_all(&folder).unwrap();
        let model = include_bytes!("../../../gpu/tests/models/mlp.onnx");
        std::fs::write(folder.join("model.onnx"), model).unwrap();
        let csv = root.path().join("device.csv");
        std::fs::write(&csv, "1,100,110,9\n2,110,120,9\n4,130,140,9\n").unwrap();
        let device = format!("emulated:{}", csv.display());
        let repository = root.path().to_str().unwrap();
        let text = run(&["m", "--model-repository", repository, "--device", &device]).unwrap();
        assert!(
            text.contains("     4     130.0 us     140.0 us      32.5 us        30769       9"),
            "{text}"
        );
        assert!(text.contains("batching pays: 3.1 times the rows a second at batch 4;"), "{text}");
        let error = run(&["n", "--model-repository", repository, "--device", &device]).unwrap_err();
        assert!(error.contains("there are m"), "{error}");
        let task = root.path().join("t");
        std::fs::create_dir_all(&task).unwrap();
        let text = "[[variant]]\nmodel = \"m\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n";
        std::fs::write(task.join("punctual.toml"), text).unwrap();
        let error = run(&["t", "--model-repository", repository, "--device", &device]).unwrap_err();
        assert_eq!(error, "'t' is a task; what can be measured are its variants: m");
    }
}
