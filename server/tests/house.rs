//! The rules of the house, read off the tree itself: who may name whom, sizes, clocks, and that the documents say what
//! the code does. CONTRIBUTING.md explains them.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a crate may depend on: crates of the workspace, and outside ones where that is limited.
struct Arrows {
    from: &'static str,
    below: &'static [&'static str],
    outside: Option<&'static [&'static str]>,
}

/// The core stays small, so that it stays without IO.
const ARROWS: [Arrows; 8] = [
    arrows(
        "models",
        &[],
        &["miette", "prost", "prost-reflect", "serde", "serde_json", "thiserror", "toml"],
    ),
    arrows("batcher", &["models"], &["serde", "thiserror"]),
    arrows(
        "router",
        &["models", "batcher"],
        &["fixedbitset", "microlp", "rand_pcg", "serde", "thiserror"],
    ),
    shell("gpu", &["models"]),
    shell("loadgen", &["models"]),
    shell("sim", &["models", "batcher", "router", "loadgen"]),
    shell("server", &["models", "batcher", "router", "gpu"]),
    shell("benches", &["models", "batcher", "router", "gpu", "loadgen", "sim", "server"]),
];

const fn arrows(
    from: &'static str,
    below: &'static [&'static str],
    outside: &'static [&'static str],
) -> Arrows {
    Arrows { from, below, outside: Some(outside) }
}

