//! Every metric: name, kind, unit, help, buckets, and where its numbers come from. Nowhere else is one named.
//!
//! The `nv_*` names are those of Triton Inference Server, so that its dashboards and autoscalers work unchanged; the
//! histograms in microseconds are those proposed in its pull request core#474. The others are ours.

use router::Rejection;

use super::histogram::BOUNDS_US;
use super::metric::{Kind, Metric, Unit};
use super::model::{Deadline, ModelMetrics, Phase};
use super::name;
use super::process::Process;
use super::reading::BatchCount;
use super::samples::Samples;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub metric: Metric,
    pub(super) source: Source,
}

/// Where the numbers come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// From each served model version.
    Model(fn(&ModelMetrics, &mut Samples<'_>)),
    /// From the server and its machine.
    Process(fn(&Process, &mut Samples<'_>)),
}

/// Triton's own bounds, in microseconds.
const FIRST_RESPONSE_US: [u64; 4] = [100_000, 500_000, 2_000_000, 5_000_000];
/// Powers of two: the sizes that profiles measure.
const ROWS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

const fn counter(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    read: fn(&ModelMetrics, &mut Samples<'_>),
) -> Row {
    let metric = Metric { name, kind: Kind::Counter, unit, help, buckets: &[] };
    Row { metric, source: Source::Model(read) }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    read: fn(&ModelMetrics, &mut Samples<'_>),
) -> Row {
    let metric = Metric { name, kind: Kind::Gauge, unit, help, buckets: &[] };
    Row { metric, source: Source::Model(read) }
}

const fn histogram(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    buckets: &'static [u64],
    read: fn(&ModelMetrics, &mut Samples<'_>),
) -> Row {
    let metric = Metric { name, kind: Kind::Histogram, unit, help, buckets };
    Row { metric, source: Source::Model(read) }
}

const fn machine(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    read: fn(&Process, &mut Samples<'_>),
) -> Row {
    let metric = Metric { name, kind: Kind::Gauge, unit, help, buckets: &[] };
    Row { metric, source: Source::Process(read) }
}

/// Every metric, in the order of the scrape.
#[rustfmt::skip] // One row, one or two lines: a table is read down its columns.
pub static ALL: [Row; 57] = [
    counter("nv_inference_request_success", Unit::Requests, "Requests answered.",
        |model, to| to.value(model.answered_requests())),
    counter("nv_inference_request_failure", Unit::Requests, "Requests not answered, by Triton's reasons.", failures),
    counter(name::ANSWER_ROWS, Unit::Rows, "Rows answered; a request has one or more.",
        |model, to| to.value(model.answered_rows())),
    counter("nv_inference_exec_count", Unit::Batches, "Batches run.", |model, to| to.value(model.batch_count())),
    counter("nv_inference_request_duration_us", Unit::Microseconds, "Time of answered requests, arrival to answer.",
        |model, to| to.nanos(model.phase_nanos(Phase::Total))),
    counter("nv_inference_queue_duration_us", Unit::Microseconds, "Time of answered requests before their batch began.",
        |model, to| to.nanos(model.phase_nanos(Phase::Queue))),
    counter("nv_inference_compute_input_duration_us", Unit::Microseconds, "Time of gathering inputs, for each answered request that of its batch.",
        |model, to| to.nanos(model.phase_nanos(Phase::Input))),
    counter("nv_inference_compute_infer_duration_us", Unit::Microseconds, "Time of running the model, for each answered request that of its batch.",
        |model, to| to.nanos(model.phase_nanos(Phase::Infer))),
    counter("nv_inference_compute_output_duration_us", Unit::Microseconds, "Time of taking outputs out, for each answered request that of its batch.",
        |model, to| to.nanos(model.phase_nanos(Phase::Output))),
    gauge("nv_inference_pending_request_count", Unit::Requests, "Requests that wait for their batch.",
        |model, to| to.value_if(model.gauge(name::QUEUE))),
    histogram("nv_inference_first_response_histogram_ms", Unit::Milliseconds, "Time from arrival to answer.", &FIRST_RESPONSE_US,
        |model, to| to.durations(None, &model.phase(Phase::Total))),
    histogram("nv_inference_request_duration_histogram_us", Unit::Microseconds, "Time from arrival to answer.", &BOUNDS_US,
        |model, to| to.durations(None, &model.phase(Phase::Total))),
    histogram("nv_inference_queue_duration_histogram_us", Unit::Microseconds, "Time from arrival to the start of the batch.", &BOUNDS_US,
        |model, to| to.durations(None, &model.phase(Phase::Queue))),
    histogram("nv_inference_compute_input_duration_histogram_us", Unit::Microseconds, "Time of gathering the batch's inputs.", &BOUNDS_US,
        |model, to| to.durations(None, &model.phase(Phase::Input))),
    histogram("nv_inference_compute_infer_duration_histogram_us", Unit::Microseconds, "Time of the batch's run.", &BOUNDS_US,
        |model, to| to.durations(None, &model.phase(Phase::Infer))),
    histogram("nv_inference_compute_output_duration_histogram_us", Unit::Microseconds, "Time of taking the batch's outputs out.", &BOUNDS_US,
        |model, to| to.durations(None, &model.phase(Phase::Output))),
    machine("nv_cpu_utilization", Unit::Ratio, "Share of all cores' time in use since the scrape before.",
        |process, to| to.value_if(process.cpu_busy)),
    machine("nv_cpu_memory_total_bytes", Unit::Bytes, "Memory of the machine.", |process, to| to.value_if(process.memory_total)),
    machine("nv_cpu_memory_used_bytes", Unit::Bytes, "Memory in use on the machine.", |process, to| to.value_if(process.memory_used)),
    counter(name::REQUESTS, Unit::Requests, "Requests offered to the scheduler, or answered by a kept answer.",
        |model, to| to.value(model.counter(name::REQUESTS))),
    counter(name::REQUEST_ROWS, Unit::Rows, "Rows of those requests.",
        |model, to| to.value(model.counter(name::REQUEST_ROWS))),
    counter(name::ANSWERS, Unit::Requests, "Requests answered, by what became of their deadline; met is the goodput.", answers),
    counter(name::REFUSALS, Unit::Requests, "Requests given up by the scheduler, by its reasons.", refusals),
    counter(name::FAILURES, Unit::Requests, "Requests whose batch failed.",
        |model, to| to.value(model.counter(name::FAILURES))),
    counter(name::FAILURE_ROWS, Unit::Rows, "Rows of those requests.",
        |model, to| to.value(model.counter(name::FAILURE_ROWS))),
    counter(name::CANCELLATIONS, Unit::Requests, "Requests whose client left before the answer.",
        |model, to| to.value(model.counter(name::CANCELLATIONS))),
    counter(name::LOST_SECONDS, Unit::Seconds, "Time of requests refused, failed or cancelled, arrival to end.",
        |model, to| to.nanos(model.lost_nanos())),
    counter(name::LOADS, Unit::Models, "Times that an executor loaded this model while the server served.",
        |model, to| to.value(model.counter(name::LOADS))),
    counter(name::LOAD_FAILURES, Unit::Models, "Times that an executor could not load it.",
        |model, to| to.value(model.counter(name::LOAD_FAILURES))),
    counter(name::LOAD_SECONDS, Unit::Seconds, "Time of those loads and failures.",
        |model, to| to.nanos(model.counter(name::LOAD_SECONDS))),
    counter(name::EVICTIONS, Unit::Models, "Times that an executor let this model go.",
        |model, to| to.value(model.counter(name::EVICTIONS))),
    gauge("punctual_slo_attainment_ratio", Unit::Ratio, "Answers in time among answers with a deadline, refusals and failures; absent before the first deadline.",
        |model, to| to.value_if(model.attainment())),
    gauge("punctual_in_flight_requests", Unit::Requests, "Requests that wait or run.",
        |model, to| to.value(model.in_flight())),
    gauge(name::QUEUE, Unit::Requests, "Requests that wait.",
        |model, to| to.value_if(model.gauge(name::QUEUE))),
    histogram(name::LATENCY, Unit::Seconds, "Time of answered requests, by phase.", &BOUNDS_US, latency),
    histogram("punctual_batch_rows", Unit::Rows, "Rows run together.", &ROWS,
        |model, to| to.sizes(&model.batches().iter().map(|batch| (batch.rows, batch.count)).collect::<Vec<_>>())),
    counter(name::BATCH_SECONDS, Unit::Seconds, "Time that executors were taken by batches, by the batch's rows.", batch_seconds),
    counter(name::BATCHES, Unit::Batches, "Batches run, by rows.", batches),
    counter("punctual_busy_seconds_total", Unit::Seconds, "Time that executors were taken by this model.", busy),
    gauge(name::PREDICTION, Unit::Ratio, "Measured over profiled time of a batch, smoothed; absent before the first batch.",
        |model, to| to.value_if(model.gauge(name::PREDICTION))),
    gauge(name::PREDICTION_ERROR, Unit::Ratio, "Mean absolute error of the predicted time as a share of it, smoothed.",
        |model, to| to.value_if(model.gauge(name::PREDICTION_ERROR))),
    gauge(name::PROFILE_MEDIAN, Unit::Seconds, "Profiled median time of a run, by rows.", profile_median),
    gauge(name::PROFILE_P99, Unit::Seconds, "Profiled 99th percentile of a run's time, by rows.", profile_p99),
    counter(name::TASK_ANSWERS, Unit::Requests, "Requests of a task answered, by the variant that did.", task_answers),
    counter(name::FEEDBACK, Unit::Requests, "Answers of a task of which a client said what they were worth, by the variant that gave them.", feedback),
    counter(name::FEEDBACK_LOSS, Unit::Requests, "Sum of the losses, 0 to 1 each, that clients reported of a task's answers, by the variant that gave them.", feedback_loss),
    counter(name::CACHE_HITS, Unit::Requests, "Requests answered by a kept answer; absent where none are kept.",
        |model, to| to.value_if(model.counter_if(name::CACHE_HITS))),
    counter(name::CACHE_MISSES, Unit::Requests, "Requests that ran though answers are kept.",
        |model, to| to.value_if(model.counter_if(name::CACHE_MISSES))),
    counter(name::CACHE_JOINED, Unit::Requests, "Requests answered by the answer to an equal one that was under way.",
        |model, to| to.value_if(model.counter_if(name::CACHE_JOINED))),
    counter(name::CACHE_EVICTIONS, Unit::Requests, "Kept answers that made room, or found none.",
        |model, to| to.value_if(model.counter_if(name::CACHE_EVICTIONS))),
    gauge(name::CACHE_BYTES, Unit::Bytes, "Bytes of the answers that are kept.",
        |model, to| to.value_if(model.gauge(name::CACHE_BYTES))),
    counter(name::TASK_ASKED, Unit::Requests, "Requests to a variant for answers that several variants give together.", task_asked),
    counter(name::TASK_RECONSTRUCTED, Unit::Requests, "Requests of a coded task whose answer followed from others'; absent where none are coded.",
        |model, to| to.value_if(model.counter_if(name::TASK_RECONSTRUCTED))),
    machine("punctual_models_loaded", Unit::Models, "Model versions served.", |process, to| to.value(process.models)),
    machine("punctual_executor_model_bytes", Unit::Bytes, "Memory that models take of an executor's, where that is limited.",
        |process, to| of_executors(&process.memory, |(used, _)| *used, to)),
    machine("punctual_executor_memory_bytes", Unit::Bytes, "Memory of an executor for models, where that is limited.",
        |process, to| of_executors(&process.memory, |(_, all)| *all, to)),
    machine("punctual_resident_bytes", Unit::Bytes, "Memory of this process in use.", |process, to| to.value_if(process.resident)),
];

fn of_executors(memory: &[(u64, u64)], which: fn(&(u64, u64)) -> u64, to: &mut Samples<'_>) {
    for (executor, memory) in memory.iter().enumerate() {
        to.labelled("executor", executor, which(memory));
    }
}

/// Triton counts as rejected what its scheduler timed out, and no request that its full queue refused; we count both.
fn failures(model: &ModelMetrics, to: &mut Samples<'_>) {
    let (mut rejected, mut other) = (0, 0);
    for rejection in &Rejection::ALL {
        let refused = model.refused_of(rejection);
        match rejection {
            Rejection::DeadlineUnreachable { .. }
            | Rejection::DeadlineHopeless
            | Rejection::QueueFull
            | Rejection::PricedOut
            | Rejection::TooManyShapes
            | Rejection::GoalsImpossible { .. } => rejected += refused,
            Rejection::NotServed
            | Rejection::NoExecutor
            | Rejection::LoadFailed
            | Rejection::ExecutorLost
            | Rejection::Draining => other += refused,
        }
    }
    to.labelled("reason", "REJECTED", rejected);
    to.labelled("reason", "CANCELED", model.counter(name::CANCELLATIONS));
    to.labelled("reason", "BACKEND", model.counter(name::FAILURES));
    to.labelled("reason", "OTHER", other);
}

fn answers(model: &ModelMetrics, to: &mut Samples<'_>) {
    for deadline in Deadline::ALL {
        to.labelled("deadline", deadline.name(), model.answered_of(deadline));
    }
}

fn refusals(model: &ModelMetrics, to: &mut Samples<'_>) {
    for rejection in &Rejection::ALL {
        to.labelled("reason", rejection.name(), model.refused_of(rejection));
    }
}

fn latency(model: &ModelMetrics, to: &mut Samples<'_>) {
    for phase in Phase::ALL {
        to.durations(Some(("phase", phase.name())), &model.phase(phase));
    }
}

fn batch_seconds(model: &ModelMetrics, to: &mut Samples<'_>) {
    for batch in model.batches() {
        to.labelled("rows", batch.rows, seconds(batch.nanos()));
    }
}

fn batches(model: &ModelMetrics, to: &mut Samples<'_>) {
    for batch in model.batches() {
        to.labelled("rows", batch.rows, batch.count);
    }
}

fn busy(model: &ModelMetrics, to: &mut Samples<'_>) {
    to.nanos(model.batches().iter().map(BatchCount::nanos).sum());
}

fn task_answers(task: &ModelMetrics, to: &mut Samples<'_>) {
    for (variant, answers) in task.by_variant() {
        to.labelled("variant", variant, answers);
    }
}

fn feedback(task: &ModelMetrics, to: &mut Samples<'_>) {
    for (variant, count, _) in task.verdicts() {
        to.labelled("variant", variant, count);
    }
}

fn feedback_loss(task: &ModelMetrics, to: &mut Samples<'_>) {
    for (variant, _, loss) in task.verdicts() {
        to.labelled("variant", variant, loss);
    }
}

fn task_asked(task: &ModelMetrics, to: &mut Samples<'_>) {
    for (variant, asked) in task.asked_by_variant() {
        to.labelled("variant", variant, asked);
    }
}

fn profile_median(model: &ModelMetrics, to: &mut Samples<'_>) {
    for (rows, seconds) in model.by_rows(name::PROFILE_MEDIAN) {
        to.labelled("rows", rows, seconds);
    }
}

fn profile_p99(model: &ModelMetrics, to: &mut Samples<'_>) {
    for (rows, seconds) in model.by_rows(name::PROFILE_P99) {
        to.labelled("rows", rows, seconds);
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of 100 days are below 2^53")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
