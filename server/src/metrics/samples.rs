//! Prometheus' text format 0.0.4: the lines of one metric.

use std::fmt::{Display, Write};

use super::histogram::DurationHistogram;
use super::metric::{Kind, Metric, Unit};

const INFALLIBLE: &str = "writing to a string cannot fail";

/// Writes the samples of one metric; its help and type once, before the first.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    metric: &'static Metric,
    help: &'a str,
    text: &'a mut String,
    /// Labels of all samples that follow.
    labels: String,
    begun: bool,
}

impl<'a> Samples<'a> {
    pub(super) fn of(metric: &'static Metric, help: &'a str, text: &'a mut String) -> Self {
        Self { metric, help, text, labels: String::new(), begun: false }
    }

    /// Gives all samples that follow these labels, already escaped.
    pub(super) fn label_all(&mut self, labels: &str) {
        labels.clone_into(&mut self.labels);
    }

    pub(super) fn value(&mut self, value: impl Display) {
        self.line("", None, value);
    }

    /// A number that may not be known yet.
    pub(super) fn value_if(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    pub(super) fn labelled(&mut self, name: &str, label: impl Display, value: impl Display) {
        self.line("", Some((name, &label)), value);
    }

    /// Nanoseconds in the metric's unit.
    pub(super) fn nanos(&mut self, nanos: u64) {
        if self.metric.kind == Kind::Counter && self.metric.unit == Unit::Microseconds {
            self.value(nanos / 1_000);
        } else {
            let value = self.in_unit(nanos);
            self.value(value);
        }
    }

    /// Those of the histogram's buckets that the metric shows, in its unit.
    pub(super) fn durations(&mut self, phase: Option<(&str, &str)>, durations: &DurationHistogram) {
        let (cumulative, count) = durations.cumulative();
        let shown = self.metric.buckets;
        let sum = self.in_unit(durations.nanos());
        let buckets = cumulative.into_iter().filter(|(bound, _)| shown.contains(bound));
        let buckets: Vec<_> =
            buckets.map(|(micros, below)| (self.in_unit(micros * 1_000), below)).collect();
        self.histogram(phase, &buckets, sum, count);
    }

    /// Sizes and how often each occurred, by rising size.
    #[expect(clippy::cast_precision_loss, reason = "sizes and their sums are far below 2^53")]
    pub(super) fn sizes(&mut self, sizes: &[(u64, u64)]) {
        let below = |bound: u64| {
            let within = sizes.iter().take_while(|(size, _)| *size <= bound);
            within.map(|(_, count)| count).sum()
        };
        let buckets: Vec<_> =
            self.metric.buckets.iter().map(|&bound| (bound as f64, below(bound))).collect();
        let sum: u64 = sizes.iter().map(|(size, count)| size * count).sum();
        self.histogram(None, &buckets, sum as f64, below(u64::MAX));
    }

    fn histogram(
        &mut self,
        label: Option<(&str, &str)>,
        buckets: &[(f64, u64)],
        sum: f64,
        count: u64,
    ) {
        let own = std::mem::take(&mut self.labels);
        self.labels = match label {
            Some((name, value)) => format!("{own},{}", self::label(name, value)),
            None => own.clone(),
        };
        for (bound, below) in buckets {
            self.line("_bucket", Some(("le", bound)), below);
        }
        self.line("_bucket", Some(("le", &"+Inf")), count);
        self.line("_sum", None, sum);
        self.line("_count", None, count);
        self.labels = own;
    }

    fn line(&mut self, suffix: &str, label: Option<(&str, &dyn Display)>, value: impl Display) {
        let (Metric { name, kind, .. }, help) = (self.metric, self.help);
        if !self.begun {
            self.begun = true;
            writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name())
                .expect(INFALLIBLE);
        }
        write!(self.text, "{name}{suffix}").expect(INFALLIBLE);
        let comma = if self.labels.is_empty() { "" } else { "," };
        match label {
            Some((key, value)) => {
                write!(self.text, "{{{}{comma}{key}=\"{value}\"}}", self.labels).expect(INFALLIBLE);
            }
            None if !self.labels.is_empty() => {
                write!(self.text, "{{{}}}", self.labels).expect(INFALLIBLE);
            }
            None => {}
        }
        writeln!(self.text, " {value}").expect(INFALLIBLE);
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of 100 days are below 2^53")]
    fn in_unit(&self, nanos: u64) -> f64 {
        let nanos = nanos as f64;
        match self.metric.unit {
            Unit::Seconds => nanos / 1e9,
            Unit::Milliseconds => nanos / 1e6,
            Unit::Microseconds => nanos / 1e3,
            Unit::Requests | Unit::Rows | Unit::Batches | Unit::Models => nanos,
            Unit::Bytes | Unit::Ratio => nanos,
        }
    }
}

/// One `name="value"`, the value escaped.
pub(super) fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}
