//! `punctual fit TASK`: fits the cascades of a task on labelled rows, each with a bound of the accuracy that it loses.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use models::{Accuracy, DataType, Scores, Signature, TaskSettings};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use router::compose::Vote;
use router::compose::fit::{CONFIDENCE, CONFIDENCE_MAX, Fitted, Limit, Said, fit as fit_members};

use super::devices::DeviceArgs;
use super::evaluate::{Asked, Bench, Member, file_name, find};
use crate::answer::numbers;
use crate::evaluate::cascade::{Panel, write_into};
use crate::evaluate::claims::{quoted, replace, significant};
use crate::evaluate::example::{Example, Form};
use crate::evaluate::examples;
use crate::evaluate::metric::Answer;
use crate::evaluate::run;
use crate::repository::Scan;
use crate::votes::{Ballot, vote};

/// What to fit, and on what.
#[derive(Args, Clone, Debug)]
pub struct FitArgs {
    /// The task's name
    pub name: String,
    /// Folder of models; may be given several times
    #[arg(long, alias = "model-store", value_name = "FOLDER", required = true)]
    pub model_repository: Vec<PathBuf>,
    /// Labelled rows, as for `evaluate`; best some that no threshold was fitted on before
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// How much of the most accurate variant's accuracy may be lost: 1% or 0.01; may be given several times
    #[arg(long, value_name = "SHARE", required = true, value_parser = loss)]
    pub loss: Vec<Accuracy>,
    /// How sure it is to be that no more is lost on as many fresh rows
    #[arg(long, value_name = "SHARE", default_value_t = CONFIDENCE, value_parser = confidence)]
    pub confidence: f64,
    /// The output with a probability for each class [default: that of the file's table `confidence`, else the only one]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// The array or column of labels [default: label, labels, or the name of an output]
    #[arg(long, value_name = "NAME")]
    pub label: Option<String>,
    /// Seeds the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where it runs.
    #[command(flatten)]
    pub on: DeviceArgs,
    /// Writes the cascades into the task's punctual.toml; comments and layout stay
    #[arg(long)]
    pub write: bool,
}

fn loss(text: &str) -> Result<Accuracy, String> {
    let percent = text.strip_suffix('%');
    let number = percent.unwrap_or(text).trim_end().parse::<f64>().ok();
    let share = number.map(|number| if percent.is_some() { number / 100.0 } else { number });
    let share = share.filter(|share| *share > 0.0 && *share < 1.0);
    let loss = share.and_then(|share| Accuracy::try_from(share).ok());
    loss.filter(|loss| *loss > Accuracy::default())
        .ok_or_else(|| "expected a share above 0 and below 1, as 1% or 0.01".into())
}

fn confidence(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.5..=CONFIDENCE_MAX).contains(share));
    share.ok_or_else(|| format!("expected a share from 0.5 to {CONFIDENCE_MAX}, as 0.95"))
}

/// Fits and, where asked, writes. Returns what was fitted.
///
/// # Errors
/// A sentence on what kept it from being fitted.
pub fn fit(args: &FitArgs) -> Result<String, String> {
    let mut losses = args.loss.clone();
    losses.sort_by(|one, other| f64::from(*one).total_cmp(&f64::from(*other)));
    losses.dedup();
    let scan = Scan::of(&args.model_repository)?;
    let task = Task::find(&scan, args)?;
    let bench = Bench::new(&scan, &args.on)?;
    let polled = poll(args, &bench, &task)?;
    let rows: Vec<usize> = (0..polled.rows).collect();
    let members = task.panel.members(&polled.said, &rows);
    let mut random = Pcg64Mcg::seed_from_u64(args.seed);
    // The upper 53 bits, which are those of a float from 0 to 1.
    let mut draw = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let source = format!(
        "punctual fit, {} rows of {}, {} % confidence",
        rows.len(),
        file_name(&args.data),
        percent(args.confidence)
    );
    let mut text = format!("{}: {source}, on {} ({})\n", args.name, args.on.device, bench.runtime);
    let mut tiers = Vec::new();
    for loss in losses {
        let limit = Limit { loss: loss.into(), confidence: args.confidence };
        if polled.rows < limit.rows_min() {
            return Err(format!(
                "{}: {} rows are too few to tell a loss of {} % with {} % confidence; it takes {}",
                args.data.display(),
                polled.rows,
                percent(limit.loss),
                percent(limit.confidence),
                limit.rows_min()
            ));
        }
        let fitted = fit_members(&members, task.panel.best, limit, &mut draw);
        text += &said_of(&task.panel, &fitted, limit);
        if saves(&task.panel, &fitted) {
            tiers.push(task.panel.tier(loss, &fitted, &source));
        }
    }
    if args.write {
        if tiers.is_empty() {
            return Err(format!("{text}nothing was written: no cascade saves anything"));
        }
        let file = task.file.display().to_string();
        let with_output = task.with_output(&polled.output);
        replace(&task.file, &write_into(&file, &with_output, &tiers)?)?;
        writeln!(text, "written to {file}").expect("text can be written to");
        if task.settings.task.answer != models::AnswerMode::Cascade {
            text += "the task answers by them once `answer = \"cascade\"` stands in its [task]\n";
        }
    }
    Ok(text)
}

