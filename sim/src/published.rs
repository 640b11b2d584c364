//! Latency profiles that papers and their repositories published, where the folder with them is present.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use models::{LatencyProfile, ProfilePoint};

use crate::interference::{Entry, Interference};

/// Where the published profiles lie, from the repository's root.
pub const FOLDER: &str = "../shared/data/profiles";

/// A published set of profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name before the slash.
    pub name: &'static str,
    file: &'static str,
    /// The column of the model, of the batch, and of the time.
    columns: [usize; 3],
    /// Nanoseconds of a unit of the time column.
    unit_ns: u32,
    /// A further column whose text follows the model's name after `@`.
    part: Option<usize>,
    /// Whose numbers they are.
    pub source: &'static str,
}

/// Every set that is read. `symphony` has lines in place of points.
pub const SOURCES: [Source; 6] = [
    Source {
        name: "nexus",
        file: "nexus_titanx_pascal.csv",
        columns: [2, 3, 4],
        unit_ns: 1_000,
        part: None,
        source: "Nexus (SOSP'19), TITAN X Pascal",
    },
    Source {
        name: "loki",
        file: "loki_1080ti_tidy.csv",
        columns: [2, 3, 4],
        unit_ns: 1_000_000,
        part: None,
        source: "Loki (HPDC'24), 1080 Ti",
    },
    Source {
        name: "clockwork",
        file: "clockwork_docs_v100.csv",
        columns: [2, 3, 4],
        unit_ns: 1_000_000,
        part: None,
        source: "Clockwork (OSDI'20), V100 with TVM",
    },
    Source {
        name: "igniter",
        file: "igniter_v100_partition.csv",
        columns: [2, 3, 5],
        unit_ns: 1_000_000,
        part: Some(4),
        source: "iGniter (2022), V100 with TensorRT; MODEL@PERCENT of the multiprocessors",
    },
    Source {
        name: "proteus",
        file: "proteus_aggregate_profiled.csv",
        columns: [0, 3, 4],
        unit_ns: 1_000_000,
        part: Some(1),
        source: "Proteus (ASPLOS'24), ONNX Runtime on a CPU and two GPUs; MODEL@ACCELERATOR",
    },
    Source {
        name: "symphony",
        file: "symphony_linear.csv",
        columns: [1, 2, 3],
        unit_ns: 1_000_000,
        part: None,
        source: "Symphony's harness, lines",
    },
];

/// The largest batch of a published line, which states none.
const LINE_BATCH_MAX: u32 = 128;

/// The published table of pairs: by its name the file of pairs, that of the same models alone, and whose numbers they are.
pub const PAIRS: (&str, &str, &str, &str) = (
    "igniter",
    "igniter_v100_pair_interference.csv",
    "igniter_v100_partition.csv",
    "iGniter (2022), V100 with TensorRT: four models in pairs on 20 to 80 % of the multiprocessors each",
);

