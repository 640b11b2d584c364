//! Sentences for the operator on what is set and does not do what it says.

use super::ModelFiles;
use crate::{BatchingMode, ModelConfig, Signature};

/// By file, line and key.
pub(super) fn of(files: &ModelFiles<'_>, rows_max: u32, signature: &Signature) -> Vec<String> {
    let mut warnings = files.config.map(of_config).unwrap_or_default();
    let Some((file, settings)) = files.settings else { return warnings };
    let at = |key| format!("{file}:{}: `{key}`", settings.line(&[key]));
    let insists = settings.batching == BatchingMode::Always;
    match settings.batch_max {
        _ if !signature.batched && (settings.batch_max.is_some() || insists) => {
            let at = at(if insists { "batching" } else { "batch_max" });
            warnings.push(format!("{at} has no effect: the model is served without a batch axis"));
        }
        Some(batch_max) if signature.batched && batch_max > rows_max => warnings.push(format!(
            "{} is {batch_max}, but `max_batch_size` of the configuration allows {rows_max}",
            at("batch_max")
        )),
        Some(_) | None => {}
    }
    warnings
}

fn of_config((file, config): (&str, &ModelConfig)) -> Vec<String> {
    let mut warnings = Vec::new();
    let keys = config.unsupported_keys();
    if !keys.is_empty() {
        let named = |key: &String| format!("{key} (line {})", config.line(key));
        let named: Vec<_> = keys.iter().map(named).collect();
        let cache = match keys.iter().any(|key| key.starts_with("response_cache")) {
            true => {
                "; answers are kept where punctual.toml says `cache = \"64MiB\"` (docs/cache.md)"
            }
            false => "",
        };
        let named = named.join(", ");
        warnings.push(format!("{file}: these keys have no effect here: {named}{cache}"));
    }
    let key = "dynamic_batching.default_queue_policy.allow_timeout_override";
    let dynamic = config.fields().dynamic_batching.unwrap_or_default();
    let queue = dynamic.default_queue_policy.unwrap_or_default();
    if config.mentions(key) && !queue.allow_timeout_override {
        let line = config.line(key);
        warnings.push(format!(
            "{file}:{line}: `{key}: false` has no effect: a request may state a timeout, and the earlier of it and the default counts"
        ));
    }
    warnings
}
