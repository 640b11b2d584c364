//! The way of one inference through the service: found, checked, scheduled, answered, accounted for once.

use std::sync::Arc;
use std::time::Duration;

use batcher::Instant;
use models::Goals;
use router::{Because, Rejection};

use super::composed::Ending;
use super::{Service, refusal};
use crate::answer::{self, Author};
use crate::cache::{self, Key};
use crate::check::{Checked, check};
use crate::clock::Clock;
use crate::driver::Pick;
use crate::infer::{Chosen, InferRequest, InferResponse, RequestTiming};
use crate::metrics::ModelMetrics;
use crate::outcome::Outcome;
use crate::served::Served;
use crate::status::{Failure, Refusal};
use crate::tasks::{self, Coding, Composition, Member, Task};

impl Service {
    /// Runs one inference. Dropping the future cancels the request if it still waits.
    ///
    /// # Errors
    /// Bad requests, refusals by the scheduler, failures of the model: see [`Failure`].
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, Failure> {
        let arrived = self.clock.now();
        let target = self.target(&request.model, request.version.as_deref())?;
        match &target {
            Target::Model(served) => {
                if let Some(cache) = &served.cache {
                    let (served, cache) = (Arc::clone(served), Arc::clone(cache));
                    return self.infer_cached(served, &cache, request, arrived).await;
                }
            }
            Target::Task(task) => {
                if let Some(kept) = self.kept_for_task(task, &request, arrived) {
                    return Ok(kept);
                }
            }
        }
        let start = Start { arrived, waited: None };
        Ok(self.run(target, request, start).await?.0)
    }

    /// Runs one inference by the scheduler; says its rows too.
    pub(super) async fn run(
        &self,
        target: Target,
        request: InferRequest,
        Start { arrived, waited }: Start<'_>,
    ) -> Result<(InferResponse, u32), Failure> {
        let id = request.id.clone();
        let key = target.key(&request);
        let together = target.together(&request);
        let checked = target.check(request, together.is_some())?;
        let spent = waited.as_ref().map_or(Duration::ZERO, Account::elapsed);
        let (deadline, rows) = (checked.inference.deadline, checked.inference.part.rows);
        let deadline = deadline.map(|deadline| deadline + spent);
        let goals = checked.inference.task.map(|(_, goals)| goals).unwrap_or_default();
        let metrics = target.metrics();
        let mut account = match waited {
            None => Account::open(metrics, self.clock, arrived, rows),
            Some(account) => {
                metrics.arrived_rows(rows);
                account
            }
        };
        if let Some((task, together)) = &together {
            let ending = self.put_together((task, together), &checked, (arrived, &id)).await;
            let refusal = |rejection| target.refusal(rejection, goals, deadline, &id);
            return Ok((account.conclude(ending, (rows, deadline), refusal)?, rows));
        }
        let ticket = self.driver.submit(checked.inference);
        let chosen = ticket.chosen();
        let outcome = ticket.outcome().await;
        account.ended = true;
        let name = target.name();
        let answered = match outcome {
            Outcome::Answered(answered) => answered,
            Outcome::Refused(rejection) => {
                metrics.refused(&rejection, account.elapsed());
                tracing::trace!(model = name, id, reason = rejection.name(), "refused");
                return Err(Failure::Refused(target.refusal(rejection, goals, deadline, &id)));
            }
            Outcome::Failed(error) => {
                metrics.failed(rows, account.elapsed());
                tracing::trace!(model = name, id, %error, "failed");
                let version = target.version();
                return Err(Failure::Internal(format!(
                    "model '{name}' version {version}: {error}"
                )));
            }
        };
        let answers = self.answers(&target, chosen);
        let outputs = answers
            .as_ref()
            .map_err(Failure::clone)
            .and_then(|by| answer::outputs(&answered, checked.outputs, &checked.cuts, by.author()));
        let timing = answered.request_timing();
        let total = account.elapsed();
        self.driver
            .note_way((total - spent).saturating_sub(answered.queue + answered.timing.total()));
        let in_time = deadline.map(|deadline| total <= deadline);
        match &outputs {
            Ok(_) => metrics.answered(&timing, total, in_time, rows),
            Err(_) => metrics.failed(rows, total),
        }
        tracing::trace!(model = name, id, ?total, batch = timing.batch, in_time, "answered");
        let (model, version) = (name.to_owned(), target.version());
        let (outputs, by) = (outputs?, answers?);
        let choice = by.chosen(chosen, total);
        let response = InferResponse { model, version, id, outputs, timing, choice, cached: None };
        Self::keep(by.served(), by.key(key), &response, rows);
        Ok((response, rows))
    }

