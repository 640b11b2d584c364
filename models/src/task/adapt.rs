//! Variants whose inputs or outputs have other names, shapes or types than the task's: what `adapt` says of them.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::TaskSettings;
use crate::adapter::{Loss, loss};
use crate::{Adapter, AdapterStep, CatalogError, DataType, Dim, Signature, TensorSpec};

/// How a variant's inputs are made of the task's, and the task's outputs of the variant's. What is not named passes as
/// it is, under its own name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptRules {
    /// From the task's inputs to the variant's.
    pub inputs: Vec<StepClaim>,
    /// From the variant's outputs to the task's.
    pub outputs: Vec<StepClaim>,
}

/// How one tensor becomes another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepClaim {
    /// The name that it has.
    pub from: Spanned<String>,
    /// The name that it gets; the same by default.
    pub to: Option<Spanned<String>>,
    /// The shape that it gets, without the batch axis; the same by default.
    pub shape: Option<Spanned<Vec<u64>>>,
    /// The element type that it gets; the same by default.
    pub datatype: Option<Spanned<DataType>>,
    /// Whether that cast may lose more than digits.
    #[serde(default)]
    pub lossy: bool,
}

impl StepClaim {
    fn target(&self) -> &Spanned<String> {
        self.to.as_ref().unwrap_or(&self.from)
    }
}

/// The tensors on both sides of a list of steps.
#[derive(Clone, Copy)]
struct Sides<'a> {
    /// `input` or `output`.
    kind: &'static str,
    /// Those that there are, and whose.
    from: (&'a [TensorSpec], &'a str),
    /// Those to be made, and whose.
    to: (&'a [TensorSpec], &'a str),
    /// Whether the first axis is left alone.
    batched: bool,
    /// Where the variant is named.
    place: usize,
}

impl TaskSettings {
    /// Holds the signature of one of the variants' models against that of the first without `adapt`; returns how that
    /// variant answers in its place, where it does not do so as it is.
    ///
    /// # Errors
    /// What does not fit, by file and line.
    pub fn fit(
        &self,
        first: (usize, &Signature),
        (place, own): (usize, &Signature),
    ) -> Result<Option<Adapter>, CatalogError> {
        let claim = &self.variants[place];
        let Some(rules) = &claim.adapt else {
            return self.check_signatures(first, (place, own)).map(|()| None);
        };
        let (task, batched) = (first.1, own.batched);
        let name = format!("'{}'", claim.model.get_ref());
        if task.batched != batched {
            let reason = format!(
                "`adapt`: only one of {name} and '{}' takes several rows at once, which no step changes",
                self.variants[first.0].model.get_ref()
            );
            return Err(self.wrong(&claim.model.span(), reason));
        }
        let (ours, theirs) = ("the task", name.as_str());
        let inputs = Sides {
            kind: "input",
            from: (&task.inputs, ours),
            to: (&own.inputs, theirs),
            batched,
            place,
        };
        let outputs = Sides {
            kind: "output",
            from: (&own.outputs, theirs),
            to: (&task.outputs, ours),
            batched,
            place,
        };
        let used = self.steps(&rules.inputs, inputs)?;
        let left = (0..task.inputs.len()).find(|at| used.iter().all(|step| step.from != *at));
        if let Some(left) = left {
            let left = &task.inputs[left].name;
            let reason = format!("`adapt`: input '{left}' of the task becomes no input of {name}");
            return Err(self.wrong(&claim.model.span(), reason));
        }
        Ok(Some(Adapter { inputs: used, outputs: self.steps(&rules.outputs, outputs)? }))
    }

    /// How each tensor of the far side is made.
    fn steps(
        &self,
        claims: &[StepClaim],
        sides: Sides<'_>,
    ) -> Result<Vec<AdapterStep>, CatalogError> {
        self.check_names(claims, sides)?;
        let (specs, owner) = sides.to;
        let step = |spec: &TensorSpec| {
            let claim = claims.iter().find(|claim| claim.target().get_ref() == &spec.name);
            let from = claim.map_or(&spec.name, |claim| claim.from.get_ref());
            let free = |name: &String| claims.iter().all(|claim| claim.from.get_ref() != name);
            let known = sides.from.0.iter().position(|known| known.name == *from);
            match known.filter(|_| claim.is_some() || free(from)) {
                Some(from) => self.step((from, &sides.from.0[from]), spec, claim, sides),
                None => {
                    let span = self.variants[sides.place].model.span();
                    let (kind, name) = (sides.kind, &spec.name);
                    let reason = format!("`adapt`: nothing becomes {kind} '{name}' of {owner}");
                    Err(self.wrong(&span, reason))
                }
            }
        };
        specs.iter().map(step).collect()
    }

