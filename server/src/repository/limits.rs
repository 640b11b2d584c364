//! A model's settings held against what there is: versions, executors, cores.

use std::collections::BTreeSet;

use models::{ModelDescription, VersionPolicy};

use super::files::Beside;
use super::loader::Load;
use super::place::{Place, threads_on};

/// The versions that the model's policy asks for, of those that are there.
///
/// # Errors
/// There is none of them, by what there is; or the model's settings are wrong, by file, line and key.
pub(super) fn versions(load: &Load) -> Result<BTreeSet<u64>, String> {
    let (file, config) = Beside::read(load)?.config.unwrap_or_default();
    let there: Vec<_> = load.found.versions.keys().copied().collect();
    let policy = VersionPolicy::of(&config);
    let wanted: BTreeSet<_> = policy.choose(&there).into_iter().collect();
    // Triton's sentence.
    let none = format!(
        "at least one version must be available under the version policy of model '{}'",
        load.model
    );
    match policy {
        _ if !wanted.is_empty() => Ok(wanted),
        VersionPolicy::Specific(asked) if !there.is_empty() => {
            let key = "version_policy.specific.versions";
            let (line, asked, there) = (config.line(key), list(&asked), list(&there));
            Err(format!("{file}:{line}: `{key}`: {none}; it asks for {asked}, there is {there}"))
        }
        VersionPolicy::Latest(_) | VersionPolicy::All | VersionPolicy::Specific(_) => {
            let folder = load.found.folder.display();
            Err(format!(
                "{folder}: {none}; there is none: a version is a folder named by a number from 1, such as 1"
            ))
        }
    }
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Sentences on numbers that are higher than what there is, by file, line and key, of a model on those of `there` places.
pub(super) fn clamped(
    there: usize,
    places: &[&Place],
    description: &ModelDescription,
    beside: &Beside,
) -> Vec<String> {
    let at = |own: bool, key: &str, path: &str| match (&beside.settings, &beside.config) {
        (Some((file, settings)), _) if own => format!("{file}:{}: `{key}`", settings.line(&[key])),
        (_, Some((file, config))) => format!("{file}:{}: `{path}`", config.line(path)),
        (_, None) => format!("`{key}`"),
    };
    let own = beside.settings.as_ref().map(|(_, settings)| settings);
    let mut warnings = Vec::new();
    if let Some(asked) = description.executors.filter(|&asked| asked as usize > there) {
        let own = own.is_some_and(|own| own.executors.is_some());
        let at = at(own, "executors", "instance_group.count");
        warnings
            .push(format!("{at} is {asked}, but executors there are {there}: so many are used"));
    }
    let runs = places.iter().map(|place| threads_on(place, description.threads));
    let most = runs.max().unwrap_or(1);
    if let Some(asked) = description.threads.filter(|&asked| asked > most) {
        let own = own.is_some_and(|own| own.threads.is_some());
        let at = at(own, "threads", "parameters.intra_op_thread_count");
        warnings.push(format!(
            "{at} is {asked}, but a run has {most} at most on the executors of the model: so many are used (see --device)"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use gpu::{Emulated, Noise};
    use models::{ExecutorId, LatencyProfile, ModelConfig, ModelFiles, ModelSettings};

    use super::*;

    /// What is said of a model with those settings, on two executors of four cores.
    fn said(config: &str, settings: &str) -> Vec<String> {
        let time = std::time::Duration::from_millis(1);
        let profile = LatencyProfile::linear(time, time, 1);
        let place = |id| Place {
            id: ExecutorId(id),
            executor: Arc::new(Emulated::new("fast", profile.clone(), Noise::default())),
            cores: 4,
            known: None,
        };
        let beside = Beside {
            config: Some(("c".into(), ModelConfig::from_text("c", config).unwrap())),
            settings: Some(("s".into(), ModelSettings::from_text("s", settings).unwrap())),
            labels: BTreeMap::new(),
        };
        let description = models::describe(ModelFiles {
            model: "m",
            onnx: ("model.onnx", include_bytes!("../../../gpu/tests/models/mlp.onnx")),
            config: beside.config.as_ref().map(|(file, config)| (file.as_str(), config)),
            settings: beside.settings.as_ref().map(|(file, own)| (file.as_str(), own)),
            labels: &beside.labels,
        });
        let places = [place(0), place(1)];
        clamped(2, &places.iter().collect::<Vec<_>>(), &description.unwrap(), &beside)
    }

    #[test]
    fn more_than_there_is_is_named_with_what_is_used() {
        assert_eq!(said("", "threads = 4\nexecutors = 2"), Vec::<String>::new());
        assert_eq!(
            said("", "threads = 100\nexecutors = 99"),
            [
                "s:2: `executors` is 99, but executors there are 2: so many are used",
                "s:1: `threads` is 100, but a run has 4 at most on the executors of the model: so many are used (see --device)"
            ]
        );
        let threads =
            "parameters {\nkey: \"intra_op_thread_count\" value { string_value: \"9\" } }";
        assert_eq!(
            said(&format!("instance_group {{\ncount: 50 }}\n{threads}"), ""),
            [
                "c:2: `instance_group.count` is 50, but executors there are 2: so many are used",
                "c:4: `parameters.intra_op_thread_count` is 9, but a run has 4 at most on the executors of the model: so many are used (see --device)"
            ]
        );
    }
}
