//! Models come from folders into service and out of it, on an emulated device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender};
use gpu::{Emulated, Noise};
use models::{ExecutorId, LatencyProfile};
use parking_lot::Mutex;
use server::config::{Config, ControlMode, Flags};
use server::profiles::ProfileStore;
use server::repository::loader::{Load, Loader};
use server::repository::place::Place;
use server::repository::prepare::{Workshop, WorkshopSettings};
use server::repository::{Prepare, Repository, Sink};
use server::service::{Gone, LoadOverrides, Loaded};
use server::status::Failure;
use tempfile::TempDir;

/// Takes floats of [N, 4] to floats of [N, 3].
const MODEL: &[u8] = include_bytes!("../../gpu/tests/models/mlp.onnx");

/// Notes what is placed and retired.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    loaded: Mutex<Vec<Loaded>>,
    gone: Mutex<Vec<Gone>>,
}

impl Sink for Notes {
    fn place(&self, loaded: Loaded) {
        self.lines.lock().push(format!("+{}/{}", loaded.description.name, loaded.version));
        self.loaded.lock().push(loaded);
    }

    fn place_task(&self, _: &str, _: models::TaskSettings) -> Result<(), String> {
        Ok(())
    }

    fn retire(&self, model: &str, version: u64, gone: Gone) {
        self.lines.lock().push(format!("-{model}/{version}"));
        self.gone.lock().push(gone);
    }
}

impl Notes {
    /// What happened since the last call.
    fn take(&self) -> String {
        std::mem::take(&mut *self.lines.lock()).join(" ")
    }
}

fn write(root: &TempDir, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn repository(root: &Path, control: ControlMode, known: bool) -> (Repository, Arc<Notes>) {
    let profile = LatencyProfile::linear(Duration::from_micros(90), Duration::from_micros(10), 8);
    let device = Emulated::new("fast", profile.clone(), Noise::default());
    let place = |id| Place {
        id: ExecutorId(id),
        executor: Arc::new(Emulated::new("fast", device.profile().clone(), Noise::default())),
        cores: 1,
        known: known.then(|| profile.clone()),
    };
    let flags = Flags {
        model_repository: Some(vec![root.to_owned()]),
        model_control_mode: Some(control),
        ..Flags::default()
    };
    let config = Config::resolve(&flags).unwrap();
    let settings =
        WorkshopSettings { budget: Duration::from_millis(20), ..WorkshopSettings::of(&config) };
    let places = vec![place(0), place(1)];
    let workshop =
        Workshop::new(places, ProfileStore::default(), "emulated".into(), settings).unwrap();
    let notes = Arc::new(Notes::default());
    let sink = Arc::clone(&notes);
    let loader = Loader::start(2, &[], Box::new(workshop), sink).unwrap();
    (Repository::new(config.models, loader), notes)
}

fn index(repository: &Repository) -> Vec<String> {
    let line = |entry: server::service::IndexEntry| {
        format!("{}/{} {} {}", entry.name, entry.version, entry.state, entry.reason)
    };
    repository.index(false).into_iter().map(line).collect()
}

#[tokio::test]
async fn a_folder_with_only_a_model_is_placed_on_all_executors_with_its_measures() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "m/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::None, false);
    assert_eq!(repository.start().await, Ok(vec![]));
    assert_eq!(notes.take(), "+m/1");
    assert_eq!(index(&repository), ["m/1 READY "]);
    let loaded = notes.loaded.lock().pop().unwrap();
    let on: Vec<_> = loaded.executors.iter().map(|(executor, _)| executor.0).collect();
    assert_eq!(on.len(), 2);
    assert!(on.contains(&0) && on.contains(&1));
    assert_eq!(loaded.profiled_elements, 4);
    assert!((1..=loaded.description.rows_max).contains(&loaded.batch_max));
    // On a busy machine the measured times may say that batches do not pay: then the reason is told.
    assert_eq!(loaded.alone_because.is_empty(), loaded.batch_max > 1, "{}", loaded.alone_because);
    assert!(loaded.profile.points()[0].runs > 0);
    let profiles = fs::read_dir(root.path().join(".punctual/profiles/m")).unwrap();
    assert_eq!(profiles.count(), 1);
}

#[tokio::test]
async fn the_profile_of_an_emulated_device_is_not_measured() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "m/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::None, true);
    repository.start().await.unwrap();
    let loaded = notes.loaded.lock().pop().unwrap();
    assert_eq!(loaded.profile.time(8), Duration::from_micros(170));
    assert!(!root.path().join(".punctual").exists());
}

