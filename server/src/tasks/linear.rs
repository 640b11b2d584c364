//! Holds a model against the claim that it is linear, before its requests are added up.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gpu::InputPart;

use crate::driver::{Driver, Inference};
use crate::outcome::Outcome;
use crate::parity::{self, Numbers};
use crate::served::Served;

/// The sizes of the random rows that are asked: what bends does so near its bends. The last is beyond what
/// requests may add up to.
const SIZES: [f64; 5] = [1.0, 0.05, 20.0, 1e3, 2.0 * parity::LARGEST];

/// What the answer to a sum may be away from what the answers add up to, as a share of the largest number among them. A
/// linear model in 32-bit numbers strays by 1e-6.
const TOLERANCE: f64 = 1e-4;

/// A model that has not answered so few rows by then does not answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Why requests are not added up.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It was seen not to be linear.
    Bent(String),
    /// It did not answer, this time.
    Unseen(String),
}

impl Unfit {
    /// The same with another sentence.
    pub(super) fn map(self, with: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Bent(reason) => Self::Bent(with(reason)),
            Self::Unseen(reason) => Self::Unseen(with(reason)),
        }
    }

    /// The reason, as a sentence.
    pub(super) fn reason(self) -> String {
        let (Self::Bent(reason) | Self::Unseen(reason)) = self;
        reason
    }
}

/// Who answers requests and who answers their sums, and of how many those are.
pub(super) struct Pair<'a> {
    pub(super) model: &'a Served,
    pub(super) parity: &'a Served,
    pub(super) group: usize,
}

/// What the model answers to a row of zeros, if it is linear. Waits for it.
///
/// # Errors
/// Why it is not, as a sentence.
pub(super) fn zero(driver: &Arc<Driver>, pair: &Pair<'_>) -> Result<Numbers, Unfit> {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| Unfit::Unseen(error.to_string()))?;
        let model = &pair.model.model;
        let late =
            |_| Unfit::Unseen(format!("'{model}' was not seen to be linear within {WITHIN:?}"));
        runtime.block_on(async {
            tokio::time::timeout(WITHIN, look(driver, pair)).await.map_err(late)?
        })
    };
    // Whoever installs a task may be a thread of a runtime, which must not wait for another's.
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("linear".into()).spawn_scoped(scope, work);
        let no_thread = |error| Unfit::Unseen(format!("the system gives no thread: {error}"));
        let thread = thread.map_err(no_thread)?;
        thread.join().unwrap_or_else(|_| Err(Unfit::Bent("its answers could not be read".into())))
    })
}

async fn look(driver: &Arc<Driver>, pair: &Pair<'_>) -> Result<Numbers, Unfit> {
    let Pair { model, parity, group } = *pair;
    let zero = ask(driver, model, row(model, || 0.0)).await?;
    let mut state = 0;
    for size in SIZES {
        let mut parts = Vec::new();
        let mut own = Vec::new();
        for _ in 0..group {
            let part = row(model, || size * number(&mut state));
            own.push(ask(driver, model, part.clone()).await?);
            parts.push(part);
        }
        let sum = parity::sum(&parts, &model.signature.inputs);
        let sum = sum.ok_or_else(|| Unfit::Bent("its inputs have no sum".into()))?;
        let sum = ask(driver, parity, sum).await?;
        let away = away(&sum, &own, &zero);
        if away.is_nan() || away > TOLERANCE {
            let (model, parity) = (&model.model, &parity.model);
            return Err(Unfit::Bent(format!(
                "'{model}' is not linear: what '{parity}' answers to the sum of {group} random rows is {:.2} % away from what \
                 the answers to them add up to, and {} % is allowed",
                away * 100.0,
                TOLERANCE * 100.0
            )));
        }
    }
    Ok(zero)
}

async fn ask(driver: &Arc<Driver>, served: &Served, part: InputPart) -> Result<Numbers, Unfit> {
    let known = served.shapes.number(Vec::new);
    let inference = Inference {
        variant: served.variant,
        task: None,
        shape: known.shape,
        inner_shapes: known.inner,
        part,
        priority: served.level(u64::MAX),
        deadline: None,
        forms: None,
    };
    let why = match driver.submit(inference).outcome().await {
        Outcome::Answered(answer) => match parity::numbers(&answer, served) {
            Some(numbers) => return Ok(numbers),
            None => return Err(Unfit::Bent("its outputs are no numbers".to_owned())),
        },
        Outcome::Refused(rejection) => format!("it was refused as {}", rejection.name()),
        Outcome::Failed(error) => error.to_string(),
    };
    Err(Unfit::Unseen(format!("'{}' could not be seen to be linear: {why}", served.model)))
}

/// A row whose numbers are drawn.
fn row(served: &Served, mut draw: impl FnMut() -> f64) -> InputPart {
    let known = served.shapes.number(Vec::new);
    let inputs = served.signature.inputs.iter().zip(known.inner.iter());
    let tensors = inputs.map(|(spec, inner)| {
        let numbers: Vec<f64> = (0..inner.iter().product()).map(|_| draw()).collect();
        parity::bytes(spec.datatype, &numbers)
    });
    InputPart::new(1, tensors.collect())
}

/// From 0.5 to 1, of either sign: Steele et al.'s splitmix64 (OOPSLA'14).
fn number(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let size = 0.5 + (mixed >> 12) as f64 / (1_u64 << 53) as f64;
    if mixed & 1 == 0 { size } else { -size }
}

/// How far the answer to a sum is from what the answers add up to, as a share of the largest number among them.
fn away(sum: &Numbers, own: &[Numbers], zero: &Numbers) -> f64 {
    let mut most = 0.0_f64;
    for (output, (sum, zero)) in sum.iter().zip(zero).enumerate() {
        let largest = own.iter().flat_map(|own| &own[output]).chain(sum).chain(zero);
        let largest = largest.fold(0.0_f64, |peak, number| peak.max(number.abs()));
        for (place, (sum, zero)) in sum.iter().zip(zero).enumerate() {
            let added = own.iter().map(|own| own[output][place] - zero).sum::<f64>() + zero;
            let away = (sum - added).abs() / largest.max(f64::MIN_POSITIVE);
            // Not a number must not pass.
            if away.is_nan() {
                return away;
            }
            most = most.max(away);
        }
    }
    most
}
