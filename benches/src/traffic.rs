//! Load as the benches send it: a warm-up that is thrown away, then the run that counts.

use std::time::Duration;

use loadgen::client::{InputMetadata, Load, Plan, Target};
use loadgen::{LAG_P99_MAX, Mix, Outcome, Record, Report};

use crate::{Error, Served};

/// Requests to one server.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The server's HTTP or gRPC side.
    pub target: Target,
    /// Which models are asked for.
    pub mix: Mix,
    /// Inputs of models where the server has no metadata.
    pub inputs: Vec<(String, Vec<InputMetadata>)>,
    /// Seeds send times and inputs.
    pub seed: u64,
}

impl Traffic {
    /// Requests to one model, whose inputs the server is asked for.
    #[must_use]
    pub fn to(target: Target, mix: Mix, seed: u64) -> Self {
        Self { target, mix, inputs: Vec::new(), seed }
    }

    /// The same requests to another server.
    #[must_use]
    pub fn at(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }

    /// The whole run, for what [`Self::play`] does not say.
    #[must_use]
    pub fn plan(&self, load: Load, duration: Duration) -> Plan {
        let mut plan = Plan::new(self.target.clone(), self.mix.clone(), load, duration);
        plan.inputs = self.inputs.iter().cloned().collect();
        plan.seed = self.seed;
        plan
    }

    /// Plays a load and sums it up.
    ///
    /// # Errors
    /// The run cannot start.
    pub fn play(&self, load: Load, duration: Duration) -> Result<Report, Error> {
        let records = self.records(load, duration)?;
        let names = self.mix.shares().iter().map(|share| share.model.as_str());
        Ok(Report::of(&records, &names.collect::<Vec<_>>(), duration))
    }

    /// Plays a load and returns every request.
    ///
    /// # Errors
    /// The run cannot start.
    pub fn records(&self, load: Load, duration: Duration) -> Result<Vec<Record>, Error> {
        Ok(self.plan(load, duration).run()?.records)
    }

    /// Keeps `in_flight` requests under way and returns the report with the server's CPU time for each answer.
    ///
    /// # Errors
    /// The run cannot start, or the server has ended.
    pub fn cost(
        &self,
        served: &Served,
        in_flight: usize,
        duration: Duration,
    ) -> Result<(Report, Duration), Error> {
        self.play(Load::Closed(in_flight), duration / 5)?;
        let before = served.cpu()?;
        let report = self.play(Load::Closed(in_flight), duration)?;
        let answers = u32::try_from(report.tally.requests.max(1)).unwrap_or(u32::MAX);
        let each = (served.cpu()? - before) / answers;
        Ok((report, each))
    }
}

/// Says how many requests of a report ended otherwise than with an answer, where a bench expects only answers.
#[must_use]
pub fn count_failures(report: &Report) -> Option<String> {
    let failures = report.tally.requests - report.tally.answered();
    (failures > 0).then(|| {
        format!(
            "{failures} of {} requests had no answer: {:?}",
            report.tally.requests, report.tally
        )
    })
}

/// How many answers were late though the client did not stand still while they were under way. It stood still where it
/// sent a request more than [`LAG_P99_MAX`] after that was due: it shares its core with the rest of the machine, and
/// what it reads late it counts late.
#[must_use]
pub fn late_while_client_ran(records: &[Record]) -> usize {
    let least = u64::try_from(LAG_P99_MAX.as_nanos()).unwrap_or(u64::MAX);
    let stalled = records.iter().filter(|record| record.lag_ns > least);
    let stalls: Vec<_> =
        stalled.map(|one| (one.intended_ns, one.intended_ns + one.lag_ns)).collect();
    let beside_stall = |record: &&Record| {
        let end = record.intended_ns + record.latency_ns;
        stalls.iter().any(|&(from, until)| from <= end && record.intended_ns <= until)
    };
    let late = records.iter().filter(|record| record.outcome == Outcome::Late);
    late.filter(|record| !beside_stall(record)).count()
}

/// Says so where the client itself sent late, so that the latencies and what is late are partly its own.
#[must_use]
pub fn distrust<'a>(reports: impl Iterator<Item = &'a Report>) -> Option<String> {
    let worst = reports.map(|report| report.lag.p99_ms).fold(0.0, f64::max);
    let most = LAG_P99_MAX.as_secs_f64() * 1e3;
    (worst > most).then(|| {
        format!("NOT TRUSTED: client lag p99 {worst:.2} ms, above {most} ms: the machine is busy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(intended_ms: u64, lag_ms: u64, latency_ms: u64) -> Record {
        let [intended_ns, lag_ns, latency_ns] =
            [intended_ms, lag_ms, latency_ms].map(|ms| ms * 1_000_000);
        Record { share: 0, intended_ns, lag_ns, latency_ns, outcome: Outcome::Late }
    }

    #[test]
    fn an_answer_counts_as_late_by_itself_only_if_no_stall_of_the_client_overlaps_it() {
        // The client stood still from 100 to 105.
        let stalled = late(100, 5, 20);
        let records =
            [stalled, late(90, 0, 20), late(104, 0, 20), late(70, 0, 20), late(106, 0, 20)];
        assert_eq!(late_while_client_ran(&records), 2);
    }
}