/// Why a published profile cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    /// The folder is not there.
    #[error("published profiles are read from {FOLDER}, which is absent")]
    Absent,
    /// Neither source nor model of that name.
    #[error("no published profile {name:?}: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The numbers make no profile.
    #[error("published profile {name:?}: {reason}")]
    Numbers {
        /// What was asked for.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Whether the published profiles are present.
#[must_use]
pub fn present() -> bool {
    Path::new(FOLDER).is_dir()
}

/// The profile `SOURCE/MODEL`. Its planned times are its medians: the simulator runs what was published.
///
/// # Errors
/// Says whether the folder, the source or the model is missing.
pub fn read(name: &str) -> Result<LatencyProfile, PublishedError> {
    if !present() {
        return Err(PublishedError::Absent);
    }
    let unknown = |known| PublishedError::Unknown { name: name.to_owned(), known };
    let sources = || SOURCES.map(|source| source.name).join(", ");
    let split = name.split_once('/');
    let (source, model) =
        split.ok_or_else(|| unknown(format!("write SOURCE/MODEL, of {}", sources())))?;
    let source = SOURCES.iter().find(|known| known.name == source);
    let source = source.ok_or_else(|| unknown(format!("sources are {}", sources())))?;
    let text = std::fs::read_to_string(Path::new(FOLDER).join(source.file))
        .map_err(|error| unknown(format!("{}: {error}", source.file)))?;
    source.profile(&text, model).map_err(|reason| match reason {
        Reason::Unknown(known) => unknown(format!("{} has {}", source.name, known.join(", "))),
        Reason::Numbers(reason) => PublishedError::Numbers { name: name.to_owned(), reason },
    })
}

/// The published table of pairs of that name: what a run took beside another, over what it took alone on that share.
///
/// # Errors
/// As [`read`].
pub fn interference(name: &str) -> Result<Interference, PublishedError> {
    if !present() {
        return Err(PublishedError::Absent);
    }
    let unknown = |known: String| PublishedError::Unknown { name: name.to_owned(), known };
    let (known, pairs, alone, _) = PAIRS;
    if name != known {
        return Err(unknown(format!("tables of pairs are {known}")));
    }
    let text = |file: &str| {
        std::fs::read_to_string(Path::new(FOLDER).join(file))
            .map_err(|error| unknown(format!("{file}: {error}")))
    };
    let wrong = |reason| PublishedError::Numbers { name: name.to_owned(), reason };
    over_alone(&text(pairs)?, &text(alone)?).map_err(wrong)
}

/// From times in pairs (`.., model_a, model_b, batch_a, batch_b, share_a, ms_a, ms_b`, where `b` has the rest of the device)
/// and alone (`.., model, batch, share, ms`).
fn over_alone(pairs: &str, alone: &str) -> Result<Interference, String> {
    let mut times = BTreeMap::new();
    for line in alone.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let [_, _, model, batch, share, ms] = columns[..] else {
            return Err(format!("cannot read the line '{line}'"));
        };
        times.insert((model, batch, number(share, line)?.to_bits()), number(ms, line)?);
    }
    let mut table = Interference::default();
    for line in pairs.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let [_, _, a, b, batch_a, batch_b, share_a, ms_a, ms_b] = columns[..] else {
            return Err(format!("cannot read the line '{line}'"));
        };
        let share_a = number(share_a, line)?;
        let both = [
            ((a, batch_a, share_a, ms_a), (b, batch_b)),
            ((b, batch_b, 100.0 - share_a, ms_b), (a, batch_a)),
        ];
        for ((model, batch, share, ms), (beside, beside_batch)) in both {
            let alone = times.get(&(model, batch, share.to_bits()));
            let alone = alone.ok_or_else(|| format!("no time alone for the line '{line}'"))?;
            let whole = |text: &str| text.parse().map_err(|_| format!("no batch in '{line}'"));
            let (batch, beside_batch) = (whole(batch)?, whole(beside_batch)?);
            let slowdown = number(ms, line)? / alone;
            table.insert(model, beside, Entry { batch, beside_batch, share, slowdown });
        }
    }
    Ok(table)
}

fn number(text: &str, line: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| format!("cannot read '{text}' in the line '{line}'"))
}

#[derive(Debug, PartialEq)]
enum Reason {
    Unknown(Vec<String>),
    Numbers(String),
}

