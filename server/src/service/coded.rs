//! Requests to a linear model that share parity requests: each asks for itself, and whichever is first answers it, its own
//! answer or the reconstruction from those of its group.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batcher::{Deadline, Instant};
use gpu::InputPart;
use models::Cost;
use router::compose::coded::{Own, Seat, Terms};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Service;
use super::composed::{Ending, wait};
use crate::answer;
use crate::check::Checked;
use crate::clock::Clock;
use crate::driver::{Driver, Inference};
use crate::infer::{Chosen, Composed, InferResponse};
use crate::outcome::{Answer, Outcome};
use crate::parity;
use crate::tasks::{self, Coding, Held, Task, Wanted};

/// Its own ask answered a request.
const OWN: &str = "own";
/// Its answer followed from those of the others of its group and of their sum.
const RECONSTRUCTED: &str = "reconstructed";

/// A request among those of its task.
struct Run<'a> {
    service: &'a Service,
    task: &'a Arc<Task>,
    coding: &'a Arc<Coding>,
    checked: &'a Checked,
    arrived: Instant,
    /// Whether a parity request was made of it.
    shared: Arc<AtomicBool>,
}

/// A request that others may need. Dropping it says that nobody wants its answer, unless it is there.
struct Seated<'a> {
    seat: Seat,
    task: &'a Task,
    coding: &'a Coding,
    answered: bool,
}

impl Service {
    /// Asks for one request, and for the sum of its group if it is the last of it, until it has its answer.
    pub(super) async fn code(
        &self,
        (task, coding): (&Arc<Task>, &Arc<Coding>),
        checked: &Checked,
        (arrived, id): (Instant, &str),
    ) -> Ending {
        let shared = Arc::default();
        let run = Run { service: self, task, coding, checked, arrived, shared };
        let (outcome, how) = run.play().await;
        run.ending(outcome, how, id)
    }
}

