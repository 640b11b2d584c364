//! `punctual serve`: builds the server from its settings, runs it, and ends it in order.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use router::Router;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::curl::curl_line;
use super::devices::Devices;
use super::reload;
use crate::budget::Budget;
use crate::config::{Config, ControlMode, HttpConfig, PlacementConfig};
use crate::logging::Logging;
use crate::profiles::ProfileStore;
use crate::record::Recorder;
use crate::repository::Repository;
use crate::repository::loader::Loader;
use crate::repository::prepare::{Workshop, WorkshopSettings};
use crate::service::{Placing, Service, ServiceOptions};
use crate::shutdown::{Exit, ProcessSignals, Shutdown};
use crate::{grpc, http};

/// A server that is built and does not listen yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    service: Arc<Service>,
    repository: Arc<Repository>,
    /// Threads for connections.
    pub io_threads: usize,
    /// The cores of those threads: those that no executor has; anywhere if there is none.
    pub io_cores: Vec<usize>,
}

/// Where the server listens, as `--ports-file` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<u16>,
    /// gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<u16>,
    /// Metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<u16>,
}

struct Listeners {
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Server {
    /// Builds the server: devices, scheduler, loader. `cache` is the user's folder for caches.
    ///
    /// # Errors
    /// A sentence on what is missing or wrong.
    pub fn build(config: Config, logging: &Logging, cache: Option<&Path>) -> Result<Self, String> {
        let devices = Devices::make(&config.devices, config.onnxruntime.as_deref())?;
        let router = Router::new(config.router.clone()).map_err(|error| error.to_string())?;
        let recorder = config.record.as_ref().map(|path| {
            Recorder::create(path, config.router.clone())
                .map_err(|error| format!("--record {}: {error}", path.display()))
        });
        let threads = |error: std::io::Error| format!("the system gives no thread: {error}");
        let service = Service::start(
            options(&config, &devices)?,
            router,
            &devices.cores,
            recorder.transpose()?,
        )
        .map_err(threads)?;
        service.set_log(logging.clone());
        let store = ProfileStore::new(cache.map(|cache| cache.join("punctual")));
        let settings = WorkshopSettings::of(&config);
        let workshop = Workshop::new(devices.places, store, devices.runtime, settings);
        let workshop = Box::new(workshop.map_err(threads)?);
        let loader =
            Loader::start(config.models.load_threads, &devices.free, workshop, service.clone());
        let loader = loader.map_err(threads)?;
        let repository = Arc::new(Repository::new(config.models.clone(), loader));
        service.set_control(repository.clone());
        let io_threads = config.io_threads.unwrap_or(devices.free.len()).max(1);
        Ok(Self { config, service, repository, io_threads, io_cores: devices.free })
    }

    /// Listens, loads the models, serves until a signal comes, and ends in order. `say` gets the lines for the
    /// operator.
    ///
    /// # Errors
    /// A sentence on what kept the server from serving.
    pub async fn run(self, say: fn(&str)) -> Result<Exit, String> {
        let signals = ProcessSignals::listen().map_err(|error| error.to_string())?;
        let hangups = reload::hangups(&self.config).map_err(|error| error.to_string())?;
        let listeners = Listeners::bind(&self.config).await?;
        let ports = listeners.ports();
        if let Some(path) = &self.config.ports_file {
            write_ports(path, ports)?;
        }
        let service = Arc::clone(&self.service);
        tokio::spawn(async move { service.deliver().await });
        let (service, config) = (Arc::clone(&self.service), self.config.clone());
        tokio::spawn(async move { reload::follow(hangups, config, &service).await });
        let shutdown = Shutdown::default();
        let mut serving = listeners.serve(&self.config, &self.service, &shutdown);
        let server = Arc::new(self);
        let failed = Arc::new(AtomicBool::new(false));
        let starting = tokio::spawn({
            let (server, shutdown, failed) =
                (Arc::clone(&server), shutdown.clone(), Arc::clone(&failed));
            async move {
                if server.load(ports, say).await {
                    tokio::join!(server.poll(), server.place());
                } else {
                    failed.store(true, Ordering::Relaxed);
                    shutdown.begin();
                }
            }
        });
        let finished = async {
            server.service.finished().await;
            shutdown.close();
            while serving.join_next().await.is_some() {}
        };
        let refuse = || {
            tracing::info!("the server refuses requests and finishes those it accepted");
            server.service.refuse_all();
            server.repository.stop();
        };
        let exit = shutdown.run(signals, refuse, finished, server.config.exit_timeout).await;
        starting.abort();
        match exit {
            Exit::Finished => server.service.stop(),
            Exit::TimedOut => tracing::error!("time is up: accepted requests are left unanswered"),
            Exit::Forced => tracing::warn!("a second signal: the server ends at once"),
        }
        if failed.load(Ordering::Relaxed) {
            return Err("a model could not be loaded (see the log, and --exit-on-error)".into());
        }
        Ok(exit)
    }

    /// Loads the models of the start and says where they are served; false if the server must end for want of one.
    async fn load(&self, ports: Ports, say: fn(&str)) -> bool {
        let failures = match self.repository.start().await {
            Ok(failures) => failures,
            Err(reason) => {
                tracing::error!(reason, "the repositories cannot be served");
                return false;
            }
        };
        if !failures.is_empty() && self.config.models.exit_on_error {
            return false;
        }
        if self.repository.stopped() {
            return true;
        }
        say(&ready_line(self.service.counts()));
        let place = |allowed: Option<(IpAddr, u16)>| allowed.map(|(address, _)| host(address));
        let http = place(self.config.http.listen).zip(ports.http);
        let http = http.map(|(host, port)| format!("http://{host}:{port}"));
        if let Some(url) = &http {
            say(&format!("  HTTP     {url}/v2"));
        }
        if let Some((host, port)) = place(self.config.grpc).zip(ports.grpc) {
            say(&format!("  gRPC     {host}:{port}"));
        }
        if let Some((host, port)) = place(self.config.metrics).zip(ports.metrics) {
            say(&format!("  metrics  http://{host}:{port}/metrics"));
        }
        if let Some(line) = http.and_then(|url| self.curl(&url)) {
            say(&format!("Try:\n{line}"));
        }
        true
    }

    fn curl(&self, url: &str) -> Option<String> {
        let models = self.service.model_names();
        let ready = models.iter().filter_map(|name| self.service.model_metadata(name, None).ok());
        curl_line(&ready.collect::<Vec<_>>(), url)
    }

    /// Decides again and again where models are, where executors' memory is limited.
    async fn place(&self) {
        let Some(placement) = &self.config.placement else { return };
        let mut ticks = interval(placement.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The first tick is at once: the models were loaded just now.
            ticks.tick().await;
            let service = Arc::clone(&self.service);
            // Thinking takes milliseconds. A panic there is in the log; the next tick decides again.
            drop(spawn_blocking(move || service.place()).await);
        }
    }

    /// Looks at the repositories from time to time, in mode poll.
    async fn poll(&self) {
        match self.config.models.control {
            ControlMode::None | ControlMode::Explicit => return,
            ControlMode::Poll => {}
        }
        let mut ticks = interval(self.config.models.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once: the models were loaded just now.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let repository = Arc::clone(&self.repository);
            // Walking folders may block. A panic there is in the log; the next tick looks again.
            drop(spawn_blocking(move || repository.poll()).await);
        }
    }
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, String> {
        Ok(Self {
            http: bind("--http-port", config.http.listen).await?,
            grpc: bind("--grpc-port", config.grpc).await?,
            metrics: bind("--metrics-port", config.metrics).await?,
        })
    }

    fn ports(&self) -> Ports {
        let port = |listener: &Option<TcpListener>| {
            listener.as_ref()?.local_addr().ok().map(|address| address.port())
        };
        Ports { http: port(&self.http), grpc: port(&self.grpc), metrics: port(&self.metrics) }
    }

    /// Serves on all of them until serving ends and what had arrived is answered.
    fn serve(self, config: &Config, service: &Arc<Service>, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let budget = Arc::new(Budget::new(config.bodies_bytes_max));
        if let Some(listener) = self.http {
            let limits = http_limits(&config.http);
            let (service, budget) = (Arc::clone(service), Arc::clone(&budget));
            serving.spawn(http::serve(listener, service, limits, budget, shutdown.closed()));
        }
        if let Some(listener) = self.grpc {
            let (service, shutdown) = (Arc::clone(service), shutdown.clone());
            let (limits, budget) = (config.grpc_limits, Arc::clone(&budget));
            serving.spawn(async move {
                let served = grpc::serve(listener, service, limits, budget, &shutdown);
                if let Err(error) = served.await {
                    tracing::error!(%error, "gRPC is not served");
                }
            });
        }
        if let Some(listener) = self.metrics {
            let service = Arc::clone(service);
            let render = move || service.render_metrics();
            serving.spawn(http::serve_metrics(listener, render, budget, shutdown.closed()));
        }
        serving
    }
}

fn http_limits(config: &HttpConfig) -> http::Limits {
    http::Limits {
        connections_max: config.connections_max,
        header_bytes_max: config.header_bytes_max,
        header_timeout: config.header_timeout,
        body_timeout: config.body_timeout,
        send_timeout: config.send_timeout,
    }
}

async fn bind(flag: &str, place: Option<(IpAddr, u16)>) -> Result<Option<TcpListener>, String> {
    let Some((address, port)) = place else { return Ok(None) };
    let place = SocketAddr::new(address, port);
    let listener = TcpListener::bind(place).await;
    listener.map(Some).map_err(|error| format!("{flag}: cannot listen on {place}: {error}"))
}

/// The host that a client on this machine uses.
fn host(address: IpAddr) -> String {
    match address {
        address if address.is_unspecified() => "localhost".into(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Writes the whole file or nothing: whoever waits for it may read at once.
fn write_ports(path: &Path, ports: Ports) -> Result<(), String> {
    let text = serde_json::to_string(&ports).expect("ports are numbers");
    let unfinished = path.with_extension("tmp");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|error| format!("--ports-file {}: {error}", path.display()))
}

fn options(config: &Config, devices: &Devices) -> Result<ServiceOptions, String> {
    let placing = |placement: &PlacementConfig| {
        let PlacementConfig { policy, every, moves_max, on_demand, .. } = placement.clone();
        let memory = placement.memory_of(devices.places.len())?;
        Ok::<_, String>(Placing {
            memory,
            policy,
            every,
            moves_max,
            on_demand,
            cores: devices.free.clone(),
        })
    };
    Ok(ServiceOptions {
        id: config.id.clone(),
        body_bytes_max: config.http.body_bytes_max,
        timing_headers: config.http.timing_headers,
        policy: config.policy.clone(),
        placing: config.placement.as_ref().map(placing).transpose()?,
    })
}

/// The longest that the process waits for its threads once all is said.
pub const THREADS_TIMEOUT: Duration = Duration::from_millis(100);

/// What is ready: models, in so many versions, and tasks.
fn ready_line([models, versions, tasks]: [usize; 3]) -> String {
    let versions =
        if versions == models { String::new() } else { format!(" in {versions} versions") };
    let tasks = if tasks == 0 { String::new() } else { format!(", tasks ready: {tasks}") };
    format!("punctual {}, models ready: {models}{versions}{tasks}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_versions_and_tasks_are_counted_apart() {
        let said = |counts| ready_line(counts).split_once(", ").unwrap().1.to_owned();
        assert_eq!(said([9, 9, 0]), "models ready: 9");
        assert_eq!(said([9, 10, 1]), "models ready: 9 in 10 versions, tasks ready: 1");
    }
}
