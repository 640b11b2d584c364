//! A task: a folder whose punctual.toml names several models that give the same kind of answer.

mod adapt;
mod answer;
mod coded;
mod sense;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

pub use self::adapt::{AdaptRules, StepClaim};
pub use self::answer::{
    AnswerMode, CascadeTier, ConfidenceRules, EnsembleRules, HedgeRules, Measure, Scores,
    StageClaim, VOTE_WEIGHT_MAX, VoterClaim, vote_weight,
};
pub use self::coded::{CODED_GROUP_MAX, CodedRules};
use crate::complaint::{complaint, line_of};
use crate::duration::deserialize_duration_option;
use crate::{Accuracy, CatalogError, Cost, Goals, Objective, Signature};

/// Variants of a task; more are a mistake, and deciding among them takes longer than a request may wait for it.
const VARIANTS_MAX: usize = 200;

/// What punctual.toml of a task says. `models/task.example.toml` shows each key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// What holds for all requests.
    #[serde(default)]
    pub task: TaskRules,
    /// Who can answer.
    #[serde(rename = "variant")]
    pub variants: Vec<VariantClaim>,
    /// Where they say how sure they are.
    pub confidence: Option<ConfidenceRules>,
    /// The cascades that answer, where `answer` says so: one for each loss of accuracy that requests may allow.
    #[serde(default)]
    pub cascade: Vec<CascadeTier>,
    /// The ensemble that answers, where `answer` says so.
    pub ensemble: Option<EnsembleRules>,
    /// When a second is asked, where `answer` says so.
    pub hedge: Option<HedgeRules>,
    /// The linear model whose requests share parity requests, where `answer` says so.
    pub coded: Option<CodedRules>,
    #[serde(skip)]
    file: String,
    #[serde(skip)]
    text: String,
}

/// Defaults and floors of the goals of a task's requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskRules {
    /// How a variant is chosen for a request that states no objective; the server's first policy by default.
    pub policy: Option<String>,
    /// How many variants answer a request.
    pub answer: AnswerMode,
    /// Within which time of its arrival an answer is useful. Requests may ask for less.
    #[serde(deserialize_with = "deserialize_duration_option")]
    pub slo: Option<Duration>,
    /// For requests that state none.
    pub objective: Option<Objective>,
    /// For requests that state none.
    pub min_accuracy: Option<Accuracy>,
    /// For requests that state none.
    pub max_cost: Option<Cost>,
    /// For requests that state none: how much less accurate than the best variant a cascade may be.
    pub max_accuracy_loss: Option<Accuracy>,
    /// Whatever a request states, no variant below it answers.
    pub accuracy_floor: Option<Accuracy>,
    /// Whatever a request states, no variant above it answers.
    pub cost_ceiling: Option<Cost>,
}

/// One model that can answer, and what is claimed of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantClaim {
    /// The model's name in the repository.
    pub model: Spanned<String>,
    /// Which version; the newest by default.
    pub version: Option<u64>,
    /// Of its numbers, for people: `fp32`, `int8`.
    pub precision: Option<String>,
    /// How often it is right.
    pub accuracy: Accuracy,
    /// What that is the share of: `top-1`.
    pub metric: String,
    /// Who measured it, on what.
    pub source: String,
    /// What an answer costs next to the others'.
    #[serde(default = "one")]
    pub cost: Cost,
    /// On which kinds of device it is meant to run: `cpu`, `cuda`, `emulated`; any by default.
    #[serde(default)]
    pub devices: Vec<Spanned<String>>,
    /// How it answers though its inputs or outputs have other names, shapes or types than the task's.
    pub adapt: Option<AdaptRules>,
    /// There is no executor of its `devices` here, so that it does not answer.
    #[serde(skip)]
    pub elsewhere: bool,
}

fn one() -> Cost {
    Cost::try_from(1.0).expect("1 is a cost")
}

/// The kinds of device that a variant may name.
const DEVICES: [&str; 3] = ["cpu", "cuda", "emulated"];

