//! How a task's answer is made of the answers of its variants: what the tables beside `[task]` say of it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::TaskSettings;
use crate::{Accuracy, CatalogError, Confidence, DataType, Goals, Signature};

/// How many variants answer a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerMode {
    /// The one that the task's policy chooses.
    #[default]
    One,
    /// The cheapest first, and the next while it is not sure enough.
    Cascade,
    /// Several vote, until those left cannot change the answer or enough agree.
    Ensemble,
    /// The one that is chosen, and another if that one is late.
    Hedged,
    /// That of one linear model, reconstructed from others' and their sum's if it is late.
    Coded,
}

/// Where a variant says how sure it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfidenceRules {
    /// The output that holds a score for each class.
    pub output: Spanned<String>,
    /// What those scores are.
    #[serde(default)]
    pub scores: Scores,
    /// What of them says how sure the variant is.
    #[serde(default)]
    pub measure: Measure,
}

/// What the scores of classes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Shares of 1.
    #[default]
    Probabilities,
    /// Any numbers, of which the softmax is to be taken.
    Logits,
}

/// What of the scores says how sure a variant is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// That of the first class.
    #[default]
    Top,
    /// By how much the first class is ahead of the second.
    Margin,
}

/// A cascade for requests that allow a loss of accuracy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeTier {
    /// Which loss, next to the most accurate variant's accuracy: 0.01 allows 0.9801 where that is right 0.99 of the time.
    pub loss: Spanned<Accuracy>,
    /// How often its answers are right.
    pub accuracy: Accuracy,
    /// Who measured it, on what.
    pub source: String,
    /// Who is asked, in that order.
    pub stages: Vec<StageClaim>,
}

/// One variant of a cascade.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageClaim {
    /// The model of a variant of the task.
    pub model: Spanned<String>,
    /// Below which confidence the next is asked; not for the last.
    pub threshold: Option<Spanned<Confidence>>,
}

/// Variants that vote.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleRules {
    /// Who votes, in the order in which they are asked.
    pub members: Vec<VoterClaim>,
    /// How many are asked at once; all by default.
    pub at_once: Option<NonZeroU32>,
    /// Nobody else is asked once so much of the weight asked, times how sure its voters are, is for one class; by default
    /// only once no vote left can change the class.
    pub agreement: Option<Confidence>,
    /// How often its answers are right.
    pub accuracy: Accuracy,
    /// Who measured it, on what.
    pub source: String,
}

/// One variant of an ensemble.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterClaim {
    /// The model of a variant of the task.
    pub model: Spanned<String>,
    /// What its vote counts; by default the logarithm of its odds to be right.
    pub weight: Option<Spanned<f64>>,
}

/// Weights are shares of this.
const WEIGHT_UNIT: f64 = 1000.0;

/// Weights beyond are a mistake.
pub const VOTE_WEIGHT_MAX: f64 = 1000.0;

/// What the vote of a variant that is right so often counts, in whole thousandths; what is stated wins over the logarithm of
/// its odds to be right.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held to the range")]
pub fn vote_weight(accuracy: Accuracy, stated: Option<f64>) -> u32 {
    // Odds of one that is said to be always right would be without bound.
    let share = f64::from(accuracy).clamp(0.001, 0.999);
    let odds = (share / (1.0 - share)).ln().max(0.0);
    (stated.unwrap_or(odds) * WEIGHT_UNIT).round() as u32
}

/// When a second variant is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgeRules {
    /// After so many predicted times without an answer.
    pub patience: Spanned<f64>,
}

impl TaskSettings {
    /// What the vote of a member of the ensemble counts, in whole thousandths.
    #[must_use]
    pub fn weight(&self, voter: &VoterClaim) -> u32 {
        let place =
            self.place_of(voter.model.get_ref()).expect("voters are checked to be variants");
        let stated = voter.weight.as_ref().map(|weight| *weight.get_ref());
        vote_weight(self.variants[place].accuracy, stated)
    }

    /// Where among the variants that model is first.
    #[must_use]
    pub fn place_of(&self, model: &str) -> Option<usize> {
        self.variants.iter().position(|variant| variant.model.get_ref() == model)
    }

