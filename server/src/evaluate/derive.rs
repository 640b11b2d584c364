//! Other forms of a model, made by onnxruntime's own tools in a Python that has them.

use std::path::Path;
use std::process::Command;

/// What a model is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Weights as bytes, inputs of products rounded to bytes at each run (dynamic quantisation)
    Int8,
    /// Numbers of 16 bits between inputs and outputs of 32; slower where the processor has no arithmetic for them
    Fp16,
    /// Weights of matrix products as 4-bit numbers, the arithmetic as before
    Weights4,
}

impl Form {
    /// Its name, as `precision` in a task's file and behind the model's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp16 => "fp16",
            Self::Weights4 => "weights4",
        }
    }
}

const PROGRAM: &str = include_str!("derive.py");

/// How the program begins its last line where a package is missing.
const MISSING: &str = "missing: ";

/// Makes `target` from `source`.
///
/// # Errors
/// A sentence: there is no such Python, it lacks the tools (with the command that installs them), or their own words.
pub fn derive(python: &str, form: Form, source: &Path, target: &Path) -> Result<(), String> {
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM, form.name()]).args([source, target]);
    let output = command.output().map_err(|error| {
        format!("--python: cannot start '{python}': {error}; it must be a Python with onnxruntime and onnx")
    })?;
    if output.status.success() && target.is_file() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(match last.strip_prefix(MISSING) {
        Some(package) => format!(
            "'{python}' has no package '{package}'; install the tools with: {python} -m pip install onnxruntime onnx onnx-ir"
        ),
        None => {
            format!("onnxruntime's tools made no {} of {}: {last}", form.name(), source.display())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_is_not_there_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("b.onnx");
        let error = derive("no-such-python", Form::Int8, Path::new("a.onnx"), &target).unwrap_err();
        assert!(error.starts_with("--python: cannot start 'no-such-python': "), "{error}");
    }
}
