//! Counts instructions by valgrind's callgrind: the same on a busy machine as on a quiet one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::Error;

/// Runs a program under callgrind and counts the instructions of the functions whose names end in `of`, with all that
/// they call; and gives what the program printed.
///
/// # Errors
/// Valgrind cannot be run, or the program fails.
pub fn count(
    program: &Path,
    args: &[String],
    of: &[&str],
) -> Result<(BTreeMap<String, u64>, String), Error> {
    let folder = tempfile::tempdir().map_err(Error::system("making a folder"))?;
    let file = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet", "--compress-strings=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display()));
    valgrind.args(of.iter().map(|name| format!("--toggle-collect=*::counted::{name}*")));
    let output = valgrind.arg(program).args(args).output();
    let output = output.map_err(Error::system("running valgrind"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Raw(format!("callgrind of {args:?}: {}: {said}", output.status)));
    }
    let text = std::fs::read_to_string(&file).map_err(Error::system("reading the counts"))?;
    Ok((inclusive(&text, of), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The instructions of each of those functions with all that they call. A function begins with `fn=`; a line of
/// numbers ends in its cost, after `calls=` in that of the callee.
fn inclusive(text: &str, of: &[&str]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut present: Option<&str> = None;
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            let path = |name: &&&str| function.contains(&format!("::counted::{name}"));
            present = of.iter().filter(path).max_by_key(|name| name.len()).copied();
        } else if let Some(name) = present
            && line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && let Some(cost) = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok())
        {
            *counts.entry(name.to_owned()).or_insert(0) += cost;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_function_is_its_own_and_that_of_its_calls() {
        let text = "events: Ir\n\nfn=a::counted::check\n12 5\n+3 2\ncfn=b::c\ncalls=3 40\n* 100\n\n\
                    fn=b::c\n40 100\n\nfn=a::counted::check'2\n1 1\ntotals: 108\n";
        let counts = inclusive(text, &["check", "gather"]);
        assert_eq!(counts, BTreeMap::from([("check".to_owned(), 108)]));
    }
}