impl Run<'_> {
    async fn play(&self) -> (Outcome, &'static str) {
        let mut own = pin!(self.ask());
        // Refused at the door: nobody can count on it.
        tokio::select! {
            biased;
            outcome = &mut own => return (outcome, OWN),
            () = std::future::ready(()) => {}
        }
        let (waits, mut decoded) = oneshot::channel();
        let mut seated = self.enter(waits);
        let outcome = tokio::select! {
            biased;
            outcome = &mut own => outcome,
            // Without a reconstruction its own ask goes on.
            Ok(answer) = &mut decoded => return (Outcome::Answered(answer), RECONSTRUCTED),
        };
        if let Outcome::Answered(answer) = outcome {
            seated.heard(Ok(answer.clone()));
            return (Outcome::Answered(answer), OWN);
        }
        seated.heard(Err(Own::Lost));
        let last = self.service.last_moment(self.checked, self.arrived);
        if decoded.is_terminated() {
            // Its group had ended before.
            return (outcome, OWN);
        }
        tokio::select! {
            biased;
            decoded = decoded => match decoded {
                Ok(answer) => (Outcome::Answered(answer), RECONSTRUCTED),
                Err(_) => (outcome, OWN),
            },
            () = wait(self.service.clock, last) => (outcome, OWN),
        }
    }

    fn deadline(&self) -> Instant {
        let within = self.checked.inference.deadline;
        within.map_or(Instant::NEVER, |within| self.arrived + within)
    }

    fn ask(&self) -> impl Future<Output = Outcome> + use<> {
        let Inference { shape, inner_shapes, part, priority, .. } = &self.checked.inference;
        let (clock, deadline) = (self.service.clock, self.deadline());
        let member = &self.task.members[self.coding.model];
        member.asked.increment(1);
        let inference = Inference {
            variant: member.served.variant,
            task: None,
            shape: *shape,
            inner_shapes: Arc::clone(inner_shapes),
            part: part.clone(),
            priority: *priority,
            deadline: left(clock, deadline),
            forms: None,
        };
        self.service.driver.submit(inference).outcome()
    }

    fn enter(&self, waits: oneshot::Sender<Answer>) -> Seated<'_> {
        let Inference { part, priority, .. } = &self.checked.inference;
        let deadline = Deadline(self.deadline());
        let terms = Terms { rows: part.rows, priority: *priority, deadline };
        let (part, shared) = (part.clone(), Arc::clone(&self.shared));
        let held = Held { part, shared, waits, answer: None };
        let ask = |wanted| self.ask_parity(wanted);
        let (task, coding) = (self.task, self.coding);
        let seat = coding.enter(held, terms, &ask);
        Seated { seat, task, coding, answered: false }
    }

    fn ask_parity(&self, wanted: Wanted) -> AbortHandle {
        let (task, coding) = (Arc::clone(self.task), Arc::clone(self.coding));
        let (driver, clock) = (Arc::clone(&self.service.driver), self.service.clock);
        let Inference { shape, inner_shapes, .. } = &self.checked.inference;
        let (shape, inner_shapes) = (*shape, Arc::clone(inner_shapes));
        let asked = async move {
            let member = &task.members[coding.parity];
            let specs = &member.served.signature.inputs;
            let reached = |part: &InputPart| parity::within_reach(part, specs);
            let sum = Some(&wanted.parts).filter(|parts| parts.iter().all(reached));
            let sum = sum.and_then(|parts| parity::sum(parts, specs)).filter(reached);
            let answer = match sum {
                None => None,
                Some(part) => {
                    member.asked.increment(1);
                    wanted.shared.iter().for_each(|shared| shared.store(true, Ordering::Relaxed));
                    let inference = Inference {
                        variant: member.served.variant,
                        task: None,
                        shape,
                        inner_shapes,
                        part,
                        priority: wanted.terms.priority,
                        deadline: left(clock, wanted.terms.deadline.0),
                        forms: None,
                    };
                    answered(&driver, inference).await
                }
            };
            coding.parity(wanted.group, answer, &task.members);
        };
        tokio::spawn(asked).abort_handle()
    }

    fn ending(&self, outcome: Outcome, how: &'static str, id: &str) -> Ending {
        let served = &self.task.members[self.coding.model].served;
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Refused(rejection) => return Ending::Refused(rejection),
            Outcome::Failed(error) => {
                let (model, version) = (&served.model, served.version);
                return Ending::Failed(format!("model '{model}' version {version}: {error}"));
            }
        };
        let Checked { outputs, cuts, .. } = self.checked;
        let outputs = match answer::outputs(&answer, outputs.clone(), cuts, (&**served).into()) {
            Ok(outputs) => outputs,
            Err(failure) => return Ending::Failed(failure.to_string()),
        };
        let took = self.service.clock.now().since(self.arrived);
        let mut timing = answer.request_timing();
        timing.queue = took.saturating_sub(answer.timing.total());
        Ending::Answered(Box::new(InferResponse {
            model: self.task.name.clone(),
            version: tasks::VERSION.to_owned(),
            id: id.to_owned(),
            outputs,
            timing,
            choice: Some(Box::new(self.chosen(how, took))),
            cached: None,
        }))
    }

    /// What the client is told of who answered, and counted.
    fn chosen(&self, how: &'static str, took: Duration) -> Chosen {
        let Coding { model, parity, group, .. } = **self.coding;
        let [member, parity] = [model, parity].map(|place| &self.task.members[place]);
        member.answers.increment(1);
        if how == RECONSTRUCTED {
            self.coding.reconstructed.increment(1);
        }
        let (claim, share) = (self.task.claim(member), self.task.claim(parity).cost);
        let shared = self.shared.load(Ordering::Relaxed);
        let cost = f64::from(claim.cost) + f64::from(share) / group as f64;
        let cost = Cost::try_from(cost).ok().filter(|_| shared);
        let asked = std::iter::once(member).chain(shared.then_some(parity));
        Chosen {
            model: member.served.model.clone(),
            version: member.served.version,
            accuracy: claim.accuracy,
            cost: cost.unwrap_or(claim.cost),
            reason: None,
            predicted: None,
            took,
            answer_id: String::new(),
            composed: Some(Composed {
                variants: vec![member.label()],
                asked: asked.map(tasks::Member::label).collect(),
                why: how,
            }),
        }
    }
}

impl Seated<'_> {
    fn heard(&mut self, own: Result<Answer, Own>) {
        self.answered = own.is_ok();
        self.coding.heard(self.seat, own, &self.task.members);
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.coding.heard(self.seat, Err(Own::Left), &self.task.members);
        }
    }
}

/// What is left of a deadline.
fn left(clock: Clock, deadline: Instant) -> Option<Duration> {
    (deadline < Instant::NEVER).then(|| deadline.since(clock.now()))
}

async fn answered(driver: &Arc<Driver>, inference: Inference) -> Option<Answer> {
    match driver.submit(inference).outcome().await {
        Outcome::Answered(answer) => Some(answer),
        Outcome::Refused(_) | Outcome::Failed(_) => None,
    }
}