    async fn put_together(
        &self,
        (task, together): (&Arc<Task>, &Together),
        checked: &Checked,
        request: (Instant, &str),
    ) -> Ending {
        match together {
            Together::Composed(composition) => {
                self.compose(task, composition, checked, request).await
            }
            Together::Coded(coding) => self.code((task, coding), checked, request).await,
        }
    }

    /// What a request names: a model, or else a task.
    fn target(&self, name: &str, version: Option<&str>) -> Result<Target, Failure> {
        if let Ok(served) = self.catalog.find(name, version) {
            return Ok(Target::Model(served));
        }
        match self.task(name, version) {
            Some(task) => Ok(Target::Task(task)),
            None => self.served(name, version).map(Target::Model),
        }
    }

    /// The task of that name.
    pub(super) fn task(&self, name: &str, version: Option<&str>) -> Option<Arc<Task>> {
        let only = version.is_none_or(|version| version == tasks::VERSION);
        self.tasks.find(name).filter(|_| only)
    }

    /// Who answered.
    fn answers(&self, target: &Target, chosen: Option<Pick>) -> Result<Answers, Failure> {
        let task = match target {
            Target::Model(served) => return Ok(Answers::Model(Arc::clone(served))),
            Target::Task(task) => task,
        };
        let replaced =
            || Failure::Unavailable(format!("the variant of '{}' was just replaced", task.name));
        let variant = chosen.ok_or_else(replaced)?.variant;
        let by = |task: Arc<Task>| task.place_of(variant).map(|place| Answers::Task(task, place));
        // The scheduler knows of a change a moment before this request's table did.
        let found = by(Arc::clone(task)).or_else(|| by(self.tasks.find(&task.name)?));
        found.ok_or_else(replaced)
    }
}

/// What a request asks for.
pub(super) enum Target {
    Model(Arc<Served>),
    Task(Arc<Task>),
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Model(served) => &served.model,
            Self::Task(task) => &task.name,
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Model(served) => served.version.to_string(),
            Self::Task(_) => tasks::VERSION.to_owned(),
        }
    }

    fn metrics(&self) -> &ModelMetrics {
        match self {
            Self::Model(served) => &served.metrics,
            Self::Task(task) => &task.metrics,
        }
    }

    /// By what a variant keeps its answer to a task's request, if any of them keeps answers.
    fn key(&self, request: &InferRequest) -> Option<Key> {
        let Self::Task(task) = self else { return None };
        let keeps = task.members.iter().any(|member| member.served.cache.is_some());
        keeps.then(|| cache::key(request))
    }

    /// The task, and how it answers this request by more than one answer, where it does.
    fn together(&self, request: &InferRequest) -> Option<(Arc<Task>, Together)> {
        let Self::Task(task) = self else { return None };
        let composed = || task.composition(request.goals).map(Together::Composed);
        let together = task.coded(request.goals).map(Together::Coded).or_else(composed)?;
        Some((Arc::clone(task), together))
    }

    fn check(&self, request: InferRequest, together: bool) -> Result<Checked, Failure> {
        let task = match self {
            Self::Model(served) => return check(request, served),
            Self::Task(task) => task,
        };
        let goals = task.goals(request.goals);
        let goals = if together { goals } else { task.bounded(goals) };
        let deadline = request.timeout.into_iter().chain(task.settings.task.slo).min();
        let mut checked = check(request, task.first())?;
        checked.inference.deadline = deadline;
        checked.inference.task = Some((task.id, goals));
        checked.inference.forms = task.forms.clone();
        Ok(checked)
    }

    fn refusal(
        &self,
        rejection: Rejection,
        goals: Goals,
        deadline: Option<Duration>,
        id: &str,
    ) -> Refusal {
        let variants = match (self, rejection) {
            (Self::Task(task), Rejection::GoalsImpossible { nearest }) => {
                task.member(nearest).map(|member| nearest_possible(task, task.claim(member), goals))
            }
            (Self::Task(task), Rejection::DeadlineUnreachable { soonest: Some(soonest), .. }) => {
                let by = |member: &Member| {
                    format!(" by '{}', the first to answer of the variants", member.served.model)
                };
                task.member(soonest).map(by)
            }
            _ => None,
        };
        refusal::explain(rejection, deadline, id, variants)
    }
}