#[tokio::test]
async fn polling_follows_the_folders_and_a_new_version_is_placed_before_the_old_one_goes() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::Poll, true);
    repository.start().await.unwrap();
    assert_eq!(notes.take(), "+a/1");
    assert_eq!(repository.poll().finish().await, []);
    assert_eq!(notes.take(), "");
    write(&root, "a/2/model.onnx", MODEL);
    write(&root, "b/7/model.onnx", MODEL);
    assert_eq!(repository.poll().finish().await, []);
    let happened = notes.take();
    assert!(happened.contains("+a/2 -a/1") || happened.contains("+a/2 +b/7 -a/1"), "{happened}");
    assert_eq!(index(&repository), ["a/1 UNLOADING ", "a/2 READY ", "b/7 READY "]);
    notes.gone.lock().drain(..).for_each(|gone| gone());
    assert_eq!(index(&repository)[0], "a/1 UNAVAILABLE unloaded");
    fs::remove_dir_all(root.path().join("b")).unwrap();
    repository.poll().finish().await;
    assert_eq!(notes.take(), "-b/7");
}

#[tokio::test]
async fn a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::Poll, true);
    repository.start().await.unwrap();
    write(&root, "a/2/model.onnx", "no model");
    let failures = repository.poll().finish().await;
    assert!(failures[0].1.contains("a/2/model.onnx: not an ONNX model"), "{failures:?}");
    assert_eq!(notes.take(), "+a/1");
    let lines = index(&repository);
    assert!(lines[0] == "a/1 READY " && lines[1].starts_with("a/2 UNAVAILABLE "), "{lines:?}");
    write(&root, "a/config.pbtxt", "max_batch_size: 8\nno_such_key: 1\n");
    let failures = repository.poll().finish().await;
    assert!(failures[0].1.contains("a/config.pbtxt:2"), "{failures:?}");
    assert!(index(&repository)[0].starts_with("a/1 READY "));
}

#[tokio::test]
async fn the_version_policy_chooses_the_versions() {
    let root = tempfile::tempdir().unwrap();
    for version in [1, 2, 10] {
        write(&root, &format!("a/{version}/model.onnx"), MODEL);
    }
    let cases: [(&str, &[&str]); 4] = [
        ("", &["+a/10"]),
        ("version_policy { all {} }", &["+a/1", "+a/2", "+a/10"]),
        ("version_policy { specific { versions: [2] } }", &["+a/2", "-a/1", "-a/10"]),
        ("version_policy { latest { num_versions: 2 } }", &["+a/2", "+a/10"]),
    ];
    let (repository, notes) = repository(root.path(), ControlMode::Poll, true);
    repository.start().await.unwrap();
    for (config, expected) in cases {
        if !config.is_empty() {
            write(&root, "a/config.pbtxt", config);
            assert_eq!(repository.poll().finish().await, []);
        }
        assert_eq!(notes.take().split(' ').collect::<Vec<_>>(), expected, "{config}");
    }
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_on_request() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::Explicit, true);
    repository.start().await.unwrap();
    assert_eq!(index(&repository), ["a/  "]);
    repository.load("a", LoadOverrides::default()).await.unwrap();
    repository.load("a", LoadOverrides::default()).await.unwrap();
    assert_eq!(notes.take(), "+a/1");
    repository.unload("a").unwrap();
    repository.unload("unknown").unwrap();
    assert_eq!(notes.take(), "-a/1");
    let error = repository.load("nope", LoadOverrides::default()).await.unwrap_err();
    assert_eq!(
        error,
        Failure::Internal("failed to load 'nope', failed to poll from model repository".into())
    );
}

#[tokio::test]
async fn a_request_may_bring_its_own_configuration_and_files() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::Explicit, true);
    repository.start().await.unwrap();
    let config = Some(r#"{"max_batch_size": 2, "dynamic_batching": {}}"#.to_owned());
    repository
        .load("a", LoadOverrides { config: config.clone(), files: Vec::new() })
        .await
        .unwrap();
    assert_eq!(notes.loaded.lock().pop().unwrap().description.rows_max, 2);
    let files = vec![("5/model.onnx".to_owned(), Bytes::from_static(MODEL))];
    let error = repository.load("b", LoadOverrides { config: None, files: files.clone() }).await;
    assert!(matches!(error, Err(Failure::Invalid(text)) if text.contains("requires `config`")));
    repository.load("b", LoadOverrides { config, files }).await.unwrap();
    assert_eq!(notes.take(), "+a/1 +b/5");
    repository.load("a", LoadOverrides::default()).await.unwrap();
    assert_eq!(notes.loaded.lock().pop().unwrap().description.rows_max, models::ROWS_MAX);
}

#[tokio::test]
async fn a_configuration_of_a_request_that_cannot_be_is_the_clients_mistake() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    let (repository, notes) = repository(root.path(), ControlMode::Explicit, true);
    repository.start().await.unwrap();
    let table = [
        (
            r#"{"nmae": "a"}"#,
            "failed to load 'a', the load request's config:1: unrecognized field name 'nmae'",
            "; allowed are: name, platform, ",
        ),
        (
            "{\"max_batch_size\": 2,\n\"input\": [{\"name\": \"z\"}]}",
            "failed to load 'a', version 1: the load request's config:2: `input.name`: ",
            "; it has ",
        ),
        (
            r#"{"version_policy": {"specific": {"versions": [7]}}}"#,
            "failed to load 'a', the load request's config:1: `version_policy.specific.versions`: at least one version",
            "; it asks for 7, there is 1",
        ),
    ];
    for (config, beginning, part) in table {
        let overrides = LoadOverrides { config: Some(config.to_owned()), files: Vec::new() };
        let error = repository.load("a", overrides).await.unwrap_err();
        assert_eq!(error.http(), 400, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(beginning) && text.contains(part), "{text}");
    }
    assert_eq!(notes.take(), "");
}

