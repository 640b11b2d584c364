//! Requests answered by more than one variant: what the composition decides is asked of the scheduler, and the rows of
//! the answers are put together.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use batcher::Instant;
use models::{Accuracy, Cost, Goals, VariantId};
use router::compose::{AskId, Compose, End, Heard, Step, Why, hedge};
use router::{Because, Rejection};

use super::Service;
use crate::answer::{self, Author};
use crate::check::Checked;
use crate::clock::Clock;
use crate::driver::{Inference, Pick};
use crate::infer::{Chosen, Composed, InferResponse, OutputTensor, RequestTiming};
use crate::outcome::{Answer, Outcome};
use crate::status::Failure;
use crate::tasks::{self, Composition, Task};
use crate::{rows, votes};

/// Why an answer is that of the second variant asked: the first was late, refused or failed.
const HEDGED: &str = "hedged";

/// How a request of several variants ended.
pub(super) enum Ending {
    Answered(Box<InferResponse>),
    Refused(Rejection),
    Failed(String),
}

/// One request to a variant.
struct Ask {
    member: usize,
    rows: Vec<u32>,
    answer: Option<Answer>,
    /// How it was chosen, where the scheduler chose it.
    pick: Option<Pick>,
    came: Came,
}

/// What came of a request to a variant, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It runs, or may have run.
    Taken,
    /// The scheduler gave it up.
    Refused,
    /// Nobody was asked, since whoever could answer costs too much.
    Unasked,
}

/// Whom to ask.
enum Whom {
    /// A member.
    Member(usize),
    /// Whom the scheduler chooses by these goals.
    Chosen(Goals),
    /// Whoever could answer costs too much.
    Nobody,
}

/// What has been asked of the scheduler and not ended.
struct Open {
    ask: AskId,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// A request while its variants are asked.
struct Run<'a> {
    service: &'a Service,
    task: &'a Task,
    composition: &'a Composition,
    checked: &'a Checked,
    arrived: Instant,
    asks: Vec<Ask>,
    /// Dropping one cancels it.
    open: Vec<Open>,
    /// Why the first that did not answer did not.
    refused: Option<Rejection>,
    failed: Option<String>,
    /// When the first answer was predicted to be there, where the scheduler chose who gives it.
    predicted: Option<Duration>,
}

impl Service {
    /// Asks the variants of a composition until the request has its answer.
    pub(super) async fn compose(
        &self,
        task: &Arc<Task>,
        composition: &Composition,
        checked: &Checked,
        (arrived, id): (Instant, &str),
    ) -> Ending {
        let rows = checked.inference.part.rows;
        let until = self.last_moment(checked, arrived);
        let mut decides = composition.begin(rows, until);
        let mut run = Run {
            service: self,
            task,
            composition,
            checked,
            arrived,
            asks: Vec::new(),
            open: Vec::new(),
            refused: None,
            failed: None,
            predicted: None,
        };
        let end = run.play(&mut *decides).await;
        run.ending(&end, id)
    }

    /// Until when an answer still reaches its client in time.
    pub(super) fn last_moment(&self, checked: &Checked, arrived: Instant) -> Instant {
        checked.inference.deadline.map_or(Instant::NEVER, |within| {
            arrived + within.saturating_sub(self.driver.way(within))
        })
    }
}

