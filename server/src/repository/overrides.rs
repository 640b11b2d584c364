//! Files that come with a load request stand in for those of the repository, in a folder of their own.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A folder of files from a request; gone when dropped.
#[derive(Debug)]
pub struct Overridden {
    folder: PathBuf,
}

impl Overridden {
    /// Writes the files below a new folder in the system's folder for temporary files.
    ///
    /// # Errors
    /// Where a path would leave the folder, or cannot be written.
    pub fn write(files: &[(String, Bytes)]) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("punctual-{}-{number}", std::process::id());
        let written = Self { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir(&written.folder)
            .map_err(|error| format!("cannot make {}: {error}", written.folder.display()))?;
        for (path, bytes) in files {
            let file = written.folder.join(plain(path)?);
            let folder = file.parent().expect("a file lies in a folder");
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&file, bytes))
                .map_err(|error| format!("cannot write the file {path:?}: {error}"))?;
        }
        Ok(written)
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Overridden {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "a temporary folder stays");
        }
    }
}

/// A path that stays below the folder it is joined to.
fn plain(path: &str) -> Result<&Path, String> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path.file_name().is_some() {
        Ok(path)
    } else {
        Err(format!(
            "the file path {path:?} is not one inside the model's folder, such as 1/model.onnx"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_a_folder_of_their_own_until_it_is_dropped() {
        let files = [("1/model.onnx".to_owned(), Bytes::from_static(b"model"))];
        let (first, second) =
            (Overridden::write(&files).unwrap(), Overridden::write(&files).unwrap());
        let folder = first.folder().to_owned();
        assert_ne!(folder, second.folder());
        assert_eq!(std::fs::read(folder.join("1/model.onnx")).unwrap(), b"model");
        drop(first);
        assert!(!folder.exists());
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in ["../1/model.onnx", "/etc/passwd", "1/../../x", "", "."] {
            let error = Overridden::write(&[(path.to_owned(), Bytes::new())]).unwrap_err();
            assert!(error.contains("1/model.onnx"), "{path}: {error}");
        }
    }
}
