//! The server under test: its start on chosen cores, its addresses, the time it spends on the CPU, and its end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loadgen::client::{Target, fetch, now};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::Error;
use crate::cores::pinned;

/// Models are profiled before a server is ready: seconds each.
const START_MAX: Duration = Duration::from_secs(180);
const STOP_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How a server is started.
#[derive(Clone, Debug, clap::Args)]
pub struct Launch {
    /// The server's binary.
    #[arg(long, default_value = "target/release/punctual")]
    pub binary: PathBuf,
    /// The repository with the models that are measured.
    #[arg(long, default_value = "target/examples")]
    pub repository: PathBuf,
    /// The core of the server.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core of the load generator; 1 unless `--no-pin`.
    #[arg(long)]
    pub client_core: Option<usize>,
    /// Lets the server place its threads, and the system the load generator unless its core is given.
    #[arg(long)]
    pub no_pin: bool,
    /// One more argument of `punctual serve`; may be given several times.
    #[arg(long, allow_hyphen_values = true)]
    pub serve: Vec<String>,
}

impl Launch {
    /// The server's core, where it is pinned.
    #[must_use]
    pub fn server(&self) -> Option<usize> {
        (!self.no_pin).then_some(self.server_core)
    }

    /// The load generator's core, where it is pinned.
    #[must_use]
    pub fn client(&self) -> Option<usize> {
        self.client_core.or((!self.no_pin).then_some(1))
    }

    /// Starts the server with only these models loaded and waits until it is ready.
    ///
    /// # Errors
    /// There is no binary, or it does not become ready.
    pub fn start(&self, models: &[&str]) -> Result<Served, Error> {
        if !self.binary.exists() {
            let missing = self.binary.display();
            return Err(Error::Server(format!(
                "there is no {missing}: cargo build --release -p server"
            )));
        }
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--model-repository").arg(&self.repository);
        command.args(["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]);
        command.args(["--model-control-mode", "explicit"]);
        command.args(models.iter().flat_map(|model| ["--load-model", model]));
        command.args(&self.serve);
        let served = Served::start(command, self.server())?;
        served.wait_ready()?;
        Ok(served)
    }
}

/// The file that `--ports-file` names.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Ports {
    http: u16,
    grpc: u16,
}

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Served {
    child: Child,
    ports: Ports,
}

impl Served {
    /// Starts a command that takes `--ports-file` and waits for the file.
    pub(crate) fn start(mut command: Command, core: Option<usize>) -> Result<Self, Error> {
        let name = format!("punctual-bench-{}-{:?}.json", std::process::id(), now());
        let name: String =
            name.chars().filter(|c| c.is_alphanumeric() || "-.".contains(*c)).collect();
        let file = std::env::temp_dir().join(name);
        command.arg("--ports-file").arg(&file).stdout(Stdio::null());
        let what = format!("cannot start {}", command.get_program().display());
        let mut child = pinned(core, || command.spawn().map_err(Error::system(what)))?;
        let ports = wait_for_ports(&mut child, &file);
        drop(std::fs::remove_file(&file));
        match ports {
            Ok(ports) => Ok(Self { child, ports }),
            Err(error) => {
                drop(child.kill());
                Err(error)
            }
        }
    }

    /// The HTTP side.
    #[must_use]
    pub fn http(&self) -> Target {
        self.target("http", self.ports.http)
    }

    /// The gRPC side.
    #[must_use]
    pub fn grpc(&self) -> Target {
        self.target("grpc", self.ports.grpc)
    }

    fn target(&self, scheme: &str, port: u16) -> Target {
        format!("{scheme}://127.0.0.1:{port}").parse().expect("a URL of numbers")
    }

    fn wait_ready(&self) -> Result<(), Error> {
        let give_up = now() + START_MAX;
        let ready = || fetch(&self.http(), "GET", "/v2/health/ready", bytes::Bytes::new());
        while !ready().is_ok_and(|(status, _)| status == 200) {
            wait(give_up, "the server did not become ready")?;
        }
        Ok(())
    }

    /// The time that all threads of the process were on a core so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu(&self) -> Result<Duration, Error> {
        let folder = format!("/proc/{}/task", self.child.id());
        let unreadable = || format!("cannot read {folder}: has the server ended?");
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(&folder).map_err(Error::system(unreadable()))? {
            let thread = thread.map_err(Error::system(unreadable()))?;
            // A thread that ended meanwhile has no file; it had no share in the load either.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let time = text.split_whitespace().next().and_then(|time| time.parse::<u64>().ok());
            nanoseconds += time.unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).expect("the system's process ids are positive i32");
        if let Some(pid) = Pid::from_raw(id) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let give_up = now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if wait(give_up, "").is_err() {
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
        }
    }
}

fn wait_for_ports(child: &mut Child, file: &Path) -> Result<Ports, Error> {
    let give_up = now() + START_MAX;
    loop {
        // Read before it is written whole, it is no JSON yet.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Ok(ports) = serde_json::from_str(&text) {
            return Ok(ports);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::Server(format!("the server ended before it was ready: {status}")));
        }
        wait(give_up, "the server wrote no file of its ports")?;
    }
}

fn wait(give_up: Instant, problem: &str) -> Result<(), Error> {
    if now() >= give_up {
        return Err(Error::Server(format!("{problem} within {} s", START_MAX.as_secs())));
    }
    std::thread::park_timeout(LOOK_AGAIN);
    Ok(())
}