impl Source {
    fn profile(&self, text: &str, wanted: &str) -> Result<LatencyProfile, Reason> {
        let mut points: Vec<(u32, Duration)> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            let columns: Vec<&str> = line.split(',').map(str::trim).collect();
            let wrong = || Reason::Numbers(format!("cannot read the line '{line}'"));
            let column = |index: usize| columns.get(index).copied().ok_or_else(wrong);
            let [model, batch, time] = self.columns;
            let mut model = column(model)?.to_owned();
            if let Some(part) = self.part {
                model = format!("{model}@{}", column(part)?);
            }
            if model != wanted {
                known.extend((known.last() != Some(&model)).then_some(model));
                continue;
            }
            let time = column(time)?.parse::<f64>().map_err(|_| wrong())?;
            let time = Duration::from_secs_f64(time * f64::from(self.unit_ns) / 1e9);
            if self.name == "symphony" {
                let slope = column(batch)?.parse::<f64>().map_err(|_| wrong())?;
                let slope = Duration::from_secs_f64(slope / 1e3);
                return Ok(LatencyProfile::linear(time, slope, LINE_BATCH_MAX));
            }
            let batch = column(batch)?.parse::<u32>().map_err(|_| wrong())?;
            // Of several measurements of a batch the first counts: Clockwork's check before its worker's log.
            if points.iter().all(|point| point.0 != batch) {
                points.push((batch, time));
            }
        }
        if points.is_empty() {
            known.sort();
            known.dedup();
            return Err(Reason::Unknown(known));
        }
        points.sort_unstable();
        let point = |(batch, time): (u32, Duration)| ProfilePoint {
            batch,
            median: time,
            p99: time,
            runs: 0,
        };
        LatencyProfile::new(points.into_iter().map(point).collect())
            .map_err(|error| Reason::Numbers(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> &'static Source {
        SOURCES.iter().find(|source| source.name == name).unwrap()
    }

    #[test]
    fn points_and_lines_are_read() {
        let nexus = "source,gpu,model,batch,latency_us,std_us,memory\nr,g,vgg,2,14499,2,1\nr,g,vgg,1,6277.4,2,1\n";
        let profile = source("nexus").profile(nexus, "vgg").unwrap();
        assert_eq!(profile.time(1), Duration::from_nanos(6_277_400));
        assert_eq!(profile.batch_max(), 2);
        let igniter = "source,gpu,model,batch,sm_pct,latency_ms\nr,g,alexnet,1,20,2.5\n";
        let profile = source("igniter").profile(igniter, "alexnet@20").unwrap();
        assert_eq!(profile.time(1), Duration::from_micros(2500));
        let symphony = "source,model,slope,intercept,slo\nr,resnet_0,1.082,5.204,100\n";
        let profile = source("symphony").profile(symphony, "resnet_0").unwrap();
        assert_eq!(profile.time(10), Duration::from_micros(16_024));
    }

    #[test]
    fn an_unknown_model_is_refused_with_the_known_ones() {
        let text = "h\nr,g,a,1,1\nr,g,b,1,1\n";
        let error = source("loki").profile(text, "c").unwrap_err();
        assert_eq!(error, Reason::Unknown(vec!["a".into(), "b".into()]));
        assert!(matches!(source("loki").profile("h\nr,g,a,x,1\n", "a"), Err(Reason::Numbers(_))));
    }

    #[test]
    fn every_source_is_read_where_the_folder_is_present() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER);
        for source in SOURCES {
            let Ok(text) = std::fs::read_to_string(folder.join(source.file)) else { continue };
            let Err(Reason::Unknown(known)) = source.profile(&text, "?") else {
                panic!("{} has a model '?'", source.name)
            };
            for model in known {
                let profile = source.profile(&text, &model);
                assert!(profile.is_ok(), "{}/{model}: {profile:?}", source.name);
            }
        }
    }
    #[test]
    fn slowdowns_are_times_in_pairs_over_times_alone_on_the_same_share() {
        let alone = "h\nr,g,a,2,20,2\nr,g,b,4,80,4\n";
        let pairs = "h\nr,g,a,b,2,4,20,3,5\n";
        let table = over_alone(pairs, alone).unwrap();
        assert_eq!(table.slowdown(("a", "b"), 20.0, (2, 4)), Some(1.5));
        assert_eq!(table.slowdown(("b", "a"), 80.0, (4, 2)), Some(1.25));
        assert_eq!(table.len(), 2);
        let error = over_alone("h\nr,g,a,b,2,4,40,3,5\n", alone).unwrap_err();
        assert!(error.starts_with("no time alone"), "{error}");
    }

    #[test]
    fn the_published_pairs_have_the_published_spread_where_the_folder_is_present() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER);
        let text = |file: &str| std::fs::read_to_string(folder.join(file));
        let (Ok(pairs), Ok(alone)) = (text(PAIRS.1), text(PAIRS.2)) else {
            eprintln!("{} is absent: nothing was tested", folder.display());
            return;
        };
        let table = over_alone(&pairs, &alone).unwrap();
        assert_eq!(table.len(), 2 * 750);
        // The first line: 2.7611 ms beside ResNet50, over the time alone of 2 rows on 20 %.
        let slowdown = table.slowdown(("alexnet", "resnet50"), 20.0, (2, 2)).unwrap();
        assert!((1.0..1.25).contains(&slowdown), "{slowdown}");
        assert!(table.knows("ssd", "vgg19") && !table.knows("ssd", "ssd"));
    }
}
