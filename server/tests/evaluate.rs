//! The tools for variants as an operator meets them: real models of the examples, real files, the program's own words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/scans.rs"]
mod scans;

use tempfile::TempDir;

use crate::scans::{examples, runs_models};

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

fn repository() -> TempDir {
    scans::repository(["logreg", "mlp_128"], TASK)
}

/// Runs the program; what it said, and whether it was content.
fn punctual(root: &TempDir, words: &[&str]) -> (bool, String) {
    let (code, said) = scans::punctual(root, words);
    (code == Some(0), said)
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

/// A program in Python's place, whose arguments are `-c`, the program, the form, the model and what is to be made of it.
fn python(root: &TempDir, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = root.path().join("python");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn derive(root: &TempDir, python: &str, more: &[&str]) -> (bool, String) {
    let words = ["variants", "make", "digits_mlp_128", "--python", python];
    punctual(root, &[&words[..], more].concat())
}

fn task(root: &TempDir) -> String {
    std::fs::read_to_string(root.path().join("models/digits/punctual.toml")).unwrap()
}

#[test]
fn a_derived_model_is_loaded_measured_and_becomes_a_variant() {
    if !runs_models() {
        return;
    }
    let root = repository();
    // Smaller, and of the same form: what a tool would make.
    let smaller = python(&root, &format!("cp {} \"$5\"", examples().join("logreg.onnx").display()));
    let data = root.path().join("held_out.csv");
    let more = ["--as", "fp16", "--task", "digits", "--data", data.to_str().unwrap()];
    let (content, said) = derive(&root, &smaller, &more);
    assert!(content && said.contains("it loads and has the same inputs and outputs"), "{said}");
    let added = task(&root).strip_prefix(TASK).unwrap().to_owned();
    let expected = "\n[[variant]]\nmodel = \"digits_mlp_128_fp16\"\nprecision = \"fp16\"\naccuracy = 0.9209\n\
                    metric = \"top-1\"\nsource = \"punctual evaluate, 898 rows of held_out.csv\"\ncost = ";
    assert!(added.starts_with(expected), "{added}");
    let (content, said) = evaluate(&root, "digits", "held_out.csv", &[]);
    assert!(content && said.contains("digits_mlp_128_fp16/1"), "{said}");
    let (content, said) = derive(&root, &smaller, &["--as", "fp16"]);
    assert!(
        !content && said.contains("'digits_mlp_128_fp16' is in the repository already"),
        "{said}"
    );
}

#[test]
fn nothing_stays_of_a_model_that_could_not_be_derived() {
    if !runs_models() {
        return;
    }
    let root = repository();
    let lacks = python(&root, "echo 'missing: onnx' >&2; exit 1");
    let (content, said) = derive(&root, &lacks, &[]);
    assert!(!content && said.contains("has no package 'onnx'; install the tools with: "), "{said}");
    let broken = python(&root, "head -c 1000 \"$4\" > \"$5\"");
    let (content, said) = derive(&root, &broken, &[]);
    assert!(!content && said.contains("model.onnx"), "{said}");
    let copies = python(&root, "cp \"$4\" \"$5\"");
    let (content, said) = derive(&root, &copies, &[]);
    assert!(
        !content && said.contains("the tools found next to nothing in 'digits_mlp_128'"),
        "{said}"
    );
    let left: Vec<_> = std::fs::read_dir(root.path().join("models")).unwrap().collect();
    // The two models, the task and the profiles of models that were measured.
    let names = left.iter().map(|entry| entry.as_ref().unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name != ".punctual").collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(task(&root), TASK);
}
