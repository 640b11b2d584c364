//! What lies in the repositories: models, their versions and files, without a look inside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of one model that are looked at; more are a mistake of the operator's, such as a folder of images.
const FILES_MAX: usize = 10_000;

/// Folders within folders of one version: `1/model.onnx/weights/..`.
const DEPTH_MAX: usize = 8;

/// All models of all repositories at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By name.
    pub models: BTreeMap<String, FoundModel>,
}

/// A model's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundModel {
    /// The repository's folder.
    pub repository: PathBuf,
    /// The model's folder.
    pub folder: PathBuf,
    /// Files that concern every version: settings and labels, by path inside the folder.
    pub shared: Files,
    /// Files of each version, by path inside the version's folder.
    pub versions: BTreeMap<u64, Files>,
    /// Why this folder cannot be served, whatever its files say.
    pub problem: Option<String>,
}

/// Files by path, as they looked.
pub type Files = BTreeMap<PathBuf, Stamp>;

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was last written.
    pub modified: SystemTime,
    /// Its length.
    pub bytes: u64,
}

impl Scan {
    /// Looks through the repositories.
    ///
    /// # Errors
    /// Where a repository's folder cannot be read; the text names it. A model that cannot be read is in the scan with
    /// its problem.
    pub fn of(repositories: &[PathBuf]) -> Result<Self, String> {
        let mut scan = Self::default();
        for repository in repositories {
            let unreadable = |error| {
                format!("cannot read the model repository {}: {error}", repository.display())
            };
            for folder in folders(repository).map_err(unreadable)? {
                let name = file_name(&folder);
                if name.starts_with('.') {
                    continue;
                }
                let found = FoundModel::of(repository, &folder);
                match scan.models.get_mut(&name) {
                    Some(first) => {
                        let places = (first.folder.display(), folder.display());
                        first.problem = Some(format!(
                            "the model is in two repositories: {} and {}",
                            places.0, places.1
                        ));
                    }
                    None => drop(scan.models.insert(name, found)),
                }
            }
        }
        Ok(scan)
    }
}

impl FoundModel {
    /// Looks through one model's folder.
    #[must_use]
    pub fn of(repository: &Path, folder: &Path) -> Self {
        let mut found = Self {
            repository: repository.to_owned(),
            folder: folder.to_owned(),
            shared: Files::new(),
            versions: BTreeMap::new(),
            problem: None,
        };
        if let Err(error) = found.look() {
            found.problem = Some(format!("cannot read {}: {error}", folder.display()));
        }
        found
    }

    fn look(&mut self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = file_name(&path);
            // Links are followed: a shared volume often has them.
            if !std::fs::metadata(&path)?.is_dir() {
                self.shared.insert(name.into(), stamp(&path)?);
            } else if let Some(version) = version(&name) {
                let mut files = Files::new();
                collect(&path, &path, 0, &mut files)?;
                self.versions.insert(version, files);
            }
        }
        Ok(())
    }
}

/// A version's number: digits without a leading 0, as Triton reads it.
#[must_use]
pub fn version(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !name.starts_with('0')).then(|| name.parse().ok()).flatten()
}

/// What must be done to follow from one scan to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models to look at again, with the versions whose files are new or changed. A model of which versions only
    /// went away has none.
    pub load: BTreeMap<String, BTreeSet<u64>>,
    /// Models that are gone.
    pub unload: BTreeSet<String>,
}

/// The changes from `before` to `after`.
#[must_use]
pub fn changes(before: &Scan, after: &Scan) -> Changes {
    let mut changes = Changes::default();
    for name in before.models.keys().filter(|name| !after.models.contains_key(*name)) {
        changes.unload.insert(name.clone());
    }
    for (name, model) in &after.models {
        let Some(old) = before.models.get(name) else {
            changes.load.insert(name.clone(), model.versions.keys().copied().collect());
            continue;
        };
        if old == model {
            continue;
        }
        let shared = (&old.shared, &old.folder) != (&model.shared, &model.folder);
        let touched = model
            .versions
            .iter()
            .filter(|(version, files)| shared || old.versions.get(*version) != Some(*files));
        changes.load.insert(name.clone(), touched.map(|(version, _)| *version).collect());
    }
    changes
}

/// The folders of a folder, in order of their names.
fn folders(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut folders: Vec<_> =
        entries.iter().map(std::fs::DirEntry::path).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn collect(root: &Path, folder: &Path, depth: usize, files: &mut Files) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(std::io::Error::other(format!("folders deeper than {DEPTH_MAX}")));
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if std::fs::metadata(&path)?.is_dir() {
            collect(root, &path, depth + 1, files)?;
            continue;
        }
        if files.len() == FILES_MAX {
            return Err(std::io::Error::other(format!("more than {FILES_MAX} files")));
        }
        let inside = path.strip_prefix(root).expect("the walk stays below its root").to_owned();
        files.insert(inside, stamp(&path)?);
    }
    Ok(())
}

