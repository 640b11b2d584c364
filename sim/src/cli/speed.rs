//! `punctual-sim speed`.

use std::time::Duration;

use clap::Args;
use models::parse_duration;
use sim::Table;
use sim::speed::{Stress, measure};

#[derive(Debug, Args)]
pub(crate) struct Speed {
    /// Executors, each with all models
    #[arg(long, default_value_t = 64)]
    executors: u32,
    /// Equal models
    #[arg(long, default_value_t = 32)]
    models: u32,
    /// The offered rate as a share of the staggered bound
    #[arg(long, default_value_t = 0.9)]
    rate_factor: f64,
    /// From arrival to deadline
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    slo: Duration,
    /// Requests that are counted; others come before and after
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// The batching policy
    #[arg(long, default_value = batcher::ALL[0].name)]
    policy: String,
    /// Of the arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Speed {
    pub(crate) fn run(self) -> Result<String, String> {
        let stress = Stress {
            executors: self.executors,
            models: self.models,
            rate_factor: self.rate_factor,
            slo: self.slo,
            requests: self.requests,
            batching: self.policy,
            seed: self.seed,
        };
        let speed = measure(&stress).map_err(|error| error.to_string())?;
        let per_second = |cpu: Duration| speed.requests as f64 / cpu.as_secs_f64().max(1e-9);
        let mut table = Table::new(&["call", "count", "p50 ns", "p99 ns", "p99.9 ns"]);
        for calls in &speed.calls {
            let nanos = |share| calls.times.percentile(share).as_nanos().to_string();
            let count = calls.times.len().to_string();
            table.push(vec![calls.kind.into(), count, nanos(0.5), nanos(0.99), nanos(0.999)]);
        }
        Ok(format!(
            "{} executors x {} models, policy {}, seed {}: {:.0} requests/s offered, {:.2} % in time, batches of {:.1}\n\
             router alone   {:>12.0} requests/s of CPU, {:.0} ns a request\n\
             with the world {:>12.0} requests/s of CPU\n\
             CPU time of single calls, less the {} ns of reading the clock:\n{table}",
            stress.executors,
            stress.models,
            stress.batching,
            stress.seed,
            speed.rate,
            100.0 * speed.attainment,
            speed.batch_mean,
            per_second(speed.router),
            1e9 / per_second(speed.router),
            per_second(speed.whole),
            speed.clock.as_nanos(),
        ))
    }
}
