//! What a fitted cascade is to a task: its variants as members, its tiers in words and in the task's punctual.toml.

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};

use models::{Accuracy, TaskSettings, VariantClaim};
use router::compose::cascade::Stage;
use router::compose::fit::{Fitted, Member, Said};
use toml::de::{DeTable, DeValue};

use super::claims::quoted;

/// The variants that a cascade may ask.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Their models' names.
    pub models: Vec<String>,
    /// What an answer of each costs.
    pub costs: Vec<f64>,
    /// The most accurate one, by what is claimed of it; of equals the cheapest.
    pub best: usize,
    /// What is claimed of each.
    accuracies: Vec<f64>,
}

impl Panel {
    /// Those variants, in that order; `None` of none.
    #[must_use]
    pub fn of(variants: &[VariantClaim]) -> Option<Self> {
        let worth = |place: &usize| (variants[*place].accuracy, Reverse(variants[*place].cost));
        Some(Self {
            models: variants.iter().map(|variant| variant.model.get_ref().clone()).collect(),
            costs: variants.iter().map(|variant| f64::from(variant.cost)).collect(),
            best: (0..variants.len()).max_by_key(worth)?,
            accuracies: variants.iter().map(|variant| f64::from(variant.accuracy)).collect(),
        })
    }

    /// The members of a cascade, by what each variant said of these rows.
    #[must_use]
    pub fn members(&self, said: &[Vec<Said>], rows: &[usize]) -> Vec<Member> {
        let pairs = self.costs.iter().zip(said);
        let of = |said: &Vec<Said>| rows.iter().map(|&row| said[row]).collect();
        pairs.map(|(&cost, said)| Member { cost, said: of(said) }).collect()
    }

    /// The stages in words.
    #[must_use]
    pub fn words(&self, fitted: &Fitted) -> String {
        let stage = |(model, threshold): (&str, Option<f64>)| {
            threshold
                .map_or_else(|| model.to_owned(), |threshold| format!("{model} < {threshold:.3}"))
        };
        let words: Vec<_> = self.stages(&fitted.stages).map(stage).collect();
        words.join(", ")
    }

    /// As a table of the task's file.
    #[must_use]
    pub fn tier(&self, loss: Accuracy, fitted: &Fitted, source: &str) -> Tier {
        let stage = |(model, threshold): (&str, Option<f64>)| {
            let threshold = threshold
                .map(|threshold| format!(", threshold = {threshold:?}"))
                .unwrap_or_default();
            format!("{{ model = {}{threshold} }}", quoted(model))
        };
        let stages: Vec<_> = self.stages(&fitted.stages).map(stage).collect();
        // On these rows it may be right more often than its last stage, which on others it cannot be counted on to be.
        let last = fitted.stages.last().map_or(1.0, |last| self.accuracies[last.member]);
        Tier {
            loss,
            accuracy: format!("{:.4}", fitted.accuracy.min(last)),
            source: quoted(source),
            stages: format!("[{}]", stages.join(", ")),
        }
    }

    /// Each stage's model, and its threshold where another stage follows.
    pub fn stages<'a>(
        &'a self,
        stages: &'a [Stage],
    ) -> impl Iterator<Item = (&'a str, Option<f64>)> {
        let followed = |place: usize| place + 1 < stages.len();
        stages.iter().enumerate().map(move |(place, stage)| {
            let threshold = followed(place).then(|| f64::from(stage.threshold));
            (self.models[stage.member].as_str(), threshold)
        })
    }
}

/// A cascade for one loss of accuracy; its values are as TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    loss: Accuracy,
    accuracy: String,
    source: String,
    stages: String,
}

impl Display for Tier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { loss, accuracy, source, stages } = self;
        let loss = f64::from(*loss);
        writeln!(f, "[[cascade]]\nloss = {loss}\naccuracy = {accuracy}")?;
        writeln!(f, "source = {source}\nstages = {stages}")
    }
}

