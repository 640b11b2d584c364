//! The tools for variants as an operator meets them: real models of the examples, real files, the program's own words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const TASK: &str = "# Which digit a scan shows.
[task]
slo = \"50ms\"

[[variant]]
model = \"digits_mlp_128\" # the better one
accuracy = 0.5
metric = \"none\"
source = \"nobody\"

[[variant]]
model = \"digits_logreg\"
accuracy = 0.5
metric = \"none\"
source = \"nobody\"
cost = 7
";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/examples/digits")
}

/// Whether ONNX Runtime is there; says so where it is not.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn runs_models() -> bool {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/onnxruntime/lib");
    let there = gpu::onnx::runtime(Some(&library));
    there.inspect_err(|error| println!("skipped: {error}")).is_ok()
}

/// A repository of two classifiers of scans, and the scans that no training saw.
fn repository() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["logreg", "mlp_128"] {
        let version = root.path().join(format!("models/digits_{name}/1"));
        std::fs::create_dir_all(&version).unwrap();
        std::fs::copy(examples().join(format!("{name}.onnx")), version.join("model.onnx")).unwrap();
    }
    std::fs::create_dir(root.path().join("models/digits")).unwrap();
    std::fs::write(root.path().join("models/digits/punctual.toml"), TASK).unwrap();
    std::fs::write(root.path().join("held_out.csv"), held_out()).unwrap();
    root
}

/// The odd rows of the file of scans, as `digits.py` takes them.
fn held_out() -> String {
    let packed = std::fs::read(examples().join("digits.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    let mut csv: String = (0..64).map(|pixel| format!("p{pixel},")).collect();
    csv += "label\n";
    for line in text.lines().skip(1).step_by(2) {
        let (pixels, digit) = line.rsplit_once(',').unwrap();
        for pixel in pixels.split(',') {
            write!(csv, "{},", pixel.parse::<f64>().unwrap() / 16.0).unwrap();
        }
        csv += digit;
        csv += "\n";
    }
    csv
}

/// Runs the program; what it said, and whether it was content.
fn punctual(root: &TempDir, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual"));
    command.args(words).arg("--model-repository").arg(root.path().join("models"));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn evaluate(root: &TempDir, name: &str, file: &str, more: &[&str]) -> (bool, String) {
    let path = root.path().join(file);
    let words = ["evaluate", name, "--data", path.to_str().unwrap()];
    punctual(root, &[&words[..], more].concat())
}

#[test]
fn a_tasks_accuracies_are_measured_and_written_and_its_file_stays_as_it_was() {
    if !runs_models() {
        return;
    }
    let root = repository();
    let (content, said) = evaluate(&root, "digits", "held_out.csv", &["--write"]);
    assert!(content, "{said}");
    // The shares that the training printed for these 898 scans.
    let line = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("digits_mlp_128/1").contains("0.9621"), "{said}");
    assert!(line("digits_logreg/1").contains("0.9209"), "{said}");
    assert!(line("digits_logreg/1").contains("0.9014..0.9368"), "{said}");
    let written = std::fs::read_to_string(root.path().join("models/digits/punctual.toml")).unwrap();
    let source = "\"punctual evaluate, 898 rows of held_out.csv\"";
    let expected = TASK
        .replacen("0.5", "0.9621", 1)
        .replacen("0.5", "0.9209", 1)
        .replace("\"none\"", "\"top-1\"")
        .replace("\"nobody\"", source);
    assert_eq!(written, expected);
}

#[test]
fn a_model_is_compared_with_another_where_there_are_no_labels() {
    if !runs_models() {
        return;
    }
    let root = repository();
    let more = ["--reference", "digits_logreg"];
    let (content, said) = evaluate(&root, "digits_mlp_128", "held_out.csv", &more);
    assert!(content, "{said}");
    assert!(said.contains("agreement with digits_logreg"), "{said}");
    let (content, said) = evaluate(&root, "digits_logreg", "held_out.csv", &more);
    assert!(content && said.contains("1.0000"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_sentence_that_names_it() {
    if !runs_models() {
        return;
    }
    let root = repository();
    let write = |file: &str, text: &str| std::fs::write(root.path().join(file), text).unwrap();
    write("words.csv", "a,b\nx,y\n");
    write("rows.txt", "1,2\n");
    let cases: [(&str, &str, &[&str], &str); 7] = [
        (
            "digit",
            "held_out.csv",
            &[],
            "'digit' is in no repository; there are digits, digits_logreg",
        ),
        ("digits", "rows.txt", &[], "rows.txt: its kind is not known; allowed is a .npz"),
        ("digits", "none.csv", &[], "none.csv: No such file"),
        ("digits", "words.csv", &[], "words.csv: line 2: has rows of shape [2]; allowed is [64]"),
        ("digits_logreg", "held_out.csv", &["--write"], "--write: 'digits_logreg' is a model;"),
        (
            "digits",
            "held_out.csv",
            &["--output", "x"],
            "there is no output 'x'; there are digit, probabilities",
        ),
        ("digits", "held_out.csv", &["--metric", "nearest"], "name it with --reference"),
    ];
    for (name, file, more, sentence) in cases {
        let (content, said) = evaluate(&root, name, file, more);
        assert!(!content && said.contains(sentence), "{sentence}: {said}");
    }
}
