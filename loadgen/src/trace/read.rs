//! The forms of a recorded trace as text.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::{Function, Recorded, SECOND_NS, Trace};
use crate::Error;

const MINUTE_NS: u64 = 60_000_000_000;
/// The most bytes of an unpacked file.
const BYTES_MAX: u64 = 4 << 30;
const FORMS: &str = "'seconds', 't_seconds,..', 'minute,count', 'second,count', 'minute,model,count', \
                     a JSON list of gaps, or three numbers a line";

/// A line of a file, numbered from 1.
type Line<'a> = (usize, &'a str);

pub(super) fn read(path: &Path) -> Result<Trace, Error> {
    let failed = |error: std::io::Error| Error::File {
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    if !path.is_dir() {
        return read_file(path);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    let mut functions = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        functions.extend(read_file(path)?.functions.into_iter().map(|function| {
            let part = if function.name.is_empty() { "" } else { ":" };
            Function { name: format!("{name}{part}{}", function.name), ..function }
        }));
    }
    Ok(Trace { functions })
}

fn read_file(path: &Path) -> Result<Trace, Error> {
    let file = path.display().to_string();
    let failed =
        |error: std::io::Error| Error::File { file: file.clone(), reason: error.to_string() };
    let bytes = std::fs::read(path).map_err(failed)?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(&bytes[..]).take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        text = String::from_utf8(bytes)
            .map_err(|error| Error::File { file: file.clone(), reason: error.to_string() })?;
    }
    parse(&text).map_err(|error| Error::File { file, reason: error.to_string() })
}

pub(super) fn parse(text: &str) -> Result<Trace, Error> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let Some((line, header)) = lines.clone().next() else {
        return Err(wrong(1, format!("the file is empty; it may be {FORMS}")));
    };
    if header.starts_with('[') {
        return gaps(text);
    }
    if milliseconds(header).is_some() {
        return one(times(lines, |text| milliseconds(text).map(|ms| ms / 1e3))?);
    }
    lines.next();
    match header {
        "minute,count" => one(counts(lines, MINUTE_NS)?),
        "second,count" => one(counts(lines, 1_000_000_000)?),
        "minute,model,count" => functions(lines),
        "seconds" => one(times(lines, |text| text.parse().ok())?),
        _ if header.starts_with("t_seconds,model") => timed_functions(lines),
        _ if header.starts_with("t_seconds,") => {
            one(times(lines, |text| text.split(',').next()?.trim().parse().ok())?)
        }
        _ => Err(wrong(line, format!("the header is '{header}'; allowed are {FORMS}"))),
    }
}

fn one(recorded: Recorded) -> Result<Trace, Error> {
    Ok(Trace { functions: vec![Function { name: String::new(), recorded }] })
}

fn wrong(line: usize, problem: String) -> Error {
    Error::Trace { line, problem }
}

/// A line of Proteus's traces: the arrival in milliseconds, and two columns that are the same in all lines.
fn milliseconds(text: &str) -> Option<f64> {
    let mut columns = text.split(',').map(|column| column.trim().parse::<f64>().ok());
    let (first, _, _) = (columns.next()??, columns.next()??, columns.next()??);
    columns.next().is_none().then_some(first)
}

fn gaps(text: &str) -> Result<Trace, Error> {
    let gaps: Vec<f64> =
        serde_json::from_str(text).map_err(|error| wrong(error.line(), error.to_string()))?;
    let mut at = 0.0;
    let mut all = Vec::with_capacity(gaps.len());
    for gap in gaps {
        at += gap;
        push(&mut all, 1, at)?;
    }
    one(Recorded::Times(all))
}

fn times<'a>(
    lines: impl Iterator<Item = Line<'a>>,
    seconds_of: impl Fn(&str) -> Option<f64>,
) -> Result<Recorded, Error> {
    let mut all = Vec::new();
    for (line, text) in lines {
        let seconds = seconds_of(text)
            .ok_or_else(|| wrong(line, format!("'{text}' does not begin with a time")))?;
        push(&mut all, line, seconds)?;
    }
    Ok(Recorded::Times(all))
}