/// A task to fit cascades for.
struct Task {
    file: PathBuf,
    text: String,
    settings: TaskSettings,
    panel: Panel,
}

impl Task {
    fn find(scan: &Scan, args: &FitArgs) -> Result<Self, String> {
        let name = &args.name;
        let file = find(scan, name)?.folder.join("punctual.toml");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if !TaskSettings::is_task(&text) {
            return Err(format!("'{name}' is a model; only a task has cascades"));
        }
        let settings = TaskSettings::from_text(&file.display().to_string(), &text)
            .map_err(|error| error.to_string())?;
        let panel = Panel::of(&settings.variants).filter(|panel| panel.models.len() > 1);
        let panel =
            panel.ok_or_else(|| format!("'{name}' has one variant; a cascade asks two or more"))?;
        if let Some(rules) = settings.confidence.as_ref().filter(|_| args.output.is_some()) {
            let known = rules.output.get_ref();
            return Err(format!("--output: [confidence] of '{name}' names '{known}' already"));
        }
        Ok(Self { file, text, settings, panel })
    }

    /// The file's text, with a table [confidence].
    fn with_output(&self, output: &str) -> String {
        if self.settings.confidence.is_some() {
            return self.text.clone();
        }
        format!("{}\n\n[confidence]\noutput = {}\n", self.text.trim_end(), quoted(output))
    }

    /// Which output says how sure a variant is, and how it is read.
    fn ballot(&self, args: &FitArgs, signature: &Signature) -> Result<(String, Ballot), String> {
        let output = match (&self.settings.confidence, &args.output) {
            (Some(rules), _) => rules.output.get_ref().clone(),
            (None, Some(output)) => output.clone(),
            (None, None) => self.only_output(signature)?,
        };
        if args.output.is_some() && signature.output(&output).is_none() {
            let names: Vec<_> = signature.outputs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(format!("there is no output '{output}'; there are {}", names.join(", ")));
        }
        let file = self.file.display().to_string();
        let settings = TaskSettings::from_text(&file, &self.with_output(&output))
            .map_err(|error| error.to_string())?;
        let place = settings.check_confidence(signature).map_err(|error| error.to_string())?;
        let rules = settings.confidence.expect("the text has that table");
        let place = place.expect("it is checked where the table is there");
        Ok((output, Ballot { output: place, scores: rules.scores, measure: rules.measure }))
    }

    /// The only output with a score for each class.
    fn only_output(&self, signature: &Signature) -> Result<String, String> {
        let names = signature.outputs.iter().map(|spec| spec.name.clone());
        let (mut scored, mut rest): (Vec<_>, Vec<_>) = names.partition(|name| {
            let file = self.file.display().to_string();
            let settings = TaskSettings::from_text(&file, &self.with_output(name));
            settings.is_ok_and(|settings| settings.check_confidence(signature).is_ok())
        });
        if scored.len() == 1 {
            return Ok(scored.remove(0));
        }
        let found = if scored.is_empty() { "no output has" } else { "more than one output has" };
        scored.append(&mut rest);
        Err(format!(
            "{found} a score for each class, and {} has no table [confidence]; there are {}",
            self.file.display(),
            scored.join(", ")
        ))
    }
}

/// What all variants said of the rows.
struct Polled {
    output: String,
    rows: usize,
    /// By variant.
    said: Vec<Vec<Said>>,
}