/// How a file looks.
pub(super) fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp { modified: metadata.modified()?, bytes: metadata.len() })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn versions_are_folders_with_plain_numbers() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a/1/model.onnx",
            "a/10/model.onnx/model.onnx",
            "a/10/model.onnx/weights.bin",
            "a/02/model.onnx",
            "a/0/model.onnx",
            "a/1x/model.onnx",
            "a/configs/x.pbtxt",
            "a/config.pbtxt",
            "a/labels.txt",
            ".punctual/profiles/a/1.csv",
            "README.md",
        ] {
            write(root.path(), path, "text");
        }
        fs::create_dir(root.path().join("empty")).unwrap();
        let scan = Scan::of(&[root.path().to_owned()]).unwrap();
        assert_eq!(scan.models.keys().collect::<Vec<_>>(), ["a", "empty"]);
        let model = &scan.models["a"];
        let shared: Vec<_> = model.shared.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(shared, ["config.pbtxt", "labels.txt"]);
        let versions: Vec<_> = model.versions.iter().map(|(v, files)| (*v, files.len())).collect();
        assert_eq!(versions, [(1, 1), (10, 2)]);
        assert!(scan.models["empty"].versions.is_empty());
    }

    #[test]
    fn a_model_in_two_repositories_is_a_problem_that_names_both() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(first.path(), "a/1/model.onnx", "");
        write(second.path(), "a/1/model.onnx", "");
        write(second.path(), "b/1/model.onnx", "");
        let scan = Scan::of(&[first.path().to_owned(), second.path().to_owned()]).unwrap();
        let problem = scan.models["a"].problem.as_ref().unwrap();
        assert!(problem.contains(first.path().to_str().unwrap()), "{problem}");
        assert!(problem.contains(second.path().to_str().unwrap()), "{problem}");
        assert_eq!(scan.models["b"].problem, None);
    }

    #[test]
    fn a_missing_repository_is_refused_by_name() {
        let error = Scan::of(&["no/such/folder".into()]).unwrap_err();
        assert!(error.contains("no/such/folder"), "{error}");
    }

    #[test]
    fn a_file_that_is_written_again_is_a_change_and_one_that_is_not_is_none() {
        let root = tempfile::tempdir().unwrap();
        let look = || Scan::of(&[root.path().to_owned()]).unwrap();
        write(root.path(), "a/1/model.onnx", "one");
        write(root.path(), "a/2/model.onnx", "one");
        let before = look();
        assert_eq!(changes(&before, &look()), Changes::default());
        write(root.path(), "a/2/model.onnx", "longer");
        let found = changes(&before, &look());
        assert_eq!(found.load, BTreeMap::from([("a".to_owned(), BTreeSet::from([2]))]));
        fs::remove_dir_all(root.path().join("a")).unwrap();
        assert_eq!(changes(&before, &look()).unload, BTreeSet::from(["a".to_owned()]));
    }

    /// A scan written as `model/version/file=bytes`, version 0 for files beside the versions.
    fn scan(lines: &[&str]) -> Scan {
        let mut scan = Scan::default();
        for line in lines {
            let (path, bytes) = line.split_once('=').unwrap();
            let mut parts = path.split('/');
            let (name, version) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
            let model = scan.models.entry(name.into()).or_insert_with(|| FoundModel {
                repository: "r".into(),
                folder: Path::new("r").join(name),
                shared: Files::new(),
                versions: BTreeMap::new(),
                problem: None,
            });
            let files = match version {
                0 => &mut model.shared,
                version => model.versions.entry(version).or_default(),
            };
            let stamp = Stamp { modified: SystemTime::UNIX_EPOCH, bytes: bytes.parse().unwrap() };
            files.insert(parts.next().unwrap().into(), stamp);
        }
        scan
    }

    #[test]
    fn only_what_differs_is_loaded_or_unloaded() {
        // Before, after, loads as model:versions, unloads.
        let cases: [(&[&str], &[&str], &str, &str); 8] = [
            (&[], &[], "", ""),
            (&[], &["a/1/m=1", "a/2/m=1"], "a:1,2", ""),
            (&["a/1/m=1"], &["a/1/m=1"], "", ""),
            (&["a/1/m=1"], &["a/1/m=2"], "a:1", ""),
            (&["a/1/m=1"], &["a/1/m=1", "a/2/m=1"], "a:2", ""),
            (&["a/1/m=1", "a/2/m=1"], &["a/2/m=1"], "a:", ""),
            (&["a/1/m=1", "a/2/m=1"], &["a/1/m=1", "a/2/m=1", "a/0/config.pbtxt=9"], "a:1,2", ""),
            (&["a/1/m=1", "b/1/m=1"], &["b/1/m=1", "c/1/m=1"], "c:1", "a"),
        ];
        for (before, after, loads, unloads) in cases {
            let found = changes(&scan(before), &scan(after));
            let load = found.load.iter().map(|(name, versions)| {
                let versions: Vec<_> = versions.iter().map(u64::to_string).collect();
                format!("{name}:{}", versions.join(","))
            });
            assert_eq!(load.collect::<Vec<_>>().join(" "), loads, "{before:?} {after:?}");
            assert_eq!(found.unload.into_iter().collect::<Vec<_>>().join(" "), unloads);
        }
    }
}