impl TaskSettings {
    /// Whether a punctual.toml is that of a task: it has a table `task` or an array `variant`.
    #[must_use]
    pub fn is_task(text: &str) -> bool {
        DeTable::parse(text).is_ok_and(|table| {
            ["task", "variant"].iter().any(|key| table.get_ref().contains_key(*key))
        })
    }

    /// Reads the punctual.toml of a task; `file` is for messages.
    ///
    /// # Errors
    /// Names file, line, key and what is allowed.
    pub fn from_text(file: &str, text: &str) -> Result<Self, CatalogError> {
        let mut settings: Self = toml::from_str(text).map_err(|error| {
            let (line, reason) = complaint(text, &error);
            CatalogError::Settings { file: file.to_owned(), line, reason }
        })?;
        (settings.file, settings.text) = (file.to_owned(), text.to_owned());
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), CatalogError> {
        let start = 0..0;
        if self.variants.is_empty() {
            return Err(self.wrong(&start, "`variant` must be there at least once".into()));
        }
        if self.variants.len() > VARIANTS_MAX {
            let count = self.variants.len();
            let reason = format!("`variant` is there {count} times, at most {VARIANTS_MAX} are");
            return Err(self.wrong(&start, reason));
        }
        if self.task.slo.is_some_and(|slo| slo.is_zero()) {
            return Err(self.wrong(&self.key("slo"), "`slo` must be above 0".into()));
        }
        let mut seen = BTreeSet::new();
        for variant in &self.variants {
            let name = variant.model.get_ref();
            if !seen.insert((name, variant.version)) {
                let reason = format!("`model`: '{name}' is a variant of this task twice");
                return Err(self.wrong(&variant.model.span(), reason));
            }
            for device in &variant.devices {
                if !DEVICES.contains(&device.get_ref().as_str()) {
                    let (known, found) = (DEVICES.join(", "), device.get_ref());
                    let reason = format!("`devices`: expected some of {known}, found '{found}'");
                    return Err(self.wrong(&device.span(), reason));
                }
            }
        }
        let least = self.limits();
        if !self.variants.iter().any(|variant| least.allow(variant.accuracy, variant.cost)) {
            let reason = "no variant is above `accuracy_floor` and below `cost_ceiling`";
            return Err(self.wrong(&self.key("task"), reason.into()));
        }
        if self.variants.iter().all(|variant| variant.adapt.is_some()) {
            let reason = "`adapt`: every variant has it; the inputs and outputs of the task are those of the first without";
            return Err(self.wrong(&self.variants[0].model.span(), reason.into()));
        }
        self.check_answer()?;
        self.check_sense()
    }

    /// Holds the variants against the repository: `kind` says what has that name in it.
    ///
    /// # Errors
    /// The first that is no model, by file and line.
    pub fn check_models(&self, kind: impl Fn(&str) -> Named) -> Result<(), CatalogError> {
        for variant in &self.variants {
            let name = variant.model.get_ref();
            let reason = match kind(name) {
                Named::Model => continue,
                Named::Task => format!(
                    "`model`: '{name}' is a task; a task's variants are models, or tasks could go round in circles"
                ),
                Named::Nothing => format!("`model`: '{name}' is in no repository"),
            };
            return Err(self.wrong(&variant.model.span(), reason));
        }
        Ok(())
    }

    /// Holds the signature of one of the variants' models against that of another.
    fn check_signatures(
        &self,
        (first, signature): (usize, &Signature),
        (second, other): (usize, &Signature),
    ) -> Result<(), CatalogError> {
        let Some(difference) = signature.difference(other) else { return Ok(()) };
        let name = |index: usize| self.variants[index].model.get_ref();
        let reason = format!(
            "`model`: '{}' does not fit '{}', the first variant: {difference}",
            name(second),
            name(first)
        );
        Err(self.wrong(&self.variants[second].model.span(), reason))
    }

    /// What no request can leave.
    #[must_use]
    pub fn limits(&self) -> Goals {
        let TaskRules { accuracy_floor, cost_ceiling, .. } = self.task;
        Goals { min_accuracy: accuracy_floor, max_cost: cost_ceiling, ..Goals::default() }
    }