fn poll(args: &FitArgs, bench: &Bench<'_>, task: &Task) -> Result<Polled, String> {
    let members = Member::all(&task.settings);
    let asked = Asked { members: &members, task: Some(&task.settings) };
    let (like, member) = asked.like().ok_or("there is nothing to fit")?;
    let mut first = bench.load(member)?;
    let signature = first.description.signature.clone();
    let (output, ballot) = task.ballot(args, &signature)?;
    let form = Form { signature: &signature, label: args.label.as_deref() };
    let rows = examples::read(&args.data, form)?;
    let mut said = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let mut loaded = if index == like { None } else { Some(bench.load(member)?) };
        let loaded = loaded.as_mut().unwrap_or(&mut first);
        let adapter = asked.adapter(&signature, member, &loaded.description.signature)?;
        let scored = (ballot.output, adapter.as_ref());
        let read = |datatype, _: &[i64], row: &[u8]| cast(datatype, row, ballot);
        let votes = run::run(loaded, &rows, scored, read)
            .map_err(|reason| format!("{}/{}: {reason}", member.model, loaded.version))?;
        let own =
            adapter.as_ref().map_or(ballot.output, |adapter| adapter.outputs[ballot.output].from);
        let names = loaded.description.labels.get(own).map_or(&[][..], Vec::as_slice);
        said.push(judge(&votes.answers, &rows, names, &args.data)?);
    }
    Ok(Polled { output, rows: rows.len(), said })
}

/// A row's vote, where its scores are what the file says.
fn cast(datatype: DataType, row: &[u8], ballot: Ballot) -> Result<Vote, String> {
    let scores = numbers(datatype, row).unwrap_or_default();
    let sum: f64 = scores.iter().sum();
    // Numbers of 16 bits sum up to 1 only about.
    let shares = scores.iter().all(|score| *score >= 0.0) && (sum - 1.0).abs() < 0.02;
    match ballot.scores {
        Scores::Probabilities if !shares => Err(format!(
            "its scores sum up to {sum:.3} and are no probabilities; `scores = \"logits\"` in [confidence] reads others"
        )),
        Scores::Probabilities | Scores::Logits => Ok(vote(&scores, ballot)),
    }
}

fn judge(
    votes: &[Vote],
    rows: &[Example],
    names: &[String],
    data: &Path,
) -> Result<Vec<Said>, String> {
    let pairs = votes.iter().zip(rows).enumerate();
    let judged = pairs.map(|(index, (vote, row))| {
        let at = |reason: &str| format!("{}: row {}: {reason}", data.display(), index + 1);
        let label = row
            .label
            .as_ref()
            .ok_or_else(|| at("it has no label; name the labels with --label"))?;
        let right = Answer::Class(vote.class.into()).is(label, names);
        Ok(Said { confidence: vote.confidence, right: right.map_err(|reason| at(&reason))? })
    });
    judged.collect()
}

/// Whether it is another than the best variant alone.
fn saves(panel: &Panel, fitted: &Fitted) -> bool {
    // Not by the cost, which is a mean with the noise of binary fractions.
    fitted.stages.iter().any(|stage| stage.member != panel.best)
}

fn said_of(panel: &Panel, fitted: &Fitted, limit: Limit) -> String {
    let (best, cost) = (&panel.models[panel.best], panel.costs[panel.best]);
    let (loss, confidence) = (percent(limit.loss), percent(limit.confidence));
    let mut text =
        format!("\nloss of at most {loss} % next to {best}, {confidence} % confidence: ");
    if !saves(panel, fitted) {
        text += &format!("no cheaper cascade keeps it on these rows, and {best} answers alone\n");
        return text;
    }
    writeln!(
        text,
        "accuracy {:.4}, loss {:.4} on these rows and below {:.4} on as many fresh ones; cost {} instead of {}, {:.1} % saved",
        fitted.accuracy,
        fitted.loss,
        fitted.bound,
        significant(fitted.cost),
        significant(cost),
        100.0 * (1.0 - fitted.cost / cost)
    )
    .expect("text can be written to");
    let width = panel.models.iter().map(String::len).max().unwrap_or(0).max("variant".len());
    writeln!(text, "{:width$}  {:>10}  {:>5}  {:>7}", "variant", "threshold", "asked", "answers")
        .expect("text can be written to");
    let shares = fitted.asked.iter().zip(fitted.asked.iter().skip(1).chain([&0.0]));
    for ((model, threshold), (asked, next)) in panel.stages(&fitted.stages).zip(shares) {
        let threshold = threshold.map_or_else(String::new, |threshold| format!("{threshold:.6}"));
        let (asked, answers) = (asked * 100.0, (asked - next) * 100.0);
        writeln!(text, "{model:width$}  {threshold:>10}  {asked:>4.0}%  {answers:>6.1}%")
            .expect("text can be written to");
    }
    text
}

/// A share of 1 in hundredths, without the noise of binary fractions.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}