    /// The cascade of the largest loss that a request allows, and accurate enough for it; the strictest where it says
    /// nothing of loss.
    #[must_use]
    pub fn tier(&self, goals: &Goals) -> Option<&CascadeTier> {
        let accurate =
            |tier: &&CascadeTier| goals.min_accuracy.is_none_or(|min| tier.accuracy >= min);
        let tiers = || self.cascade.iter().filter(accurate);
        let loss = |tier: &&CascadeTier| *tier.loss.get_ref();
        match goals.max_accuracy_loss {
            None => tiers().min_by_key(loss),
            Some(allowed) => tiers().filter(|tier| loss(tier) <= allowed).max_by_key(loss),
        }
    }

    /// How accurate a variant must be to lose no more than that next to the most accurate one.
    #[must_use]
    pub fn least_accurate(&self, loss: Accuracy) -> Accuracy {
        let best = self.variants.iter().map(|variant| variant.accuracy).max().unwrap_or_default();
        let least = f64::from(best) * (1.0 - f64::from(loss));
        Accuracy::try_from(least).expect("a product of shares is a share")
    }

    pub(super) fn check_answer(&self) -> Result<(), CatalogError> {
        let confidence = self.confidence.is_none().then_some("confidence");
        let tables = match self.task.answer {
            AnswerMode::One => [None, None],
            AnswerMode::Cascade => [confidence, self.cascade.is_empty().then_some("cascade")],
            AnswerMode::Ensemble => [confidence, self.ensemble.is_none().then_some("ensemble")],
            AnswerMode::Hedged => [None, self.hedge.is_none().then_some("hedge")],
            AnswerMode::Coded => [None, self.coded.is_none().then_some("coded")],
        };
        if let Some(missing) = tables.into_iter().flatten().next() {
            let reason = format!("`answer`: there is no table `{missing}`, which it needs");
            return Err(self.wrong_at("answer", reason));
        }
        let mut seen = BTreeSet::new();
        for tier in &self.cascade {
            if !seen.insert(tier.loss.get_ref()) {
                let reason = format!("`loss`: there are two cascades of {}", tier.loss.get_ref());
                return Err(self.wrong(&tier.loss.span(), reason));
            }
            self.check_tier(tier)?;
        }
        if let Some(ensemble) = &self.ensemble {
            self.check_ensemble(ensemble)?;
        }
        self.check_coded()?;
        let Some(HedgeRules { patience }) = &self.hedge else { return Ok(()) };
        match (0.0..=100.0).contains(patience.get_ref()) {
            true => Ok(()),
            false => {
                let reason = format!("`patience`: expected 0 to 100, found {}", patience.get_ref());
                Err(self.wrong(&patience.span(), reason))
            }
        }
    }

    fn check_ensemble(&self, ensemble: &EnsembleRules) -> Result<(), CatalogError> {
        let mut seen = BTreeSet::new();
        for voter in &ensemble.members {
            self.check_member(&voter.model, "members")?;
            let name = voter.model.get_ref();
            if !seen.insert(name) {
                let reason = format!("`members`: '{name}' votes twice");
                return Err(self.wrong(&voter.model.span(), reason));
            }
            let Some(weight) = &voter.weight else { continue };
            if !(0.0..=VOTE_WEIGHT_MAX).contains(weight.get_ref()) {
                let found = weight.get_ref();
                let reason = format!("`weight`: expected 0 to {VOTE_WEIGHT_MAX}, found {found}");
                return Err(self.wrong(&weight.span(), reason));
            }
        }
        if ensemble.members.len() < 2 {
            let span = ensemble.members.first().map_or(0..0, |voter| voter.model.span());
            let count = ensemble.members.len();
            let reason = format!("`members`: an ensemble has 2 members or more, found {count}");
            return Err(self.wrong(&span, reason));
        }
        Ok(())
    }

    fn check_tier(&self, tier: &CascadeTier) -> Result<(), CatalogError> {
        if tier.stages.is_empty() {
            return Err(self.wrong(&tier.loss.span(), "`stages`: a cascade asks somebody".into()));
        }
        let mut seen = BTreeSet::new();
        for (stage, left) in tier.stages.iter().zip((0..tier.stages.len()).rev()) {
            self.check_member(&stage.model, "stages")?;
            let name = stage.model.get_ref();
            let wrong = |reason: String| Err(self.wrong(&stage.model.span(), reason));
            if !seen.insert(name) {
                return wrong(format!(
                    "`stages`: a cascade asks '{name}' once, or goes in circles"
                ));
            }
            match (left, &stage.threshold) {
                (0, Some(threshold)) => {
                    let reason = "`threshold`: nobody is asked after the last stage";
                    return Err(self.wrong(&threshold.span(), reason.into()));
                }
                (1.., None) => {
                    return wrong(format!(
                        "`stages`: '{name}' has no `threshold`, and is not the last"
                    ));
                }
                (0, None) | (1.., Some(_)) => {}
            }
        }
        Ok(())
    }

