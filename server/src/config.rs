//! What the operator decides: flags and a settings file become one [`Config`] in which nothing is open.

pub mod device;
pub mod flags;
pub mod placement;
pub mod size;
pub mod span;
pub mod triton;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use router::RouterSettings;

pub use self::device::DeviceChoice;
pub use self::flags::{ControlMode, Flags};
pub use self::placement::PlacementConfig;
pub use self::size::Size;
pub use self::span::Span;
use crate::grpc::Limits as GrpcLimits;
use crate::logging::LogFormat;
use crate::service::{LogSettings, PolicyChoice};

/// All settings of `punctual serve`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The server's name in its metadata.
    pub id: String,
    /// Threads for connections; `None` for as many as cores are left.
    pub io_threads: Option<usize>,
    /// How long accepted requests may take to finish at the end.
    pub exit_timeout: Duration,
    /// Bytes of memory that are touched before the server is ready.
    pub memory_ready: u64,
    /// Where the bound ports are written.
    pub ports_file: Option<PathBuf>,
    /// Where the scheduler's events are recorded.
    pub record: Option<PathBuf>,
    /// Where models come from and when.
    pub models: ModelsConfig,
    /// Where models run.
    pub devices: Vec<DeviceChoice>,
    /// Which models are where; `None` for every model on every executor.
    pub placement: Option<PlacementConfig>,
    /// The runtime's library, where it is not in its usual places.
    pub onnxruntime: Option<PathBuf>,
    /// The batching policy, where a model does not say.
    pub policy: String,
    /// Requests that may wait for one model, where it does not say.
    pub queue_max: usize,
    /// The scheduler's other policies.
    pub router: RouterSettings,
    /// HTTP.
    pub http: HttpConfig,
    /// gRPC's address and port, unless it is off.
    pub grpc: Option<(IpAddr, u16)>,
    /// What a client of gRPC may cost.
    pub grpc_limits: GrpcLimits,
    /// Bytes of all requests and answers held at once; more requests are refused.
    pub bodies_bytes_max: usize,
    /// The address and port of metrics, unless they are off.
    pub metrics: Option<(IpAddr, u16)>,
    /// What is logged, and where to.
    pub log: LogSettings,
    /// The command line, where it names a settings file, which can then be read again.
    pub again: Option<Box<Flags>>,
}

/// What the largest loads of `make bench-variants` and `make bench-overload` came to touch, twice over.
const MEMORY_READY: u64 = 128 << 20;

/// Where models come from and when they are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The repositories' folders.
    pub repositories: Vec<PathBuf>,
    /// When models are loaded.
    pub control: ControlMode,
    /// Between two looks at the repositories.
    pub poll: Duration,
    /// Models to load at the start in mode explicit.
    pub load: Vec<String>,
    /// Ready only when all models of the start are.
    pub strict_readiness: bool,
    /// Exit when a model of the start cannot be loaded.
    pub exit_on_error: bool,
    /// Models without config.pbtxt are served.
    pub auto_complete: bool,
    /// Threads that load models.
    pub load_threads: usize,
    /// The longest that measuring a model may take.
    pub profile_budget: Duration,
}

/// HTTP's place and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address and port, unless it is off.
    pub listen: Option<(IpAddr, u16)>,
    /// Bytes of the largest body.
    pub body_bytes_max: usize,
    /// Answers carry the timing headers.
    pub timing_headers: bool,
    /// Connections open at once.
    pub connections_max: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes_max: usize,
    /// How long a connection may be idle, or take over its headers.
    pub header_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a client may take next to nothing of its answers while memory is scarce.
    pub send_timeout: Duration,
}