/// The text of a task's file with the tiers in it: in place of those for the same losses, else behind all the rest.
///
/// # Errors
/// The text is no task's, or would be none.
pub fn write_into(file: &str, text: &str, tiers: &[Tier]) -> Result<String, String> {
    let settings = TaskSettings::from_text(file, text).map_err(|error| error.to_string())?;
    let table = DeTable::parse(text).map_err(|error| format!("{file}: {error}"))?;
    let cascades = table.get_ref().get("cascade").and_then(|value| value.get_ref().as_array());
    let mut changes = Vec::new();
    let mut behind = String::new();
    for tier in tiers {
        let place = settings.cascade.iter().position(|other| *other.loss.get_ref() == tier.loss);
        let found = place.zip(cascades).and_then(|(place, cascades)| cascades.get(place));
        let Some(found) = found.and_then(|found| found.get_ref().as_table()) else {
            behind += &format!("\n{tier}");
            continue;
        };
        let values =
            [("accuracy", &tier.accuracy), ("source", &tier.source), ("stages", &tier.stages)];
        for (key, value) in values {
            let span = found.get(key).map(toml::Spanned::<DeValue<'_>>::span);
            changes.push((span.ok_or_else(|| format!("{file}: a cascade has no `{key}`"))?, value));
        }
    }
    changes.sort_by_key(|(span, _)| span.start);
    let mut written = text.to_owned();
    for (span, value) in changes.into_iter().rev() {
        written.replace_range(span, value);
    }
    if !behind.is_empty() && !written.ends_with('\n') {
        written.push('\n');
    }
    written += &behind;
    TaskSettings::from_text(file, &written)
        .map_err(|error| format!("{error} (with the fitted cascades; nothing was written)"))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use models::Confidence;

    use super::*;

    const TEXT: &str = "# The task.
[task]
slo = \"50ms\" # a limit

[confidence]
output = \"p\"

[[cascade]] # the strict one
loss = 0.010
accuracy = 0.895 # guessed
stages = [
    { model = \"a\" }, # alone
]
source = 'nobody' # ask

[[variant]]
model = \"a\"
accuracy = 0.9
metric = \"top-1\"
source = \"nobody\"
cost = 3

[[variant]]
model = \"b\"
accuracy = 0.9
metric = \"top-1\"
source = \"nobody\"";

    fn panel() -> Panel {
        Panel::of(&TaskSettings::from_text("t", TEXT).unwrap().variants).unwrap()
    }

    fn tier(loss: f64) -> Tier {
        let threshold = Confidence::try_from(0.75).unwrap();
        let last = Stage { member: 0, threshold: Confidence::NONE };
        let stages = vec![Stage { member: 1, threshold }, last];
        let (asked, accuracy) = (vec![1.0, 0.25], 0.891);
        let fitted = Fitted { stages, asked, cost: 2.0, accuracy, loss: 0.009, bound: 0.01 };
        assert_eq!(panel().words(&fitted), "b < 0.750, a");
        panel().tier(loss.try_into().unwrap(), &fitted, "9 rows")
    }

    #[test]
    fn of_variants_that_are_as_accurate_the_cheapest_is_the_best() {
        assert_eq!((panel().best, panel().costs), (1, vec![3.0, 1.0]));
        assert!(Panel::of(&[]).is_none());
    }

    #[test]
    fn a_cascade_takes_the_place_of_that_for_the_same_loss_and_comments_stay() {
        let written = write_into("t", TEXT, &[tier(0.01)]).unwrap();
        let stages = "[{ model = \"b\", threshold = 0.75 }, { model = \"a\" }]";
        let expected = TEXT
            .replace("0.895 #", "0.8910 #")
            .replace("[\n    { model = \"a\" }, # alone\n]", stages)
            .replace("'nobody'", "\"9 rows\"");
        assert_eq!(written, expected);
        assert_eq!(write_into("t", &written, &[tier(0.01)]).unwrap(), written, "the same again");
    }

    #[test]
    fn a_cascade_for_another_loss_is_put_behind_all_the_rest() {
        let written = write_into("t", TEXT, &[tier(0.05)]).unwrap();
        let added = "\n\n[[cascade]]\nloss = 0.05\naccuracy = 0.8910\nsource = \"9 rows\"\n\
            stages = [{ model = \"b\", threshold = 0.75 }, { model = \"a\" }]\n";
        assert_eq!(written.strip_prefix(TEXT), Some(added));
    }

    #[test]
    fn what_would_be_no_task_is_not_written() {
        let text = TEXT.replace("model = \"b\"", "model = \"c\"");
        let error = write_into("t", &text, &[tier(0.05)]).unwrap_err();
        assert!(error.contains("'b' is no variant of this task"), "{error}");
        assert!(error.ends_with("(with the fitted cascades; nothing was written)"), "{error}");
    }
}
