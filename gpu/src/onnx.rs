//! ONNX Runtime: the library found at run time, and a loaded session as a model of ours.

mod cpu;
mod cuda;

mod model;
mod raw;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

pub use self::cpu::OnnxCpu;
pub use self::cuda::OnnxCuda;

use self::model::OnnxModel;
use crate::stream::Stream;
use crate::{LoadError, LoadedModel, ModelSource};

/// What the library's file is called, with or without a version behind it.
const LIBRARY: &str = "libonnxruntime.so";

/// Where `make onnxruntime` puts it.
const MADE: &str = "target/onnxruntime/lib";

/// ONNX Runtime, loaded into this process.
pub struct Runtime {
    environment: Environment,
    version: String,
    library: PathBuf,
}

impl Runtime {
    /// The version of the library, `"1.31.1"` (or the text of its build): part of the key of a latency profile.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The runtime's own handle, for sessions beside ours.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }
}

/// Loads ONNX Runtime, once a process: later calls give what the first one loaded. `library` is the file or its
/// folder; without it, the program's own folder and then `target/onnxruntime/lib`, here and upward, are searched.
///
/// # Errors
/// Where there is no library, or not one that this program can use.
pub fn runtime(library: Option<&Path>) -> Result<&'static Runtime, LoadError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    let _one = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let loaded = load_library(find_library(library)?)?;
    Ok(RUNTIME.get_or_init(|| loaded))
}

fn load_library(library: PathBuf) -> Result<Runtime, LoadError> {
    let unusable = |reason: &dyn std::fmt::Display| {
        LoadError::Runtime(format!("cannot use {}: {reason}", library.display()))
    };
    let builder = ort::init_from(&library).map_err(|error| unusable(&error))?;
    let environment = builder.with_name("punctual").with_telemetry(false).build();
    let environment = environment.map_err(|error| unusable(&error))?;
    environment.set_log_level(LogLevel::Warning);
    // The file's name holds the version; failing that, the runtime's account of its own build tells builds apart.
    let version = version_in_name(&library).unwrap_or_else(|| ort::info().to_owned());
    Ok(Runtime { environment, version, library })
}

fn find_library(given: Option<&Path>) -> Result<PathBuf, LoadError> {
    if let Some(given) = given {
        let found = if given.is_dir() {
            newest_in(given)
        } else {
            given.is_file().then(|| given.to_path_buf())
        };
        return found.ok_or_else(|| missing(&format!("no {LIBRARY} at {}", given.display())));
    }
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).and_then(newest_in);
    beside
        .or_else(|| made_above(&std::env::current_dir().ok()?))
        .ok_or_else(|| missing(&format!("no {LIBRARY} beside the program or in {MADE}")))
}

fn missing(what: &str) -> LoadError {
    LoadError::Runtime(format!("ONNX Runtime is missing ({what}); fetch it with: make onnxruntime"))
}

/// The library made in `folder` or in one above it.
fn made_above(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find_map(|folder| newest_in(&folder.join(MADE)))
}

/// The library of a folder; the one with the greatest name, where there are several.
fn newest_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|file| file.path());
    let is_library = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(LIBRARY));
        name.is_some_and(|version| version.is_empty() || version.starts_with('.')) && path.is_file()
    };
    files.filter(is_library).max()
}

fn version_in_name(library: &Path) -> Option<String> {
    let file = std::fs::canonicalize(library).ok()?;
    let version = file.file_name()?.to_str()?.strip_prefix(LIBRARY)?.strip_prefix('.')?;
    Some(version.to_owned())
}

/// Loads a model with the session options of a backend.
fn load(
    runtime: &Runtime,
    source: &ModelSource,
    stream: Option<Arc<Stream>>,
    options: impl FnOnce(SessionBuilder) -> ort::Result<SessionBuilder>,
) -> Result<Box<dyn LoadedModel>, LoadError> {
    let refused =
        |reason: String| LoadError::Model { model: source.path.display().to_string(), reason };
    let builder =
        Session::builder(&runtime.environment).map_err(|error| refused(error.to_string()))?;
    let mut builder = options(builder).map_err(|error| refused(error.to_string()))?;
    let session =
        builder.commit_from_file(&source.path).map_err(|error| refused(error.to_string()))?;
    let model = OnnxModel::new(&session, source.signature.clone(), stream).map_err(refused)?;
    Ok(Box::new(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_refused_with_the_command_that_fetches_it() {
        let error = find_library(Some(Path::new("nowhere/lib"))).unwrap_err().to_string();
        assert!(error.ends_with("make onnxruntime"), "{error}");
        assert!(error.contains("nowhere/lib"), "{error}");
    }

    #[test]
    fn the_library_is_found_in_a_folder_above_and_its_version_read() {
        let root = std::env::temp_dir().join(format!("punctual-gpu-{}", std::process::id()));
        let (made, below) = (root.join(MADE), root.join("a/b"));
        std::fs::create_dir_all(&made).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        for name in
            ["libonnxruntime.so.1.31.1", "libonnxruntime_providers_shared.so", "libonnxruntime.sox"]
        {
            std::fs::write(made.join(name), "").unwrap();
        }
        let found = made_above(&below).unwrap();
        assert_eq!(found, made.join("libonnxruntime.so.1.31.1"));
        assert_eq!(version_in_name(&found).as_deref(), Some("1.31.1"));
        std::fs::remove_dir_all(root).unwrap();
    }
}
