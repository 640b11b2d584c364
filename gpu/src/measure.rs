//! What a loaded model costs by batch size, and whether its rows may share a run: measured before it serves.

mod compare;
mod inputs;

use std::time::{Duration, Instant};

use models::{BatchId, DeviceKind, LatencyProfile, ProfilePoint, VariantId};

use self::inputs::Inputs;
use crate::{Batch, InputPart, LoadedModel, ModelSource, Output, RunError, Timing, clock};

/// How long measuring one model may take, unless told otherwise.
pub const BUDGET: Duration = Duration::from_secs(2);

/// Runs of a size that are always made: the median of fewer says little.
const RUNS_MIN: u32 = 5;

/// Runs of a size beyond which a percentile gets no better for planning.
const RUNS_MAX: u32 = 500;

/// How often over budget batch 1 may go before its runs end short of [`RUNS_MIN`].
const OVERRUN_MAX: u32 = 3;

/// Lengths tried for free axes, in this order, where the first guess does not run. The larger ones are the usual
/// image side and the frames of speech models at 16 kHz.
const LENGTHS: [i64; 9] = [1, 8, 16, 32, 64, 128, 224, 512, 576];

/// Whether requests may share a run of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Rows come out the same together as alone.
    True,
    /// They do not, or cannot be run together.
    False {
        /// What was seen.
        reason: String,
    },
}

/// A loaded model under measurement, with made-up inputs that it accepts.
pub struct Probe<'m> {
    model: &'m mut dyn LoadedModel,
    source: &'m ModelSource,
    inputs: Inputs,
    clock: fn() -> Duration,
}

impl<'m> Probe<'m> {
    /// Finds inputs that the model accepts: `inner_shapes` (without the batch axis, in the model's order), where they
    /// are given, else a guess for every free axis and then each of a short list of lengths.
    ///
    /// Floats are seeded uniform numbers in [0, 1), integers and booleans 0 or 1 (valid tokens, masks and indices).
    ///
    /// # Errors
    /// Where no shape runs; the text has the last reason.
    pub fn new(
        model: &'m mut dyn LoadedModel,
        source: &'m ModelSource,
        kind: &DeviceKind,
        inner_shapes: Option<Vec<Vec<i64>>>,
    ) -> Result<Self, RunError> {
        let signature = &source.signature;
        let given = inner_shapes.is_some();
        let shapes = match inner_shapes {
            Some(shapes) => vec![shapes],
            None => inputs::shapes_to_try(signature, &LENGTHS),
        };
        let clock = clock_for(kind, source.threads);
        let mut last = String::new();
        let tried = shapes.len();
        for inner_shapes in shapes {
            let inputs = Inputs { signature: signature.clone(), inner_shapes };
            let mut probe = Probe { model: &mut *model, source, inputs, clock };
            match probe.run(&[0]) {
                Ok(_) => {
                    let inputs = probe.inputs;
                    return Ok(Self { model, source, inputs, clock });
                }
                Err(error) => last = error.to_string(),
            }
        }
        let what = if given {
            "the given shape of inputs".into()
        } else {
            format!("any of {tried} guessed shapes of inputs")
        };
        Err(RunError::Failed(format!("{} does not run with {what}: {last}", source.name)))
    }

    /// The shapes that are measured, without the batch axis.
    #[must_use]
    pub fn inner_shapes(&self) -> &[Vec<i64>] {
        &self.inputs.inner_shapes
    }

    /// Measures batches of 1, 2, 4.. and the largest, within `budget` in total. A size is left out when the budget
    /// has no room for it; batch 1 is always measured. Percentiles are by nearest rank: of fewer than 100 runs, the
    /// p99 is the slowest. On one CPU thread time is the thread's time on the core, which neighbours do not disturb.
    ///
    /// # Errors
    /// Where batch 1 fails. A larger batch that fails ends the table.
    pub fn profile(&mut self, budget: Duration) -> Result<LatencyProfile, RunError> {
        let sizes = sizes(if self.source.signature.batched { self.source.rows_max } else { 1 });
        let start = clock::now();
        let mut points: Vec<ProfilePoint> = Vec::new();
        for (index, &rows) in sizes.iter().enumerate() {
            let left = budget.saturating_sub(clock::now() - start);
            let shares = u32::try_from(sizes.len() - index).expect("there are at most 32 sizes");
            let point = match points.last() {
                None => self.measure(
                    rows,
                    clock::now() + left / shares,
                    clock::now() + budget * OVERRUN_MAX,
                )?,
                // A larger batch takes no less time than a smaller one.
                Some(last) if last.median * RUNS_MIN > left => break,
                Some(_) => match self.measure(rows, clock::now() + left / shares, start + budget) {
                    Ok(point) => point,
                    Err(_) => break,
                },
            };
            match point {
                Some(point) => points.push(point),
                None => break,
            }
        }
        LatencyProfile::new(points).map_err(|error| RunError::Failed(error.to_string()))
    }

