//! Reads what a server says of itself, where it does: statistics by the protocol's extension, metrics by Prometheus.

use std::time::Duration;

use bytes::Bytes;

use super::connection::Connector;
use super::{Protocol, Target, Tls, http, runtime};
use crate::Error;
use crate::result::{Counters, Snapshot};

/// Where Triton and Punctual serve HTTP and metrics unless told otherwise.
const PORTS: (u16, u16) = (8000, 8002);
/// A server that does not answer in that time is not asked further.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a server's account of itself is read.
#[derive(Clone, Debug)]
pub struct Watch {
    statistics: Target,
    metrics: Target,
    models: Vec<String>,
    tls: Tls,
}

impl Watch {
    /// At the usual places of the server under load.
    #[must_use]
    pub fn of(target: &Target, tls: &Tls, models: &[&str]) -> Self {
        let host =
            target.address.rsplit_once(':').map_or(target.address.as_str(), |(host, _)| host);
        let at = |port: u16, base: &str| Target {
            protocol: Protocol::Http,
            tls: false,
            address: format!("{host}:{port}"),
            base: base.to_owned(),
        };
        let statistics = match target.protocol {
            Protocol::Http => target.clone(),
            Protocol::Grpc => at(PORTS.0, ""),
        };
        let mut models: Vec<String> = models.iter().map(|&model| model.to_owned()).collect();
        models.sort();
        models.dedup();
        Self { statistics, metrics: at(PORTS.1, "/metrics"), models, tls: tls.clone() }
    }

    /// Reads the statistics there instead: of a server that is asked over gRPC.
    pub fn statistics_at(&mut self, target: Target) {
        self.statistics = target;
    }

    /// Reads the metrics there instead, at the very path of the URL.
    pub fn metrics_at(&mut self, target: Target) {
        self.metrics = target;
    }

    /// Whether there are metrics.
    ///
    /// # Errors
    /// The client's own machinery failed to start.
    pub fn has_metrics(&self) -> Result<bool, Error> {
        Ok(runtime()?.block_on(get(&self.metrics, &self.tls, "")).is_some())
    }

    /// The server's counters now; none where it gives none.
    ///
    /// # Errors
    /// The client's own machinery failed to start.
    pub fn read(&self) -> Result<Snapshot, Error> {
        runtime()?.block_on(async {
            let mut snapshot = Snapshot::default();
            for model in &self.models {
                let path = format!("/v2/models/{model}/stats");
                let Some(body) = get(&self.statistics, &self.tls, &path).await else { break };
                // What is not the extension's form is no account.
                if snapshot.add_statistics(&body).is_err() {
                    break;
                }
            }
            if let Some(body) = get(&self.metrics, &self.tls, "").await {
                snapshot.counters = Counters::from_text(&String::from_utf8_lossy(&body));
            }
            Ok(snapshot)
        })
    }

    /// The server's name and version, from its metadata.
    ///
    /// # Errors
    /// The client's own machinery failed to start.
    pub fn server(&self) -> Result<Option<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Metadata {
            name: String,
            #[serde(default)]
            version: String,
        }
        let body = runtime()?.block_on(get(&self.statistics, &self.tls, "/v2"));
        let metadata = body.and_then(|body| serde_json::from_slice::<Metadata>(&body).ok());
        Ok(metadata.map(|Metadata { name, version }| format!("{name} {version}").trim().to_owned()))
    }
}

async fn get(target: &Target, tls: &Tls, path: &str) -> Option<Bytes> {
    let connector = Connector::new(target, tls).ok()?;
    let asked = http::fetch(&connector, "GET", path, Bytes::new());
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((200, body))) => Some(body),
        Ok(Ok(_) | Err(_)) | Err(_) => None,
    }
}
