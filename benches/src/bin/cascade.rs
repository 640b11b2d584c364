//! Cascades and an ensemble beside the most accurate variant alone: what they cost and how often they are right, fitted on
//! one half of labelled rows and held to it on the other, through the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use batcher::Instant;
use benches::{Bar, Error, Launch, Served, Table, task, verdict};
use bytes::Bytes;
use clap::Parser;
use loadgen::client::fetch;
use models::{Accuracy, Confidence, TaskSettings};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use router::compose::ensemble::{Ballots, Ensemble, Voter};
use router::compose::fit::{CONFIDENCE, Fitted, Limit, Said, check, fit};
use router::compose::{Compose, Heard, Step, Vote};
use serde_json::{Value, json};
use server::evaluate::cascade::Panel;
use server::evaluate::npz::{self, Elements};

/// Fits on one half, and asks the server on the other.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    launch: Launch,
    /// The task.
    #[arg(long, default_value = "digits")]
    task: String,
    /// Labelled rows: arrays `x` and `digit`.
    #[arg(long, default_value = "target/example-inputs/digits_logreg.npz")]
    data: PathBuf,
    /// The output with a probability for each class.
    #[arg(long, default_value = "probabilities")]
    output: String,
    /// Seeds the halves and the bootstraps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many other halves are drawn, to see how often the bound holds.
    #[arg(long, default_value_t = 200)]
    splits: u64,
}

/// Loss that is allowed, and the compute that is to be saved.
const TIERS: [(f64, f64); 2] = [(0.01, 0.30), (0.05, 0.60)];

/// How far the ensemble's accuracy may be from that of all members, and how many of their inferences it may take.
const ENSEMBLE: (f64, f64) = (0.002, 0.5);

