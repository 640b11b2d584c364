//! The example classifiers of scans in a repository of their own, labelled scans, and the program to ask about them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Where the example classifiers and their scans are.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/examples/digits")
}

/// Whether ONNX Runtime is there; says so where it is not.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
pub(crate) fn runs_models() -> bool {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/onnxruntime/lib");
    let there = gpu::onnx::runtime(Some(&library));
    there.inspect_err(|error| println!("skipped: {error}")).is_ok()
}

/// A repository of these classifiers and their task, and the scans that no training saw.
pub(crate) fn repository(models: [&str; 2], task: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in models {
        let version = root.path().join(format!("models/digits_{name}/1"));
        std::fs::create_dir_all(&version).unwrap();
        std::fs::copy(examples().join(format!("{name}.onnx")), version.join("model.onnx")).unwrap();
    }
    std::fs::create_dir(root.path().join("models/digits")).unwrap();
    std::fs::write(root.path().join("models/digits/punctual.toml"), task).unwrap();
    std::fs::write(root.path().join("held_out.csv"), held_out(usize::MAX)).unwrap();
    root
}

/// So many of the odd rows of the file of scans, as `digits.py` takes them: 64 pixels and a digit each.
pub(crate) fn held_out(rows: usize) -> String {
    let packed = std::fs::read(examples().join("digits.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    let mut csv: String = (0..64).map(|pixel| format!("p{pixel},")).collect();
    csv += "label\n";
    for line in text.lines().skip(1).step_by(2).take(rows) {
        let (pixels, digit) = line.rsplit_once(',').unwrap();
        for pixel in pixels.split(',') {
            write!(csv, "{},", pixel.parse::<f64>().unwrap() / 16.0).unwrap();
        }
        csv += digit;
        csv += "\n";
    }
    csv
}

/// Runs the program on that repository; its exit code, and what it said.
pub(crate) fn punctual(root: &TempDir, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual"));
    command.args(words).arg("--model-repository").arg(root.path().join("models"));
    let Output { status, stdout, stderr } =
        command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}