impl Run<'_> {
    async fn play(&mut self, decides: &mut dyn Compose) -> End {
        loop {
            while let Some(step) = decides.poll_step() {
                match step {
                    Step::Ask { ask, member, rows } => self.ask(decides, ask, member, rows),
                    Step::Cancel(ask) => self.open.retain(|open| open.ask != ask),
                    Step::End(end) => return end,
                }
            }
            let (at, clock) = (decides.poll_timeout(), self.service.clock);
            tokio::select! {
                biased;
                (ask, outcome) = next(&mut self.open) => self.heard(decides, ask, outcome),
                () = wait(clock, at) => decides.time_passed(self.service.clock.now().max(at)),
            }
        }
    }

    /// A straggler's variant may be stuck as a whole: the second request goes to another, if there is one.
    fn whom(&self, place: usize) -> Whom {
        let Some(goals) = self.composition.goals_of(place) else { return Whom::Member(place) };
        let Some(first) = self.asks.first() else { return Whom::Chosen(goals) };
        let spent = match first.came {
            Came::Taken => self.task.claim(&self.task.members[first.member]).cost,
            Came::Refused | Came::Unasked => Cost::default(),
        };
        let Some(goals) = hedge::beside(goals, spent) else { return Whom::Nobody };
        if let Some(other) = self.task.fastest_but(first.member, goals) {
            return Whom::Member(other);
        }
        let again = self.task.claim(&self.task.members[first.member]);
        match goals.allow(again.accuracy, again.cost) {
            true => Whom::Chosen(goals),
            false => Whom::Nobody,
        }
    }

    fn ask(&mut self, decides: &mut dyn Compose, ask: AskId, place: usize, wanted: Vec<u32>) {
        let (place, goals) = match self.whom(place) {
            Whom::Member(place) => (place, None),
            Whom::Chosen(goals) => (place, Some(goals)),
            Whom::Nobody => {
                let (answer, pick, came) = (None, None, Came::Unasked);
                self.asks.push(Ask { member: 0, rows: wanted, answer, pick, came });
                return decides.heard(ask, Heard::Refused, self.service.clock.now());
            }
        };
        let asked = &self.task.members[place.min(self.task.members.len() - 1)];
        let Inference { shape, inner_shapes, part, priority, deadline, .. } =
            &self.checked.inference;
        let elapsed = self.service.clock.now().since(self.arrived);
        let inference = Inference {
            variant: asked.served.variant,
            task: goals.map(|goals| (self.task.id, goals)),
            shape: *shape,
            inner_shapes: Arc::clone(inner_shapes),
            part: rows::take(part, &self.task.signature().inputs, &wanted),
            priority: *priority,
            deadline: deadline.map(|deadline| deadline.saturating_sub(elapsed)),
            forms: self.task.forms.clone(),
        };
        let chooses = inference.task.is_some();
        let ticket = self.service.driver.submit(inference);
        let chosen = ticket.chosen().filter(|_| chooses);
        let member = match chooses {
            false => place,
            // Where it was refused nobody answers.
            true => chosen.and_then(|pick| self.place_of(pick.variant)).unwrap_or(0),
        };
        self.task.members[member].asked.increment(1);
        self.open.push(Open { ask, outcome: Box::pin(ticket.outcome()) });
        let came = Came::Taken;
        self.asks.push(Ask { member, rows: wanted, answer: None, pick: chosen, came });
        if let Some(Pick { predicted, .. }) = chosen {
            self.predicted.get_or_insert(predicted);
            decides.heard(ask, Heard::Entered(predicted), self.service.clock.now());
        }
    }

    /// Where that variant is among the members. A version that came a moment ago stands where the one before it stood.
    fn place_of(&self, variant: VariantId) -> Option<usize> {
        let newer = || {
            let place = self.service.tasks.find(&self.task.name)?.member(variant)?.place;
            self.task.members.iter().position(|member| member.place == place)
        };
        self.task.place_of(variant).or_else(newer)
    }

    fn heard(&mut self, decides: &mut dyn Compose, ask: AskId, outcome: Outcome) {
        let now = self.service.clock.now();
        let ballot = self.composition.ballot;
        let asked = &mut self.asks[ask.index()];
        let author = self.task.members[asked.member].author();
        match outcome {
            Outcome::Answered(answer) => {
                match ballot.map_or(Ok(Vec::new()), |ballot| votes::votes(&answer, ballot, author))
                {
                    Ok(votes) => {
                        asked.answer = Some(answer);
                        decides.heard(ask, Heard::Answered(&votes), now);
                    }
                    Err(failure) => {
                        self.failed.get_or_insert(failure.to_string());
                        decides.heard(ask, Heard::Failed, now);
                    }
                }
            }
            Outcome::Refused(rejection) => {
                asked.came = Came::Refused;
                self.refused.get_or_insert(rejection);
                decides.heard(ask, Heard::Refused, now);
            }
            Outcome::Failed(error) => {
                let Author { served, .. } = author;
                let text = format!("model '{}' version {}: {error}", served.model, served.version);
                self.failed.get_or_insert(text);
                decides.heard(ask, Heard::Failed, now);
            }
        }
    }

    fn ending(&mut self, end: &End, id: &str) -> Ending {
        if end.why == Why::Nobody {
            // Who could have answered but failed says more than who was refused.
            return match (self.failed.take(), self.refused.take()) {
                (Some(text), _) => Ending::Failed(text),
                (None, Some(rejection)) => Ending::Refused(rejection),
                (None, None) => Ending::Refused(Rejection::NotServed),
            };
        }
        match self.outputs(end) {
            Ok(outputs) => {
                let (model, version) = (self.task.name.clone(), tasks::VERSION.to_owned());
                let (timing, choice) = (self.timing(), Some(Box::new(self.chosen(end))));
                let id = id.to_owned();
                Ending::Answered(Box::new(InferResponse {
                    model,
                    version,
                    id,
                    outputs,
                    timing,
                    choice,
                    cached: None,
                }))
            }
            Err(failure) => Ending::Failed(failure.to_string()),
        }
    }

    /// Those whose rows count, in the order asked.
    fn used(&self, end: &End) -> Vec<(AskId, &Ask, &Answer)> {
        let asks = (0..).map(AskId).zip(&self.asks);
        let used = asks.filter(|(ask, _)| end.rows.contains(ask));
        used.filter_map(|(id, ask)| Some((id, ask, ask.answer.as_ref()?))).collect()
    }

    fn outputs(&self, end: &End) -> Result<Vec<OutputTensor>, Failure> {
        let used = self.used(end);
        let mut parts = Vec::new();
        for (_, ask, own) in &used {
            let author = self.task.members[ask.member].author();
            let Checked { outputs, cuts, .. } = self.checked;
            parts.push((answer::outputs(own, outputs.clone(), cuts, author)?, ask.rows.len()));
        }
        let whole = used.first().is_some_and(|(_, ask, _)| ask.rows.len() == end.rows.len());
        if whole && parts.len() == 1 {
            return Ok(parts.swap_remove(0).0);
        }
        let place = |(row, by): (u32, &AskId)| {
            let index = used.iter().position(|(id, ..)| id == by)?;
            Some((index, used[index].1.rows.iter().position(|own| *own == row)?))
        };
        let places: Option<Vec<_>> = (0..).zip(&end.rows).map(place).collect();
        places.and_then(|places| rows::join(&parts, &places)).ok_or_else(|| {
            let name = &self.task.name;
            Failure::Internal(format!("the outputs of the variants of '{name}' do not fit"))
        })
    }

    fn timing(&self) -> RequestTiming {
        let mut sum = RequestTiming::default();
        for own in self.asks.iter().filter_map(|ask| ask.answer.as_ref()) {
            let RequestTiming { input, infer, output, batch, .. } = own.request_timing();
            (sum.input, sum.infer, sum.output) =
                (sum.input + input, sum.infer + infer, sum.output + output);
            sum.batch = batch;
        }
        let total = self.service.clock.now().since(self.arrived);
        sum.queue = total.saturating_sub(sum.input + sum.infer + sum.output);
        sum
    }

    /// Names the answer for feedback, where it is one variant's alone. One that the task's policy has not drawn is
    /// counted and teaches nothing.
    fn answer_id(&self, by: &Ask) -> String {
        if !self.composition.of_one() {
            return String::new();
        }
        let variant = self.task.members[by.member].served.variant;
        let predicted = self.predicted.unwrap_or_default();
        let pick = by.pick.filter(|pick| pick.variant == variant);
        self.task.given.give(pick.unwrap_or(Pick { variant, predicted, draw: None, because: None }))
    }

    /// Why an answer that is one variant's is that one's.
    fn reason(&self, by: &Ask) -> Option<&'static str> {
        let first = self.asks.first().is_some_and(|first| std::ptr::eq(first, by));
        match (self.composition.of_one(), first) {
            (false, _) => None,
            (true, true) => by.pick?.because.map(Because::name),
            (true, false) => Some(HEDGED),
        }
    }

    fn chosen(&self, end: &End) -> Chosen {
        let used = self.used(end);
        let label = |ask: &Ask| self.task.members[ask.member].label();
        let claim = |ask: &Ask| self.task.claim(&self.task.members[ask.member]);
        let least = used.iter().map(|(_, ask, _)| claim(ask).accuracy).min();
        let (_, last, _) = used.last().expect("an answer is somebody's");
        let member = &self.task.members[last.member];
        member.answers.increment(1);
        let rows = f64::from(self.checked.inference.part.rows);
        let cost = |ask: &Ask| f64::from(claim(ask).cost) * ask.rows.len() as f64 / rows;
        let taken = self.asks.iter().filter(|ask| ask.came == Came::Taken);
        let cost = taken.map(cost).sum::<f64>();
        let whole = !end.why.short();
        let accuracy: Option<Accuracy> = self.composition.accuracy.filter(|_| whole).or(least);
        let asked = self.asks.iter().filter(|ask| ask.came != Came::Unasked);
        Chosen {
            model: member.served.model.clone(),
            version: member.served.version,
            accuracy: accuracy.unwrap_or_default(),
            cost: Cost::try_from(cost).unwrap_or(claim(last).cost),
            reason: self.reason(last),
            predicted: self.predicted,
            took: self.service.clock.now().since(self.arrived),
            answer_id: self.answer_id(last),
            composed: Some(Composed {
                variants: used.iter().map(|(_, ask, _)| label(ask)).collect(),
                asked: asked.map(label).collect(),
                why: end.why.name(),
            }),
        }
    }
}

/// Until then.
pub(super) async fn wait(clock: Clock, at: Instant) {
    match at {
        Instant::NEVER => std::future::pending().await,
        at => tokio::time::sleep(clock.until(at)).await,
    }
}

/// The first outcome of all that are open.
async fn next(open: &mut Vec<Open>) -> (AskId, Outcome) {
    poll_fn(|context| {
        for index in 0..open.len() {
            if let Poll::Ready(outcome) = open[index].outcome.as_mut().poll(context) {
                return Poll::Ready((open.remove(index).ask, outcome));
            }
        }
        Poll::Pending
    })
    .await
}
