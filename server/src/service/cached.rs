//! Requests that an answer to an equal one serves: kept, or under way.

use std::sync::Arc;
use std::time::Duration;

use batcher::Instant;
use router::Because;

use super::Service;
use super::inference::{Account, Start, Target, chosen_of, kept_as};
use crate::cache::{self, Answer, Cache, Join, Key, Turn, Urgency};
use crate::driver::Pick;
use crate::infer::{Cached, InferRequest, InferResponse, RequestTiming};
use crate::served::Served;
use crate::status::Failure;
use crate::tasks::Task;

impl Service {
    /// Runs an inference of a model whose answers are kept, unless an equal one serves it.
    pub(super) async fn infer_cached(
        &self,
        served: Arc<Served>,
        cache: &Arc<Cache>,
        request: InferRequest,
        arrived: Instant,
    ) -> Result<InferResponse, Failure> {
        let key = cache::key(&request);
        let within = within(&request, &served);
        let urgency = Urgency {
            deadline: within.map_or(Instant::NEVER, |within| arrived + within),
            priority: served.level(request.priority),
        };
        let id = request.id.clone();
        match cache.turn(key, urgency) {
            Turn::Hit(answer) => {
                let mut account = Account::open(&served.metrics, self.clock, arrived, answer.rows);
                Ok(serve(&served, &answer, (id, within), (Cached::Hit, &mut account)))
            }
            Turn::Join(join) => self.follow_equal(&served, cache, request, (arrived, join)).await,
            Turn::Lead(lead) => {
                let start = Start { arrived, waited: None };
                let (response, rows) = self.run(Target::Model(served), request, start).await?;
                lead.answered(Answer::copied(&response.outputs, rows));
                Ok(response)
            }
        }
    }

    /// Waits for the answer to an equal request; without one, runs in the time that is left.
    async fn follow_equal(
        &self,
        served: &Arc<Served>,
        cache: &Arc<Cache>,
        mut request: InferRequest,
        (arrived, join): (Instant, Join),
    ) -> Result<InferResponse, Failure> {
        let within = within(&request, served);
        let mut account = Account::open(&served.metrics, self.clock, arrived, 0);
        if let Some(answer) = join.answer().await {
            cache.joined();
            served.metrics.arrived_rows(answer.rows);
            let asked = (request.id, within);
            return Ok(serve(served, &answer, asked, (Cached::Joined, &mut account)));
        }
        cache.missed();
        request.timeout = within.map(|within| within.saturating_sub(account.elapsed()));
        let start = Start { arrived, waited: Some(account) };
        let target = Target::Model(Arc::clone(served));
        Ok(self.run(target, request, start).await?.0)
    }

    /// The answer that the most accurate variant which may answer a task's request has kept.
    pub(super) fn kept_for_task(
        &self,
        task: &Arc<Task>,
        request: &InferRequest,
        arrived: Instant,
    ) -> Option<InferResponse> {
        if task.members.iter().all(|member| member.served.cache.is_none()) {
            return None;
        }
        let goals = task.goals(request.goals);
        let claim = |place: &usize| task.claim(&task.members[*place]);
        let places = (0..task.members.len())
            .filter(|place| goals.allow(claim(place).accuracy, claim(place).cost));
        let best = places.max_by_key(|place| (claim(place).accuracy, std::cmp::Reverse(*place)))?;
        let member = &task.members[best];
        let served = &member.served;
        let kept = served.cache.as_ref()?;
        let answer = kept.kept(&kept_as(cache::key(request), task, member))?;
        let within = request.timeout.into_iter().chain(task.settings.task.slo).min();
        let mut account = Account::open(&task.metrics, self.clock, arrived, answer.rows);
        let told = (Cached::Hit, &mut account);
        let response = serve(served, &answer, (request.id.clone(), within), told);
        let because = Some(Because::MostAccurate);
        let (variant, predicted) = (served.variant, Duration::ZERO);
        let pick = Pick { variant, predicted, draw: None, because };
        let choice = Some(chosen_of(task, best, pick, account.elapsed()));
        let (model, version) = (task.name.clone(), crate::tasks::VERSION.to_owned());
        Some(InferResponse { model, version, choice, ..response })
    }

    /// Keeps what a variant answered to a task's request.
    pub(super) fn keep(served: &Served, key: Option<Key>, response: &InferResponse, rows: u32) {
        if let Some((cache, key)) = served.cache.as_ref().zip(key) {
            cache.missed();
            cache.keep(key, Answer::copied(&response.outputs, rows));
        }
    }
}

/// The time that a request has, from its arrival.
fn within(request: &InferRequest, served: &Served) -> Option<Duration> {
    request.timeout.into_iter().chain(served.slo.map(|slo| slo.latency)).min()
}

/// Answers a request by the answer to an equal one, and counts it.
fn serve(
    served: &Served,
    answer: &Answer,
    (id, within): (String, Option<Duration>),
    (cached, account): (Cached, &mut Account<'_>),
) -> InferResponse {
    let took = account.elapsed();
    let timing = RequestTiming { queue: took, ..RequestTiming::default() };
    account.answered(&timing, within.map(|within| took <= within), answer.rows);
    InferResponse {
        model: served.model.clone(),
        version: served.version.to_string(),
        id,
        outputs: answer.outputs.clone(),
        timing,
        choice: None,
        cached: Some(cached),
    }
}
