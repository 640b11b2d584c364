//! Holds a configuration against the rules and against its model: what cannot be honoured is refused, not ignored.

use std::collections::BTreeSet;

use crate::config::{DynamicBatching, Fields, type_number};
use crate::{CatalogError, Dim, ModelConfig, Signature, TensorSpec};

/// What a configuration says and cannot: by which key, in which item of the list that its path begins with, and why not.
pub(super) struct Misfit {
    key: &'static str,
    item: usize,
    reason: String,
}

impl Misfit {
    pub(super) fn new(key: &'static str, reason: String) -> Self {
        Self { key, item: 0, reason }
    }

    pub(super) fn in_item(self, item: usize) -> Self {
        Self { item, ..self }
    }

    /// The error, with the line of the key.
    pub(super) fn of(self, (file, config): (&str, &ModelConfig)) -> CatalogError {
        let line = config.line_in(self.key, self.item);
        CatalogError::Config { file: file.to_owned(), line, reason: self.reason }
    }
}

/// The error that a key holds what cannot be.
fn wrong(key: &'static str, reason: impl Into<String>) -> Result<(), Misfit> {
    Err(Misfit::new(key, reason.into()))
}

/// What a configuration may not say of any model, and what is not served.
pub(super) fn check_kind(fields: &Fields, model: &str) -> Result<(), Misfit> {
    if !fields.name.is_empty() && fields.name != model {
        let found = &fields.name;
        let reason = format!("`name` is {found:?}, but the model's folder is {model:?}");
        return wrong("name", reason);
    }
    let allowed = [
        ("platform", &fields.platform, "onnxruntime_onnx"),
        ("backend", &fields.backend, "onnxruntime"),
    ];
    for (key, found, only) in allowed {
        if !found.is_empty() && found != only {
            return wrong(key, format!("`{key}` {found:?} is not served; allowed is {only:?}"));
        }
    }
    let state = "carry state as plain tensors";
    if fields.sequence_batching.is_some() {
        return wrong("sequence_batching", format!("`sequence_batching` is not served; {state}"));
    }
    if fields.ensemble.is_some() {
        let reason = "`ensemble_scheduling` is not served: a request is answered by one model";
        return wrong("ensemble_scheduling", reason);
    }
    if fields.transaction.as_ref().is_some_and(|transaction| transaction.decoupled) {
        let key = "model_transaction_policy.decoupled";
        return wrong(
            key,
            format!(
                "`{key}` is not served: each request gets exactly one answer; allowed is false"
            ),
        );
    }
    Ok(())
}

/// Whether names, types and dimensions are the model's.
pub(super) fn check_tensors(fields: &Fields, signature: &Signature) -> Result<(), Misfit> {
    let batched = fields.max_batch_size > 0;
    if batched && !signature.batched {
        return wrong(
            "max_batch_size",
            "`max_batch_size` is above 0, but the model has no batch axis: the first axis does not vary in every input and output; set it to 0",
        );
    }
    let inputs = fields.input.iter().map(|input| {
        let found = signature.input(&input.name).map(|(_, spec)| spec);
        Listed { name: &input.name, spec: found, data_type: input.data_type, dims: &input.dims }
    });
    check_list(&INPUT, &signature.inputs, inputs, batched)?;
    let listed = |spec: &&TensorSpec| fields.input.iter().any(|input| input.name == spec.name);
    let missing = signature.inputs.iter().find(|spec| !listed(spec));
    if let (Some(missing), false) = (missing, fields.input.is_empty()) {
        let name = &missing.name;
        let reason = format!("`input` lacks {name:?}; name every input of the model or none");
        return wrong("input", reason);
    }
    let outputs = fields.output.iter().map(|output| {
        let found = signature.output(&output.name).map(|(_, spec)| spec);
        Listed { name: &output.name, spec: found, data_type: output.data_type, dims: &output.dims }
    });
    check_list(&OUTPUT, &signature.outputs, outputs, batched)
}

/// The keys of one of the two lists of tensors.
struct List {
    kind: &'static str,
    name: &'static str,
    data_type: &'static str,
    dims: &'static str,
}

const INPUT: List =
    List { kind: "input", name: "input.name", data_type: "input.data_type", dims: "input.dims" };

const OUTPUT: List = List {
    kind: "output",
    name: "output.name",
    data_type: "output.data_type",
    dims: "output.dims",
};

/// What a list says of one tensor, and the model's own word on that of this name.
struct Listed<'a> {
    name: &'a str,
    spec: Option<&'a TensorSpec>,
    data_type: i32,
    dims: &'a [i64],
}

