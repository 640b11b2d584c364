//! Gives a recording's events to a fresh router and compares what it decides: the proof that the server and the
//! simulator are one scheduler.

mod outcomes;
mod predicted;
mod runs;
mod validate;

use std::collections::BTreeMap;

use batcher::Instant;
use router::{Action, Because, Line, Rejection, Router};

pub use self::runs::Times;
pub use self::validate::{Comparison, Validated, Validation, validate};

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events and timeouts given.
    pub events: u64,
    /// Actions compared.
    pub actions: u64,
    /// Choices of variants for requests of tasks, by why.
    pub choices: BTreeMap<Because, u64>,
    /// The last line, where it ends before its end: the server was stopped as it wrote. It is left out.
    pub cut_off: Option<usize>,
}

impl std::fmt::Display for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events gave the same {} actions", self.events, self.actions)?;
        for (nth, (because, count)) in self.choices.iter().enumerate() {
            let before = if nth == 0 { "; variants chosen by reason: " } else { ", " };
            write!(f, "{before}{} {count}", because.name())?;
        }
        if let Some(line) = self.cut_off {
            write!(f, "; line {line} is cut off and was left out")?;
        }
        Ok(())
    }
}

/// Where the router decided otherwise than recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, at {at:?}: recorded {recorded:?}, decided {decided:?}")]
pub struct Difference {
    /// Counted from 1.
    pub line: usize,
    /// The instant of the last event.
    pub at: Instant,
    /// What the recording says; `None` for nothing more.
    pub recorded: Option<Action>,
    /// What the router decided; `None` for nothing more.
    pub decided: Option<Action>,
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A line is no line of a recording.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The router decided otherwise.
    #[error(transparent)]
    Difference(#[from] Box<Difference>),
}

/// Replays a recording, line by line; of a recording that is cut off within its last line the whole ones.
///
/// # Errors
/// The first line that cannot be read, or the first action that differs.
pub fn replay<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Replayed, ReplayError> {
    walk(lines, |_, _, _| ())
}

/// The same, and shows each line once the router has followed it, with the instant of the last event.
fn walk<'a>(
    lines: impl Iterator<Item = &'a str>,
    mut see: impl FnMut(&Router, Instant, &Line),
) -> Result<Replayed, ReplayError> {
    let mut router: Option<Router> = None;
    let mut replayed = Replayed { events: 0, actions: 0, choices: BTreeMap::new(), cut_off: None };
    let mut at = Instant::ZERO;
    let mut lines = lines.enumerate().peekable();
    while let Some((index, text)) = lines.next() {
        let line = index + 1;
        let wrong = |reason: String| ReplayError::Line { line, reason };
        let read: Line = match serde_json::from_str(text) {
            Ok(read) => read,
            Err(error) if error.is_eof() && index > 0 && lines.peek().is_none() => {
                replayed.cut_off = Some(line);
                break;
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        match (&mut router, &read) {
            (slot, Line::Settings(settings)) => {
                let settings = settings.clone();
                *slot = Some(Router::new(settings).map_err(|error| wrong(error.to_string()))?);
            }
            (None, Line::Event(..) | Line::Timeout(_) | Line::Action(_)) => {
                return Err(wrong("a recording begins with the router's settings".into()));
            }
            (Some(router), Line::Action(recorded)) => {
                replayed.actions += 1;
                let decided = router.poll_action();
                if let Some(Action::Choose { because: Some(because), .. }) = decided {
                    *replayed.choices.entry(because).or_default() += 1;
                }
                if !decided.as_ref().is_some_and(|decided| same(decided, recorded)) {
                    return Err(Box::new(Difference {
                        line,
                        at,
                        recorded: Some(recorded.clone()),
                        decided,
                    })
                    .into());
                }
            }
            (Some(router), Line::Event(now, event)) => {
                nothing_more(router, line, at)?;
                at = *now;
                router.handle(event.clone(), at);
                replayed.events += 1;
            }
            (Some(router), Line::Timeout(now)) => {
                nothing_more(router, line, at)?;
                at = *now;
                router.handle_timeout(at);
                replayed.events += 1;
            }
        }
        if let Some(router) = &router {
            see(router, at, &read);
        }
    }
    Ok(replayed)
}

/// Whether that was decided. Recordings that are older than reasons have none, nor whom a refused task's request would
/// have had its answer from.
fn same(decided: &Action, recorded: &Action) -> bool {
    let mut decided = decided.clone();
    if let (Action::Choose { because, .. }, Action::Choose { because: None, .. }) =
        (&mut decided, recorded)
    {
        *because = None;
    }
    if let Action::Reply { rejection: Rejection::DeadlineUnreachable { soonest, .. }, .. } =
        &mut decided
        && let Action::Reply { rejection, .. } = recorded
        && let Rejection::DeadlineUnreachable { soonest: None, .. } = rejection
    {
        *soonest = None;
    }
    decided == *recorded
}

/// Before the next event the router must have said all that was recorded and no more.
fn nothing_more(router: &mut Router, line: usize, at: Instant) -> Result<(), ReplayError> {
    match router.poll_action() {
        None => Ok(()),
        decided => Err(Box::new(Difference { line, at, recorded: None, decided }).into()),
    }
}
