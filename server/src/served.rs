//! A model version that takes requests, and the table in which they are looked up.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use models::{
    Dim, LatencyProfile, ModelConfig, ModelDescription, PadRule, Signature, Slo, VariantId,
};
use parking_lot::Mutex;
use router::{Shape, ShapeId};

use crate::cache::Cache;
use crate::driver::Driver;
use crate::metrics::ModelMetrics;
use crate::status::Failure;

/// Shapes remembered for one version. Beyond it the memory starts afresh: ids go on rising, so that equal ids still
/// mean equal shapes, and a shape seen again gets a second queue for a while.
const SHAPES_MAX: usize = 4096;

/// A model version that takes requests. When the last one who holds it lets go, it is retired from the scheduler.
#[derive(Debug)]
pub struct Served {
    /// The model's name.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Its identity in the scheduler.
    pub variant: VariantId,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The most rows of a request; 1 where there is no batch axis.
    pub rows_max: u32,
    /// What clients want that state no deadline.
    pub slo: Option<Slo>,
    /// The priority level of requests that state none, and the number of levels.
    pub priority: (u32, u32),
    /// By output: the names of its classes, where there are any.
    pub labels: Vec<Vec<String>>,
    /// By input position: how it is padded.
    pub pads: Vec<(usize, PadRule)>,
    /// The completed configuration.
    pub config: ModelConfig,
    /// What was measured at its load.
    pub measured: Measured,
    /// Its counters.
    pub metrics: Arc<ModelMetrics>,
    /// Shapes seen.
    pub shapes: Shapes,
    /// Answers that are kept, where its operator wants that.
    pub cache: Option<Arc<Cache>>,
    _retire: Retire,
}

/// What was measured at a model's load.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Time by batch size.
    pub profile: LatencyProfile,
    /// The most rows of several requests that are run together.
    pub batch_max: u32,
    /// Why requests do not share a run, where they do not; else empty.
    pub alone_because: String,
}

/// Retires a variant when it is dropped.
#[derive(Debug)]
pub struct Retire {
    driver: Weak<Driver>,
    variant: VariantId,
}

impl Retire {
    /// Retires `variant` from that driver.
    #[must_use]
    pub fn new(driver: &Arc<Driver>, variant: VariantId) -> Self {
        Self { driver: Arc::downgrade(driver), variant }
    }
}

impl Drop for Retire {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.upgrade() {
            driver.retire(self.variant);
        }
    }
}

impl Served {
    /// A version that its description and measurement make ready.
    #[must_use]
    pub fn new(
        description: ModelDescription,
        version: u64,
        measured: Measured,
        metrics: Arc<ModelMetrics>,
        retire: Retire,
    ) -> Self {
        let cache =
            (description.cache > 0).then(|| Cache::new(description.cache, metrics.cached()));
        Self {
            shapes: Shapes::of(&description.signature),
            cache: cache.map(Arc::new),
            model: description.name,
            version,
            variant: retire.variant,
            signature: description.signature,
            rows_max: description.rows_max,
            slo: description.slo,
            priority: (description.priority, description.priority_levels),
            labels: description.labels,
            pads: description.pads,
            config: description.config,
            measured,
            metrics,
            _retire: retire,
        }
    }
}

impl Served {
    /// The level of a request's priority: the model's default for 0, and no lower than the lowest.
    #[must_use]
    pub fn level(&self, priority: u64) -> u32 {
        let (default, levels) = self.priority;
        match u32::try_from(priority).unwrap_or(u32::MAX) {
            0 => default,
            asked => asked.min(levels),
        }
    }
}

#[cfg(test)]
pub(crate) fn for_test(version: u64, signature: Signature) -> Served {
    let profile =
        LatencyProfile::linear(std::time::Duration::from_millis(1), std::time::Duration::ZERO, 1);
    let variant = VariantId(u32::try_from(version).expect("a small number"));
    Served {
        model: "simple".into(),
        version,
        variant,
        shapes: Shapes::of(&signature),
        signature,
        rows_max: 4,
        slo: Some(Slo { latency: std::time::Duration::from_millis(50) }),
        priority: (2, 3),
        labels: Vec::new(),
        pads: Vec::new(),
        cache: None,
        config: ModelConfig::default(),
        measured: Measured { profile, batch_max: 1, alone_because: String::new() },
        metrics: crate::metrics::Metrics::new().model("simple", "1"),
        _retire: Retire { driver: Weak::new(), variant },
    }
}

/// Gives numbers to the combinations of inner dimensions of one version.
#[derive(Debug)]
pub struct Shapes {
    /// The only combination, where all inner dimensions are fixed.
    fixed: Option<KnownShape>,
    seen: Mutex<SeenShapes>,
}

/// The numbers given.
type SeenShapes = HashMap<Vec<Vec<i64>>, KnownShape>;

/// The next number of a combination, of whichever version: requests of a task are numbered by one of its variants and
/// run on another. 0 is for those that have only one.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A combination of inner dimensions and its number.
#[derive(Clone, Debug)]
pub struct KnownShape {
    /// Its number and size.
    pub shape: Shape,
    /// Shape of each input without its batch axis.
    pub inner: Arc<Vec<Vec<i64>>>,
}

impl Shapes {
    /// For the inputs of that signature.
    #[must_use]
    pub fn of(signature: &Signature) -> Self {
        let skip = usize::from(signature.batched);
        let fixed = |dim: &Dim| match dim {
            Dim::Fixed(_) => Some(dim.protocol()),
            Dim::Any(_) => None,
        };
        let inputs = signature.inputs.iter();
        let inner: Option<Vec<Vec<i64>>> =
            inputs.map(|input| input.dims[skip..].iter().map(fixed).collect()).collect();
        Self { fixed: inner.map(|inner| known(0, inner)), seen: Mutex::default() }
    }