fn push(all: &mut Vec<u64>, line: usize, seconds: f64) -> Result<(), Error> {
    let limit = (Trace::SPANS_MAX * 60) as f64;
    if !(0.0..limit).contains(&seconds) {
        return Err(wrong(line, format!("{seconds} is not between 0 and {limit} seconds")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within 0 and two years"
    )]
    let at = (seconds * SECOND_NS).round() as u64;
    if all.last().is_some_and(|last| *last > at) {
        return Err(wrong(line, format!("{seconds} is earlier than the line before")));
    }
    if all.len() as u64 == Trace::ARRIVALS_MAX {
        return Err(wrong(line, format!("more than {} arrivals", Trace::ARRIVALS_MAX)));
    }
    all.push(at);
    Ok(())
}

fn timed_functions<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<Trace, Error> {
    let mut named = Named::default();
    for (line, text) in lines {
        let mut columns = text.split(',');
        let seconds = columns.next().and_then(|column| column.trim().parse().ok());
        let (Some(seconds), Some(name)) = (seconds, columns.next()) else {
            return Err(wrong(line, format!("'{text}' is not a time and a name")));
        };
        if let Recorded::Times(all) = named.of(name, || Recorded::Times(Vec::new())) {
            push(all, line, seconds)?;
        }
    }
    Ok(Trace { functions: named.functions })
}

/// Functions in the order in which they are first named.
#[derive(Default)]
struct Named {
    places: BTreeMap<String, usize>,
    functions: Vec<Function>,
}

impl Named {
    /// What is recorded of that function, which may be the first of it.
    fn of(&mut self, name: &str, empty: impl FnOnce() -> Recorded) -> &mut Recorded {
        let index = self.places.get(name).copied().unwrap_or_else(|| {
            self.places.insert(name.to_owned(), self.functions.len());
            self.functions.push(Function { name: name.to_owned(), recorded: empty() });
            self.functions.len() - 1
        });
        &mut self.functions[index].recorded
    }
}

fn counts<'a>(lines: impl Iterator<Item = Line<'a>>, every_ns: u64) -> Result<Recorded, Error> {
    let mut counts: Vec<u64> = Vec::new();
    let mut total = 0;
    for (line, text) in lines {
        let (span, count) = text
            .split_once(',')
            .and_then(|(span, count)| Some((span, count.trim().parse::<u64>().ok()?)))
            .ok_or_else(|| wrong(line, format!("'{text}' is not a span and a count")))?;
        total = u64::saturating_add(total, count);
        add_count(&mut counts, line, span, count)?;
        if total > Trace::ARRIVALS_MAX {
            return Err(wrong(line, format!("more than {} arrivals", Trace::ARRIVALS_MAX)));
        }
    }
    Ok(Recorded::Counts { every_ns, counts })
}

fn functions<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<Trace, Error> {
    let mut named = Named::default();
    let mut total = 0;
    for (line, text) in lines {
        let columns: Vec<&str> = text.split(',').collect();
        let count = columns.get(2).and_then(|count| count.trim().parse::<u64>().ok());
        let (&[span, name, _], Some(count)) = (&columns[..], count) else {
            return Err(wrong(line, format!("'{text}' is not a minute, a name and a count")));
        };
        total = u64::saturating_add(total, count);
        if total > Trace::ARRIVALS_MAX {
            return Err(wrong(line, format!("more than {} arrivals", Trace::ARRIVALS_MAX)));
        }
        let empty = || Recorded::Counts { every_ns: MINUTE_NS, counts: Vec::new() };
        if let Recorded::Counts { counts, .. } = named.of(name, empty) {
            add_count(counts, line, span, count)?;
        }
    }
    Ok(Trace { functions: named.functions })
}