fn check_list<'a>(
    list: &List,
    specs: &[TensorSpec],
    listed: impl Iterator<Item = Listed<'a>>,
    batched: bool,
) -> Result<(), Misfit> {
    let mut seen = BTreeSet::new();
    for (item, listed) in listed.enumerate() {
        let misfit = |key, reason| Misfit::new(key, reason).in_item(item);
        if !seen.insert(listed.name) {
            let reason = format!("`{}` names {:?} twice", list.kind, listed.name);
            return Err(misfit(list.name, reason));
        }
        let Some(spec) = listed.spec else {
            let reason = format!("`{}`: {}", list.name, unknown(list.kind, listed.name, specs));
            return Err(misfit(list.name, reason));
        };
        if listed.data_type != 0 && listed.data_type != type_number(spec.datatype) {
            let (name, allowed) = (listed.name, spec.datatype.config_name());
            let reason = format!("`data_type` of {name:?} must be {allowed}, as in the model");
            return Err(misfit(list.data_type, reason));
        }
        check_dims(spec, listed.dims, batched).map_err(|reason| misfit(list.dims, reason))?;
    }
    Ok(())
}

pub(super) fn unknown(kind: &str, name: &str, specs: &[TensorSpec]) -> String {
    let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
    format!("the model has no {kind} {name:?}; it has {}", names.join(", "))
}

fn check_dims(spec: &TensorSpec, dims: &[i64], batched: bool) -> Result<(), String> {
    let name = &spec.name;
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

/// Whether every number is one that can be acted on.
pub(super) fn check_numbers(fields: &Fields) -> Result<(), Misfit> {
    if fields.max_batch_size < 0 {
        let found = fields.max_batch_size;
        let reason = format!("`max_batch_size` is {found}; it must be 0 or more");
        return wrong("max_batch_size", reason);
    }
    if let Some(item) = fields.instance_group.iter().position(|group| group.count < 0) {
        let reason = "`instance_group.count` must be 0 or more".into();
        return Err(Misfit::new("instance_group.count", reason).in_item(item));
    }
    if let Some(threads) = fields.parameters.get(THREADS)
        && threads.string_value.parse::<u32>().is_err()
    {
        let found = &threads.string_value;
        let reason =
            format!("`{THREADS_KEY}` is {found:?}; it must be a whole number, 0 for the default");
        return wrong(THREADS_KEY, reason);
    }
    let policy = fields.version_policy.clone().unwrap_or_default();
    if policy.latest.is_some_and(|latest| latest.num_versions == 0) {
        let key = "version_policy.latest.num_versions";
        return wrong(key, format!("`{key}` must be at least 1"));
    }
    if policy.specific.is_some_and(|specific| specific.versions.iter().any(|&version| version < 1))
    {
        let key = "version_policy.specific.versions";
        return wrong(key, format!("`{key}` must be 1 or more each"));
    }
    fields
        .dynamic_batching
        .as_ref()
        .map_or(Ok(()), |dynamic| check_dynamic(dynamic, fields.max_batch_size))
}

/// The name of the parameter that says how many threads a run has.
pub(super) const THREADS: &str = "intra_op_thread_count";

const THREADS_KEY: &str = "parameters.intra_op_thread_count";

fn check_dynamic(dynamic: &DynamicBatching, max_batch_size: i32) -> Result<(), Misfit> {
    let rows = if max_batch_size > 0 { max_batch_size } else { i32::MAX };
    if let Some(size) = dynamic.preferred_batch_size.iter().find(|&&size| size < 1 || size > rows) {
        let most = match max_batch_size {
            1.. => format!("to `max_batch_size`, which is {max_batch_size}"),
            _ => "on".to_owned(),
        };
        let key = "dynamic_batching.preferred_batch_size";
        return wrong(key, format!("`{key}` has {size}; allowed are sizes from 1 {most}"));
    }
    let (levels, default) = (dynamic.priority_levels, dynamic.default_priority_level);
    if levels > u64::from(u32::MAX) {
        let (key, most) = ("dynamic_batching.priority_levels", u32::MAX);
        return wrong(key, format!("`{key}` is {levels}; at most {most} are served"));
    }
    if default > levels {
        let key = "dynamic_batching.default_priority_level";
        return wrong(
            key,
            format!(
                "`{key}` is {default}; allowed are levels from 1 to `priority_levels`, which is {levels}"
            ),
        );
    }
    Ok(())
}