#[tokio::test]
async fn a_version_policy_without_a_version_names_those_there_are() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "a/1/model.onnx", MODEL);
    write(&root, "a/3/model.onnx", MODEL);
    write(&root, "a/config.pbtxt", "\nversion_policy { specific { versions: [ 7 ] } }");
    write(&root, "b/labels.txt", "");
    write(&root, "c/1/model.onnx", MODEL);
    write(&root, "c/punctual.toml", "slo = \"1s\"\npolicy = \"fifo\"");
    let (repository, _) = repository(root.path(), ControlMode::None, true);
    let failures = repository.start().await.unwrap();
    let reason = |name: &str| failures.iter().find(|(model, _)| model == name).unwrap().1.clone();
    let policy = reason("a");
    assert!(policy.contains("a/config.pbtxt:2: `version_policy.specific.versions`: "), "{policy}");
    assert!(policy.ends_with("; it asks for 7, there is 1, 3"), "{policy}");
    let empty = reason("b");
    assert!(
        empty.ends_with("a version is a folder named by a number from 1, such as 1"),
        "{empty}"
    );
    let batching = reason("c");
    assert!(batching.contains("c/punctual.toml:2: `policy`: "), "{batching}");
}

#[tokio::test]
async fn other_modes_refuse_requests_to_load() {
    let root = tempfile::tempdir().unwrap();
    for mode in [ControlMode::None, ControlMode::Poll] {
        let (repository, _) = repository(root.path(), mode, true);
        let refused = repository.load("a", LoadOverrides::default()).await;
        assert!(matches!(refused, Err(Failure::Unavailable(_))));
        assert!(matches!(repository.unload("a"), Err(Failure::Unavailable(_))));
    }
}

/// Prepares nothing until its sender has gone.
struct Held {
    begun: Sender<()>,
    until: Receiver<()>,
}

impl Prepare for Held {
    fn task(
        &self,
        _: &Load,
        _: &dyn Fn(&str) -> bool,
    ) -> Result<Option<models::TaskSettings>, String> {
        Ok(None)
    }

    fn wanted(&self, load: &Load) -> Result<BTreeSet<u64>, String> {
        Ok(load.found.versions.keys().copied().collect())
    }

    fn prepare(&self, _: &Load, _: u64) -> Result<Loaded, String> {
        self.begun.send(()).unwrap();
        Err(format!("{:?}", self.until.recv()))
    }
}

/// A repository whose loads tell when they begin and never end.
fn holding(root: &TempDir, control: ControlMode) -> (Arc<Repository>, Receiver<()>, Sender<()>) {
    let flags = Flags {
        model_repository: Some(vec![root.path().to_owned()]),
        model_control_mode: Some(control),
        ..Flags::default()
    };
    let (begun, begins) = crossbeam::channel::unbounded();
    let (still_held, until) = crossbeam::channel::bounded::<()>(0);
    let sink = Arc::new(Notes::default());
    let loader = Loader::start(1, &[], Box::new(Held { begun, until }), sink).unwrap();
    let repository = Repository::new(Config::resolve(&flags).unwrap().models, loader);
    (Arc::new(repository), begins, still_held)
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_the_end_of_the_server_left_unloaded_are_no_failures() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "m/1/model.onnx", MODEL);
    write(&root, "n/1/model.onnx", MODEL);
    let (repository, begins, held) = holding(&root, ControlMode::None);
    let starting = tokio::spawn({
        let repository = Arc::clone(&repository);
        async move { repository.start().await }
    });
    begins.recv().unwrap();
    repository.stop();
    drop(held);
    let failures = starting.await.unwrap().unwrap();
    assert!(matches!(&failures[..], [(model, _)] if model == "m"), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_does_not_wait_for_a_load() {
    let root = tempfile::tempdir().unwrap();
    write(&root, "m/1/model.onnx", MODEL);
    let (repository, begins, _held) = holding(&root, ControlMode::Explicit);
    let waiting = tokio::spawn({
        let repository = Arc::clone(&repository);
        async move { repository.load("m", LoadOverrides::default()).await }
    });
    begins.recv().unwrap();
    repository.stop();
    let Err(Failure::Unavailable(reason)) = waiting.await.unwrap() else {
        panic!("a load that was not made was answered as made");
    };
    assert_eq!(reason, "failed to load 'm', the server is shutting down");
}