const fn shell(from: &'static str, below: &'static [&'static str]) -> Arrows {
    Arrows { from, below, outside: None }
}

/// No clock, thread, channel, lock, async, socket, environment or file in these.
const CORE: [&str; 3] = ["models", "batcher", "router"];

/// What would bring one of those in.
const NOT_IN_CORE: [&str; 20] = [
    "std::time::Instant",
    "SystemTime",
    "std::thread",
    "thread::spawn",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "Mutex",
    "RwLock",
    "Condvar",
    "mpsc",
    "Atomic",
    "async fn",
    ".await",
    "println!",
    "unsafe ",
    "rand::rng",
    "File::",
];

/// The files of a shell crate that read the clock.
const CLOCKS: [&str; 5] = [
    "server/src/clock.rs",
    "gpu/src/clock.rs",
    "loadgen/src/client.rs",
    "sim/src/clock.rs",
    "benches/src/raw.rs",
];

/// The two drivers of the router, with the folders beside them; `benches` measures it.
const DRIVERS: [&str; 4] = ["server/src/driver", "sim/src/world", "sim/src/replay", "benches/"];

/// Written by a program, and checked in so that building needs no protobuf compiler.
const GENERATED: [&str; 1] = ["server/src/grpc/inference.rs"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn arrows_between_crates_point_down_and_the_core_depends_on_little() {
    let members: BTreeSet<&str> = ARROWS.iter().map(|arrows| arrows.from).collect();
    let workspace = toml_of("Cargo.toml");
    let listed = workspace["workspace"]["members"].as_array().unwrap();
    let listed: BTreeSet<&str> = listed.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(listed, members, "a crate without arrows: add its row to ARROWS");
    let mut wrong = Vec::new();
    for Arrows { from, below, outside } in ARROWS {
        let manifest = toml_of(&format!("{from}/Cargo.toml"));
        let Some(dependencies) = manifest.get("dependencies") else { continue };
        for dependency in dependencies.as_table().unwrap().keys().map(String::as_str) {
            let allowed = if members.contains(dependency) {
                below.contains(&dependency)
            } else {
                outside.is_none_or(|outside| outside.contains(&dependency))
            };
            if !allowed {
                wrong.push(format!("{from} -> {dependency}"));
            }
        }
    }
    none(&wrong, "arrows that need a decision record");
}

#[test]
fn the_core_has_no_clock_thread_lock_or_io() {
    let mut wrong = Vec::new();
    for (path, code) in code().filter(|(path, _)| CORE.iter().any(|name| in_src(path, name))) {
        for (number, line) in code.lines().enumerate() {
            let grouped = line.contains("std::time::{") && line.contains("Instant");
            if grouped || NOT_IN_CORE.iter().any(|banned| line.contains(banned)) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&wrong, "not in the core");
}

#[test]
fn the_clock_is_read_in_one_file_of_a_shell_crate() {
    let mut wrong = Vec::new();
    for (path, code) in code() {
        let reads = ["Instant::now(", "SystemTime::now(", "clock_gettime("];
        if !CLOCKS.contains(&path.as_str()) && reads.iter().any(|read| code.contains(read)) {
            wrong.push(path);
        }
    }
    none(&wrong, "reads a clock");
}

#[test]
fn only_the_two_drivers_drive_the_router() {
    let mut wrong = Vec::new();
    let elsewhere = |path: &str| {
        !in_src(path, "router") && !DRIVERS.iter().any(|driver| path.starts_with(driver))
    };
    for (path, code) in code().filter(|(path, _)| elsewhere(path)) {
        let calls = ["router.handle(", ".handle_timeout(", ".poll_action("];
        if calls.iter().any(|call| code.contains(call)) {
            wrong.push(path);
        }
    }
    none(&wrong, "drives the router");
}

#[test]
fn files_and_functions_fit() {
    let mut wrong = Vec::new();
    for (path, text) in sources().filter(|(path, _)| !GENERATED.contains(&path.as_str())) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{path}: {lines} lines"));
        }
        let long = functions(&text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        wrong.extend(long.map(|(line, lines)| format!("{path}:{line}: a function of {lines}")));
    }
    none(&wrong, "too long");
}

#[test]
fn a_module_stands_beside_its_folder() {
    let found = sources().map(|(path, _)| path).filter(|path| path.ends_with("/mod.rs"));
    none(&found.collect::<Vec<_>>(), "name it after its folder");
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["md"]) {
        let folder = Path::new(&path).parent().unwrap().to_owned();
        let named = paths_in(&text).filter(|named| !root().join(named).exists());
        wrong.extend(named.map(|named| format!("{path}: {named}")));
        let linked = links_in(&text).filter(|link| !root().join(&folder).join(link).exists());
        wrong.extend(linked.map(|link| format!("{path}: link to {link}")));
    }
    let documents: Vec<String> = files(&["md"]).map(|(path, _)| path).collect();
    for (path, text) in sources() {
        let named =
            text.split([' ', '`', '(', ')', ',', ':', ';']).map(|w| w.trim_end_matches('.'));
        for named in named.filter(|word| word.starts_with("docs/") && word.len() > "docs/".len()) {
            // A decision may be named by its number alone.
            if !documents.iter().any(|document| document.starts_with(named)) {
                wrong.push(format!("{path}: {named}"));
            }
        }
    }
    none(&wrong, "named but not there");
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let rows: Vec<String> =
        server::metrics::ALL.iter().map(|row| metric_row(&row.metric)).collect();
    same_rows("docs/metrics.md", "| `nv_", "| `punctual_", &rows);
}

#[test]
fn every_policy_is_documented_as_it_is() {
    let yes = |promise: bool| if promise { "yes" } else { "no" };
    let mut rows = Vec::new();
    for policy in &batcher::ALL {
        let promises = policy.promises;
        let (in_time, hopeless) = (yes(promises.in_time), yes(promises.drops_only_hopeless));
        rows.push(format!(
            "| `{}` | {} | {} | {in_time} | {hopeless} |",
            policy.name, policy.summary, policy.source
        ));
    }
    let row = |name, summary, source| format!("| `{name}` | {summary} | {source} |");
    rows.extend(
        router::ADMISSIONS.iter().map(|policy| row(policy.name, policy.summary, policy.source)),
    );
    rows.extend(
        router::DISPATCHES.iter().map(|policy| row(policy.name, policy.summary, policy.source)),
    );
    rows.extend(
        router::SELECTIONS.iter().map(|policy| row(policy.name, policy.summary, policy.source)),
    );
    let placements = router::place::PLACEMENTS.iter();
    rows.extend(placements.map(|policy| row(policy.name, policy.summary, policy.source)));
    same_rows("docs/policies.md", "| `", "| `", &rows);
}

#[test]
fn decisions_are_numbered_without_gaps_and_have_every_part() {
    let decisions = files(&["md"]).filter(|(path, _)| path.starts_with("docs/decisions/"));
    let decisions: Vec<_> = decisions.collect();
    assert!(!decisions.is_empty());
    for (index, (path, text)) in decisions.iter().enumerate() {
        let number = format!("{:04}", index + 1);
        assert!(path.starts_with(&format!("docs/decisions/{number}-")), "{path} is not {number}");
        assert!(text.starts_with(&format!("# {number} ")), "{path} has another title");
        for part in ["**Problem**", "**Decision**", "**Because**", "**Instead of**", "**Costs**"] {
            assert!(text.contains(part), "{path} has no {part}");
        }
    }
}

fn metric_row(metric: &server::metrics::Metric) -> String {
    let unit = format!("{:?}", metric.unit).to_lowercase();
    let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
    format!("| `{name}` | {kind} | {unit} | {help} |")
}

/// The lines of a document that begin so are the rows of the table in the code, each once and in order.
fn same_rows(document: &str, begin: &str, or: &str, rows: &[String]) {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let found: Vec<_> =
        text.lines().filter(|line| line.starts_with(begin) || line.starts_with(or)).collect();
    assert_eq!(found, rows, "{document} should have these rows:\n{}\n", rows.join("\n"));
}

fn none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn toml_of(path: &str) -> toml::Table {
    fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
}

fn in_src(path: &str, name: &str) -> bool {
    path.starts_with(&format!("{name}/src/"))
}

/// The Rust files of crates' `src` folders, without comments and tests, line numbers kept.
fn code() -> impl Iterator<Item = (String, String)> {
    let source = |path: &str| path.contains("/src/") && !path.ends_with("/tests.rs");
    sources().filter(move |(path, _)| source(path)).map(|(path, text)| (path, code_of(&text)))
}

/// The Rust files of the repository with their text.
fn sources() -> impl Iterator<Item = (String, String)> {
    files(&["rs"])
}

/// Files with one of those endings, by their paths from the root, in order.
fn files(endings: &[&str]) -> impl Iterator<Item = (String, String)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                // What is hidden or built is not ours.
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if endings
                .iter()
                .any(|ending| path.extension().is_some_and(|has| has == *ending))
            {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(relative, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found.into_iter()
}

/// The text without comments and tests.
fn code_of(text: &str) -> String {
    let before_tests = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let code = before_tests.lines().map(|line| {
        let comment = line.find("//").filter(|at| !line[..*at].contains('"'));
        comment.map_or(line, |at| &line[..at])
    });
    code.collect::<Vec<_>>().join("\n")
}

/// Where each function of rustfmt's text begins, and the lines of its body without blanks and comments.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let qualifiers = ["pub", "const", "async", "unsafe", "extern"];
        let head = code.split("fn ").next().unwrap_or_default();
        let words = head.split_whitespace();
        let is_head =
            |word: &str| qualifiers.iter().any(|q| word.starts_with(q)) || word == "\"C\"";
        if !code.contains("fn ") || !words.into_iter().all(is_head) {
            continue;
        }
        let rest = || lines[index..].iter().enumerate();
        let Some((open, opener)) = rest().find(|(_, line)| line.ends_with(['{', ';', '}'])) else {
            continue;
        };
        if !opener.ends_with('{') {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - code.len()]);
        let Some((end, _)) = rest().find(|(_, line)| **line == close) else { continue };
        let body = lines[index + open + 1..index + end].iter().map(|line| line.trim());
        let counted = body.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        found.push((index + 1, counted));
    }
    found
}

