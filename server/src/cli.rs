//! The command line: what `punctual` can be told to do.

pub mod curl;
pub mod devices;
pub mod evaluate;
pub mod fit;
pub mod profile;
mod reload;
pub mod serve;
pub mod variants;

use clap::{Parser, Subcommand};

use crate::config::Flags;

/// Serves models on time over the Open Inference Protocol.
#[derive(Debug, Parser)]
#[command(name = "punctual", version, about, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the models of repositories over HTTP and gRPC
    #[command(after_help = SERVE_NOTE)]
    Serve(Box<Flags>),
    /// Measures a model by batch size and prints the table
    Profile(profile::ProfileArgs),
    /// Measures how often a model, or each variant of a task, is right on labelled rows
    Evaluate(evaluate::EvaluateArgs),
    /// Fits the cascades of a task on labelled rows: which variants, in which order, with which thresholds
    Fit(fit::FitArgs),
    /// Makes other forms of a model
    #[command(subcommand)]
    Variants(variants::VariantsCommand),
}

const SERVE_NOTE: &str = "Times are text: 250us, 25ms, 1.5s. Flags win over the settings file. At SIGHUP the file is read \
again: policy, admission and dispatch change at once and no request is lost. Triton's other flags are \
accepted with a warning where they mean nothing here, and refused where an operator would rely on them.";
