//! Results as files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Shown;
use crate::Error;
use crate::result::{Kind, ResultFile, log};

/// What a file is called that is written into a folder.
fn stem(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "run",
        Kind::Sweep => "sweep",
        Kind::Find => "find",
        Kind::Compare => "compare",
        Kind::Soak => "soak",
        Kind::Mlperf => "mlperf",
    }
}

/// Writes a result as JSON, CSV, histogram log and page, into a folder or beside a named file, and returns the page's path.
///
/// # Errors
/// A file that cannot be written.
pub fn write_all(result: &ResultFile, began: SystemTime, path: &Path) -> Result<PathBuf, Error> {
    let named = is_named(path);
    let stem = if named { path.with_extension("") } else { path.join(stem(result.kind)) };
    let beside = |ending: &str| {
        let mut name = stem.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    write(&beside(".json"), result.to_json().as_bytes())?;
    write(&beside(".csv"), result.to_csv().as_bytes())?;
    write(&beside("-timeline.csv"), result.timeline_csv().as_bytes())?;
    write(&beside(".hlog"), &log(result, began))?;
    let page = beside(".html");
    write(&page, Shown::of(std::slice::from_ref(result)).html().as_bytes())?;
    Ok(page)
}

/// Whether a path names the files, and not their folder.
fn is_named(path: &Path) -> bool {
    let known = ["json", "csv", "hlog", "html"];
    path.extension().is_some_and(|ending| known.iter().any(|one| ending == *one))
}

/// Makes the folder that [`write_all`] writes to.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    let folder = if is_named(path) { path.parent() } else { Some(path) };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), std::fs::create_dir_all).map_err(|error| Error::File {
        file: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Writes a file, with the folder it is to be in.
///
/// # Errors
/// A file that cannot be written.
pub fn write(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(file, bytes)).map_err(|error| Error::File {
        file: file.display().to_string(),
        reason: error.to_string(),
    })
}
