//! Tasks of a world: which models answer them, and who answered.

use std::time::Duration;

use batcher::RequestId;
use models::{Goals, TaskId, VariantId};
use router::{Choice, Event, SELECTIONS, Shape, TaskSpec, mix};

use super::{Happening, World, variant};
use crate::scenario::Answers;
use crate::{Scenario, ScenarioError, Violation};

/// The tasks of a world.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    names: Vec<String>,
    /// By model, the task whose requests its clients send.
    of: Vec<Option<TaskId>>,
    policy: String,
}

impl Tasks {
    /// Of models in order, each with what it answers.
    pub(super) fn new<'a>(
        scenario: &Scenario,
        answers: impl Iterator<Item = Option<&'a Answers>>,
    ) -> Result<Self, ScenarioError> {
        let policy = scenario.router.selection.clone();
        let policy = policy.unwrap_or_else(|| SELECTIONS[0].name.to_owned());
        if !SELECTIONS.iter().any(|entry| entry.name == policy) {
            let known: Vec<_> = SELECTIONS.iter().map(|entry| entry.name).collect();
            return Err(ScenarioError::Policy(format!(
                "unknown selection policy {policy:?}; known are: {}",
                known.join(", ")
            )));
        }
        let mut tasks = Self { policy, ..Self::default() };
        for answers in answers {
            let task = answers.map(|answers| tasks.number(&answers.task));
            tasks.of.push(task);
        }
        Ok(tasks)
    }

    fn number(&mut self, name: &str) -> TaskId {
        let known = self.names.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        TaskId(u32::try_from(place).expect("a scenario has few tasks"))
    }

    /// The task of that name.
    pub(super) fn named(&self, name: &str) -> Option<TaskId> {
        let place = self.names.iter().position(|known| known == name)?;
        u32::try_from(place).ok().map(TaskId)
    }

    /// The task that the clients of a model ask for; `None` where they ask for the model.
    pub(super) fn asked_by(&self, model: usize) -> Option<TaskId> {
        self.of[model]
    }
}

impl World {
    /// Brings the tasks into service, once their models are.
    pub(super) fn begin_tasks(&mut self) -> Result<(), Violation> {
        for (place, _) in (0_u32..).zip(0..self.tasks.names.len()) {
            let task = TaskId(place);
            let members = self.models.iter().enumerate();
            let members = members.filter(|(index, _)| self.tasks.of[*index] == Some(task));
            let choice = |(index, model): (usize, &super::Model)| {
                let answers = model.spec.answers.as_ref()?;
                let Answers { accuracy, cost, .. } = *answers;
                Some(Choice { variant: variant(index), accuracy, cost })
            };
            let choices = members.filter_map(choice).collect();
            let spec = TaskSpec { task, policy: self.tasks.policy.clone(), choices };
            self.feed(Event::TaskLoaded { spec: Box::new(spec) })?;
        }
        if self.router.survey(self.now).is_some() {
            self.push(self.now + mix::EPOCH, Happening::Mix);
        }
        Ok(())
    }

    /// Plans the shares of variants, in no virtual time.
    pub(super) fn plan_mix(&mut self) -> Result<(), Violation> {
        if self.now + mix::EPOCH < self.until {
            self.push(self.now + mix::EPOCH, Happening::Mix);
        }
        match self.router.survey(self.now) {
            Some(survey) => self.feed(Event::MixPlanned { mix: survey.plan() }),
            None => Ok(()),
        }
    }

    /// What the clients of a model ask of the router.
    pub(super) fn arrival(&self, model: usize, request: batcher::Request, shape: Shape) -> Event {
        match self.tasks.asked_by(model) {
            None => Event::RequestArrived { request, variant: variant(model), shape },
            Some(task) => Event::TaskArrived { request, task, goals: Goals::default(), shape },
        }
    }

    /// From now on a task's request is one of the variant that answers it.
    pub(super) fn chosen(&mut self, id: RequestId, by: VariantId, predicted: Duration) {
        let Some(asked) = self.asked.get_mut(id.0) else { return };
        let (before, counted) = (asked.model, asked.arrived >= self.counted_from);
        asked.model = by.index();
        if let Some(part) = asked.part {
            self.chosen_part(part, by, predicted);
            return;
        }
        self.report.models[before].offered -= u64::from(counted);
        self.report.models[by.index()].offered += u64::from(counted);
    }
}
