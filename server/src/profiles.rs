//! Where measured latency profiles are kept: beside the repository, else in the user's cache, else in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use models::{DeviceKind, LatencyProfile};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// All that a profile depends on: one measured under other facts says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileKey {
    /// The SHA-256 of the model's files, in hexadecimal digits.
    pub model: String,
    /// What runs it, such as `onnxruntime 1.31.1`.
    pub runtime: String,
    /// The machine's processor.
    pub cpu: String,
    /// The executor.
    pub device: DeviceKind,
    /// Threads of one run.
    pub threads: u32,
    /// The largest batch that was to be measured.
    pub rows_max: u32,
    /// Inner shapes of the measured rows, where the model's settings state them.
    pub shapes: Option<Vec<Vec<i64>>>,
}

impl ProfileKey {
    /// The first digits of the hash of all facts: enough to tell the profiles of one version apart.
    fn digits(&self) -> String {
        hex(&Sha256::digest(self.to_string()))[..16].to_owned()
    }
}

impl fmt::Display for ProfileKey {
    /// A comment line for each fact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# model: {}", self.model)?;
        writeln!(f, "# runtime: {}", self.runtime)?;
        writeln!(f, "# cpu: {}", self.cpu)?;
        writeln!(f, "# device: {}", self.device)?;
        writeln!(f, "# threads: {}", self.threads)?;
        writeln!(f, "# rows_max: {}", self.rows_max)?;
        match &self.shapes {
            Some(shapes) => writeln!(f, "# shapes: {shapes:?}"),
            None => writeln!(f, "# shapes: found"),
        }
    }
}

/// Keeps profiles.
#[derive(Debug, Default)]
pub struct ProfileStore {
    /// The user's cache folder, for repositories that cannot be written.
    cache: Option<PathBuf>,
    memory: Mutex<BTreeMap<PathBuf, LatencyProfile>>,
}

impl ProfileStore {
    /// Keeps profiles of read-only repositories below `cache`.
    #[must_use]
    pub fn new(cache: Option<PathBuf>) -> Self {
        Self { cache, memory: Mutex::default() }
    }

    /// The profile measured before under the same facts; a file that cannot be read is as good as none, with a
    /// warning.
    #[must_use]
    pub fn find(&self, of: Subject<'_>, key: &ProfileKey) -> Option<LatencyProfile> {
        for file in self.places(of, key) {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            match parse(&text, key) {
                Ok(profile) => return Some(profile),
                Err(reason) => {
                    let file = file.display();
                    tracing::warn!(%file, reason, "the latency profile is measured again");
                }
            }
        }
        self.memory.lock().get(&of.file(Path::new(""), key)).cloned()
    }

    /// Keeps a profile in the first place that can be written.
    pub fn keep(&self, of: Subject<'_>, key: &ProfileKey, profile: &LatencyProfile) {
        let text = format!("{key}{}", profile.to_csv());
        for file in self.places(of, key) {
            match write(&file, &text) {
                Ok(()) => return,
                Err(error) => {
                    let file = file.display();
                    tracing::debug!(%file, %error, "the latency profile cannot be kept here");
                }
            }
        }
        tracing::warn!(
            model = of.model,
            version = of.version,
            "the latency profile is kept in memory only: neither the repository nor a cache folder can be written"
        );
        self.memory.lock().insert(of.file(Path::new(""), key), profile.clone());
    }

    fn places(&self, of: Subject<'_>, key: &ProfileKey) -> impl Iterator<Item = PathBuf> {
        let beside = of.file(&of.repository.join(".punctual"), key);
        let cached = self.cache.as_ref().map(|cache| of.file(cache, key));
        std::iter::once(beside).chain(cached)
    }
}

/// Whose profile it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The folder of its repository.
    pub repository: &'a Path,
    /// The model's name.
    pub model: &'a str,
    /// Its version.
    pub version: u64,
}

impl Subject<'_> {
    fn file(&self, root: &Path, key: &ProfileKey) -> PathBuf {
        let name = format!("{}.{}.csv", self.version, key.digits());
        root.join("profiles").join(self.model).join(name)
    }
}

