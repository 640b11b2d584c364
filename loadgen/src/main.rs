//! `punctual-bench`: plays a workload against an inference server and prints what came back.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use loadgen::{LAG_P99_MAX, Percentiles, Report};

/// No request was answered, or some ended in an error, a timeout or a lost connection.
const EXIT_FAILED_REQUESTS: u8 = 3;
/// The run could not start.
const EXIT_NOT_STARTED: u8 = 1;

fn main() -> ExitCode {
    let cli::Cli { command: cli::Command::Run(run) } = cli::Cli::parse();
    let plan = match run.plan() {
        Ok(plan) => plan,
        Err(error) => return not_started(&error),
    };
    let records = match plan.run() {
        Ok(played) => played.records,
        Err(error) => return not_started(&error),
    };
    let names: Vec<&str> = plan.mix.shares().iter().map(|share| share.model.as_str()).collect();
    let report = Report::of(&records, &names, plan.duration);
    if run.json {
        print(&serde_json::to_string_pretty(&report).expect("a report is plain numbers and names"));
    } else {
        print(&text(&report));
    }
    let tally = &report.tally;
    let failed = tally.errors_total() + tally.timeouts + tally.connections_lost;
    if failed > 0 || tally.answered() == 0 {
        ExitCode::from(EXIT_FAILED_REQUESTS)
    } else {
        ExitCode::SUCCESS
    }
}

fn not_started(error: &loadgen::Error) -> ExitCode {
    eprintln!("punctual-bench: {error}");
    ExitCode::from(EXIT_NOT_STARTED)
}

#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn print(text: &str) {
    println!("{text}");
}

fn text(report: &Report) -> String {
    let tally = &report.tally;
    let mut lines = vec![
        format!("model        {}", report.model),
        format!(
            "offered      {:.1} requests/s for {:.1} s",
            report.offered_rate, report.duration_s
        ),
        format!("throughput   {:.1} answers/s", report.throughput),
        format!(
            "goodput      {:.1} answers in time/s, {:.2} % of requests",
            report.goodput,
            100.0 * report.attainment
        ),
        format!("latency      {}", line(&report.latency)),
    ];
    if tally.refused_total() > 0 {
        lines.push(format!("refusals     {}", line(&report.refusal_latency)));
    }
    lines.push(format!("client lag   {}", line(&report.lag)));
    lines.push(format!(
        "requests     {}: {} in time, {} late",
        tally.requests, tally.in_time, tally.late
    ));
    let counted = |what: &str, counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(text, count)| format!("  {count} {what}: {text}")).collect::<Vec<_>>()
    };
    lines.extend(counted("refused", &tally.refused));
    lines.extend(counted("errors", &tally.errors));
    if tally.timeouts > 0 {
        lines.push(format!("  {} timed out", tally.timeouts));
    }
    if tally.connections_lost > 0 {
        lines.push(format!("  {} lost their connection", tally.connections_lost));
    }
    if !report.client_on_time {
        let most = LAG_P99_MAX.as_millis();
        lines.push(format!("NOT TRUSTED: the client itself sent late (lag p99 above {most} ms)"));
    }
    lines.join("\n")
}

fn line(latency: &Percentiles) -> String {
    format!(
        "p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms",
        latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
    )
}