    /// Every step is from a tensor that there is to one that there is, each named once.
    fn check_names(&self, claims: &[StepClaim], sides: Sides<'_>) -> Result<(), CatalogError> {
        let (mut seen, mut made) = (BTreeSet::new(), BTreeSet::new());
        for claim in claims {
            let ends = [
                ("from", &claim.from, sides.from, seen.insert(claim.from.get_ref())),
                ("to", claim.target(), sides.to, made.insert(claim.target().get_ref())),
            ];
            for (key, name, (specs, owner), new) in ends {
                let (kind, span, name) = (sides.kind, name.span(), name.get_ref());
                if !specs.iter().any(|spec| spec.name == *name) {
                    let known: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
                    let known = known.join(", ");
                    let reason = format!("`{key}`: {owner} has no {kind} '{name}', but {known}");
                    return Err(self.wrong(&span, reason));
                }
                if !new {
                    let reason = format!("`{key}`: {kind} '{name}' of {owner} is named twice");
                    return Err(self.wrong(&span, reason));
                }
            }
        }
        Ok(())
    }

    fn step(
        &self,
        (from, there): (usize, &TensorSpec),
        here: &TensorSpec,
        claim: Option<&StepClaim>,
        sides: Sides<'_>,
    ) -> Result<AdapterStep, CatalogError> {
        let whole = self.variants[sides.place].model.span();
        let span = claim.map_or(whole, |claim| claim.from.span());
        let cast = claim.and_then(|claim| claim.datatype.as_ref());
        let lossy = claim.is_some_and(|claim| claim.lossy);
        let cast = match check_cast(there, here, cast.map(Spanned::get_ref), lossy) {
            Ok(cast) => cast,
            Err(reason) => {
                return Err(self.wrong(&cast.map_or(span, Spanned::span), reason));
            }
        };
        let shape = claim.and_then(|claim| claim.shape.as_ref());
        let skip = usize::from(sides.batched);
        let inner = (there.dims.get(skip..), here.dims.get(skip..));
        let inner = (inner.0.unwrap_or_default(), inner.1.unwrap_or_default());
        let names = (there.name.as_str(), here.name.as_str());
        match check_shape(names, inner, shape.map(|shape| shape.get_ref().as_slice())) {
            Ok(shape) => Ok(AdapterStep { from, shape, cast }),
            Err(reason) => Err(self.wrong(&shape.map_or(span, Spanned::span), reason)),
        }
    }
}

fn check_cast(
    there: &TensorSpec,
    here: &TensorSpec,
    stated: Option<&DataType>,
    lossy: bool,
) -> Result<Option<(DataType, DataType)>, String> {
    let (from, to) = (there.datatype, here.datatype);
    if stated.copied().unwrap_or(from) != to {
        return Err(format!(
            "`datatype`: '{}' is {from} and '{}' is {to}: expected `datatype = \"{to}\"`",
            there.name, here.name
        ));
    }
    if from == to {
        return Ok(None);
    }
    match loss(from, to) {
        Loss::Digits => Ok(Some((from, to))),
        Loss::Numbers if lossy => Ok(Some((from, to))),
        Loss::Numbers => Err(format!(
            "`datatype`: {from} to {to} loses fractions or numbers beyond its range; expected a float or an integer that holds every {from}, or `lossy = true`"
        )),
        Loss::Impossible => Err(format!(
            "`datatype`: {from} cannot become {to}; only numbers are cast, not BOOL and BYTES"
        )),
    }
}