    /// The number of that combination; the only one, without a look-up, where all is fixed.
    #[must_use]
    pub fn number(&self, inner: impl FnOnce() -> Vec<Vec<i64>>) -> KnownShape {
        if let Some(fixed) = &self.fixed {
            return fixed.clone();
        }
        let inner = inner();
        let seen = &mut *self.seen.lock();
        if let Some(known) = seen.get(&inner) {
            return known.clone();
        }
        if seen.len() >= SHAPES_MAX {
            seen.clear();
        }
        let shape = known(NEXT.fetch_add(1, Ordering::Relaxed), inner.clone());
        seen.insert(inner, shape.clone());
        shape
    }
}

fn known(id: u32, inner: Vec<Vec<i64>>) -> KnownShape {
    let size = |dims: &Vec<i64>| {
        dims.iter().fold(1_u64, |size, dim| size.saturating_mul(dim.unsigned_abs()))
    };
    let elements = inner.iter().map(size).fold(0_u64, u64::saturating_add);
    KnownShape { shape: Shape { id: ShapeId(id), elements }, inner: Arc::new(inner) }
}

/// The versions that take requests, by model. Looked up without a lock; replaced as a whole.
#[derive(Debug, Default)]
pub struct Catalog {
    models: ArcSwap<BTreeMap<String, Model>>,
}

/// The served versions of a model; a model without any is known but not served.
pub type Model = BTreeMap<u64, Arc<Served>>;

impl Catalog {
    /// The version asked for, or the newest.
    ///
    /// # Errors
    /// Triton's sentence for what is not there.
    pub fn find(&self, model: &str, version: Option<&str>) -> Result<Arc<Served>, Failure> {
        let models = self.models.load();
        let unknown =
            || Failure::NotFound(format!("Request for unknown model: '{model}' is not found"));
        let versions = models.get(model).ok_or_else(unknown)?;
        let none = || {
            Failure::NotFound(format!(
                "Request for unknown model: '{model}' has no available versions"
            ))
        };
        let (_, newest) = versions.last_key_value().ok_or_else(none)?;
        let Some(version) = version else { return Ok(Arc::clone(newest)) };
        let absent = || {
            Failure::NotFound(format!(
                "Request for unknown model: '{model}' version {version} is not found"
            ))
        };
        let found = version.parse().ok().and_then(|version: u64| versions.get(&version));
        found.map(Arc::clone).ok_or_else(absent)
    }

    /// The served versions of a model, oldest first.
    #[must_use]
    pub fn versions(&self, model: &str) -> Vec<Arc<Served>> {
        self.models
            .load()
            .get(model)
            .map(|versions| versions.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All served versions of all models, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.models.load().values().flat_map(|versions| versions.values().cloned()).collect()
    }

    /// Puts a version in place; returns the one of the same number that it replaces.
    pub fn insert(&self, served: Arc<Served>) -> Option<Arc<Served>> {
        let mut replaced = None;
        self.models.rcu(|models| {
            let mut models = BTreeMap::clone(models);
            let versions = models.entry(served.model.clone()).or_default();
            replaced = versions.insert(served.version, Arc::clone(&served));
            models
        });
        replaced
    }

    /// Takes a version away; the model stays known.
    pub fn remove(&self, model: &str, version: u64) -> Option<Arc<Served>> {
        let mut removed = None;
        self.models.rcu(|models| {
            let mut models = BTreeMap::clone(models);
            removed = models.get_mut(model).and_then(|versions| versions.remove(&version));
            models
        });
        removed
    }
}

#[cfg(test)]
mod tests {
    use models::{DataType, TensorSpec};

    use super::*;

    fn served(version: u64) -> Arc<Served> {
        let dims = vec![Dim::Any(None), Dim::Any(None)];
        let input = TensorSpec { name: "x".into(), datatype: DataType::Fp32, dims };
        Arc::new(for_test(
            version,
            Signature { inputs: vec![input], outputs: Vec::new(), batched: true },
        ))
    }

    #[test]
    fn the_newest_version_answers_unless_one_is_named() {
        let catalog = Catalog::default();
        catalog.insert(served(9));
        catalog.insert(served(10));
        let version = |asked| catalog.find("simple", asked).map(|served| served.version);
        assert_eq!(version(None), Ok(10));
        assert_eq!(version(Some("9")), Ok(9));
        let text = |asked| version(asked).unwrap_err().to_string();
        assert_eq!(text(Some("x")), "Request for unknown model: 'simple' version x is not found");
        catalog.remove("simple", 9);
        catalog.remove("simple", 10);
        assert_eq!(text(None), "Request for unknown model: 'simple' has no available versions");
    }

    #[test]
    fn a_shape_of_more_elements_than_can_be_counted_is_only_large() {
        let served = served(1);
        let huge = served.shapes.number(|| vec![vec![1 << 62, 4], vec![1 << 62, 4, 0]]);
        assert_eq!(huge.shape.elements, u64::MAX);
    }

    #[test]
    fn equal_shapes_have_equal_numbers_and_others_do_not() {
        let served = served(1);
        let number = |length| served.shapes.number(|| vec![vec![length]]).shape;
        assert_eq!(number(8), number(8));
        assert_ne!(number(8).id, number(16).id);
        assert_eq!(number(16).elements, 16);
    }
}
