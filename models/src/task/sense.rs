//! What of a task's file can be read and cannot be meant, and what of it has no effect.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use super::{AnswerMode, TaskSettings};
use crate::{Accuracy, CascadeTier, CatalogError};

impl TaskSettings {
    /// Refuses claims that contradict each other, and those without a source.
    pub(super) fn check_sense(&self) -> Result<(), CatalogError> {
        for (place, variant) in self.variants.iter().enumerate() {
            for (key, text, what) in [
                ("source", &variant.source, "who measured the accuracy, on what"),
                ("metric", &variant.metric, "what the accuracy is the share of"),
            ] {
                if text.trim().is_empty() {
                    let reason = format!("`{key}` is empty; it must say {what}");
                    return Err(self.wrong_of_variant(place, key, reason));
                }
            }
        }
        let ensemble = self.ensemble.as_ref().map(|ensemble| &ensemble.source);
        let tiers = self.cascade.iter().map(|tier| ("cascade", &tier.source));
        for (place, (table, source)) in
            tiers.chain(ensemble.map(|source| ("ensemble", source))).enumerate()
        {
            if source.trim().is_empty() {
                let reason = "`source` is empty; it must say who measured the accuracy, on what";
                return Err(self.wrong(&self.key_of(table, place, "source"), reason.into()));
            }
        }
        for (place, tier) in self.cascade.iter().enumerate() {
            self.check_claims(place, tier)?;
        }
        self.check_reach()
    }

    /// Holds a cascade's accuracy and order against what is claimed of its variants.
    fn check_claims(&self, place: usize, tier: &CascadeTier) -> Result<(), CatalogError> {
        let claim = |model: &str| {
            let place = self.place_of(model).expect("stages are checked to be variants");
            self.variants[place].accuracy
        };
        let names = || tier.stages.iter().map(|stage| stage.model.get_ref());
        let (Some(last), Some(least)) = (tier.stages.last(), names().map(|name| claim(name)).min())
        else {
            return Ok(());
        };
        let most = claim(last.model.get_ref());
        if let Some(better) = names().find(|name| claim(name) > most) {
            let reason = format!(
                "`stages`: '{}' of accuracy {most} is asked last, after '{better}' of accuracy {}; the last must be the most accurate",
                last.model.get_ref(),
                claim(better)
            );
            return Err(self.wrong(&last.model.span(), reason));
        }
        let kept = f64::from(least) * (1.0 - f64::from(*tier.loss.get_ref()));
        let least = Accuracy::try_from(kept).expect("a product of shares is a share");
        if (least..=most).contains(&tier.accuracy) {
            return Ok(());
        }
        let reason = format!(
            "`accuracy` of the cascade is {}; it must be from {least}, its least accurate stage's less the loss, to {most}, its last stage's",
            tier.accuracy
        );
        Err(self.wrong(&self.key_of("cascade", place, "accuracy"), reason))
    }

    /// Whether a request that states no goals can be answered.
    fn check_reach(&self) -> Result<(), CatalogError> {
        let limits = self.limits();
        let allowed = self.variants.iter().filter(|one| limits.allow(one.accuracy, one.cost));
        let ensemble = self.ensemble.as_ref().filter(|_| self.task.answer == AnswerMode::Ensemble);
        let together = ensemble.map(|ensemble| ensemble.accuracy);
        let best = allowed.clone().map(|one| one.accuracy).chain(together).max();
        if let (Some(least), Some(best)) = (self.task.min_accuracy, best)
            && least > best
        {
            let reason = format!("`min_accuracy` is {least}, and no variant is above {best}");
            return Err(self.wrong_at("min_accuracy", reason));
        }
        let cheapest = allowed.map(|one| one.cost).min();
        if let (Some(most), Some(cheapest)) = (self.task.max_cost, cheapest)
            && most < cheapest
        {
            let reason = format!("`max_cost` is {most}, and no variant costs less than {cheapest}");
            return Err(self.wrong_at("max_cost", reason));
        }
        Ok(())
    }