/// What stands in backticks and looks like a path of this repository.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    let folders = ARROWS.map(|arrows| arrows.from).into_iter().chain(["docs", ".ci"]);
    let folders: Vec<String> = folders.map(|name| format!("{name}/")).collect();
    let outside_blocks = text.split("```").step_by(2);
    let quoted = outside_blocks.flat_map(|part| part.split('`').skip(1).step_by(2));
    quoted.filter(move |word| {
        let plain = !word.contains(['<', '*', '{', ' ', '\n', '…']);
        let top = !word.contains('/') && [".md", ".toml"].iter().any(|end| word.ends_with(end));
        let known = folders.iter().any(|folder| word.starts_with(folder));
        plain && (known || (top && word.starts_with(|first: char| first.is_uppercase())))
    })
}

/// The targets of links to files.
fn links_in(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':'))
}

#[test]
fn the_scan_of_functions_counts_bodies_and_skips_what_has_none() {
    let text = "trait A {\n    fn none(&self);\n}\nfn one() {}\npub(crate) fn two(\n    a: u8,\n) -> u8 {\n    // why\n\n    \
                if a > 1 {\n        return 1;\n    }\n    a\n}\n";
    assert_eq!(functions(text), [(5, 4)]);
}

#[test]
fn the_scan_of_documents_finds_paths_and_links() {
    let text = "See `server/src/driver.rs` and `a/b`, `Cargo.toml`.\n```\n`gpu/no.md`\n```\n[x](decisions/0001.md#y) \
                [z](https://example.com)";
    assert_eq!(paths_in(text).collect::<Vec<_>>(), ["server/src/driver.rs", "Cargo.toml"]);
    assert_eq!(links_in(text).collect::<Vec<_>>(), ["decisions/0001.md"]);
}

#[test]
fn code_is_what_is_neither_comment_nor_test() {
    let text = "let a = \"//\"; // b\nlet c;\n#[cfg(test)]\nmod tests {}\n";
    assert_eq!(code_of(text), "let a = \"//\"; // b\nlet c;");
}