/// How an answer is made of several.
enum Together {
    Composed(Composition),
    Coded(Arc<Coding>),
}

fn nearest_possible(task: &Task, claim: &models::VariantClaim, goals: Goals) -> String {
    let accuracy = goals.min_accuracy.map(|least| format!(" of accuracy {least} or more"));
    let cost = goals.max_cost.map(|most| format!(" of cost {most} or less"));
    format!(
        "task '{}' has no variant{}{}; the nearest is '{}' of accuracy {} and cost {}",
        task.name,
        accuracy.unwrap_or_default(),
        cost.unwrap_or_default(),
        claim.model.get_ref(),
        claim.accuracy,
        claim.cost
    )
}

/// Whoever answered a request.
enum Answers {
    Model(Arc<Served>),
    /// The member at that place among the served ones.
    Task(Arc<Task>, usize),
}

impl Answers {
    fn served(&self) -> &Served {
        match self {
            Self::Model(served) => served,
            Self::Task(task, place) => &task.members[*place].served,
        }
    }

    fn author(&self) -> Author<'_> {
        match self {
            Self::Model(served) => Author::from(&**served),
            Self::Task(task, place) => task.members[*place].author(),
        }
    }

    /// By what it keeps its answer.
    fn key(&self, key: Option<Key>) -> Option<Key> {
        match self {
            Self::Model(_) => key,
            Self::Task(task, place) => key.map(|key| kept_as(key, task, &task.members[*place])),
        }
    }

    /// What the client is told of it, and counted, where a task was asked for.
    fn chosen(&self, pick: Option<Pick>, took: Duration) -> Option<Box<Chosen>> {
        let Self::Task(task, place) = self else { return None };
        pick.map(|pick| chosen_of(task, *place, pick, took))
    }
}

/// By what a member keeps its answer to a task's request: not by that of a request to itself, where the answer is of
/// another form.
pub(super) fn kept_as(key: Key, task: &Task, member: &Member) -> Key {
    if member.adapter.is_some() { cache::adapted_key(key, task.id) } else { key }
}

/// What the client is told of the member that answered, and counted.
pub(super) fn chosen_of(task: &Task, place: usize, pick: Pick, took: Duration) -> Box<Chosen> {
    let member = &task.members[place];
    member.answers.increment(1);
    let claim = task.claim(member);
    Box::new(Chosen {
        model: member.served.model.clone(),
        version: member.served.version,
        accuracy: claim.accuracy,
        cost: claim.cost,
        reason: pick.because.map(Because::name),
        predicted: Some(pick.predicted),
        took,
        answer_id: task.given.give(pick),
        composed: None,
    })
}

/// When a request came, and what is counted of it already where it waited for an equal one.
pub(super) struct Start<'a> {
    pub(super) arrived: Instant,
    pub(super) waited: Option<Account<'a>>,
}

/// Counts a request whose client left before its end.
pub(super) struct Account<'a> {
    metrics: &'a ModelMetrics,
    clock: Clock,
    arrived: Instant,
    ended: bool,
}

impl<'a> Account<'a> {
    /// For a request of so many rows that came then.
    pub(super) fn open(
        metrics: &'a ModelMetrics,
        clock: Clock,
        arrived: Instant,
        rows: u32,
    ) -> Self {
        metrics.arrived(rows);
        Self { metrics, clock, arrived, ended: false }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.now().since(self.arrived)
    }

    /// The request got its answer.
    pub(super) fn answered(&mut self, timing: &RequestTiming, in_time: Option<bool>, rows: u32) {
        self.ended = true;
        self.metrics.answered(timing, self.elapsed(), in_time, rows);
    }

    /// Counts how a request of several variants ended.
    fn conclude(
        &mut self,
        ending: Ending,
        (rows, deadline): (u32, Option<Duration>),
        refusal: impl Fn(Rejection) -> Refusal,
    ) -> Result<InferResponse, Failure> {
        self.ended = true;
        let total = self.elapsed();
        match ending {
            Ending::Answered(response) => {
                let in_time = deadline.map(|deadline| total <= deadline);
                self.metrics.answered(&response.timing, total, in_time, rows);
                Ok(*response)
            }
            Ending::Refused(rejection) => {
                self.metrics.refused(&rejection, total);
                Err(Failure::Refused(refusal(rejection)))
            }
            Ending::Failed(text) => {
                self.metrics.failed(rows, total);
                Err(Failure::Internal(text))
            }
        }
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.cancelled(self.elapsed());
        }
    }
}
