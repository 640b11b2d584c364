//! The names under which numbers are recorded; the table and the counting share them. The other rows of the table are
//! views of these.

pub(super) const REQUESTS: &str = "punctual_requests_total";
pub(super) const REQUEST_ROWS: &str = "punctual_request_rows_total";
/// By `deadline`.
pub(super) const ANSWERS: &str = "punctual_answers_total";
pub(super) const ANSWER_ROWS: &str = "nv_inference_count";
/// By `reason`.
pub(super) const REFUSALS: &str = "punctual_refusals_total";
pub(super) const FAILURES: &str = "punctual_failures_total";
pub(super) const FAILURE_ROWS: &str = "punctual_failure_rows_total";
pub(super) const CANCELLATIONS: &str = "punctual_cancellations_total";
/// Recorded in nanoseconds.
pub(super) const LOST_SECONDS: &str = "punctual_lost_seconds_total";
pub(super) const LOADS: &str = "punctual_loads_total";
pub(super) const LOAD_FAILURES: &str = "punctual_load_failures_total";
/// Recorded in nanoseconds.
pub(super) const LOAD_SECONDS: &str = "punctual_load_seconds_total";
pub(super) const EVICTIONS: &str = "punctual_evictions_total";
/// By `phase`.
pub(super) const LATENCY: &str = "punctual_latency_seconds";
pub(super) const QUEUE: &str = "punctual_queue_requests";
pub(super) const PREDICTION: &str = "punctual_prediction_ratio";
pub(super) const PREDICTION_ERROR: &str = "punctual_prediction_error_ratio";
/// By `rows`.
pub(super) const BATCHES: &str = "punctual_batches_total";
/// By `phase` and `rows`, in nanoseconds; shown without the phase.
pub(super) const BATCH_SECONDS: &str = "punctual_batch_seconds_total";
/// By `rows`.
pub(super) const PROFILE_MEDIAN: &str = "punctual_profile_median_seconds";
/// By `rows`.
pub(super) const PROFILE_P99: &str = "punctual_profile_p99_seconds";
/// By `variant`.
pub(super) const TASK_ASKED: &str = "punctual_task_asked_total";
pub(super) const TASK_RECONSTRUCTED: &str = "punctual_task_reconstructed_total";
/// By `variant`.
pub(super) const TASK_ANSWERS: &str = "punctual_task_answers_total";
/// By `variant`.
pub(super) const FEEDBACK: &str = "punctual_feedback_total";
/// By `variant`, recorded in millionths.
pub(super) const FEEDBACK_LOSS: &str = "punctual_feedback_loss_total";
pub(super) const MILLION: f64 = 1e6;
/// These five where answers are kept.
pub(super) const CACHE_HITS: &str = "punctual_cache_hits_total";
pub(super) const CACHE_MISSES: &str = "punctual_cache_misses_total";
pub(super) const CACHE_JOINED: &str = "punctual_cache_joined_total";
pub(super) const CACHE_EVICTIONS: &str = "punctual_cache_evictions_total";
pub(super) const CACHE_BYTES: &str = "punctual_cache_bytes";
