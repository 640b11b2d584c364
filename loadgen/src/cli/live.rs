//! What is shown while a run goes on, from a thread of its own: the client's thread only hands over each request's end.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loadgen::client::{Stop, now};
use loadgen::{Confidence, Outcome, Record, Sample};

/// How often a terminal is drawn anew, and how often there is a line elsewhere.
const FRAME: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(5);
/// Seconds in the row of bars.
const BARS: usize = 40;
/// Requests that are due so shortly before the present may still be under way: they are not judged yet.
const UNSETTLED: Duration = Duration::from_secs(1);
/// Between looks at whether a run is stable it becomes that much longer, so that all looks cost little.
const LOOK_AGAIN: f64 = 1.2;
/// The first look.
const LOOK_FIRST: Duration = Duration::from_secs(4);

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) duration: Duration,
    pub(super) stable: Option<f64>,
}

/// One end, as far as it is shown.
struct End {
    sample: Sample,
    refused: bool,
}

/// The client's side.
pub(super) struct Watch {
    ends: Sender<End>,
}

impl Watch {
    pub(super) fn ended(&mut self, record: &Record) {
        let refused = matches!(record.outcome, Outcome::Refused(_));
        // The view may have ended before the run; nothing is counted here.
        drop(self.ends.send(End { sample: record.into(), refused }));
    }
}

/// The view's side.
pub(super) struct Live {
    close: Sender<()>,
    thread: JoinHandle<()>,
}

impl Live {
    /// Starts the view; with `show` off it only ends the run when it is stable.
    pub(super) fn start(until: Until, stop: Stop, show: bool) -> (Self, Watch) {
        let (ends, ended) = channel();
        let (close, closed) = channel();
        let thread = std::thread::spawn(move || {
            let terminal = stderr().is_terminal();
            View::new(until, stop, show, terminal).run(&ended, &closed);
        });
        (Self { close, thread }, Watch { ends })
    }

    /// Removes the view, so that the report stands alone.
    pub(super) fn end(self) {
        drop(self.close);
        // A view that failed has taken nothing of the run with it.
        drop(self.thread.join());
    }
}

/// A second of the run.
#[derive(Default)]
struct Second {
    ended: u64,
    in_time: u64,
    refused: u64,
    failed: u64,
    latencies_ns: Vec<u64>,
}

struct View {
    until: Until,
    stop: Stop,
    show: bool,
    terminal: bool,
    begun: Option<Instant>,
    seconds: VecDeque<(u64, Second)>,
    samples: Vec<Sample>,
    look_at: Duration,
    line_at: Duration,
    drawn: usize,
}

impl View {
    fn new(until: Until, stop: Stop, show: bool, terminal: bool) -> Self {
        Self {
            until,
            stop,
            show,
            terminal,
            begun: None,
            seconds: VecDeque::new(),
            samples: Vec::new(),
            look_at: LOOK_FIRST,
            line_at: LINE,
            drawn: 0,
        }
    }

    fn run(mut self, ended: &Receiver<End>, closed: &Receiver<()>) {
        while closed.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
            let at =
                self.begun.map_or(Duration::ZERO, |begun| now().saturating_duration_since(begun));
            for end in ended.try_iter() {
                let due = Duration::from_nanos(end.sample.intended_ns);
                let latency = Duration::from_nanos(end.sample.latency_ns.unwrap_or(0));
                // The first end tells when the run that counts began.
                self.begun.get_or_insert_with(|| now() - (due + latency).min(FRAME));
                self.count(end, at.as_secs());
            }
            if self.begun.is_some() {
                self.look(at);
                self.draw(at);
            }
        }
        self.clear();
    }

    fn count(&mut self, end: End, second: u64) {
        if self.seconds.back().is_none_or(|(of, _)| *of != second) {
            self.seconds.push_back((second, Second::default()));
            if self.seconds.len() > BARS + 1 {
                self.seconds.pop_front();
            }
        }
        if let Some((_, counts)) = self.seconds.back_mut() {
            counts.ended += 1;
            counts.in_time += u64::from(end.sample.in_time);
            counts.refused += u64::from(end.refused);
            counts.failed += u64::from(!end.refused && end.sample.latency_ns.is_none());
            counts.latencies_ns.extend(end.sample.latency_ns);
        }
        if self.until.stable.is_some() {
            self.samples.push(end.sample);
        }
    }

    /// Ends the run if it is stable.
    fn look(&mut self, at: Duration) {
        let Some(relative) = self.until.stable else { return };
        if at < self.look_at {
            return;
        }
        self.look_at = at.mul_f64(LOOK_AGAIN);
        let settled = at - UNSETTLED;
        if Confidence::of(self.samples.iter().copied(), settled).within(relative) {
            self.stop.finish();
        }
    }

    fn draw(&mut self, at: Duration) {
        if !self.show || (!self.terminal && at < self.line_at) {
            return;
        }
        self.line_at = at + LINE;
        let Some((_, last)) = self.seconds.iter_mut().rev().nth(1) else { return };
        let [p50, p99] = [0.5, 0.99].map(|part| percentile_ms(&mut last.latencies_ns, part));
        let numbers = format!(
            "{:>6}/s  goodput {:>6}/s  p50 {p50:>6}  p99 {p99:>7} ms  refused {} failed {}",
            last.ended, last.in_time, last.refused, last.failed
        );
        let (gone, all) = (at.min(self.until.duration), self.until.duration);
        let clock = format!("{:>6.1} of {:.0} s", gone.as_secs_f64(), all.as_secs_f64());
        if !self.terminal {
            // A view that cannot be written is not worth the run.
            drop(writeln!(stderr(), "{clock}  {numbers}"));
            return;
        }
        let done = (gone.as_secs_f64() / all.as_secs_f64().max(1e-9)).min(1.0);
        let lines = [
            format!("{}  {clock}", bar(done)),
            numbers,
            format!("{}  goodput by the second, above all of the last one", self.bars()),
        ];
        self.clear();
        self.drawn = lines.len();
        drop(writeln!(stderr(), "{}", lines.join("\n")));
    }

    fn bars(&self) -> String {
        let whole = self.seconds.iter().rev().skip(1).take(BARS);
        let counts: Vec<u64> = whole.map(|(_, second)| second.in_time).collect();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let glyphs = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let glyph = |count: &u64| glyphs[usize::try_from(count * 7 / most).unwrap_or(0)];
        counts.iter().rev().map(glyph).collect()
    }

    /// Moves to the beginning of what was drawn and removes it.
    fn clear(&mut self) {
        if self.drawn > 0 {
            drop(write!(stderr(), "\x1b[{}A\r\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of the bar's width"
)]
fn bar(done: f64) -> String {
    let full = (done * BARS as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BARS - full))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among what is in memory"
)]
fn percentile_ms(latencies_ns: &mut [u64], part: f64) -> String {
    let place = (latencies_ns.len() as f64 * part).ceil() as usize;
    match place.checked_sub(1) {
        Some(place) => format!("{:.2}", *latencies_ns.select_nth_unstable(place).1 as f64 / 1e6),
        None => "-".into(),
    }
}
