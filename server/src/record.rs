//! The flight recorder: every event with its instant, a JSON line each, for `punctual-sim replay`.
//!
//! Lines are written by a thread of their own, so that the scheduler never waits for a disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use router::{Line, RouterSettings};

/// Lines that may wait for the disk; a recording that falls further behind ends, and says so.
const LINES_MAX: usize = 1 << 18;

/// Writes a recording. Dropping it waits until all lines are in the file.
#[derive(Debug)]
pub struct Recorder {
    lines: Option<Sender<Line>>,
    writer: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts a recording in that file, which is emptied first.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, settings: RouterSettings) -> std::io::Result<Self> {
        let file = File::create(path)?;
        let (lines, inbox) = bounded(LINES_MAX);
        let writer = std::thread::Builder::new().name("recorder".into()).spawn(move || {
            if let Err(error) = write_all(file, &inbox) {
                tracing::error!(%error, "the flight recording ends here: the file cannot be written");
            }
        })?;
        let mut recorder = Self { lines: Some(lines), writer: Some(writer) };
        recorder.note(Line::Settings(settings));
        Ok(recorder)
    }

    /// Adds a line; without effect once the recording has ended.
    pub fn note(&mut self, line: Line) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(line).is_err() {
            tracing::error!("the flight recording ends here: the disk is too slow for it");
            self.lines = None;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer is in the log; there is nothing left to save.
            drop(writer.join());
        }
    }
}

fn write_all(file: File, inbox: &Receiver<Line>) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    for line in inbox {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
