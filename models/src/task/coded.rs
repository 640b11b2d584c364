//! What the table `coded` of a task says: a linear model whose requests are answered in groups with a parity request.

use serde::Deserialize;
use toml::Spanned;

use super::TaskSettings;
use crate::{CatalogError, DataType, Dim, Signature};

/// The most requests of a group: larger ones help fewer stragglers, and lose more digits.
pub const CODED_GROUP_MAX: u32 = 16;

/// Requests of one linear model that are coded together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodedRules {
    /// How many requests share a parity request.
    pub group: Spanned<u32>,
    /// The model of a variant of the task, which answers.
    pub model: Spanned<String>,
    /// The one that answers parity requests, of the same weights; `model` by default.
    pub parity: Option<Spanned<String>>,
}

impl CodedRules {
    /// The name of the model that answers parity requests.
    #[must_use]
    pub fn parity(&self) -> &str {
        self.parity.as_ref().unwrap_or(&self.model).get_ref()
    }
}

impl TaskSettings {
    pub(super) fn check_coded(&self) -> Result<(), CatalogError> {
        let Some(coded) = &self.coded else { return Ok(()) };
        if !(2..=CODED_GROUP_MAX).contains(coded.group.get_ref()) {
            let found = coded.group.get_ref();
            let reason =
                format!("`group`: expected 2 to {CODED_GROUP_MAX} requests, found {found}");
            return Err(self.wrong(&coded.group.span(), reason));
        }
        self.check_member(&coded.model, "model")?;
        coded.parity.as_ref().map_or(Ok(()), |parity| self.check_member(parity, "parity"))
    }

    /// Holds the inputs and outputs that all variants have against what sums can be made of.
    ///
    /// # Errors
    /// The first that cannot be added up, by file and line.
    pub fn check_coded_signature(&self, signature: &Signature) -> Result<(), CatalogError> {
        let Some(coded) = &self.coded else { return Ok(()) };
        let inner = usize::from(signature.batched);
        let kinds = [("input", &signature.inputs), ("output", &signature.outputs)];
        let mut all =
            kinds.iter().flat_map(|(kind, specs)| specs.iter().map(move |spec| (kind, spec)));
        let sums = |datatype| matches!(datatype, DataType::Fp32 | DataType::Fp64);
        let fixed = |dims: &[Dim]| dims.iter().all(|dim| matches!(dim, Dim::Fixed(_)));
        let Some((kind, spec)) = all.find(|(_, spec)| {
            !sums(spec.datatype) || !fixed(spec.dims.get(inner..).unwrap_or(&[]))
        }) else {
            return Ok(());
        };
        let (model, name, form) = (coded.model.get_ref(), &spec.name, spec.form());
        let reason = format!(
            "`model`: {kind} '{name}' of '{model}' is {form}; sums are made of FP32 or FP64 with fixed dimensions"
        );
        Err(self.wrong(&coded.model.span(), reason))
    }

    /// The error that the model of the table `coded` cannot be coded.
    #[must_use]
    pub fn not_coded(&self, reason: String) -> CatalogError {
        let span = self.coded.as_ref().map_or(0..0, |coded| coded.model.span());
        self.wrong(&span, format!("`model`: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorSpec;

    fn read(rest: &str) -> Result<TaskSettings, String> {
        let variant =
            "[[variant]]\nmodel = \"a\"\naccuracy = 0.9\nmetric = \"m\"\nsource = \"s\"\n";
        let text = format!("[task]\nanswer = \"coded\"\n{rest}{variant}");
        TaskSettings::from_text("t/punctual.toml", &text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_with_groups_is_refused_by_line_and_key() {
        let table = [
            ("", "2: `answer`: there is no table `coded`, which it needs"),
            (
                "[coded]\ngroup = 1\nmodel = \"a\"\n",
                "4: `group`: expected 2 to 16 requests, found 1",
            ),
            (
                "[coded]\ngroup = 17\nmodel = \"a\"\n",
                "4: `group`: expected 2 to 16 requests, found 17",
            ),
            ("[coded]\ngroup = 2\nmodel = \"b\"\n", "5: `model`: 'b' is no variant of this task"),
            (
                "[coded]\ngroup = 2\nmodel = \"a\"\nparity = \"b\"\n",
                "6: `parity`: 'b' is no variant of this task",
            ),
            ("[coded]\ngroup = 2\n", "3: missing field `model`"),
        ];
        for (rest, sentence) in table {
            assert_eq!(read(rest).unwrap_err(), format!("t/punctual.toml:{sentence}"), "{rest}");
        }
        let task = read("[coded]\ngroup = 16\nmodel = \"a\"\n").unwrap();
        assert_eq!(task.coded.unwrap().parity(), "a", "it is its own parity");
    }

    #[test]
    fn only_floating_numbers_of_fixed_dimensions_can_be_added_up() {
        let task = read("[coded]\ngroup = 2\nmodel = \"a\"\n").unwrap();
        let spec = |name: &str, datatype, width| TensorSpec {
            name: name.into(),
            datatype,
            dims: vec![Dim::Any(None), width],
        };
        let signature = |datatype, width: Dim| Signature {
            inputs: vec![spec("x", DataType::Fp32, Dim::Fixed(4))],
            outputs: vec![spec("y", datatype, width)],
            batched: true,
        };
        let check =
            |signature| task.check_coded_signature(&signature).map_err(|error| error.to_string());
        assert_eq!(check(signature(DataType::Fp64, Dim::Fixed(3))), Ok(()));
        for (datatype, width, form) in [
            (DataType::Int64, Dim::Fixed(3), "INT64 [-1, 3]"),
            (DataType::Fp16, Dim::Fixed(3), "FP16 [-1, 3]"),
            (DataType::Fp32, Dim::Any(None), "FP32 [-1, -1]"),
        ] {
            let sentence = format!(
                "t/punctual.toml:5: `model`: output 'y' of 'a' is {form}; sums are made of FP32 or FP64 with fixed dimensions"
            );
            assert_eq!(check(signature(datatype, width)), Err(sentence));
        }
    }
}
