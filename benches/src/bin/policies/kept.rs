//! What is known of the grid so far, in a file: a run that was stopped goes on where it was.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use benches::contest::{Contest, Entrant};
use benches::grid::{Grid, Spot};
use serde::{Deserialize, Serialize};
use sim::bound::closed_forms;

/// The first line: what was run. Contests of another program, seed or length are not mixed with these.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    program: u64,
    seed: u64,
    requests: u32,
    /// What the indices of a [`Spot`] mean.
    profiles: Vec<String>,
    arrivals: Vec<String>,
}

impl Made {
    /// Whether contests of that file are as good as own ones.
    fn goes_on(&self, before: Self, builds: Builds) -> bool {
        match builds {
            Builds::Same => *self == before,
            Builds::Any => *self == Self { program: self.program, ..before },
        }
    }
}

/// Whose contests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builds {
    /// Of this program alone.
    Same,
    /// Of any program: what it decided is reported as it is.
    Any,
}

/// A further line: one contest.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    spot: Spot,
    requests: u64,
    cpu: Duration,
    entrants: Vec<Place>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    policy: String,
    goodput: f64,
    overload: f64,
    setting: String,
}

/// A file of contests, and those that it held when it was opened.
pub(crate) struct Kept {
    path: PathBuf,
    file: Mutex<File>,
    found: Vec<Contest>,
}

impl Kept {
    /// Opens the file, or makes one.
    ///
    /// # Errors
    /// Where it was made by another program or another command, or cannot be read.
    pub(crate) fn open(
        path: &Path,
        grid: &Grid,
        (seed, requests): (u64, u32),
        builds: Builds,
    ) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let program = this_program().map_err(|error| wrong(&error))?;
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        let profiles = names(&mut grid.profiles.iter().map(|profile| profile.name));
        let arrivals = names(&mut grid.arrivals.iter().copied());
        let made = Made { program, seed, requests, profiles, arrivals };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(builds == Builds::Same)
            .open(path)
            .map_err(|error| wrong(&error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| wrong(&error))?;
        let mut lines = text.lines();
        let first = match lines.next() {
            None => Some(json(&made)),
            Some(line)
                if serde_json::from_str(line).is_ok_and(|before| made.goes_on(before, builds)) =>
            {
                // A line that was cut short ends here, and its contest is run again.
                (!text.ends_with('\n')).then(String::new)
            }
            Some(_) => {
                return Err(wrong(
                    &"of another build, seed, --requests or set of profiles: remove it, or name another file",
                ));
            }
        };
        if let Some(first) = first {
            writeln!(file, "{first}").map_err(|error| wrong(&error))?;
        }
        let whole = lines.filter_map(|line| serde_json::from_str(line).ok());
        let found = whole.map(|line| contest(line, grid)).collect();
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), found })
    }

    /// The contest at that point, if it was there.
    pub(crate) fn at(&self, spot: &Spot) -> Option<&Contest> {
        self.found.iter().find(|contest| contest.spot == *spot)
    }

    /// Adds a contest.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn add(&self, contest: &Contest) -> Result<(), String> {
        let place = |entrant: &Entrant| Place {
            policy: entrant.policy.to_owned(),
            goodput: entrant.goodput,
            overload: entrant.overload,
            setting: entrant.setting.clone(),
        };
        let line = Line {
            spot: contest.spot,
            requests: contest.requests,
            cpu: contest.cpu,
            entrants: contest.entrants.iter().map(place).collect(),
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{}", json(&line))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn contest(line: Line, grid: &Grid) -> Contest {
    let Line { spot, requests, cpu, entrants } = line;
    let entrant = |place: Place| {
        let entry = batcher::by_name(&place.policy).expect("the same program wrote it");
        let Place { goodput, overload, setting, .. } = place;
        Entrant { policy: entry.name, goodput, overload, setting }
    };
    let profile = &grid.profiles[spot.profile].profile;
    let forms = closed_forms(profile, grid.slo(&spot), spot.devices);
    Contest { spot, entrants: entrants.into_iter().map(entrant).collect(), forms, requests, cpu }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("numbers and names have a JSON form")
}

/// Tells builds of this program apart: what they decide may differ.
fn this_program() -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(std::env::current_exe()?)?.hash(&mut hasher);
    Ok(hasher.finish())
}
