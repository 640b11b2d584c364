//! Models that do what their test wants.

use std::sync::mpsc;

use bytes::Bytes;
use gpu::{Batch, LoadedModel, Output, RunError, Timing};
use models::DataType;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::world::row_of;

/// A row that begins so makes the run fail.
pub(crate) const FAIL: i64 = -1;
/// A row that begins so makes the run panic.
pub(crate) const PANIC: i64 = -2;

/// Answers every row with itself, and fails where the rows of a batch are not of its one shape.
#[derive(Clone, Copy, Default)]
pub(crate) struct Echo;

impl LoadedModel for Echo {
    fn run(&mut self, batch: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
        let wrong = |text: String| Err(RunError::Failed(text));
        let [inner] = &batch.inner_shapes[..] else { return wrong("one input expected".into()) };
        let width = usize::try_from(inner[0]).unwrap();
        let mut data = Vec::new();
        for part in &batch.parts {
            if part.tensors[0].len() != part.rows as usize * width * 8 {
                return wrong(format!("{} bytes among rows of {width}", part.tensors[0].len()));
            }
            match row_of(&part.tensors[0]).first() {
                Some(&FAIL) => return wrong("asked to".into()),
                Some(&PANIC) => panic!("asked to panic"),
                Some(_) | None => data.extend_from_slice(&part.tensors[0]),
            }
        }
        let rows: u32 = batch.parts.iter().map(|part| part.rows).sum();
        assert_eq!(rows, batch.rows);
        let (shape, data) = (vec![i64::from(rows), inner[0]], Bytes::from(data));
        Ok(vec![Output { datatype: DataType::Int64, shape, data }])
    }
}

/// An [`Echo`] that tells what it begins, and waits to be let on before each run.
pub(crate) struct Gated {
    began: UnboundedSender<Vec<i64>>,
    open: mpsc::Receiver<()>,
}

/// The test's side of a [`Gated`] model. Without it the model runs freely.
pub(crate) struct Gate {
    /// The first values of the rows of each batch that began.
    pub(crate) began: UnboundedReceiver<Vec<i64>>,
    open: mpsc::Sender<()>,
}

/// A gated model and its gate.
pub(crate) fn gated() -> (Gated, Gate) {
    let (sender, began) = unbounded_channel();
    let (open, receiver) = mpsc::channel();
    (Gated { began: sender, open: receiver }, Gate { began, open })
}

impl Gate {
    /// Lets one batch run.
    pub(crate) fn open(&self) {
        self.open.send(()).unwrap();
    }

    /// Waits for the next batch to begin.
    pub(crate) async fn next(&mut self) -> Vec<i64> {
        self.began.recv().await.unwrap()
    }

    /// Opens for good; what began since, but was not waited for.
    pub(crate) fn open_all(self) -> UnboundedReceiver<Vec<i64>> {
        self.began
    }
}

impl LoadedModel for Gated {
    fn run(&mut self, batch: &Batch, timing: &mut Timing) -> Result<Vec<Output>, RunError> {
        let first = |tensor: &Bytes| row_of(tensor)[0];
        // The test may have let go of its gate.
        drop(self.began.send(batch.parts.iter().map(|part| first(&part.tensors[0])).collect()));
        let _ = self.open.recv();
        Echo.run(batch, timing)
    }
}