    /// Compares rows run alone and together. Floats must agree within 1e-5 of the row's largest value (16-bit floats
    /// within a few steps of theirs), everything else exactly.
    ///
    /// # Errors
    /// Where a row fails alone.
    pub fn batching(&mut self) -> Result<Batching, RunError> {
        if !self.source.signature.batched {
            return Ok(Batching::False { reason: "the model has no batch axis".into() });
        }
        if self.source.rows_max < 2 {
            return Ok(Batching::False { reason: "the model's largest batch is 1".into() });
        }
        let alone = (0..3).map(|row| self.run(&[row])).collect::<Result<Vec<_>, _>>()?;
        let orders: [&[u64]; 2] = [&[0, 1], &[2, 1, 0]];
        for rows in orders.iter().filter(|rows| rows.len() <= self.source.rows_max as usize) {
            let together = match self.run(rows) {
                Ok(outputs) => outputs,
                Err(error) => {
                    return Ok(Batching::False {
                        reason: format!("{} rows together: {error}", rows.len()),
                    });
                }
            };
            for (position, &row) in rows.iter().enumerate() {
                let expected = &alone[usize::try_from(row).expect("one of three rows")];
                if let Some(reason) = self.difference(expected, &together, position, rows.len()) {
                    return Ok(Batching::False { reason });
                }
            }
        }
        Ok(Batching::True)
    }

    fn difference(
        &self,
        alone: &[Output],
        together: &[Output],
        position: usize,
        rows: usize,
    ) -> Option<String> {
        let names = self.source.signature.outputs.iter().map(|spec| &spec.name);
        alone.iter().zip(together).zip(names).find_map(|((alone, together), name)| {
            let difference = compare::difference(alone, together, position, rows)?;
            Some(format!("a row's output {name} differs alone and among {rows} rows: {difference}"))
        })
    }

    /// Runs the made-up rows of these numbers once.
    fn run(&mut self, rows: &[u64]) -> Result<Vec<Output>, RunError> {
        let batch = self.batch(rows);
        self.model.run(&batch, &mut Timing::default())
    }

    fn batch(&self, rows: &[u64]) -> Batch {
        let part = |&row: &u64| InputPart::new(1, self.inputs.row(row));
        Batch {
            id: BatchId(0),
            variant: VariantId(0),
            rows: u32::try_from(rows.len()).expect("a batch is counted in u32"),
            inner_shapes: self.inputs.inner_shapes.clone(),
            parts: rows.iter().map(part).collect(),
        }
    }

    /// Times runs of `rows` until `until`, at least [`RUNS_MIN`] of them unless `end` comes first; `None` where `end`
    /// leaves no room even for those. The first run, which makes room in the runtime, is not counted.
    fn measure(
        &mut self,
        rows: u32,
        until: Instant,
        end: Instant,
    ) -> Result<Option<ProfilePoint>, RunError> {
        let batch = self.batch(&(0..u64::from(rows)).collect::<Vec<_>>());
        self.model.run(&batch, &mut Timing::default())?;
        let mut times = Vec::new();
        for runs in 0..RUNS_MAX {
            let now = clock::now();
            if (runs >= RUNS_MIN && now >= until) || (runs > 0 && now >= end) {
                break;
            }
            if rows > 1 && now >= end {
                return Ok(None);
            }
            let start = (self.clock)();
            self.model.run(&batch, &mut Timing::default())?;
            // A clock of coarse steps must not give a time of zero.
            times.push(((self.clock)() - start).max(Duration::from_nanos(1)));
        }
        times.sort_unstable();
        let runs = u32::try_from(times.len()).expect("at most RUNS_MAX");
        Ok(Some(ProfilePoint {
            batch: rows,
            median: rank(&times, 50),
            p99: rank(&times, 99),
            runs,
        }))
    }
}

/// The nearest-rank percentile of sorted times.
fn rank(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// 1, 2, 4.. and the largest.
fn sizes(rows_max: u32) -> Vec<u32> {
    let mut sizes: Vec<u32> =
        (0..u32::BITS).map(|shift| 1 << shift).take_while(|&size| size < rows_max).collect();
    sizes.push(rows_max.max(1));
    sizes
}

/// The thread's own time where a run is all on the calling thread, else the time on the wall.
fn clock_for(kind: &DeviceKind, threads: u32) -> fn() -> Duration {
    match kind {
        DeviceKind::Cpu { .. } if threads == 1 => clock::thread_cpu,
        DeviceKind::Cpu { .. } | DeviceKind::Cuda { .. } | DeviceKind::Emulated { .. } => {
            clock::since_first_use
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_up_to_the_largest() {
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(8), [1, 2, 4, 8]);
        assert_eq!(sizes(10), [1, 2, 4, 8, 10]);
    }

    #[test]
    fn the_p99_of_few_runs_is_the_slowest() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(rank(&times[..9], 99), Duration::from_millis(9));
        assert_eq!(rank(&times[..9], 50), Duration::from_millis(5));
        assert_eq!(rank(&times, 99), Duration::from_millis(198));
    }
}