    pub(super) fn check_member(
        &self,
        model: &Spanned<String>,
        key: &str,
    ) -> Result<(), CatalogError> {
        let name = model.get_ref();
        match self.place_of(name) {
            Some(_) => Ok(()),
            None => {
                Err(self
                    .wrong(&model.span(), format!("`{key}`: '{name}' is no variant of this task")))
            }
        }
    }

    /// Holds what is said of confidence against the outputs that all variants have. Returns which output it is.
    ///
    /// # Errors
    /// By file and line: there is no such output, or it holds no scores.
    pub fn check_confidence(&self, signature: &Signature) -> Result<Option<usize>, CatalogError> {
        let Some(rules) = &self.confidence else { return Ok(None) };
        let (name, span): (_, Range<usize>) = (rules.output.get_ref(), rules.output.span());
        let Some((index, spec)) = signature.output(name) else {
            let known: Vec<_> = signature.outputs.iter().map(|spec| spec.name.as_str()).collect();
            let known = known.join(", ");
            let reason = format!("`output`: the variants have no output '{name}', but {known}");
            return Err(self.wrong(&span, reason));
        };
        let scored = matches!(
            spec.datatype,
            DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64
        );
        if !scored || spec.dims.len() <= usize::from(signature.batched) {
            let dims: Vec<_> = spec.dims.iter().map(crate::Dim::protocol).collect();
            let reason = format!(
                "`output`: '{name}' is {} {dims:?}, which holds no score for each class",
                spec.datatype
            );
            return Err(self.wrong(&span, reason));
        }
        Ok(Some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, TensorSpec};

    fn read(rest: &str) -> Result<TaskSettings, CatalogError> {
        let variant = |name: &str| {
            format!(
                "[[variant]]\nmodel = \"{name}\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n"
            )
        };
        let text = format!("[task]\nanswer = \"cascade\"\n{rest}{}{}", variant("a"), variant("b"));
        TaskSettings::from_text("digits/punctual.toml", &text)
    }

    const CONFIDENCE: &str = "[confidence]\noutput = \"p\"\n";

    fn tier(loss: f64, stages: &str) -> String {
        format!(
            "[[cascade]]\nloss = {loss}\naccuracy = 0.9\nsource = \"s\"\nstages = [\n{stages}\n]\n"
        )
    }

    const TWO: &str = "{ model = \"a\", threshold = 0.8 },\n{ model = \"b\" },";

    #[test]
    fn the_cascade_of_the_largest_loss_allowed_answers() {
        let task = read(&[CONFIDENCE, &tier(0.01, TWO), &tier(0.05, TWO)].concat()).unwrap();
        let loss = |allowed: Option<f64>| {
            let max_accuracy_loss = allowed.map(|allowed| allowed.try_into().unwrap());
            let goals = Goals { max_accuracy_loss, ..Goals::default() };
            task.tier(&goals).map(|tier| f64::from(*tier.loss.get_ref()))
        };
        assert_eq!(loss(None), Some(0.01), "the strictest, where nothing is said");
        assert_eq!(loss(Some(0.02)), Some(0.01));
        assert_eq!(loss(Some(0.05)), Some(0.05));
        assert_eq!(loss(Some(0.005)), None);
        assert_eq!(f64::from(task.least_accurate(0.1.try_into().unwrap())), 0.81);
    }

    #[test]
    fn what_can_be_no_cascade_is_refused_by_file_line_and_key() {
        let confident = |tier: String| [CONFIDENCE, &tier].concat();
        let table = [
            (String::new(), "2: `answer`: there is no table `confidence`, which it needs"),
            (CONFIDENCE.into(), "2: `answer`: there is no table `cascade`, which it needs"),
            (confident(tier(0.01, "")), "6: `stages`: a cascade asks somebody"),
            (
                confident(tier(0.01, "{ model = \"a\", threshold = 1.5 },\n{ model = \"b\" },")),
                "10: `threshold`: expected a share from 0 to 1, found 1.5",
            ),
            (
                confident(tier(0.01, "{ model = \"a\", threshold = 0.5 },\n{ model = \"c\" },")),
                "11: `stages`: 'c' is no variant of this task",
            ),
            (
                confident(tier(0.01, "{ model = \"a\", threshold = 0.5 },\n{ model = \"a\" },")),
                "11: `stages`: a cascade asks 'a' once, or goes in circles",
            ),
            (
                confident(tier(0.01, "{ model = \"a\" },\n{ model = \"b\" },")),
                "10: `stages`: 'a' has no `threshold`, and is not the last",
            ),
            (
                confident(tier(0.01, "{ model = \"a\", threshold = 0.5 },")),
                "10: `threshold`: nobody is asked after the last stage",
            ),
            (
                confident([tier(0.01, TWO), tier(0.01, TWO)].concat()),
                "14: `loss`: there are two cascades of 0.01",
            ),
        ];
        for (text, sentence) in table {
            let error = read(&text).unwrap_err().to_string();
            assert_eq!(error, format!("digits/punctual.toml:{sentence}"), "{text}");
        }
    }

    #[test]
    fn what_can_be_no_ensemble_or_hedge_is_refused_by_file_line_and_key() {
        let ensemble = |members: &str| {
            format!(
                "{CONFIDENCE}[ensemble]\naccuracy = 0.9\nsource = \"s\"\nmembers = [{members}]\n"
            )
        };
        let wrong = |mode: &str, rest: &str| {
            let variants: String = ["a", "b"]
                .iter()
                .map(|name| format!("[[variant]]\nmodel = \"{name}\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n"))
                .collect();
            let text = format!("[task]\nanswer = \"{mode}\"\n{rest}{variants}");
            TaskSettings::from_text("t", &text).unwrap_err().to_string()
        };
        let table = [
            (
                "ensemble",
                CONFIDENCE.to_owned(),
                "t:2: `answer`: there is no table `ensemble`, which it needs",
            ),
            (
                "ensemble",
                ensemble("{ model = \"a\" }"),
                "t:8: `members`: an ensemble has 2 members or more, found 1",
            ),
            (
                "ensemble",
                ensemble(""),
                "t:1: `members`: an ensemble has 2 members or more, found 0",
            ),
            (
                "ensemble",
                ensemble("{ model = \"a\" }, { model = \"a\" }"),
                "t:8: `members`: 'a' votes twice",
            ),
            (
                "ensemble",
                ensemble("{ model = \"a\" }, { model = \"c\" }"),
                "t:8: `members`: 'c' is no variant of this task",
            ),
            (
                "ensemble",
                ensemble("{ model = \"a\", weight = -1.0 }, { model = \"b\" }"),
                "t:8: `weight`: expected 0 to 1000, found -1",
            ),
            ("hedged", String::new(), "t:2: `answer`: there is no table `hedge`, which it needs"),
            (
                "hedged",
                "[hedge]\npatience = -1.0\n".into(),
                "t:4: `patience`: expected 0 to 100, found -1",
            ),
        ];
        for (mode, text, sentence) in table {
            assert_eq!(wrong(mode, &text), sentence);
        }
    }

    #[test]
    fn confidence_is_read_from_an_output_with_a_score_for_each_class() {
        let spec = |name: &str, datatype, dims: &[i64]| TensorSpec {
            name: name.into(),
            datatype,
            dims: dims
                .iter()
                .map(|&dim| u64::try_from(dim).map_or(Dim::Any(None), Dim::Fixed))
                .collect(),
        };
        let task = read(&[CONFIDENCE, &tier(0.01, TWO)].concat()).unwrap();
        let check = |outputs: Vec<TensorSpec>| {
            let signature = Signature { inputs: Vec::new(), outputs, batched: true };
            task.check_confidence(&signature).map_err(|error| error.to_string())
        };
        let digit = || spec("digit", DataType::Int64, &[-1, 1]);
        assert_eq!(check(vec![digit(), spec("p", DataType::Fp32, &[-1, 10])]), Ok(Some(1)));
        assert_eq!(
            check(vec![digit()]).unwrap_err(),
            "digits/punctual.toml:4: `output`: the variants have no output 'p', but digit"
        );
        assert_eq!(
            check(vec![spec("p", DataType::Int64, &[-1, 1])]).unwrap_err(),
            "digits/punctual.toml:4: `output`: 'p' is INT64 [-1, 1], which holds no score for each class"
        );
        assert!(check(vec![spec("p", DataType::Fp32, &[-1])]).is_err());
    }
}
