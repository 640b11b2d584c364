//! What decides over a task's answers, and what it would decide now: parts of `GET /v2/tasks/{t}`.

use models::{AnswerMode, Goals, Objective};
use serde_json::{Map, Value, json};

use super::Service;
use crate::tasks::{Composition, Task};

/// The tables by which a task is answered by more than one variant; null where one answers.
pub(super) fn rules_json(task: &Task) -> Value {
    let settings = &task.settings;
    match settings.task.answer {
        AnswerMode::One => Value::Null,
        AnswerMode::Cascade => {
            json!({ "confidence": confidence_json(task), "cascades": cascades_json(task) })
        }
        AnswerMode::Ensemble => {
            json!({ "confidence": confidence_json(task), "ensemble": ensemble_json(task) })
        }
        AnswerMode::Hedged => {
            let patience = settings.hedge.as_ref().map(|hedge| *hedge.patience.get_ref());
            json!({ "hedge": { "patience": patience } })
        }
        AnswerMode::Coded => {
            let coded = settings.coded.as_ref().map(|coded| {
                json!({
                    "group": coded.group.get_ref(),
                    "model": coded.model.get_ref(),
                    "parity": coded.parity(),
                    "seen_linear": task.coding.is_some(),
                })
            });
            json!({ "coded": coded })
        }
    }
}

fn confidence_json(task: &Task) -> Value {
    let rules = task.settings.confidence.as_ref().map(|rules| {
        json!({ "output": rules.output.get_ref(), "scores": rules.scores, "measure": rules.measure })
    });
    rules.unwrap_or_default()
}

fn cascades_json(task: &Task) -> Vec<Value> {
    let stage = |stage: &models::StageClaim| {
        let threshold = stage.threshold.as_ref().map(|threshold| f64::from(*threshold.get_ref()));
        json!({ "model": stage.model.get_ref(), "threshold": threshold })
    };
    let tier = |tier: &models::CascadeTier| {
        json!({
            "loss": tier.loss.get_ref(),
            "accuracy": tier.accuracy,
            "source": tier.source,
            "stages": tier.stages.iter().map(stage).collect::<Vec<_>>(),
        })
    };
    task.settings.cascade.iter().map(tier).collect()
}

fn ensemble_json(task: &Task) -> Option<Value> {
    let rules = task.settings.ensemble.as_ref()?;
    let voter = |voter: &models::VoterClaim| {
        let weight = f64::from(task.settings.weight(voter)) / 1e3;
        json!({ "model": voter.model.get_ref(), "weight": weight })
    };
    Some(json!({
        "members": rules.members.iter().map(voter).collect::<Vec<_>>(),
        "at_once": rules.at_once,
        "agreement": rules.agreement.map(f64::from),
        "accuracy": rules.accuracy,
        "source": rules.source,
    }))
}

impl Service {
    /// Who would answer a request of one row that states nothing, and one that states an objective and no more.
    pub(super) fn now_json(&self, task: &Task) -> Map<String, Value> {
        let stated = Objective::ALL.iter().map(|&(name, objective)| {
            let goals = Goals { objective: Some(objective), ..Goals::default() };
            (name.to_owned(), self.answer_json(task, goals))
        });
        let plain = ("plain".to_owned(), self.answer_json(task, Goals::default()));
        std::iter::once(plain).chain(stated).collect()
    }

    fn answer_json(&self, task: &Task, asked: Goals) -> Value {
        let model = |place: usize| task.members[place].served.model.as_str();
        if let Some(coding) = task.coded(asked) {
            let (own, parity) = (model(coding.model), model(coding.parity));
            return json!({ "answer": AnswerMode::Coded, "model": own, "parity": parity });
        }
        let Some(composition) = task.composition(asked) else {
            let mut one = self.choice_json(task, task.bounded(task.goals(asked)));
            one["answer"] = json!(AnswerMode::One);
            return one;
        };
        let mode = json!(task.settings.task.answer);
        match composition.goals_of(0) {
            Some(goals) => {
                let mut first = self.choice_json(task, goals);
                first["answer"] = mode;
                first
            }
            None => together_json(task, &composition, mode),
        }
    }

    fn choice_json(&self, task: &Task, goals: Goals) -> Value {
        match self.driver.preview(task.id, goals, task.settings.task.slo) {
            Ok((variant, predicted, because)) => {
                let model = task.member(variant).map(|member| member.served.model.clone());
                let predicted_ms = predicted.as_secs_f64() * 1e3;
                json!({ "model": model, "predicted_ms": predicted_ms, "reason": because.name() })
            }
            Err(rejection) => json!({ "refused": rejection.name() }),
        }
    }
}

fn together_json(task: &Task, composition: &Composition, mode: Value) -> Value {
    let model = |place: usize| task.members[place].served.model.as_str();
    let models: Vec<_> = composition.members().into_iter().map(model).collect();
    json!({ "answer": mode, "models": models, "accuracy": composition.accuracy })
}
