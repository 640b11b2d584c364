//! The program as an operator meets it: started, asked, and ended by signals. Models run on an emulated device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Takes floats of [N, 4] to floats of [N, 3].
const MODEL: &[u8] = include_bytes!("../../gpu/tests/models/mlp.onnx");

/// Long enough that a signal comes before the end of a run.
const SLOW: &str = "1,400000,400000,9\n";

/// So quick that nothing waits.
const FAST: &str = "1,100,100,9\n";

struct Server {
    child: Child,
    ports: serde_json::Value,
    output: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Most tests have waited for its end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(root: &Path, profile: &str) -> Command {
    let device = root.join("device.csv");
    std::fs::write(&device, profile).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_punctual"));
    command.arg("serve").arg("--model-repository").arg(root);
    command.arg(format!("--device=emulated:{}", device.display()));
    command.args(["--http-port=0", "--grpc-port=0", "--metrics-port=0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn repository() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("m/1")).unwrap();
    std::fs::write(root.path().join("m/1/model.onnx"), MODEL).unwrap();
    root
}

fn start(root: &Path, profile: &str) -> Server {
    start_with(root, profile, |_| ())
}

/// Starts a server with more flags and waits until it says that its models are ready.
fn start_with(root: &Path, profile: &str, flags: impl FnOnce(&mut Command)) -> Server {
    let ports = root.join("ports.json");
    let mut command = command(root, profile);
    flags(&mut command);
    let mut child = command.arg("--ports-file").arg(&ports).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("models ready: "), "{line}");
    let ports = serde_json::from_str(&std::fs::read_to_string(ports).unwrap()).unwrap();
    Server { child, ports, output }
}

impl Server {
    fn port(&self, of: &str) -> u16 {
        self.ports[of].as_u64().unwrap().try_into().unwrap()
    }

    /// Sends a request of one row and leaves its answer to be read.
    fn ask(&self) -> TcpStream {
        self.ask_of("m")
    }

    fn ask_of(&self, model: &str) -> TcpStream {
        let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
        let request = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        send(self.port("http"), &request)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn metrics(&self) -> String {
        let request = "GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        answer(send(self.port("metrics"), request))
    }

    /// Asks until so many requests wait behind a running one.
    fn wait_for_waiting(&self, waiting: u32) {
        let line =
            format!("nv_inference_pending_request_count{{model=\"m\",version=\"1\"}} {waiting}");
        while !self.metrics().contains(&line) {}
    }
}

fn send(port: u16, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_ports_are_written_and_the_printed_line_answers_as_pasted() {
    let root = repository();
    let mut server = start(root.path(), FAST);
    let lines: Vec<String> = (0..5)
        .map(|_| {
            let mut line = String::new();
            server.output.read_line(&mut line).unwrap();
            line
        })
        .collect();
    let http = server.port("http");
    assert!(lines[0].contains(&format!("http://localhost:{http}/v2")), "{lines:?}");
    let body = lines[4].split_once(" -d '").unwrap().1.trim_end().strip_suffix('\'').unwrap();
    assert!(lines[4].starts_with(&format!("curl -s http://localhost:{http}/v2/models/m/infer ")));
    let request = format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let text = answer(send(http, &request));
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\"outputs\""), "{text}");
    server.signal(Signal::INT);
    assert_eq!(server.code(), Some(0));
}

#[test]
fn accepted_requests_are_answered_after_sigterm_and_the_exit_is_clean() {
    let root = repository();
    let mut server = start(root.path(), SLOW);
    let (first, second) = (server.ask(), server.ask());
    server.wait_for_waiting(1);
    server.signal(Signal::TERM);
    assert!(answer(first).starts_with("HTTP/1.1 200"));
    assert!(answer(second).starts_with("HTTP/1.1 200"));
    assert_eq!(server.code(), Some(0));
}

#[test]
fn a_draining_server_refuses_with_a_reason_and_ends_at_once_at_a_second_signal() {
    let root = repository();
    let mut server = start(root.path(), "1,20000000,20000000,9\n");
    let _asked = [server.ask(), server.ask()];
    server.wait_for_waiting(1);
    server.signal(Signal::TERM);
    // Until the first signal is seen, the second would be merged with it.
    let ready = "GET /v2/health/ready HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    while answer(send(server.port("http"), ready)).starts_with("HTTP/1.1 200") {}
    let unready = answer(send(server.port("http"), ready));
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    let refused = answer(server.ask());
    let reason = "\"reason\":\"draining\"";
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains(reason), "{refused}");
    assert!(server.metrics().starts_with("HTTP/1.1 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.code(), Some(1));
}

#[test]
fn connections_without_a_whole_request_do_not_hold_the_end() {
    let root = repository();
    let mut server = start(root.path(), FAST);
    let unfinished = [
        ("http", ""),
        ("http", "POST /v2/mod"),
        ("http", "POST /v2/models/m/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{"),
        ("grpc", ""),
        ("grpc", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("metrics", "GET /"),
    ];
    let _held = unfinished.map(|(port, beginning)| send(server.port(port), beginning));
    assert!(server.metrics().starts_with("HTTP/1.1 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.code(), Some(0));
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_start_with_its_reason() {
    let root = repository();
    std::fs::write(root.path().join("m/punctual.toml"), "\nslo = \"soon\"\n").unwrap();
    let output = command(root.path(), FAST).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("m/punctual.toml:2: ") && text.contains("25ms"), "{text}");
}

#[test]
fn a_setting_that_is_not_allowed_ends_the_start_with_one_sentence() {
    let root = repository();
    let output = command(root.path(), FAST).arg("--policy=fifo").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("punctual: --policy: unknown policy \"fifo\"; allowed are"), "{text}");
}

#[test]
fn at_sighup_the_policies_of_the_settings_file_take_over_and_no_request_is_lost() {
    let root = repository();
    let file = |name: &str| root.path().join(name);
    let settings = |policies: &str| std::fs::write(file("settings.toml"), policies).unwrap();
    settings("policy = \"deadline\"\n");
    let mut server = start_with(root.path(), SLOW, |command| {
        command.arg("--config").arg(file("settings.toml"));
        command.arg("--record").arg(file("flight.jsonl")).arg("--log-file").arg(file("log"));
    });
    let log_has =
        |text: &str| while !std::fs::read_to_string(file("log")).unwrap().contains(text) {};
    let asked = [server.ask(), server.ask(), server.ask()];
    server.wait_for_waiting(2);
    settings("policy = \"fifo\"\n");
    server.signal(Signal::HUP);
    log_has("the settings stay as they are");
    settings("policy = \"single\"\nadmission = \"always\"\ndispatch = \"fair_share\"\n");
    server.signal(Signal::HUP);
    log_has("batching=\"single\"");
    let after = server.ask();
    for stream in asked.into_iter().chain([after]) {
        assert!(answer(stream).starts_with("HTTP/1.1 200"));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.code(), Some(0));
    let recording = std::fs::read_to_string(file("flight.jsonl")).unwrap();
    let changes = recording.lines().filter(|line| line.contains("PoliciesChanged"));
    let changes: Vec<&str> = changes.collect();
    assert!(matches!(changes[..], [one] if one.contains("[[0,\"single\"]]")), "{changes:?}");
    sim::replay(recording.lines()).unwrap();
}

#[test]
fn an_executor_that_holds_one_of_two_models_answers_for_both_and_a_broken_file_fails_its_load_alone()
 {
    let root = repository();
    std::fs::create_dir_all(root.path().join("n/1")).unwrap();
    std::fs::write(root.path().join("n/1/model.onnx"), MODEL).unwrap();
    let memory = format!("{}B", MODEL.len() + MODEL.len() / 2);
    let mut server = start_with(root.path(), FAST, |command| {
        command.args(["--device-memory", &memory, "--placement-epoch", "60min"]);
    });
    for model in ["m", "n", "m"] {
        let said = answer(server.ask_of(model));
        assert!(said.starts_with("HTTP/1.1 200"), "{model}: {said}");
    }
    let page = server.metrics();
    let held = format!("punctual_executor_model_bytes{{executor=\"0\"}} {}\n", MODEL.len());
    assert!(page.contains(&held), "{page}");
    let evicted =
        |model: &str| format!("punctual_evictions_total{{model=\"{model}\",version=\"1\"}} 0\n");
    assert!(!page.contains(&evicted("n")), "{page}");
    // What was measured is not there any more.
    std::fs::write(root.path().join("n/1/model.onnx"), "no model").unwrap();
    let said = answer(server.ask_of("n"));
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("load_failed"), "{said}");
    assert!(answer(server.ask_of("m")).starts_with("HTTP/1.1 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.code(), Some(0));
}

#[test]
fn a_model_that_no_executor_can_hold_is_refused_at_its_load() {
    let root = repository();
    let mut child = command(root.path(), FAST).args(["--device-memory", "10B"]).spawn().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_ne!(child.wait().unwrap().code(), Some(0));
    assert!(log.contains("no executor holds more than 10 (--device-memory)"), "{log}");
}
