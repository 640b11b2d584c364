//! SIGHUP: the settings file is read again, and its policies decide from then on.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::service::Service;

/// SIGHUP, where there is a settings file to read again. Without one the signal ends the process, as it does by custom.
pub(super) fn hangups(config: &Config) -> std::io::Result<Option<Signal>> {
    config.again.as_ref().map(|_| signal(SignalKind::hangup())).transpose()
}

/// Reads the settings file at each signal and lets its policies decide.
pub(super) async fn follow(hangups: Option<Signal>, mut config: Config, service: &Service) {
    let Some(mut hangups) = hangups else { return };
    while hangups.recv().await.is_some() {
        read_again(&mut config, service);
    }
}

/// A file that cannot be followed changes nothing.
fn read_again(config: &mut Config, service: &Service) {
    let Some(flags) = &config.again else { return };
    let read = match Config::read(flags) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(%error, "the settings stay as they are");
            return;
        }
    };
    let before = config.policies();
    if !config.follow(&read) {
        tracing::warn!(
            "only policy, admission and dispatch change while the server runs; start it anew for the rest"
        );
    }
    let policies = config.policies();
    if policies != before {
        service.follow(&policies);
    }
    tracing::info!(
        batching = policies.batching,
        admission = policies.admission,
        dispatch = policies.dispatch,
        "the settings file was read again"
    );
}
