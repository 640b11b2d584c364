//! Holds a configuration against the rules and against its model: what cannot be honoured is refused, not ignored.

use std::collections::BTreeSet;

use crate::config::{DynamicBatching, Fields, type_number};
use crate::{Dim, Signature, TensorSpec};

/// What a configuration may not say of any model, and what is not served.
pub(super) fn check_kind(fields: &Fields, model: &str) -> Result<(), String> {
    if !fields.name.is_empty() && fields.name != model {
        return Err(format!("`name` is {:?}, but the model's folder is {model:?}", fields.name));
    }
    let kind = (fields.platform.as_str(), fields.backend.as_str());
    if !matches!(kind, ("" | "onnxruntime_onnx", "" | "onnxruntime")) {
        return Err(format!(
            "platform {:?} and backend {:?} are not served; allowed are \"onnxruntime_onnx\" and \"onnxruntime\"",
            kind.0, kind.1
        ));
    }
    if fields.ensemble.is_some() || fields.sequence_batching.is_some() {
        return Err("`ensemble_scheduling` and `sequence_batching` are not served; carry state as plain tensors".into());
    }
    if fields.transaction.as_ref().is_some_and(|transaction| transaction.decoupled) {
        return Err("`model_transaction_policy.decoupled` is not served: each request gets exactly one answer".into());
    }
    Ok(())
}

/// Whether names, types and dimensions are the model's.
pub(super) fn check_tensors(fields: &Fields, signature: &Signature) -> Result<(), String> {
    let batched = fields.max_batch_size > 0;
    if batched && !signature.batched {
        return Err("`max_batch_size` is above 0, but the model has no batch axis: the first axis does not vary in every input and output; set it to 0".into());
    }
    all_once("input", fields.input.iter().map(|input| input.name.as_str()))?;
    all_once("output", fields.output.iter().map(|output| output.name.as_str()))?;
    for input in &fields.input {
        let (_, spec) = signature
            .input(&input.name)
            .ok_or_else(|| unknown("input", &input.name, &signature.inputs))?;
        check_tensor(spec, input.data_type, &input.dims, batched)?;
    }
    let listed = |spec: &&TensorSpec| fields.input.iter().any(|input| input.name == spec.name);
    let missing = signature.inputs.iter().find(|spec| !listed(spec));
    if let (Some(missing), false) = (missing, fields.input.is_empty()) {
        return Err(format!(
            "`input` lacks {:?}; name every input of the model or none",
            missing.name
        ));
    }
    for output in &fields.output {
        let (_, spec) = signature
            .output(&output.name)
            .ok_or_else(|| unknown("output", &output.name, &signature.outputs))?;
        check_tensor(spec, output.data_type, &output.dims, batched)?;
    }
    Ok(())
}

pub(super) fn unknown(kind: &str, name: &str, specs: &[TensorSpec]) -> String {
    let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
    format!("the model has no {kind} {name:?}; it has {}", names.join(", "))
}

fn check_tensor(
    spec: &TensorSpec,
    data_type: i32,
    dims: &[i64],
    batched: bool,
) -> Result<(), String> {
    let name = &spec.name;
    if data_type != 0 && data_type != type_number(spec.datatype) {
        return Err(format!(
            "`data_type` of {name:?} must be {}, as in the model",
            spec.datatype.config_name()
        ));
    }
    let inner: Vec<i64> = spec.dims[usize::from(batched)..].iter().map(Dim::protocol).collect();
    if let Some(dim) = dims.iter().find(|&&dim| dim < -1 || dim == 0) {
        return Err(format!(
            "`dims` of {name:?} has {dim}; allowed are -1 for any length and lengths above 0"
        ));
    }
    let fits = inner.len() == dims.len()
        && inner
            .iter()
            .zip(dims)
            .all(|(&model, &config)| model == config || model < 0 || config < 0);
    if !dims.is_empty() && !fits {
        let without_batch = !batched && inner.len() == dims.len() + 1 && inner[0] < 0;
        let hint = match (batched, without_batch) {
            (true, _) => " after its batch axis",
            (false, true) => "; set `max_batch_size` above 0 to leave the batch axis out",
            (false, false) => "",
        };
        return Err(format!("`dims` of {name:?} are {dims:?}, but the model has {inner:?}{hint}"));
    }
    Ok(())
}

fn all_once<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("`{list}` names {name:?} twice"));
        }
    }
    Ok(())
}

/// Whether every number is one that can be acted on.
pub(super) fn check_numbers(fields: &Fields) -> Result<(), String> {
    if fields.max_batch_size < 0 {
        return Err(format!("`max_batch_size` is {}; it must be 0 or more", fields.max_batch_size));
    }
    if fields.instance_group.iter().any(|group| group.count < 0) {
        return Err("`instance_group.count` must be 0 or more".into());
    }
    if let Some(threads) = fields.parameters.get(THREADS)
        && threads.string_value.parse::<u32>().is_err()
    {
        return Err(format!(
            "`parameters.{THREADS}` is {:?}; it must be a whole number, 0 for the default",
            threads.string_value
        ));
    }
    let policy = fields.version_policy.clone().unwrap_or_default();
    if policy.latest.is_some_and(|latest| latest.num_versions == 0) {
        return Err("`version_policy.latest.num_versions` must be at least 1".into());
    }
    if policy.specific.is_some_and(|specific| specific.versions.iter().any(|&version| version < 1))
    {
        return Err("`version_policy.specific.versions` must be 1 or more each".into());
    }
    fields
        .dynamic_batching
        .as_ref()
        .map_or(Ok(()), |dynamic| check_dynamic(dynamic, fields.max_batch_size))
}

/// The name of the parameter that says how many threads a run has.
pub(super) const THREADS: &str = "intra_op_thread_count";

fn check_dynamic(dynamic: &DynamicBatching, max_batch_size: i32) -> Result<(), String> {
    let rows = if max_batch_size > 0 { max_batch_size } else { i32::MAX };
    if let Some(size) = dynamic.preferred_batch_size.iter().find(|&&size| size < 1 || size > rows) {
        return Err(format!(
            "`dynamic_batching.preferred_batch_size` has {size}; allowed are sizes from 1 to `max_batch_size`"
        ));
    }
    let (levels, default) = (dynamic.priority_levels, dynamic.default_priority_level);
    if levels > u64::from(u32::MAX) {
        return Err(format!(
            "`dynamic_batching.priority_levels` is {levels}; at most {} are served",
            u32::MAX
        ));
    }
    if default > levels {
        return Err(format!(
            "`dynamic_batching.default_priority_level` is {default}; allowed are levels from 1 to `priority_levels`, which is {levels}"
        ));
    }
    Ok(())
}
