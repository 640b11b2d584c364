//! `punctual fit` as an operator meets it: the example classifiers of scans, labelled scans, the program's own words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use models::TaskSettings;
use tempfile::TempDir;

const TASK: &str = "# Which digit a scan shows.
[task]
slo = \"50ms\"

[[variant]]
model = \"digits_kernel_4495\" # the best one
accuracy = 0.9922
metric = \"top-1\"
source = \"nobody\"
cost = 333

[[variant]]
model = \"digits_mlp_128\"
accuracy = 0.9621
metric = \"top-1\"
source = \"nobody\"
cost = 9.5
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

/// A repository of two classifiers, their task, and the scans that no training saw.
fn repository(task: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["kernel_4495", "mlp_128"] {
        let version = root.path().join(format!("models/digits_{name}/1"));
        std::fs::create_dir_all(&version).unwrap();
        std::fs::copy(examples().join(format!("{name}.onnx")), version.join("model.onnx")).unwrap();
    }
    std::fs::create_dir(root.path().join("models/digits")).unwrap();
    std::fs::write(root.path().join("models/digits/punctual.toml"), task).unwrap();
    let scans = scans();
    std::fs::write(root.path().join("held_out.csv"), sheet(&scans, usize::MAX)).unwrap();
    std::fs::write(root.path().join("few.csv"), sheet(&scans, 200)).unwrap();
    root
}

/// Lines of 64 pixels from 0 to 16 and a digit.
fn scans() -> String {
    let packed = std::fs::read(examples().join("digits.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text
}

/// So many of the odd rows, which no training saw.
fn sheet(scans: &str, rows: usize) -> String {
    let mut csv: String = (0..64).map(|pixel| format!("p{pixel},")).collect();
    csv += "label\n";
    for line in scans.lines().skip(1).step_by(2).take(rows) {
        let (pixels, digit) = line.rsplit_once(',').unwrap();
        for pixel in pixels.split(',') {
            write!(csv, "{},", pixel.parse::<f64>().unwrap() / 16.0).unwrap();
        }
        csv += digit;
        csv += "\n";
    }
    csv
}

/// Runs the program; its exit code, and what it said.
fn fit(root: &TempDir, name: &str, file: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual"));
    command.args(["fit", name, "--data"]).arg(root.path().join(file)).args(more);
    command.arg("--model-repository").arg(root.path().join("models"));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn task(root: &TempDir) -> String {
    std::fs::read_to_string(root.path().join("models/digits/punctual.toml")).unwrap()
}

#[test]
fn a_cascade_is_fitted_written_behind_the_task_and_fitted_again_in_its_place() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "1%"]);
    assert_eq!((code, task(&root)), (Some(0), TASK.to_owned()), "nothing is written: {said}");
    assert!(said.contains("loss of at most 1 % next to digits_kernel_4495, 95 %"), "{said}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "0.01", "--write"]);
    assert!(code == Some(0) && said.contains("once `answer = \"cascade\"` stands"), "{said}");
    let written = task(&root);
    let added = written.strip_prefix(TASK).unwrap_or_else(|| panic!("{written}"));
    assert!(added.contains("[confidence]\noutput = \"probabilities\"\n"), "{added}");
    let settings = TaskSettings::from_text("t", &written).unwrap();
    let [tier] = &settings.cascade[..] else { panic!("{written}") };
    assert_eq!(f64::from(*tier.loss.get_ref()), 0.01);
    let stages: Vec<_> = tier.stages.iter().map(|stage| stage.model.get_ref().as_str()).collect();
    assert_eq!(stages, ["digits_mlp_128", "digits_kernel_4495"]);
    // The best one is right 0.9922 of the time, and the bound is for 1 %.
    assert!(f64::from(tier.accuracy) > 0.9922 * 0.99, "{written}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "1 %", "--write"]);
    assert_eq!((code, task(&root)), (Some(0), written), "the same rows and seed: {said}");
}

#[test]
fn several_losses_are_several_cascades_and_a_larger_one_saves_more() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let more = ["--loss", "1%", "--loss", "5%", "--write"];
    let (code, said) = fit(&root, "digits", "held_out.csv", &more);
    assert_eq!(code, Some(0), "{said}");
    let saved: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_suffix(" % saved")?.rsplit_once(' ')?.1.parse().ok())
        .collect();
    assert!(matches!(saved[..], [strict, loose] if 0.0 < strict && strict < loose), "{said}");
    assert_eq!(TaskSettings::from_text("t", &task(&root)).unwrap().cascade.len(), 2);
}

#[test]
fn what_cannot_be_fitted_is_refused_with_a_sentence_that_names_it() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let one = TASK.split("\n[[variant]]\nmodel = \"digits_mlp_128\"").next().unwrap();
    std::fs::create_dir(root.path().join("models/alone")).unwrap();
    std::fs::write(root.path().join("models/alone/punctual.toml"), one).unwrap();
    let loss = "--loss";
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        ("digit", "held_out.csv", &[loss, "1%"], 1, "'digit' is in no repository"),
        ("digits_mlp_128", "few.csv", &[loss, "1%"], 1, "is a model; only a task has cascades"),
        ("alone", "few.csv", &[loss, "1%"], 1, "'alone' has one variant; a cascade asks two"),
        (
            "digits",
            "few.csv",
            &[loss, "1%"],
            1,
            "200 rows are too few to tell a loss of 1 % with 95 % confidence; it takes 299",
        ),
        ("digits", "few.csv", &[loss, "150%"], 2, "expected a share above 0 and below 1"),
        ("digits", "few.csv", &[loss, "0"], 2, "expected a share above 0 and below 1"),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--confidence", "1"],
            2,
            "expected a share from 0.5 to 0.99",
        ),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--output", "x"],
            1,
            "there is no output 'x'; there are digit, probabilities",
        ),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--output", "digit"],
            1,
            "'digit' is INT64 [-1, 1], which holds no score for each class",
        ),
    ];
    for (name, file, more, expected, sentence) in cases {
        let (code, said) = fit(&root, name, file, more);
        assert!(code == Some(expected) && said.contains(sentence), "{sentence}: {code:?} {said}");
    }
    assert_eq!(task(&root), TASK);
}

#[test]
fn where_the_best_variant_is_the_cheapest_no_cascade_is_written() {
    if !runs_models() {
        return;
    }
    // The best one is also the cheapest: nothing can be saved.
    let root = repository(&TASK.replace("cost = 333", "cost = 9"));
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "5%"]);
    assert!(code == Some(0) && said.contains("digits_kernel_4495 answers alone"), "{said}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "5%", "--write"]);
    assert!(code == Some(1) && said.contains("nothing was written"), "{said}");
    assert_eq!(task(&root), TASK.replace("cost = 333", "cost = 9"));
}
