//! A task under measurement: what its file claims of its variants, and who has answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use loadgen::client::fetch;
use models::{TaskSettings, VariantClaim};
use serde_json::Value;

use crate::{Error, Launch, Served};

/// Variants by model and how often each is right, the most accurate first.
pub type Claims = Vec<(String, f64)>;

/// Answers by model.
pub type Answers = BTreeMap<String, f64>;

/// The name and the text of a task's file in the repository that is measured.
///
/// # Errors
/// It cannot be read.
pub fn file(launch: &Launch, task: &str) -> Result<(String, String), Error> {
    let file = launch.repository.join(task).join("punctual.toml");
    let name = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(Error::system(name.clone()))?;
    Ok((name, text))
}

/// A task's variants and how often each is right.
///
/// # Errors
/// Its file cannot be read, or makes no sense.
pub fn claims(launch: &Launch, task: &str) -> Result<Claims, Error> {
    let (name, text) = file(launch, task)?;
    let task =
        TaskSettings::from_text(&name, &text).map_err(|error| Error::Server(error.to_string()))?;
    let claim =
        |variant: &VariantClaim| (variant.model.get_ref().clone(), f64::from(variant.accuracy));
    let mut claims: Claims = task.variants.iter().map(claim).collect();
    claims.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(claims)
}

/// A task's answers so far.
///
/// # Errors
/// The server does not say.
pub fn answers(served: &Served, task: &str) -> Result<Answers, Error> {
    let path = format!("/v2/tasks/{task}");
    let (_, body) = fetch(&served.http(), "GET", &path, Bytes::new())?;
    let task: Value =
        serde_json::from_slice(&body).map_err(|error| Error::Server(error.to_string()))?;
    let variants = task["variants"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |variant: &Value| {
        let model = variant["model"].as_str().unwrap_or_default().to_owned();
        (model, variant["answers"].as_f64().unwrap_or(0.0))
    };
    Ok(variants.iter().map(count).collect())
}

/// How often the answers given in between are right, by what is claimed of who gave them.
#[must_use]
pub fn accuracy(claims: &[(String, f64)], before: &Answers, after: &Answers) -> f64 {
    let count =
        |model: &String| after.get(model).unwrap_or(&0.0) - before.get(model).unwrap_or(&0.0);
    let all: f64 = claims.iter().map(|(model, _)| count(model)).sum();
    claims.iter().map(|(model, own)| own * count(model)).sum::<f64>() / all.max(1.0)
}