fn add_count(counts: &mut Vec<u64>, line: usize, span: &str, count: u64) -> Result<(), Error> {
    let span = span
        .trim()
        .parse::<u64>()
        .map_err(|_| wrong(line, format!("'{span}' is not the number of a span")))?;
    if span < counts.len() as u64 {
        return Err(wrong(line, format!("span {span} is not after the line before")));
    }
    if span >= Trace::SPANS_MAX {
        return Err(wrong(line, format!("span {span} is not below {}", Trace::SPANS_MAX)));
    }
    counts.extend((counts.len() as u64..span).map(|_| 0));
    counts.push(count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(text: &str) -> Vec<(String, Recorded)> {
        let functions = Trace::parse(text).unwrap().functions;
        functions.into_iter().map(|function| (function.name, function.recorded)).collect()
    }

    fn alone(recorded: Recorded) -> Vec<(String, Recorded)> {
        vec![(String::new(), recorded)]
    }

    #[test]
    fn every_form_is_read() {
        let times = |times: &[u64]| Recorded::Times(times.to_vec());
        let minutes =
            |counts: &[u64]| Recorded::Counts { every_ns: MINUTE_NS, counts: counts.to_vec() };
        assert_eq!(
            recorded("# from a log\nseconds\n0\n0.000000001\n\n1.5\n"),
            alone(times(&[0, 1, 1_500_000_000]))
        );
        assert_eq!(recorded("t_seconds,tokens\n0.5,7\n"), alone(times(&[500_000_000])));
        assert_eq!(recorded("61,1,300\n67,1,300\n"), alone(times(&[61_000_000, 67_000_000])));
        assert_eq!(recorded("[0.5, 1]"), alone(times(&[500_000_000, 1_500_000_000])));
        assert_eq!(recorded("minute,count\n0,7\n2,1\n"), alone(minutes(&[7, 0, 1])));
        assert_eq!(
            recorded("second,count\n1,3\n"),
            alone(Recorded::Counts { every_ns: 1_000_000_000, counts: vec![0, 3] })
        );
        assert_eq!(
            recorded("minute,model,count\n0,f,1\n0,g,2\n1,f,3\n"),
            [("f".to_owned(), minutes(&[1, 3])), ("g".to_owned(), minutes(&[2]))]
        );
        assert_eq!(
            recorded("t_seconds,model,d\n1,f,9\n2,g,9\n3,f,9\n"),
            [
                ("f".to_owned(), times(&[1_000_000_000, 3_000_000_000])),
                ("g".to_owned(), times(&[2_000_000_000]))
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        let cases = [
            ("", 1),
            ("time\n1", 1),
            ("seconds\n1\nx", 3),
            ("seconds\n2\n1", 3),
            ("seconds\n-1", 2),
            ("seconds\nnan", 2),
            ("minute,count\n1", 2),
            ("minute,count\n1,1\n1,1", 3),
            ("minute,count\n0,99999999999", 2),
            ("minute,count\n99999999999,1", 2),
            ("minute,model,count\n0,f", 2),
            ("t_seconds,model\n1", 2),
            ("1,2,3\n4", 2),
            ("[1,\n\"x\"]", 2),
        ];
        for (text, line) in cases {
            let Err(Error::Trace { line: found, .. }) = Trace::parse(text) else {
                panic!("{text:?} was read")
            };
            assert_eq!(found, line, "{text:?}");
        }
    }

    #[test]
    fn packed_files_and_folders_of_files_are_read() {
        let folder = std::env::temp_dir().join(format!("punctual-trace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packed, b"seconds\n1\n").unwrap();
        std::fs::write(folder.join("b.gz"), packed.finish().unwrap()).unwrap();
        std::fs::write(folder.join("a.csv"), "second,count\n0,2\n").unwrap();
        let trace = Trace::read(&folder).unwrap();
        let names: Vec<_> =
            trace.functions.iter().map(|one| (one.name.as_str(), one.recorded.len())).collect();
        assert_eq!(names, [("a.csv", 2), ("b.gz", 1)]);
        std::fs::write(folder.join("c"), "x").unwrap();
        let error = Trace::read(&folder).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Trace::read(&folder).is_err());
    }
}
