//! Reads a model's files: settings and labels beside the versions, and the model file of one version.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use models::{ModelConfig, ModelSettings, Named, TaskSettings};
use sha2::{Digest, Sha256};

use super::loader::Load;
use super::scan::{FoundModel, Stamp};
use crate::profiles::hex;

/// Triton's settings of a model.
const CONFIG: &str = "config.pbtxt";

/// Our own settings of a model.
const SETTINGS: &str = "punctual.toml";

/// A label file larger than this is not one.
const LABELS_BYTES_MAX: u64 = 16 << 20;

/// Reads the file of a task; `None` where the folder is a model's.
///
/// # Errors
/// Names file, line and key.
pub(super) fn task(
    load: &Load,
    known: &dyn Fn(&str) -> bool,
) -> Result<Option<TaskSettings>, String> {
    let found = &load.found;
    let path = found.folder.join(SETTINGS);
    let Some(text) = task_text(&path) else { return Ok(None) };
    let file = path.display().to_string();
    if !found.versions.is_empty() {
        return Err(format!("{file}: a task's folder holds no versions of a model"));
    }
    let task = TaskSettings::from_text(&file, &text).map_err(|error| error.to_string())?;
    let kind = |name: &str| match known(name) {
        false => Named::Nothing,
        true if task_text(&found.repository.join(name).join(SETTINGS)).is_some() => Named::Task,
        true => Named::Model,
    };
    task.check_models(kind).map_err(|error| error.to_string())?;
    Ok(Some(task))
}

fn task_text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().filter(|text| TaskSettings::is_task(text))
}

/// What stands beside a model's versions.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// config.pbtxt or its stand-in: its path for messages, and what it says.
    pub(super) config: Option<(String, ModelConfig)>,
    /// punctual.toml.
    pub(super) settings: Option<(String, ModelSettings)>,
    /// Other text files by name.
    pub(super) labels: BTreeMap<String, String>,
}

impl Beside {
    /// Reads the files beside the versions.
    ///
    /// # Errors
    /// Names file, line and key.
    pub(super) fn read(load: &Load) -> Result<Self, String> {
        let found = &load.found;
        let text = |name: &str| -> Result<Option<(String, String)>, String> {
            if !found.shared.contains_key(Path::new(name)) {
                return Ok(None);
            }
            let path = found.folder.join(name);
            let file = path.display().to_string();
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
            Ok(Some((file, text)))
        };
        let config = match &load.config {
            Some(json) => {
                let config = ModelConfig::from_json(json).map_err(|error| error.to_string())?;
                Some((ModelConfig::OF_REQUEST.to_owned(), config))
            }
            None => text(CONFIG)?
                .map(|(file, text)| {
                    ModelConfig::from_text(&file, &text).map(|config| (file, config))
                })
                .transpose()
                .map_err(|error| error.to_string())?,
        };
        let settings = text(SETTINGS)?
            .map(|(file, text)| ModelSettings::from_text(&file, &text).map(|own| (file, own)))
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self { config, settings, labels: labels(found) })
    }
}

/// All small text files: which of them are labels, the configuration says.
fn labels(found: &FoundModel) -> BTreeMap<String, String> {
    let small = |(_, stamp): &(&PathBuf, &Stamp)| stamp.bytes <= LABELS_BYTES_MAX;
    let other = |name: &str| ![CONFIG, SETTINGS].contains(&name);
    let names = found.shared.iter().filter(small).filter_map(|(path, _)| path.to_str());
    names
        .filter(|name| other(name))
        .filter_map(|name| {
            let text = std::fs::read_to_string(found.folder.join(name)).ok()?;
            Some((name.to_owned(), text))
        })
        .collect()
}

/// The model file of a version: a folder of that name holds the model beside its external weights.
pub(super) fn model_file(found: &FoundModel, version: u64, name: &str) -> PathBuf {
    let path = found.folder.join(version.to_string()).join(name);
    if path.is_dir() { path.join("model.onnx") } else { path }
}

/// The SHA-256 of all files of a version, external weights included; `known` was read already.
///
/// # Errors
/// Names the file that cannot be read.
pub(super) fn hash(
    found: &FoundModel,
    version: u64,
    known: (&Path, &[u8]),
) -> Result<String, String> {
    let root = found.folder.join(version.to_string());
    let mut all = Sha256::new();
    for path in found.versions.get(&version).into_iter().flat_map(|files| files.keys()) {
        let file = root.join(path);
        let digest = if file == known.0 { Sha256::digest(known.1) } else { of_file(&file)? };
        all.update(path.as_os_str().as_encoded_bytes());
        all.update(digest);
    }
    Ok(hex(&all.finalize()))
}

fn of_file(path: &Path) -> Result<sha2::digest::Output<Sha256>, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes).map_err(unreadable)? {
            0 => return Ok(hash.finalize()),
            length => hash.update(&bytes[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_with_only_a_tasks_file_is_a_task_whose_variants_must_be_models() {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, variant: &str| {
            let text = format!(
                "[[variant]]\nmodel = \"{variant}\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n"
            );
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join(SETTINGS), text).unwrap();
        };
        fs::create_dir_all(root.path().join("model/1")).unwrap();
        write("good", "model");
        write("lost", "absent");
        write("round", "circle");
        write("circle", "round");
        let read = |name: &str| {
            let found = FoundModel::of(root.path(), &root.path().join(name));
            let (model, touched) = (name.to_owned(), BTreeSet::new());
            let load = Load { model, found, config: None, touched, files: None };
            task(&load, &|name| root.path().join(name).exists())
        };
        assert!(read("good").unwrap().is_some());
        assert!(read("model").unwrap().is_none());
        let error = read("lost").unwrap_err();
        assert!(
            error.ends_with("punctual.toml:2: `model`: 'absent' is in no repository"),
            "{error}"
        );
        let error = read("round").unwrap_err();
        assert!(error.contains("punctual.toml:2: `model`: 'circle' is a task;"), "{error}");
    }
}