/// Rows of a request while the votes are collected.
const ROWS: usize = 32;

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("bench-cascade: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Labelled rows and what each variant says of them.
struct Rows {
    x: Vec<Vec<f32>>,
    label: Vec<u32>,
    /// By variant.
    votes: Vec<Vec<Vote>>,
    /// By variant.
    said: Vec<Vec<Said>>,
}

/// A task's variants, the cheapest first, and what the vote of each counts.
struct Variants {
    panel: Panel,
    weights: Vec<u32>,
}

fn limit(loss: f64) -> Limit {
    Limit { loss, confidence: CONFIDENCE }
}

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn measure(cli: &Cli) -> Result<bool, Error> {
    println!("command: {}", std::env::args().collect::<Vec<_>>().join(" "));
    let (name, text) = task::file(&cli.launch, &cli.task)?;
    let variants = variants(&name, &text)?;
    let Panel { models, costs, best, .. } = &variants.panel;
    let (best, models) = (*best, models.iter().map(String::as_str).collect::<Vec<_>>());
    let mut rows = labelled(&cli.data)?;
    let served = cli.launch.start(&models)?;
    for model in &models {
        rows.votes.push(votes(&served, cli, model, &rows.x)?);
    }
    rows.said = rows.votes.iter().map(|votes| said(votes, &rows.label)).collect();
    drop(served);
    let mut rng = Pcg64Mcg::seed_from_u64(cli.seed);
    let (one, other) = halves(rows.x.len(), &mut rng);
    let (fitted_on, checked_on) = (one.len(), other.len());
    print!("seed {}, {fitted_on} rows fit, {checked_on} others check, ", cli.seed);
    println!("next to {}", models[best]);
    let here = variants.panel.members(&rows.said, &one);
    let tiers: Vec<(f64, Fitted)> = TIERS
        .iter()
        .map(|(loss, _)| (*loss, fit(&here, best, limit(*loss), &mut || rng.random())))
        .collect();
    let agreement = agree(&rows, &variants.weights, &one);
    let folder = tempfile::tempdir().map_err(Error::system("a folder for the fitted task"))?;
    let mut bars = Vec::new();
    let mut table = Table::new(&["who", "accuracy", "loss", "cost", "asked a row", "compute us"]);
    cascade_repository(cli, &text, &variants.panel, &tiers, folder.path())?;
    let served = started(cli, folder.path(), &models)?;
    let mut alone = ask_all(&served, &rows, &other, models[best], None)?;
    alone.cost = costs[best];
    table.push(alone.row(models[best], &alone));
    let there = variants.panel.members(&rows.said, &other);
    for ((loss, fitted), (_, saved)) in tiers.iter().zip(TIERS) {
        let run = ask_all(&served, &rows, &other, &cli.task, Some(*loss))?;
        let name = format!("cascade {:.0} %: {}", loss * 100.0, variants.panel.words(fitted));
        table.push(run.row(&name, &alone));
        let bound = check(&fitted.stages, &there, best, &mut || rng.random()).bound;
        println!(
            "{name}: loss {:.4} on its half, below {:.4} on as many fresh rows at 95 %; on the other half below {bound:.4}",
            fitted.loss, fitted.bound
        );
        let what = format!("compute saved at {:.0} %, by cost", loss * 100.0);
        bars.push(verdict(&what, 1.0 - run.cost / costs[best], Bar::AtLeast(saved)));
        let what = format!("compute saved at {:.0} %, as run", loss * 100.0);
        bars.push(verdict(&what, 1.0 - run.micros / alone.micros, Bar::AtLeast(saved)));
        let what = format!("accuracy lost at {:.0} %, rows not fitted on", loss * 100.0);
        bars.push(verdict(&what, run.loss(&alone), Bar::AtMost(*loss)));
    }
    drop(served);
    for &(loss, _) in &TIERS {
        let (held, saved) = held(cli, &rows, &variants.panel, loss);
        println!(
            "cascade {:.0} %: {:.1} % of cost saved on average of {} halves",
            loss * 100.0,
            saved * 100.0,
            cli.splits
        );
        let what = format!("halves on which the loss stays within {:.0} %", loss * 100.0);
        bars.push(verdict(&what, held, Bar::AtLeast(CONFIDENCE)));
    }
    let half = (&rows, &variants, &other[..]);
    bars.extend(ensemble(cli, &text, half, (agreement, &alone), &mut table)?);
    println!("\n{table}");
    bars.iter().for_each(|(line, _)| println!("{line}"));
    Ok(bars.iter().all(|(_, reached)| *reached))
}

/// All variants as an ensemble, on rows that its agreement was not fitted on.
fn ensemble(
    cli: &Cli,
    text: &str,
    (rows, variants, other): (&Rows, &Variants, &[usize]),
    (agreement, alone): (Confidence, &Run),
    table: &mut Table,
) -> Result<Vec<(String, bool)>, Error> {
    let mut bars = Vec::new();
    let models: Vec<&str> = variants.panel.models.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().map_err(Error::system("a folder for the fitted task"))?;
    let all =
        other.iter().filter(|&&row| vote(rows, &variants.weights, row, None).0 == rows.label[row]);
    let full = all.count() as f64 / other.len() as f64;
    ensemble_repository(cli, text, &models, agreement, folder.path())?;
    let served = started(cli, folder.path(), &models)?;
    let run = ask_all(&served, rows, other, &cli.task, None)?;
    table.push(run.row(&format!("ensemble of {}, agreement {agreement}", models.len()), alone));
    let away = (run.accuracy - full).abs();
    bars.push(verdict(
        &format!("ensemble's accuracy from that of all members, {full:.4}"),
        away,
        Bar::AtMost(ENSEMBLE.0),
    ));
    let share = run.asked / models.len() as f64;
    bars.push(verdict("inferences of all members'", share, Bar::AtMost(ENSEMBLE.1)));
    Ok(bars)
}

fn variants(file: &str, text: &str) -> Result<Variants, Error> {
    let task =
        TaskSettings::from_text(file, text).map_err(|error| Error::Server(error.to_string()))?;
    let mut claims = task.variants;
    claims.sort_by_key(|claim| claim.cost);
    let weight = |claim: &models::VariantClaim| {
        let accuracy = f64::from(claim.accuracy);
        thousandths((accuracy / (1.0 - accuracy)).ln())
    };
    let panel = Panel::of(&claims).ok_or_else(|| Error::Server("a task has variants".into()))?;
    Ok(Variants { panel, weights: claims.iter().map(weight).collect() })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small weight")]
fn thousandths(weight: f64) -> u32 {
    (weight * 1000.0).round() as u32
}

fn labelled(file: &Path) -> Result<Rows, Error> {
    let wrong = |what: &str| Error::Raw(format!("{}: {what}", file.display()));
    let bytes = std::fs::read(file).map_err(Error::system(file.display().to_string()))?;
    let arrays = npz::read(&bytes).map_err(|reason| wrong(&reason))?;
    let (x, digit) =
        arrays.get("x").zip(arrays.get("digit")).ok_or_else(|| wrong("no `x`, `digit`"))?;
    let Elements::Numbers { bytes, .. } = &x.elements else {
        return Err(wrong("`x` is no numbers"));
    };
    let (numbers, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let label = digit.whole_numbers().ok_or_else(|| wrong("`digit` is no whole numbers"))?;
    let width = numbers.len() / label.len().max(1);
    let label = label.iter().map(|label| u32::try_from(*label).unwrap_or(u32::MAX)).collect();
    Ok(Rows {
        x: numbers.chunks_exact(width).map(<[f32]>::to_vec).collect(),
        label,
        votes: Vec::new(),
        said: Vec::new(),
    })
}

fn infer(served: &Served, model: &str, x: &[Vec<f32>], loss: Option<f64>) -> Result<Value, Error> {
    let data: Vec<f32> = x.iter().flatten().copied().collect();
    let input =
        json!({ "name": "x", "datatype": "FP32", "shape": [x.len(), x[0].len()], "data": data });
    let parameters = loss.map_or_else(|| json!({}), |loss| json!({ "max_accuracy_loss": loss }));
    let body = json!({ "inputs": [input], "parameters": parameters }).to_string();
    let path = format!("/v2/models/{model}/infer");
    answer(fetch(&served.http(), "POST", &path, Bytes::from(body))?)
}

fn answer((status, body): (u16, Bytes)) -> Result<Value, Error> {
    let text = String::from_utf8_lossy(&body);
    match status {
        200 => serde_json::from_slice(&body).map_err(|error| Error::Server(error.to_string())),
        _ => Err(Error::Server(format!("{status}: {text}"))),
    }
}

fn output<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    let outputs = answer["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = outputs.iter().find(|output| output["name"] == name);
    found.and_then(|output| output["data"].as_array()).map(Vec::as_slice).unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "it was written from an f32")]
fn votes(served: &Served, cli: &Cli, model: &str, x: &[Vec<f32>]) -> Result<Vec<Vote>, Error> {
    let mut votes = Vec::new();
    for rows in x.chunks(ROWS) {
        let answer = infer(served, model, rows, None)?;
        let scores: Vec<f32> = output(&answer, &cli.output)
            .iter()
            .filter_map(Value::as_f64)
            .map(|score| score as f32)
            .collect();
        let classes = (scores.len() / rows.len()).max(1);
        for row in scores.chunks_exact(classes) {
            let first = (0..).zip(row).fold((0_u32, f32::MIN), |best, (class, &score)| {
                if score > best.1 { (class, score) } else { best }
            });
            let confidence = Confidence::try_from(f64::from(first.1).min(1.0)).unwrap_or_default();
            votes.push(Vote { class: first.0, confidence });
        }
    }
    match votes.len() == x.len() {
        true => Ok(votes),
        false => Err(Error::Server(format!("{model} gave no `{}` for each row", cli.output))),
    }
}

fn halves(rows: usize, rng: &mut Pcg64Mcg) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    let other = order.split_off(rows / 2);
    (order, other)
}

fn said(votes: &[Vote], label: &[u32]) -> Vec<Said> {
    let pairs = votes.iter().zip(label);
    let said = |(vote, label): (&Vote, &u32)| Said {
        confidence: vote.confidence,
        right: vote.class == *label,
    };
    pairs.map(said).collect()
}

/// How often the loss stays within its tier on the half not fitted on, and the cost saved on average.
fn held(cli: &Cli, rows: &Rows, panel: &Panel, loss: f64) -> (f64, f64) {
    let best = panel.best;
    let (mut held, mut saved) = (0.0, 0.0);
    for split in 0..cli.splits {
        let mut rng = Pcg64Mcg::seed_from_u64(cli.seed + 1000 + split);
        let (one, other) = halves(rows.x.len(), &mut rng);
        let fitted = fit(&panel.members(&rows.said, &one), best, limit(loss), &mut || rng.random());
        let there = panel.members(&rows.said, &other);
        let fresh = check(&fitted.stages, &there, best, &mut || rng.random());
        held += f64::from(u8::from(fresh.loss <= loss)) / cli.splits as f64;
        saved += (1.0 - fresh.cost / panel.costs[best]) / cli.splits as f64;
    }
    (held, saved)
}

/// What an ensemble of all variants says of a row, the cheapest asked first, and how many it asked; all without agreement.
fn vote(rows: &Rows, weights: &[u32], row: usize, agreement: Option<Confidence>) -> (u32, usize) {
    let voters = weights.iter().enumerate();
    let voters = voters.map(|(member, &weight)| Voter { member, weight }).collect();
    let at_once = if agreement.is_some() { 1 } else { weights.len() };
    let mut ensemble = Ensemble::new(Ballots { voters, at_once, agreement }, 1, Instant::NEVER);
    let mut asked = Vec::new();
    loop {
        match ensemble.poll_step() {
            Some(Step::Ask { ask, member, .. }) => {
                asked.push(member);
                let vote = rows.votes[member][row];
                ensemble.heard(ask, Heard::Answered(&[vote]), Instant::ZERO);
            }
            Some(Step::Cancel(_)) => {}
            Some(Step::End(end)) => {
                return (rows.votes[asked[end.rows[0].index()]][row].class, asked.len());
            }
            None => unreachable!("members answer at once"),
        }
    }
}

/// The least agreement from which on no row of these gets another answer than from all members.
fn agree(rows: &Rows, weights: &[u32], of: &[usize]) -> Confidence {
    let share = |percent: u32| Confidence::try_from(f64::from(percent) / 100.0).unwrap_or_default();
    let same = |agreement: Confidence| {
        of.iter().all(|&row| {
            vote(rows, weights, row, Some(agreement)).0 == vote(rows, weights, row, None).0
        })
    };
    (50..=100)
        .rev()
        .map(share)
        .take_while(|&agreement| same(agreement))
        .last()
        .unwrap_or(share(100))
}

/// A repository of the same models and another file of the task.
fn repository(
    cli: &Cli,
    models: &[impl AsRef<Path>],
    folder: &Path,
    text: &str,
) -> Result<(), Error> {
    let wrong = || Error::system(folder.display().to_string());
    for model in models {
        let from = cli.launch.repository.join(model).canonicalize().map_err(wrong())?;
        std::os::unix::fs::symlink(from, folder.join(model)).map_err(wrong())?;
    }
    std::fs::create_dir(folder.join(&cli.task)).map_err(wrong())?;
    std::fs::write(folder.join(&cli.task).join("punctual.toml"), text).map_err(wrong())
}

/// The task's file with another way to answer, and no deadline.
fn file(cli: &Cli, text: &str, mode: &str, tables: &str) -> String {
    let kept = text.lines().filter(|line| !line.starts_with("slo"));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    let head = format!("[task]\nanswer = \"{mode}\"");
    let output = &cli.output;
    format!("{}\n[confidence]\noutput = \"{output}\"\n{tables}", text.replacen("[task]", &head, 1))
}

fn cascade_repository(
    cli: &Cli,
    text: &str,
    panel: &Panel,
    tiers: &[(f64, Fitted)],
    folder: &Path,
) -> Result<(), Error> {
    let tier = |(loss, fitted): &(f64, Fitted)| {
        let loss = Accuracy::try_from(*loss).map_err(Error::Server)?;
        Ok(panel.tier(loss, fitted, "bench-cascade").to_string())
    };
    let tables = tiers.iter().map(tier).collect::<Result<String, Error>>()?;
    repository(cli, &panel.models, folder, &file(cli, text, "cascade", &tables))
}

fn ensemble_repository(
    cli: &Cli,
    text: &str,
    models: &[&str],
    agreement: Confidence,
    folder: &Path,
) -> Result<(), Error> {
    let voters: Vec<_> = models.iter().map(|model| format!("{{ model = \"{model}\" }}")).collect();
    let agreement = f64::from(agreement);
    let tables = format!(
        "[ensemble]\naccuracy = 0.0\nsource = \"not measured\"\nat_once = 1\nagreement = {agreement:?}\nmembers = [{}]\n",
        voters.join(", ")
    );
    repository(cli, models, folder, &file(cli, text, "ensemble", &tables))
}

fn started(cli: &Cli, folder: &Path, models: &[&str]) -> Result<Served, Error> {
    let launch = Launch { repository: folder.to_owned(), ..cli.launch.clone() };
    launch.start(&[models, &[cli.task.as_str()]].concat())
}

/// What came of asking for rows one by one.
struct Run {
    accuracy: f64,
    /// By the claims of the variants asked; the best one's own where it was asked alone.
    cost: f64,
    asked: f64,
    /// Run time of the models.
    micros: f64,
}

impl Run {
    fn loss(&self, alone: &Self) -> f64 {
        1.0 - self.accuracy / alone.accuracy
    }

    fn row(&self, name: &str, alone: &Self) -> Vec<String> {
        vec![
            name.to_owned(),
            format!("{:.4}", self.accuracy),
            format!("{:.4}", self.loss(alone)),
            format!("{:.2}", self.cost),
            format!("{:.2}", self.asked),
            format!("{:.1}", self.micros),
        ]
    }
}

fn ask_all(
    served: &Served,
    rows: &Rows,
    of: &[usize],
    name: &str,
    loss: Option<f64>,
) -> Result<Run, Error> {
    let before = ran(served, name)?;
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for &row in of {
        let answer = infer(served, name, &rows.x[row..=row], loss)?;
        let right = output(&answer, "digit").first().and_then(Value::as_u64)
            == Some(rows.label[row].into());
        *sums.entry("right").or_default() += f64::from(u8::from(right));
        for key in ["cost", "asked"] {
            *sums.entry(key).or_default() += answer["parameters"][key].as_f64().unwrap_or(1.0);
        }
    }
    let count = of.len() as f64;
    let mean = |key| sums.get(key).unwrap_or(&0.0) / count;
    let micros = (ran(served, name)? - before) / 1e3 / count;
    Ok(Run { accuracy: mean("right"), cost: mean("cost"), asked: mean("asked"), micros })
}

/// Nanoseconds that models ran for the requests of that name.
fn ran(served: &Served, name: &str) -> Result<f64, Error> {
    let path = format!("/v2/models/{name}/stats");
    let statistics = answer(fetch(&served.http(), "GET", &path, Bytes::new())?)?;
    let time = &statistics["model_stats"][0]["inference_stats"]["compute_infer"]["ns"];
    time.as_f64().ok_or_else(|| Error::Server(format!("no statistics of {name}")))
}