/// Why the settings cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The settings file says what is not allowed.
    #[error("{}: line {line}: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A setting's value is not allowed.
    #[error("--{flag}: {reason}")]
    Value {
        /// Which flag.
        flag: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

impl Config {
    /// Reads the settings file that `flags` name, lets the flags win over it, and fills in the defaults.
    ///
    /// # Errors
    /// Where the file cannot be read or a value is not allowed.
    pub fn read(flags: &Flags) -> Result<Self, ConfigError> {
        let Some(path) = &flags.config else { return Self::resolve(flags) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
        let config = Self::resolve(&overlay(path, &text, flags)?)?;
        Ok(Self { again: Some(Box::new(flags.clone())), ..config })
    }

    /// Fills in the defaults and checks what depends on more than one value.
    ///
    /// # Errors
    /// Where a value is not allowed.
    pub fn resolve(flags: &Flags) -> Result<Self, ConfigError> {
        check_names(flags)?;
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let http_address = flags.http_address.unwrap_or(any);
        let listen = |allowed: Option<bool>, address: IpAddr, port: Option<u16>, usual: u16| {
            allowed.unwrap_or(true).then(|| (address, port.unwrap_or(usual)))
        };
        let bodies_bytes_max = flags.bodies_bytes_max.unwrap_or(1 << 30);
        let mut router = RouterSettings::default();
        router.admission = flags.admission.clone().unwrap_or(router.admission);
        router.dispatch = flags.dispatch.clone().unwrap_or(router.dispatch);
        Ok(Self {
            id: flags.id.clone().unwrap_or_else(|| "punctual".into()),
            io_threads: flags.io_threads,
            exit_timeout: Duration::from_secs(flags.exit_timeout_secs.unwrap_or(30)),
            memory_ready: flags.memory_ready.map_or(MEMORY_READY, |size| size.0),
            ports_file: flags.ports_file.clone(),
            record: flags.record.clone(),
            models: models_config(flags)?,
            devices: flags.device.clone().unwrap_or_else(|| vec![DeviceChoice::Cpus]),
            placement: placement::placement(flags)?,
            onnxruntime: flags.onnxruntime.clone(),
            policy: flags.policy.clone().unwrap_or_else(|| batcher::ALL[0].name.into()),
            queue_max: flags.queue_max.unwrap_or(models::QUEUE_MAX),
            router,
            http: http(flags, listen(flags.allow_http, http_address, flags.http_port, 8000)),
            grpc: listen(
                flags.allow_grpc,
                flags.grpc_address.unwrap_or(any),
                flags.grpc_port,
                8001,
            ),
            grpc_limits: grpc_limits(flags, bodies_bytes_max),
            bodies_bytes_max,
            metrics: listen(
                flags.allow_metrics,
                flags.metrics_address.unwrap_or(http_address),
                flags.metrics_port,
                8002,
            ),
            log: log(flags)?,
            again: None,
        })
    }
}

impl Config {
    /// The policies.
    #[must_use]
    pub fn policies(&self) -> PolicyChoice {
        let RouterSettings { admission, dispatch, .. } = self.router.clone();
        PolicyChoice { batching: self.policy.clone(), admission, dispatch }
    }

    /// Takes over the policies of `other`; whether that leaves no difference.
    pub fn follow(&mut self, other: &Self) -> bool {
        self.policy.clone_from(&other.policy);
        self.router = other.router.clone();
        self == other
    }
}

fn models_config(flags: &Flags) -> Result<ModelsConfig, ConfigError> {
    let repositories = flags.model_repository.clone().unwrap_or_default();
    if repositories.is_empty() {
        let reason = "at least one folder of models is needed".into();
        return Err(ConfigError::Value { flag: "model-repository", reason });
    }
    let control = flags.model_control_mode.unwrap_or_default();
    let load = flags.load_model.clone().unwrap_or_default();
    if !load.is_empty() && control != ControlMode::Explicit {
        let reason = "needs --model-control-mode explicit; other modes load all models".into();
        return Err(ConfigError::Value { flag: "load-model", reason });
    }
    let poll = flags.repository_poll_secs.unwrap_or(15);
    if poll == 0 {
        let reason = "at least 1 second; use --model-control-mode none not to poll".into();
        return Err(ConfigError::Value { flag: "repository-poll-secs", reason });
    }
    Ok(ModelsConfig {
        repositories,
        control,
        poll: Duration::from_secs(poll),
        load,
        strict_readiness: flags.strict_readiness.unwrap_or(true),
        exit_on_error: flags.exit_on_error.unwrap_or(true),
        auto_complete: !flags.disable_auto_complete_config.unwrap_or(false),
        load_threads: flags.model_load_thread_count.unwrap_or(1).max(1),
        profile_budget: flags.profile_budget.map_or(gpu::measure::BUDGET, |span| span.0),
    })
}

fn http(flags: &Flags, listen: Option<(IpAddr, u16)>) -> HttpConfig {
    const MINUTE: Duration = Duration::from_secs(60);
    HttpConfig {
        listen,
        body_bytes_max: flags.http_max_input_size.unwrap_or(64 << 20),
        timing_headers: !flags.no_timing_headers.unwrap_or(false),
        connections_max: flags.http_connections_max.unwrap_or(4096),
        header_bytes_max: flags.http_header_bytes_max.unwrap_or(32 << 10),
        header_timeout: flags.http_header_timeout.map_or(MINUTE, |span| span.0),
        body_timeout: flags.http_body_timeout.map_or(MINUTE, |span| span.0),
        send_timeout: flags.send_timeout.map_or(MINUTE, |span| span.0),
    }
}

/// A message cannot be larger than what all may hold together.
fn grpc_limits(flags: &Flags, bodies_bytes_max: usize) -> GrpcLimits {
    let usual = GrpcLimits::default();
    let message_bytes_max = flags.grpc_max_input_size.unwrap_or(usual.message_bytes_max);
    GrpcLimits {
        message_bytes_max: message_bytes_max.min(bodies_bytes_max),
        message_timeout: flags.grpc_message_timeout.map_or(usual.message_timeout, |span| span.0),
        send_timeout: flags.send_timeout.map_or(usual.send_timeout, |span| span.0),
        ..usual
    }
}

fn log(flags: &Flags) -> Result<LogSettings, ConfigError> {
    let format = flags.log_format.as_deref().unwrap_or(LogFormat::DEFAULT);
    format
        .parse::<LogFormat>()
        .map_err(|reason| ConfigError::Value { flag: "log-format", reason })?;
    Ok(LogSettings {
        log_file: flags
            .log_file
            .as_ref()
            .map(|file| file.display().to_string())
            .unwrap_or_default(),
        log_info: flags.log_info.unwrap_or(true),
        log_warning: flags.log_warning.unwrap_or(true),
        log_error: flags.log_error.unwrap_or(true),
        log_verbose_level: flags.log_verbose.unwrap_or(0),
        log_format: format.to_owned(),
    })
}

/// Policies are named in the tables of the crates that have them.
fn check_names(flags: &Flags) -> Result<(), ConfigError> {
    let check = |flag, name: &Option<String>, known: Vec<&str>| match name {
        Some(name) if !known.contains(&name.as_str()) => {
            let reason = format!("unknown policy {name:?}; allowed are {}", known.join(", "));
            Err(ConfigError::Value { flag, reason })
        }
        Some(_) | None => Ok(()),
    };
    check("policy", &flags.policy, batcher::ALL.iter().map(|row| row.name).collect())?;
    check("admission", &flags.admission, router::ADMISSIONS.iter().map(|row| row.name).collect())?;
    check("dispatch", &flags.dispatch, router::DISPATCHES.iter().map(|row| row.name).collect())?;
    let placements = router::place::PLACEMENTS.iter();
    check("placement", &flags.placement, placements.map(|row| row.name).collect())
}

/// The settings of a file's text, with those of `flags` in place of the file's where both speak.
fn overlay(path: &Path, text: &str, flags: &Flags) -> Result<Flags, ConfigError> {
    let file: Flags = toml::from_str(text).map_err(|error| {
        let (line, reason) = models::complaint(text, &error);
        ConfigError::File { path: path.to_owned(), line, reason }
    })?;
    let table = |flags: &Flags| toml::Table::try_from(flags).expect("flags are numbers and text");
    let mut all = table(&file);
    all.extend(table(flags));
    Ok(all.try_into().expect("flags are read back as they were written"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    const EXAMPLE: &str = include_str!("../punctual-server.example.toml");

    fn flags(line: &str) -> Flags {
        let words = std::iter::once("punctual").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().flags
    }

    fn read(text: &str, line: &str) -> Result<Config, String> {
        let flags = overlay(Path::new("punctual.toml"), text, &flags(line));
        flags.and_then(|flags| Config::resolve(&flags)).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file() {
        let file =
            "model-repository = [\"a\"]\nhttp-port = 1\ngrpc-port = 2\nprofile-budget = \"5ms\"";
        let config = read(file, "--http-port 3 --model-repository b --model-repository c").unwrap();
        assert_eq!(config.http.listen.unwrap().1, 3);
        assert_eq!(config.grpc.unwrap().1, 2);
        assert_eq!(config.models.profile_budget, Duration::from_millis(5));
        assert_eq!(config.models.repositories, [PathBuf::from("b"), PathBuf::from("c")]);
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        let cases = [
            ("id = \"a\"\nhttp_port = 1", "punctual.toml: line 2: unknown field `http_port`"),
            (
                "http-port = 70000",
                "punctual.toml: line 1: `http-port`: invalid value: integer `70000`, expected a whole number from 0 to 65535",
            ),
            (
                "\nhttp-port = \"a\"",
                "punctual.toml: line 2: `http-port`: invalid type: string \"a\", expected a whole number from 0 to 65535",
            ),
            (
                "\n\nmodel-control-mode = \"some\"",
                "punctual.toml: line 3: `model-control-mode`: unknown variant `some`",
            ),
            (
                "profile-budget = \"5 minutes\"",
                "punctual.toml: line 1: `profile-budget`: expected a duration such as \"25ms\"",
            ),
            (
                "profile-budget = 5",
                "punctual.toml: line 1: `profile-budget`: invalid type: integer `5`, expected a duration as text, such as \"25ms\"",
            ),
            ("id = ", "punctual.toml: line 1: `id`: "),
            (
                "allow-http = 1",
                "punctual.toml: line 1: `allow-http`: invalid type: integer `1`, expected true or false",
            ),
            (
                "device = [\"gpu\"]",
                "punctual.toml: line 1: `device`: \"gpu\" is no device; allowed are",
            ),
            (
                "device-memory = [2]",
                "punctual.toml: line 1: `device-memory`: invalid type: integer `2`, expected a size as text, such as \"64MiB\"",
            ),
        ];
        for (text, expected) in cases {
            let error = read(text, "").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_is_allowed() {
        let cases = [
            ("", "--model-repository: "),
            ("--model-repository a --load-model b", "--load-model: needs"),
            (
                "--model-repository a --policy fifo",
                "--policy: unknown policy \"fifo\"; allowed are window, deadline, ",
            ),
            ("--model-repository a --log-format xml", "--log-format: "),
            ("--model-repository a --repository-poll-secs 0", "--repository-poll-secs: "),
            (
                "--model-repository a --placement best",
                "--placement: unknown policy \"best\"; allowed",
            ),
            (
                "--model-repository a --placement-moves 2",
                "--placement-moves: needs --device-memory",
            ),
            (
                "--model-repository a --device-memory 1GB --placement-epoch 0s",
                "--placement-epoch: ",
            ),
        ];
        for (line, expected) in cases {
            let error = Config::resolve(&flags(line)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn booleans_are_written_as_for_triton() {
        let all = flags(
            "--allow-grpc=0 --strict-readiness false --exit-on-error=TRUE --no-timing-headers",
        );
        assert_eq!((all.allow_grpc, all.strict_readiness), (Some(false), Some(false)));
        assert_eq!((all.exit_on_error, all.no_timing_headers), (Some(true), Some(true)));
    }

    /// The example's lines, those that stand as comments (`# key = value`) too.
    fn whole_example() -> String {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                setting
            }
            Some(_) | None => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_file_shows_every_default() {
        let config = read(EXAMPLE, "--model-repository models").unwrap();
        assert_eq!(config, Config::resolve(&flags("--model-repository models")).unwrap());
    }

    #[test]
    fn the_example_file_has_every_flag() {
        let table: toml::Table = whole_example().parse().unwrap();
        toml::from_str::<Flags>(&whole_example()).unwrap();
        let command = Line::command();
        let known = command.get_arguments().filter_map(|flag| flag.get_long());
        for flag in known.filter(|flag| !["config", "help"].contains(flag)) {
            assert!(table.contains_key(flag), "{flag} is not in the example");
        }
    }

    #[test]
    fn help_groups_every_flag_and_names_the_default_policies() {
        let command = Line::command();
        for flag in command.get_arguments() {
            assert!(flag.get_help_heading().is_some(), "{flag} has no group");
        }
        for name in [batcher::ALL[0].name, router::ADMISSIONS[0].name, router::DISPATCHES[0].name] {
            let said = |flag: &clap::Arg| {
                flag.get_help()
                    .is_some_and(|help| help.to_string().contains(&format!("[default: {name}]")))
            };
            assert!(command.get_arguments().any(said), "{name}");
        }
    }
}