    /// A request's goals with the task's defaults in place of those not stated, within the task's limits.
    #[must_use]
    pub fn goals(&self, asked: Goals) -> Goals {
        let rules = &self.task;
        Goals {
            min_accuracy: asked.min_accuracy.or(rules.min_accuracy).max(rules.accuracy_floor),
            max_cost: asked.max_cost.or(rules.max_cost).into_iter().chain(rules.cost_ceiling).min(),
            objective: asked.objective.or(rules.objective),
            max_accuracy_loss: asked.max_accuracy_loss.or(rules.max_accuracy_loss),
        }
    }

    /// The error that a key of the table `task` holds what cannot be.
    #[must_use]
    pub fn wrong_at(&self, key: &str, reason: String) -> CatalogError {
        self.wrong(&self.key(key), reason)
    }

    fn key(&self, key: &str) -> std::ops::Range<usize> {
        let found = DeTable::parse(&self.text).ok().and_then(|table| {
            let (name, value) = table.get_ref().get_key_value("task")?;
            let inner = value.get_ref().as_table().and_then(|table| table.get_key_value(key));
            Some(inner.map_or(name.span(), |(name, _)| name.span()))
        });
        found.unwrap_or_default()
    }

    fn wrong(&self, span: &std::ops::Range<usize>, reason: String) -> CatalogError {
        let (file, line) = (self.file.clone(), line_of(&self.text, span.start));
        CatalogError::Settings { file, line, reason }
    }
}

