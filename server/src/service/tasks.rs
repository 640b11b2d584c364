//! Tasks beside models: taken into service, and looked up like models.

use std::sync::Arc;
use std::time::Duration;

use models::TaskSettings;
use prost_reflect::{DynamicMessage, Value};
use serde_json::json;

use super::deciding::rules_json;
use super::{ModelMetadata, Service, types};
use crate::served::Served;
use crate::status::Failure;
use crate::tasks::{self, Member, Task};

impl Service {
    /// Takes a task into service, or a changed one in place of that of the same name.
    ///
    /// # Errors
    /// What of it cannot be, by file and line.
    pub fn install_task(&self, name: &str, settings: TaskSettings) -> Result<(), String> {
        let metrics = self.metrics.model(name, tasks::VERSION);
        self.tasks.declare(name, settings, metrics, (&self.catalog, &self.driver))
    }

    /// Takes a task out of service; false if there is none of that name.
    pub(super) fn withdraw_task(&self, name: &str) -> bool {
        let removed = self.tasks.remove(name, &self.driver);
        if removed {
            self.metrics.forget(name, tasks::VERSION);
        }
        removed
    }

    /// The version of a model.
    ///
    /// # Errors
    /// Unknown model or version; or the name is that of a task, of which something is asked that only models have.
    pub(super) fn served(&self, name: &str, version: Option<&str>) -> Result<Arc<Served>, Failure> {
        self.catalog.find(name, version).map_err(|unknown| {
            let Some(task) = self.tasks.find(name) else { return unknown };
            let variants: Vec<_> = task.members.iter().map(Member::label).collect();
            let variants = format!("its variants are {}; see GET /v2/tasks/{name}", variants.join(", "));
            match version.filter(|version| *version != tasks::VERSION) {
                Some(version) => Failure::NotFound(format!(
                    "Request for unknown model: '{name}' version {version} is not found: '{name}' is a task, which has version {} only; {variants}",
                    tasks::VERSION
                )),
                None => Failure::NotFound(format!("'{name}' is a task, not a model: {variants}")),
            }
        })
    }

    /// How many models are served, in how many versions, and how many tasks.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let served = self.catalog.all();
        let models: std::collections::BTreeSet<_> =
            served.iter().map(|served| served.model.as_str()).collect();
        [models.len(), served.len(), self.tasks.count()]
    }

    /// Inputs and outputs of a task, as of a model.
    pub(super) fn task_metadata(task: &Task) -> ModelMetadata {
        let signature = task.signature();
        ModelMetadata {
            name: task.name.clone(),
            versions: vec![tasks::VERSION.to_owned()],
            platform: "task",
            inputs: signature.inputs.iter().map(types::tensor).collect(),
            outputs: signature.outputs.iter().map(types::tensor).collect(),
        }
    }

    /// The configuration of a task: that of its first variant, under the task's name.
    pub(super) fn task_config(task: &Task) -> DynamicMessage {
        let mut message = task.first().config.message().clone();
        message.set_field_by_name("name", Value::String(task.name.clone()));
        message
    }

    /// The same in Triton's JSON form.
    pub(super) fn task_config_json(task: &Task) -> serde_json::Value {
        let mut config = task.first().config.to_json();
        config["name"] = task.name.clone().into();
        config
    }

    /// What `GET /v2/tasks/{t}` answers: the variants with profile and load, and who would answer now.
    ///
    /// # Errors
    /// Unknown task, or none of its variants is served.
    pub fn task_json(&self, name: &str) -> Result<serde_json::Value, Failure> {
        let task = self.found_task(name)?;
        let rules = &task.settings.task;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let variants: Vec<_> =
            task.members.iter().map(|member| self.member_json(&task, member)).collect();
        let mut shown = json!({
            "task": task.name,
            "policy": rules.policy.as_deref().unwrap_or(router::SELECTIONS[0].name),
            "answer": rules.answer,
            "rules": rules_json(&task),
            "slo_ms": rules.slo.map(ms),
            "defaults": {
                "objective": rules.objective, "min_accuracy": rules.min_accuracy, "max_cost": rules.max_cost,
                "max_accuracy_loss": rules.max_accuracy_loss,
            },
            "limits": { "accuracy_floor": rules.accuracy_floor, "cost_ceiling": rules.cost_ceiling },
            "variants": variants,
            "now": self.now_json(&task),
        });
        if rules.policy.as_deref() == Some("planned") {
            shown["plan"] = self.plan_json(&task);
        }
        Ok(shown)
    }

    /// What the latest plan says of a task; null before there is one.
    fn plan_json(&self, task: &Task) -> serde_json::Value {
        let Some((ago, plan)) = self.driver.plan() else { return serde_json::Value::Null };
        let Some(own) = plan.tasks.iter().find(|own| own.task == task.id) else {
            return serde_json::Value::Null;
        };
        let ids =
            |kind: usize| plan.kinds[kind].executors.iter().map(|id| id.0).collect::<Vec<_>>();
        let part = |&(variant, kind, rate): &(_, usize, f64)| {
            let member = task.member(variant)?;
            Some(json!({
                "model": member.served.model,
                "version": member.served.version.to_string(),
                "executors": ids(kind),
                "rows_per_second": rate,
                "share": rate / own.answered,
            }))
        };
        let used = |kind: &usize| own.parts.iter().any(|(_, used, _)| used == kind);
        let load = |kind: usize| json!({ "executors": ids(kind), "load": plan.kinds[kind].load });
        json!({
            "made_ms_ago": ago.as_secs_f64() * 1e3,
            "asked_rows_per_second": own.rate,
            "answered_rows_per_second": own.answered,
            "accuracy": own.accuracy,
            "shares": own.parts.iter().filter_map(part).collect::<Vec<_>>(),
            "loads": (0..plan.kinds.len()).filter(used).map(load).collect::<Vec<_>>(),
        })
    }

    /// The task of that name, some variant of which is served.
    pub(super) fn found_task(&self, name: &str) -> Result<Arc<Task>, Failure> {
        let unknown =
            || Failure::NotFound(format!("Request for unknown task: '{name}' is not found"));
        self.tasks.find(name).ok_or_else(unknown)
    }

    fn member_json(&self, task: &Task, member: &Member) -> serde_json::Value {
        let claim = task.claim(member);
        let (waiting, prediction) = self.driver.view(member.served.variant);
        let label = member.label();
        let answers = task.metrics.by_variant().into_iter().find(|(variant, _)| *variant == label);
        let verdict = task.metrics.verdicts().into_iter().find(|(variant, ..)| *variant == label);
        let (told, loss) = verdict.map_or((0, 0.0), |(_, told, loss)| (told, loss));
        let devices: Vec<_> = claim.devices.iter().map(toml_text).collect();
        let mut shown = json!({
            "model": member.served.model,
            "version": member.served.version.to_string(),
            "precision": claim.precision,
            "accuracy": claim.accuracy,
            "metric": claim.metric,
            "source": claim.source,
            "cost": claim.cost,
            "devices": devices,
            "adapted": member.adapter.is_some(),
            "answers": answers.map_or(0, |(_, answers)| answers),
            "feedback": { "answers": told, "mean_loss": (told > 0).then(|| loss / told as f64) },
            "profile": types::profile_json(&member.served, waiting, prediction),
        });
        if let Some(places) = self.places_json(member.served.variant) {
            shown["placement"] = places;
        }
        shown
    }
}

fn toml_text(text: &toml::Spanned<String>) -> &str {
    text.get_ref()
}