fn parse(text: &str, key: &ProfileKey) -> Result<LatencyProfile, String> {
    if !text.starts_with(&key.to_string()) {
        return Err("its head is not that of this model and machine".into());
    }
    LatencyProfile::from_csv(text).map_err(|error| error.to_string())
}

/// Writes the whole file or nothing: another server may read it at the same time.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().expect("a profile lies in a folder");
    std::fs::create_dir_all(folder)?;
    let unfinished = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)
}

/// The processor's name, as the system has it.
#[must_use]
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.filter(|name| !name.is_empty()).unwrap_or(std::env::consts::ARCH).to_owned()
}

/// Hexadecimal digits of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> ProfileKey {
        ProfileKey {
            model: "ab12".into(),
            runtime: "onnxruntime 1.31.1".into(),
            cpu: "a processor".into(),
            device: DeviceKind::Cpu { threads: 1 },
            threads: 1,
            rows_max: 8,
            shapes: None,
        }
    }

    fn profile() -> LatencyProfile {
        LatencyProfile::linear(Duration::from_micros(10), Duration::from_micros(2), 8)
    }

    fn subject(repository: &Path) -> Subject<'_> {
        Subject { repository, model: "digits", version: 3 }
    }

    fn files(root: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root.join("profiles/digits")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_profile_is_found_again_beside_its_repository_with_its_facts() {
        let root = tempfile::tempdir().unwrap();
        let store = ProfileStore::default();
        assert_eq!(store.find(subject(root.path()), &key()), None);
        store.keep(subject(root.path()), &key(), &profile());
        assert_eq!(ProfileStore::default().find(subject(root.path()), &key()), Some(profile()));
        let files = files(&root.path().join(".punctual"));
        assert_eq!(files.len(), 1, "{files:?}");
        let name = files[0].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("3.") && name.ends_with(".csv"), "{name}");
        let text = std::fs::read_to_string(&files[0]).unwrap();
        assert!(text.starts_with("# model: ab12\n# runtime: onnxruntime 1.31.1\n"), "{text}");
    }

    #[test]
    fn a_profile_of_other_facts_is_not_found() {
        let root = tempfile::tempdir().unwrap();
        let store = ProfileStore::default();
        store.keep(subject(root.path()), &key(), &profile());
        let others = [
            ProfileKey { model: "cd34".into(), ..key() },
            ProfileKey { runtime: "onnxruntime 1.30.0".into(), ..key() },
            ProfileKey { device: DeviceKind::Cuda { ordinal: 0 }, ..key() },
            ProfileKey { threads: 2, ..key() },
            ProfileKey { rows_max: 16, ..key() },
            ProfileKey { shapes: Some(vec![vec![3]]), ..key() },
        ];
        for other in others {
            assert_eq!(store.find(subject(root.path()), &other), None, "{other}");
        }
    }

    #[test]
    fn a_corrupt_file_is_as_good_as_none() {
        let root = tempfile::tempdir().unwrap();
        let store = ProfileStore::default();
        store.keep(subject(root.path()), &key(), &profile());
        let file = files(&root.path().join(".punctual")).remove(0);
        for text in ["".to_owned(), format!("{}1,2,1,0\n", key()), "1,10,10,1\n".to_owned()] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(store.find(subject(root.path()), &key()), None);
        }
        store.keep(subject(root.path()), &key(), &profile());
        assert_eq!(store.find(subject(root.path()), &key()), Some(profile()));
    }

    #[test]
    fn where_the_repository_cannot_be_written_the_cache_and_then_memory_keep_profiles() {
        let root = tempfile::tempdir().unwrap();
        // A file where a folder is needed cannot be written by anyone, root included.
        let blocked = root.path().join("blocked");
        std::fs::write(&blocked, "").unwrap();
        let cache = root.path().join("cache");
        let store = ProfileStore::new(Some(cache.clone()));
        store.keep(subject(&blocked), &key(), &profile());
        assert_eq!(files(&cache).len(), 1);
        assert_eq!(store.find(subject(&blocked), &key()), Some(profile()));
        let nowhere = ProfileStore::new(None);
        nowhere.keep(subject(&blocked), &key(), &profile());
        assert_eq!(nowhere.find(subject(&blocked), &key()), Some(profile()));
        assert_eq!(ProfileStore::default().find(subject(&blocked), &key()), None);
    }
}
