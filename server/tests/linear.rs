//! Coded tasks of real models, by the program: a linear one is served, one that is not is refused by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const LOGITS: &[u8] = include_bytes!("../../models/examples/digits/logits.onnx");
const CODED: &str = include_str!("../../models/examples/digits/coded.toml");

/// Takes floats of [N, 4] to floats of [N, 3], through a rectifier.
const BENT: &[u8] = include_bytes!("../../gpu/tests/models/mlp.onnx");

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Whether ONNX Runtime is there; says so where it is not.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn runs_models() -> bool {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/onnxruntime/lib");
    let there = gpu::onnx::runtime(Some(&library));
    there.inspect_err(|error| println!("skipped: {error}")).is_ok()
}

fn put(root: &Path, model: &str, onnx: &[u8]) {
    let version = root.join(model).join("1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.onnx"), onnx).unwrap();
}

fn put_task(root: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(root.join(name)).unwrap();
    std::fs::write(root.join(name).join("punctual.toml"), text).unwrap();
}

/// Serves two linear models, one that bends, and coded tasks of them; the port, and what it said of the second task.
fn serve(root: &Path) -> (Server, u16, String) {
    put(root, "digits_logits", LOGITS);
    put(root, "digits_logits_copy", LOGITS);
    put(root, "bent", BENT);
    put_task(root, "coded", CODED);
    let bent = CODED.replace("digits_logits_copy", "twin").replace("digits_logits", "bent");
    put(root, "twin", BENT);
    put_task(root, "wrong", &bent);
    let ports = root.join("ports.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual"));
    command.arg("serve").arg("--model-repository").arg(root).arg("--ports-file").arg(&ports);
    command.args(["--device=cpu:2x1", "--exit-on-error=false", "--profile-budget=100ms"]);
    command.args(["--http-port=0", "--grpc-port=0", "--metrics-port=0"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let refused = errors.find(|line| line.as_ref().unwrap().contains("is not linear"));
    let refused = refused.expect("the second task is refused").unwrap();
    std::thread::spawn(move || errors.for_each(drop));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("models ready: "), "{line}");
    let ports: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(ports).unwrap()).unwrap();
    (Server(child), ports["http"].as_u64().unwrap().try_into().unwrap(), refused)
}

fn logits(port: u16, name: &str) -> serde_json::Value {
    let mut pixels = String::new();
    (0..64).for_each(|pixel| {
        write!(pixels, "{}{}", if pixel > 0 { "," } else { "" }, pixel % 17).unwrap()
    });
    let body = format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,64],\"data\":[{pixels}]}}]}}"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v2/models/{name}/infer HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_linear_model_is_seen_to_be_and_one_that_bends_is_refused() {
    if !runs_models() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (_server, port, refused) = serve(root.path());
    let sentence = "punctual.toml:8: `model`: 'bent' is not linear: what 'twin' answers to the sum of 2 random rows is ";
    assert!(refused.contains(sentence), "{refused}");
    let (coded, own) = (logits(port, "coded"), logits(port, "digits_logits"));
    assert_eq!(coded["outputs"], own["outputs"]);
    assert_eq!(coded["parameters"]["ended"], "own");
    assert_eq!(coded["parameters"]["asked"], 1.0);
    assert_eq!(coded["parameters"]["asked_variants"], "digits_logits/1");
}