/// What a name stands for in a model repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A model.
    Model,
    /// A task.
    Task,
    /// Nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, Dim, TensorSpec};

    fn read(text: &str) -> Result<TaskSettings, CatalogError> {
        TaskSettings::from_text("digits/punctual.toml", text)
    }

    fn two() -> TaskSettings {
        let variant = |name: &str| {
            format!(
                "[[variant]]\nmodel = \"{name}\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n"
            )
        };
        read(&[variant("a"), variant("b")].concat()).unwrap()
    }

    #[test]
    fn the_example_file_is_a_task_with_all_keys() {
        let example = include_str!("../task.example.toml");
        assert!(TaskSettings::is_task(example));
        assert!(!TaskSettings::is_task(include_str!("../punctual.example.toml")));
        let task = read(example).unwrap();
        assert_eq!(task.task.slo, Some(Duration::from_millis(30)));
        assert_eq!(task.task.policy.as_deref(), Some("most_accurate_in_time"));
        assert!(task.task.min_accuracy.is_some() && task.task.max_cost.is_some());
        assert!(task.task.accuracy_floor.is_some() && task.task.cost_ceiling.is_some());
        assert_eq!((task.task.answer, task.cascade.len()), (AnswerMode::Cascade, 1));
        assert!(task.task.max_accuracy_loss.is_some() && task.confidence.is_some());
        assert!(task.ensemble.is_some() && task.hedge.is_some() && task.coded.is_some());
        assert_eq!(task.task.objective, Some(Objective::Accuracy));
        assert_eq!(task.variants.len(), 3);
        assert!(task.variants[1].adapt.is_some());
        let variant = &task.variants[0];
        assert_eq!(f64::from(variant.accuracy), 0.9699);
        assert!(variant.version.is_some() && variant.precision.is_some());
        assert_eq!(variant.devices[0].get_ref(), "cpu");
    }

    #[test]
    fn every_error_names_file_line_and_key() {
        let rest = "metric = \"m\"\nsource = \"s\"\n";
        let table = [
            ("[task]".into(), "1: missing field `variant`"),
            ("variant = []\n[task]".into(), "1: `variant` must be there at least once"),
            (
                format!("[[variant]]\nmodel = \"a\"\naccuracy = 1.7\n{rest}"),
                "3: `accuracy`: expected a share from 0 to 1, found 1.7",
            ),
            (
                format!("[[variant]]\nmodel = \"a\"\naccuracy = 0.9\ncost = -1.0\n{rest}"),
                "4: `cost`: expected a cost from 0 to 1000000, found -1",
            ),
            (
                format!(
                    "[task]\npolcy = \"x\"\n[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}"
                ),
                "2: unknown field `polcy`, expected one of `policy`, `answer`, `slo`, `objective`, `min_accuracy`, `max_cost`, `max_accuracy_loss`, `accuracy_floor`, `cost_ceiling`",
            ),
            (
                format!(
                    "[task]\nslo = \"0ms\"\n[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}"
                ),
                "2: `slo` must be above 0",
            ),
            (
                format!(
                    "[task]\nobjective = \"speed\"\n[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}"
                ),
                "2: `objective`: unknown variant `speed`, expected one of `accuracy`, `latency`, `cost`",
            ),
            (
                format!(
                    "[[variant]]\nmodel = \"a\"\naccuracy = 0.9\ndevices = [\"cpu\", \"tpu\"]\n{rest}"
                ),
                "4: `devices`: expected some of cpu, cuda, emulated, found 'tpu'",
            ),
            (
                format!(
                    "[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}[[variant]]\nmodel = \"a\"\naccuracy = 0.8\n{rest}"
                ),
                "7: `model`: 'a' is a variant of this task twice",
            ),
            (
                format!(
                    "[task]\naccuracy_floor = 0.95\n[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}"
                ),
                "1: no variant is above `accuracy_floor` and below `cost_ceiling`",
            ),
            (
                format!("[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}adapt = {{}}\n"),
                "2: `adapt`: every variant has it; the inputs and outputs of the task are those of the first without",
            ),
            (
                format!(
                    "[[variant]]\nmodel = \"a\"\naccuracy = 0.9\n{rest}adapt.inputs = [{{ to = \"x\" }}]\n"
                ),
                "6: missing field `from`",
            ),
        ];
        for (text, sentence) in table {
            let error = read(&text).unwrap_err().to_string();
            assert_eq!(error, format!("digits/punctual.toml:{sentence}"), "{text}");
        }
    }

    #[test]
    fn a_variant_that_is_no_model_is_refused_by_its_line() {
        let task = two();
        let error = |named: Named| {
            let kind = |name: &str| if name == "b" { named } else { Named::Model };
            task.check_models(kind).map_err(|error| error.to_string())
        };
        assert_eq!(error(Named::Model), Ok(()));
        let text = error(Named::Nothing).unwrap_err();
        assert_eq!(text, "digits/punctual.toml:7: `model`: 'b' is in no repository");
        let text = error(Named::Task).unwrap_err();
        assert!(text.starts_with("digits/punctual.toml:7: `model`: 'b' is a task"), "{text}");
    }

    #[test]
    fn variants_of_other_inputs_or_outputs_are_refused_with_what_differs() {
        let signature = |width| {
            let dims = vec![Dim::Any(None), Dim::Fixed(width)];
            let input = TensorSpec { name: "x".into(), datatype: DataType::Fp32, dims };
            Signature { inputs: vec![input], outputs: Vec::new(), batched: true }
        };
        let task = two();
        assert_eq!(task.check_signatures((0, &signature(64)), (1, &signature(64))), Ok(()));
        let error = task.check_signatures((0, &signature(64)), (1, &signature(65))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "digits/punctual.toml:7: `model`: 'b' does not fit 'a', the first variant: input 'x' is FP32 [-1, 64] there and FP32 [-1, 65] here"
        );
    }

    #[test]
    fn a_request_gets_the_defaults_and_cannot_leave_the_limits() {
        let share = |share: f64| Accuracy::try_from(share).ok();
        let cost = |cost: f64| Cost::try_from(cost).ok();
        let mut task = two();
        task.task.min_accuracy = share(0.8);
        task.task.accuracy_floor = share(0.7);
        task.task.cost_ceiling = cost(5.0);
        let asked = |min_accuracy, max_cost| {
            let goals = task.goals(Goals { min_accuracy, max_cost, ..Goals::default() });
            (goals.min_accuracy, goals.max_cost)
        };
        assert_eq!(asked(None, None), (share(0.8), cost(5.0)));
        assert_eq!(asked(share(0.5), cost(9.0)), (share(0.7), cost(5.0)));
        assert_eq!(asked(share(0.9), cost(2.0)), (share(0.9), cost(2.0)));
    }
}