    /// Sentences on what has no effect or compares what cannot be compared, by file, line and key.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let answer = self.task.answer;
        let both = matches!(answer, AnswerMode::Cascade | AnswerMode::Ensemble);
        let tables = [
            ("confidence", self.confidence.is_some() && !both, "cascade\" or \"ensemble"),
            ("cascade", !self.cascade.is_empty() && answer != AnswerMode::Cascade, "cascade"),
            ("ensemble", self.ensemble.is_some() && answer != AnswerMode::Ensemble, "ensemble"),
            ("hedge", self.hedge.is_some() && answer != AnswerMode::Hedged, "hedged"),
            ("coded", self.coded.is_some() && answer != AnswerMode::Coded, "coded"),
        ];
        for (table, _, needed) in tables.into_iter().filter(|(_, idle, _)| *idle) {
            let reason =
                format!("`{table}` has no effect: `answer` of the task is not \"{needed}\"");
            warnings.push(self.wrong(&self.key_of(table, 0, ""), reason).to_string());
        }
        // What follows a comma says how it was measured.
        let kind = |metric: &str| metric.split(',').next().unwrap_or_default().trim().to_owned();
        let first = &self.variants[0];
        for (place, other) in self.variants.iter().enumerate().skip(1) {
            if kind(&other.metric) != kind(&first.metric) {
                let reason = format!(
                    "`metric`: the accuracy of '{}' is one of {:?}, that of '{}' one of {:?}: they are compared as if they were the same",
                    other.model.get_ref(),
                    other.metric,
                    first.model.get_ref(),
                    first.metric
                );
                warnings.push(self.wrong_of_variant(place, "metric", reason).to_string());
            }
        }
        warnings
    }

    /// Leaves out the variants whose `devices` are not among these kinds, and says so; also where others than those
    /// may run a variant.
    #[must_use]
    pub fn keep_to(&mut self, kinds: &BTreeSet<&str>) -> Vec<String> {
        let there = kinds.iter().copied().collect::<Vec<_>>().join(", ");
        let mut warnings = Vec::new();
        for place in 0..self.variants.len() {
            let claim = &self.variants[place];
            let named = |kind: &&str| claim.devices.iter().any(|device| device.get_ref() == kind);
            let common = kinds.iter().filter(|kind| named(kind)).count();
            if claim.devices.is_empty() || common == kinds.len() {
                continue;
            }
            let model = claim.model.get_ref();
            let reason = match common {
                0 => format!(
                    "`devices`: there are executors of kind {there} only, so that '{model}' does not answer"
                ),
                _ => format!(
                    "`devices`: there are executors of kind {there}, and '{model}' may run on each that its model is on"
                ),
            };
            warnings.push(self.wrong_of_variant(place, "devices", reason).to_string());
            self.variants[place].elsewhere = common == 0;
        }
        warnings
    }

    /// The error that a key of a variant holds what cannot be.
    #[must_use]
    pub fn wrong_of_variant(&self, place: usize, key: &str, reason: String) -> CatalogError {
        self.wrong(&self.key_of("variant", place, key), reason)
    }

    /// Where a key of a table stands, or of that one of an array of tables; the table itself, if it does not.
    fn key_of(&self, table: &str, place: usize, key: &str) -> Range<usize> {
        let find = || {
            let document = DeTable::parse(&self.text).ok()?;
            let (name, value) = document.get_ref().get_key_value(table)?;
            let item = value.get_ref().as_array().and_then(|items| items.get(place));
            let value = item.unwrap_or(value);
            let inner = value.get_ref().as_table().and_then(|inner| inner.get_key_value(key));
            let whole = if item.is_some() { value.span() } else { name.span() };
            Some(inner.map_or(whole, |(key, _)| key.span()))
        };
        find().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(name: &str, accuracy: f64, rest: &str) -> String {
        format!(
            "[[variant]]\nmodel = \"{name}\"\naccuracy = {accuracy}\nmetric = \"top-1\"\nsource = \"s\"\n{rest}"
        )
    }

    fn read(head: &str, last: &str) -> Result<TaskSettings, String> {
        let text = [head, &variant("a", 0.8, ""), &variant("b", 0.9, last)].concat();
        TaskSettings::from_text("t", &text).map_err(|error| error.to_string())
    }

    fn cascade(accuracy: f64, stages: [&str; 2]) -> String {
        let [first, last] = stages;
        format!(
            "[task]\nanswer = \"cascade\"\n[confidence]\noutput = \"p\"\n[[cascade]]\nloss = 0.1\naccuracy = {accuracy}\nsource = \"s\"\nstages = [{{ model = \"{first}\", threshold = 0.5 }},\n{{ model = \"{last}\" }}]\n"
        )
    }

    #[test]
    fn a_cascade_is_held_to_the_accuracies_of_its_stages() {
        assert!(read(&cascade(0.85, ["a", "b"]), "").is_ok());
        let range = "it must be from 0.72, its least accurate stage's less the loss, to 0.9, its last stage's";
        let table = [
            (cascade(0.95, ["a", "b"]), format!("t:7: `accuracy` of the cascade is 0.95; {range}")),
            (cascade(0.7, ["a", "b"]), format!("t:7: `accuracy` of the cascade is 0.7; {range}")),
            (
                cascade(0.85, ["b", "a"]),
                "t:10: `stages`: 'a' of accuracy 0.8 is asked last, after 'b' of accuracy 0.9; the last must be the most accurate".to_owned(),
            ),
        ];
        for (head, sentence) in table {
            assert_eq!(read(&head, "").unwrap_err(), sentence);
        }
    }

    #[test]
    fn goals_that_no_variant_meets_are_no_defaults() {
        let refused = |rule: &str| read(&format!("[task]\n{rule}\n"), "").unwrap_err();
        assert_eq!(
            refused("min_accuracy = 0.95"),
            "t:2: `min_accuracy` is 0.95, and no variant is above 0.9"
        );
        assert_eq!(
            refused("max_cost = 0.5"),
            "t:2: `max_cost` is 0.5, and no variant costs less than 1"
        );
        assert!(read("[task]\nmin_accuracy = 0.9\nmax_cost = 1\n", "").is_ok());
    }

    #[test]
    fn a_claim_without_a_source_or_a_metric_is_refused() {
        let text = variant("a", 0.8, "").replace("\"s\"", "\" \"");
        let error = TaskSettings::from_text("t", &text).unwrap_err().to_string();
        assert_eq!(error, "t:5: `source` is empty; it must say who measured the accuracy, on what");
        let text = variant("a", 0.8, "").replace("top-1", "");
        let error = TaskSettings::from_text("t", &text).unwrap_err().to_string();
        assert_eq!(error, "t:4: `metric` is empty; it must say what the accuracy is the share of");
        let head = cascade(0.85, ["a", "b"]).replace("\"s\"", "\"\"");
        let error = read(&head, "").unwrap_err();
        assert_eq!(error, "t:8: `source` is empty; it must say who measured the accuracy, on what");
    }

    #[test]
    fn what_has_no_effect_is_named() {
        assert_eq!(read("", "").unwrap().warnings(), Vec::<String>::new());
        assert_eq!(
            read("\n[hedge]\npatience = 1.5\n", "").unwrap().warnings(),
            ["t:2: `hedge` has no effect: `answer` of the task is not \"hedged\""]
        );
        let idle = cascade(0.85, ["a", "b"]).replace("\"cascade\"", "\"one\"");
        assert_eq!(
            read(&idle, "").unwrap().warnings(),
            [
                "t:3: `confidence` has no effect: `answer` of the task is not \"cascade\" or \"ensemble\"",
                "t:5: `cascade` has no effect: `answer` of the task is not \"cascade\""
            ]
        );
    }

    #[test]
    fn accuracies_of_other_metrics_are_warned_of() {
        let with = |metric: &str| {
            let text = [variant("a", 0.8, ""), variant("b", 0.9, "").replace("top-1", metric)];
            TaskSettings::from_text("t", &text.concat()).unwrap().warnings()
        };
        assert_eq!(with("top-1, estimated"), Vec::<String>::new());
        assert_eq!(
            with("exact sequence"),
            [
                "t:9: `metric`: the accuracy of 'b' is one of \"exact sequence\", that of 'a' one of \"top-1\": they are compared as if they were the same"
            ]
        );
    }

    #[test]
    fn a_variant_for_kinds_of_device_that_are_not_there_is_left_out() {
        let kept = |devices: &str, kinds: &[&str]| {
            let mut task = read("", &format!("devices = {devices}\n")).unwrap();
            let warnings = task.keep_to(&kinds.iter().copied().collect());
            (task.variants.iter().map(|one| one.elsewhere).collect::<Vec<_>>(), warnings)
        };
        let nothing = (vec![false, false], Vec::new());
        assert_eq!(kept("[\"cpu\"]", &["cpu"]), nothing);
        assert_eq!(kept("[]", &["cpu"]), nothing);
        assert_eq!(
            kept("[\"cuda\"]", &["cpu"]),
            (
                vec![false, true],
                vec!["t:11: `devices`: there are executors of kind cpu only, so that 'b' does not answer".to_owned()]
            )
        );
        assert_eq!(
            kept("[\"cuda\"]", &["cpu", "cuda"]),
            (
                vec![false, false],
                vec!["t:11: `devices`: there are executors of kind cpu, cuda, and 'b' may run on each that its model is on".to_owned()]
            )
        );
    }
}