/// The shape to be given, where it is not the same.
fn check_shape(
    (there, here): (&str, &str),
    (from, to): (&[Dim], &[Dim]),
    stated: Option<&[u64]>,
) -> Result<Option<Vec<i64>>, String> {
    let dims = |dims: &[Dim]| dims.iter().map(Dim::protocol).collect::<Vec<_>>();
    let (from, to) = (dims(from), dims(to));
    let as_stated = |stated: &[u64]| {
        let stated = stated.iter().map(|&length| i64::try_from(length).unwrap_or(i64::MAX));
        stated.eq(to.iter().copied())
    };
    let fixed = |dims: &[i64]| dims.iter().all(|&length| length >= 0);
    let elements = |dims: &[i64]| dims.iter().copied().fold(1_i64, i64::saturating_mul);
    let forms = format!("'{there}' is {from:?} and '{here}' is {to:?}, without their batch axes");
    match stated {
        None if from == to => Ok(None),
        Some(stated) if as_stated(stated) && from == to => Ok(None),
        _ if !fixed(&from) || !fixed(&to) => {
            Err(format!("`shape`: {forms}: only what is of one fixed shape is given another"))
        }
        _ if elements(&from) != elements(&to) => Err(format!(
            "`shape`: {forms}: {} elements cannot become {}",
            elements(&from),
            elements(&to)
        )),
        Some(stated) if as_stated(stated) => Ok(Some(to)),
        _ => Err(format!("`shape`: {forms}: expected `shape = {to:?}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "metric = \"m\"\nsource = \"s\"\naccuracy = 0.9\n";

    /// A task of 'a', as it is, and of 'b', which is adapted so.
    fn read(adapt: &str) -> TaskSettings {
        let text = format!(
            "[[variant]]\nmodel = \"a\"\n{HEAD}[[variant]]\nmodel = \"b\"\n{HEAD}{adapt}\n"
        );
        TaskSettings::from_text("t/punctual.toml", &text).unwrap()
    }

    fn spec(name: &str, datatype: &str, inner: &[i64]) -> TensorSpec {
        let dim = |&dim: &i64| u64::try_from(dim).map_or(Dim::Any(None), Dim::Fixed);
        let dims = [-1].iter().chain(inner).map(dim).collect();
        TensorSpec { name: name.into(), datatype: DataType::from_name(datatype).unwrap(), dims }
    }

    fn signature(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Signature {
        Signature { inputs: inputs.to_vec(), outputs: outputs.to_vec(), batched: true }
    }

    fn task() -> Signature {
        let inputs = [spec("x", "FP32", &[64]), spec("mask", "INT64", &[-1])];
        signature(&inputs, &[spec("label", "INT64", &[1])])
    }

    fn other() -> Signature {
        let inputs = [spec("mask", "INT64", &[-1]), spec("pixels", "UINT8", &[1, 8, 8])];
        let outputs = [spec("scores", "FP32", &[10]), spec("class", "INT32", &[])];
        signature(&inputs, &outputs)
    }

    const INPUT: &str = "adapt.inputs = [{ from = \"x\", to = \"pixels\", shape = [1, 8, 8], datatype = \"UINT8\", lossy = true }]";
    const OUTPUT: &str =
        "adapt.outputs = [{ from = \"class\", to = \"label\", shape = [1], datatype = \"INT64\" }]";

    #[test]
    fn named_tensors_are_reshaped_and_cast_and_the_others_pass() {
        let adapter =
            read(&[INPUT, OUTPUT].join("\n")).fit((0, &task()), (1, &other())).unwrap().unwrap();
        let step = |from, shape: Option<&[i64]>, cast: Option<(&str, &str)>| AdapterStep {
            from,
            shape: shape.map(<[i64]>::to_vec),
            cast: cast.map(|(from, to)| {
                (DataType::from_name(from).unwrap(), DataType::from_name(to).unwrap())
            }),
        };
        let inputs = [step(1, None, None), step(0, Some(&[1, 8, 8]), Some(("FP32", "UINT8")))];
        assert_eq!(adapter.inputs, inputs);
        assert_eq!(adapter.outputs, [step(1, Some(&[1]), Some(("INT32", "INT64")))]);
        assert_eq!(read("").fit((0, &task()), (1, &task())), Ok(None));
    }

    #[test]
    fn an_adapter_that_cannot_be_is_refused_with_file_line_key_and_what_is_allowed() {
        let input = |step: &str| format!("adapt.inputs = [\n{{ {step} }}]\n{OUTPUT}");
        let output = |step: &str| format!("{INPUT}\nadapt.outputs = [\n{{ {step} }}]");
        let table = [
            (
                input("from = \"y\", to = \"pixels\""),
                "12: `from`: the task has no input 'y', but x, mask",
            ),
            (input("from = \"x\", to = \"p\""), "12: `to`: 'b' has no input 'p', but mask, pixels"),
            (
                input("from = \"x\", to = \"mask\" },\n{ from = \"x\", to = \"pixels\""),
                "13: `from`: input 'x' of the task is named twice",
            ),
            (
                input("from = \"x\", to = \"mask\" },\n{ from = \"mask\""),
                "13: `to`: input 'mask' of 'b' is named twice",
            ),
            (OUTPUT.to_owned(), "7: `adapt`: nothing becomes input 'pixels' of 'b'"),
            (
                input("from = \"mask\", to = \"pixels\""),
                "7: `adapt`: nothing becomes input 'mask' of 'b'",
            ),
            (INPUT.to_owned(), "7: `adapt`: nothing becomes output 'label' of the task"),
            (
                input("from = \"x\", to = \"pixels\", shape = [1, 8, 8]"),
                "12: `datatype`: 'x' is FP32 and 'pixels' is UINT8: expected `datatype = \"UINT8\"`",
            ),
            (
                input("from = \"x\", to = \"pixels\",\ndatatype = \"FP16\""),
                "13: `datatype`: 'x' is FP32 and 'pixels' is UINT8: expected `datatype = \"UINT8\"`",
            ),
            (
                input("from = \"x\", to = \"pixels\", datatype = \"UINT8\""),
                "12: `datatype`: FP32 to UINT8 loses fractions or numbers beyond its range; expected a float or an integer that holds every FP32, or `lossy = true`",
            ),
            (
                input("from = \"x\", to = \"pixels\", datatype = \"UINT8\", lossy = true"),
                "12: `shape`: 'x' is [64] and 'pixels' is [1, 8, 8], without their batch axes: expected `shape = [1, 8, 8]`",
            ),
            (
                input(
                    "from = \"x\", to = \"pixels\", datatype = \"UINT8\", lossy = true,\nshape = [8, 8]",
                ),
                "13: `shape`: 'x' is [64] and 'pixels' is [1, 8, 8], without their batch axes: expected `shape = [1, 8, 8]`",
            ),
            (
                output(
                    "from = \"scores\", to = \"label\", datatype = \"INT64\", lossy = true,\nshape = [1]",
                ),
                "14: `shape`: 'scores' is [10] and 'label' is [1], without their batch axes: 10 elements cannot become 1",
            ),
        ];
        for (adapt, sentence) in table {
            let error = read(&adapt).fit((0, &task()), (1, &other())).unwrap_err().to_string();
            assert_eq!(error, format!("t/punctual.toml:{sentence}"), "{adapt}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_fits() {
        let docs = include_str!("../../../docs/variants.md");
        let (_, example) = docs.split_once("```toml\n[[variant]]\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let text = format!("[[variant]]\nmodel = \"a\"\n{HEAD}[[variant]]\n{example}");
        let settings = TaskSettings::from_text("t/punctual.toml", &text).unwrap();
        let task = signature(&[spec("x", "FP32", &[64])], &[spec("probabilities", "FP32", &[10])]);
        let own =
            signature(&[spec("pixels", "FP32", &[1, 8, 8])], &[spec("scores", "FP64", &[10, 1])]);
        let adapter = settings.fit((0, &task), (1, &own)).unwrap().unwrap();
        assert_eq!(adapter.inputs[0].shape.as_deref(), Some(&[1, 8, 8][..]));
        assert_eq!(adapter.outputs[0].cast, Some((DataType::Fp64, DataType::Fp32)));
    }

    #[test]
    fn what_no_step_changes_is_refused() {
        let error = |adapt: &str, task: &Signature, other: &Signature| {
            read(adapt).fit((0, task), (1, other)).unwrap_err().to_string()
        };
        let alone = Signature { batched: false, ..other() };
        assert_eq!(
            error(INPUT, &task(), &alone),
            "t/punctual.toml:7: `adapt`: only one of 'b' and 'a' takes several rows at once, which no step changes"
        );
        let (any, fixed) = ([spec("x", "FP32", &[-1])], [spec("x", "FP32", &[64])]);
        assert_eq!(
            error(
                "adapt.inputs = [{ from = \"x\", shape = [64] }]",
                &signature(&any, &[]),
                &signature(&fixed, &[])
            ),
            "t/punctual.toml:11: `shape`: 'x' is [-1] and 'x' is [64], without their batch axes: only what is of one fixed shape is given another"
        );
        let text = [spec("x", "BYTES", &[64])];
        assert_eq!(
            error(
                "adapt.inputs = [{ from = \"x\", datatype = \"FP32\" }]",
                &signature(&text, &[]),
                &signature(&fixed, &[])
            ),
            "t/punctual.toml:11: `datatype`: BYTES cannot become FP32; only numbers are cast, not BOOL and BYTES"
        );
        let two = [spec("x", "FP32", &[64]), spec("y", "FP32", &[64])];
        assert_eq!(
            error("adapt = {}", &signature(&two, &[]), &signature(&fixed, &[])),
            "t/punctual.toml:7: `adapt`: input 'y' of the task becomes no input of 'b'"
        );
    }
}
