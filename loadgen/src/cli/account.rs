//! What became of one run.

use std::process::ExitCode;

use loadgen::{Confidence, Report, Tally};
use serde::Serialize;

use super::{EXIT_FAILED_REQUESTS, EXIT_INTERRUPTED, EXIT_NOT_STABLE};

/// The report as JSON.
#[derive(Serialize)]
pub(super) struct Account {
    #[serde(flatten)]
    pub(super) report: Report,
    /// 95 % confidence intervals.
    pub(super) confidence: Confidence,
    /// Of the requests before those that count.
    pub(super) warm_up: Tally,
    /// The part of its core that the client used.
    pub(super) client_busy: f64,
    /// Whether the run was interrupted.
    pub(super) interrupted: bool,
    /// Whether the intervals became as narrow as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stable: Option<bool>,
}

impl Account {
    /// How the program ends after this run.
    pub(super) fn exit_code(&self) -> ExitCode {
        let tally = &self.report.tally;
        let cancelled = tally.cancelled;
        let failed = tally.errors_total() + tally.timeouts + tally.connections_lost;
        if self.interrupted {
            ExitCode::from(EXIT_INTERRUPTED)
        } else if failed + cancelled > 0 || tally.answered() == 0 {
            ExitCode::from(EXIT_FAILED_REQUESTS)
        } else if self.stable == Some(false) {
            ExitCode::from(EXIT_NOT_STABLE)
        } else {
            ExitCode::SUCCESS
        }
    }
}
