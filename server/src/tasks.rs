//! Tasks that take requests, and the served versions that answer them: looked up without a lock, renewed as models come
//! and go.

mod coding;
mod composition;
mod linear;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use metrics::Counter;
use models::{
    Adapter, AnswerMode, CatalogError, Goals, Signature, TaskId, TaskSettings, VariantClaim,
    VariantId,
};
use parking_lot::Mutex;
use router::{Choice, SELECTIONS, TaskSpec};

use crate::answer::Author;
use crate::driver::{Driver, Forms};
use crate::feedback::AnswersGiven;
use crate::metrics::{ModelMetrics, Verdicts};
use crate::parity::Numbers;
use crate::served::{Catalog, Served};
pub use crate::tasks::coding::{Coding, Held, Wanted};
pub use crate::tasks::composition::Composition;
use crate::tasks::linear::Unfit;

/// A task has one version: what it names changes, what it asks and answers does not.
pub const VERSION: &str = "1";

/// A task with those of its variants that are served.
#[derive(Debug)]
pub struct Task {
    /// Its identity in the scheduler.
    pub id: TaskId,
    /// The folder's name.
    pub name: String,
    /// What its file says.
    pub settings: Arc<TaskSettings>,
    /// Who can answer, in the file's order; at least one of them as it is.
    pub members: Vec<Member>,
    /// How those of another form answer, where the file names some.
    pub forms: Option<Arc<Forms>>,
    /// Its counters.
    pub metrics: Arc<ModelMetrics>,
    /// Its last answers, for feedback.
    pub given: Arc<AnswersGiven>,
    /// Its requests that share parity requests, where its answers are coded and its model was seen to be linear.
    pub coding: Option<Arc<Coding>>,
}

/// A served version that can answer a task's requests.
#[derive(Debug)]
pub struct Member {
    /// Its place in the file.
    pub place: usize,
    /// The version.
    pub served: Arc<Served>,
    /// How it answers in the task's form, where its own is another.
    pub adapter: Option<Arc<Adapter>>,
    /// Requests of the task that it answered.
    pub answers: Counter,
    /// What clients said of those answers.
    pub verdicts: Verdicts,
    /// Times it was asked where more than one variant answers.
    pub asked: Counter,
}

impl Member {
    /// Who it is for whoever puts its answers into the task's form.
    #[must_use]
    pub fn author(&self) -> Author<'_> {
        Author { served: &self.served, adapter: self.adapter.as_deref() }
    }

    /// Its name in metrics.
    #[must_use]
    pub fn label(&self) -> String {
        label_of(&self.served)
    }
}

fn label_of(served: &Served) -> String {
    format!("{}/{}", served.model, served.version)
}

impl Task {
    /// The member that is that variant.
    #[must_use]
    pub fn member(&self, variant: VariantId) -> Option<&Member> {
        self.members.iter().find(|member| member.served.variant == variant)
    }

    /// Where that variant is among the members.
    #[must_use]
    pub fn place_of(&self, variant: VariantId) -> Option<usize> {
        self.members.iter().position(|member| member.served.variant == variant)
    }

    /// What its file claims of a member.
    #[must_use]
    pub fn claim(&self, member: &Member) -> &VariantClaim {
        &self.settings.variants[member.place]
    }

    /// The inputs and outputs of requests, which all members answer.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.first().signature
    }

    /// The member by which requests are checked: the first that answers as it is.
    #[must_use]
    pub fn first(&self) -> &Arc<Served> {
        let own = self.members.iter().find(|member| member.adapter.is_none());
        &own.expect("a task in the table has a member that answers as it is").served
    }

    /// What a request wants, with the task's defaults and within its limits.
    #[must_use]
    pub fn goals(&self, asked: Goals) -> Goals {
        self.settings.goals(asked)
    }

    fn spec(&self) -> TaskSpec {
        let limits = self.settings.limits();
        let choice = |member: &Member| {
            let VariantClaim { accuracy, cost, .. } = *self.claim(member);
            Choice { variant: member.served.variant, accuracy, cost }
        };
        let choices = self.members.iter().map(choice);
        let policy = self.settings.task.policy.as_deref().unwrap_or(SELECTIONS[0].name);
        TaskSpec {
            task: self.id,
            policy: policy.to_owned(),
            choices: choices.filter(|choice| limits.allow(choice.accuracy, choice.cost)).collect(),
        }
    }

    fn same(&self, other: &Self) -> bool {
        let variants = |task: &Self| -> Vec<_> {
            task.members.iter().map(|member| member.served.variant).collect()
        };
        let coded = self.coding.is_some() == other.coding.is_some();
        self.id == other.id && variants(self) == variants(other) && coded
    }
}

/// All tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    declared: Mutex<BTreeMap<String, Declared>>,
    /// Those with at least one member.
    table: ArcSwap<BTreeMap<String, Arc<Task>>>,
    next: AtomicU32,
}

#[derive(Clone, Debug)]
struct Declared {
    id: TaskId,
    settings: Arc<TaskSettings>,
    metrics: Arc<ModelMetrics>,
    given: Arc<AnswersGiven>,
    /// Where some variant is of another form.
    forms: Option<Arc<Forms>>,
    linear: Option<Looked>,
}

/// Whether requests of a coded task can be added up, as the variants that answer them and their sums were seen to do.
#[derive(Clone, Debug)]
struct Looked {
    variants: [VariantId; 2],
    /// The answer to a row of zeros, if they can.
    zero: Option<Arc<Numbers>>,
}

impl Tasks {
    /// The task of that name, if some variant of it is served.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Task>> {
        self.table.load().get(name).map(Arc::clone)
    }

    /// How many tasks take requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.load().len()
    }

    /// Takes a task into service, or another file of one that is.
    ///
    /// # Errors
    /// By file and line: its policy is not known, two of its variants that are served do not fit each other, or its
    /// answers are to be coded and its model is not linear, which is looked at here.
    pub fn declare(
        &self,
        name: &str,
        settings: TaskSettings,
        metrics: Arc<ModelMetrics>,
        served: (&Catalog, &Arc<Driver>),
    ) -> Result<(), String> {
        check_policy(&settings)?;
        let id = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        let (settings, given) = (Arc::new(settings), Arc::default());
        let adapts = settings.variants.iter().any(|claim| claim.adapt.is_some());
        let forms = adapts.then(Arc::default);
        let mut declared = Declared { id, settings, metrics, given, forms, linear: None };
        let members = declared.members(served.0, Err)?;
        declared.warn_of_versions(name, served.0);
        if let Some(first) = members.iter().find(|member| member.adapter.is_none()) {
            let checked = declared.settings.check_confidence(&first.served.signature);
            checked.map_err(|error| error.to_string())?;
        }
        if let Some(places) = declared.coded(&members) {
            let looked = declared.look(&members, places, served.1);
            declared.linear = Some(looked.map_err(Unfit::reason)?);
        }
        let before = self.declared.lock().insert(name.to_owned(), declared);
        self.refresh(served.0, served.1);
        if let Some(before) = before {
            served.1.retire_task(before.id);
        }
        // A model may have come meanwhile.
        self.look_again(served.0, served.1);
        Ok(())
    }

    /// Takes a task out of service; false if there is none of that name.
    pub fn remove(&self, name: &str, driver: &Driver) -> bool {
        let Some(declared) = self.declared.lock().remove(name) else { return false };
        driver.retire_task(declared.id);
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.remove(name);
            table
        });
        true
    }

    /// Looks again who of each task's variants is served.
    pub fn refresh(&self, catalog: &Catalog, driver: &Driver) {
        let declared = self.declared.lock();
        let before = self.table.load_full();
        let mut table = BTreeMap::new();
        for (name, declared) in &*declared {
            let known = before.get(name);
            let members = declared.members(catalog, |reason| {
                tracing::error!(task = name, reason, "the task goes on without that variant");
                Ok(())
            });
            let members = members.unwrap_or_default();
            if members.is_empty() {
                continue;
            }
            let coding = declared.coding(&members);
            let Declared { id, settings, metrics, given, forms, linear: _ } = declared.clone();
            for member in &members {
                if let (Some(forms), Some(adapter)) = (&forms, &member.adapter) {
                    forms.learn(member.served.variant, Arc::clone(adapter));
                }
            }
            let task =
                Task { id, name: name.clone(), settings, members, forms, metrics, given, coding };
            let same = known.filter(|known| known.same(&task)).map(Arc::clone);
            let task = same.unwrap_or_else(|| {
                // The scheduler first: whoever finds the task here may be answered by any of its members.
                driver.load_task(task.spec());
                Arc::new(task)
            });
            table.insert(name.clone(), task);
        }
        self.table.store(Arc::new(table));
    }

    /// Looks whether models that came since a coded task did are linear. Until then, and if they are not, one variant
    /// answers its requests.
    pub fn look_again(&self, catalog: &Catalog, driver: &Arc<Driver>) {
        let declared = self.declared.lock().clone();
        let coded = |own: &Declared| own.settings.task.answer == AnswerMode::Coded;
        for (name, declared) in declared.into_iter().filter(|(_, own)| coded(own)) {
            let members = declared.members(catalog, |_| Ok(())).unwrap_or_default();
            let Some(places) = declared.coded(&members) else { continue };
            let variants = places.map(|place| members[place].served.variant);
            if declared.linear.as_ref().is_some_and(|looked| looked.variants == variants) {
                continue;
            }
            let looked = match declared.look(&members, places, driver) {
                Ok(looked) => looked,
                Err(Unfit::Bent(reason)) => {
                    tracing::error!(task = name, reason, "one variant answers");
                    Looked { variants, zero: None }
                }
                Err(Unfit::Unseen(reason)) => {
                    tracing::warn!(task = name, reason, "one variant answers until another look");
                    continue;
                }
            };
            let mut current = self.declared.lock();
            if let Some(current) = current.get_mut(&name).filter(|own| own.id == declared.id) {
                current.linear = Some(looked);
            }
            drop(current);
            self.refresh(catalog, driver);
        }
    }
}

impl Declared {
    /// Warns of variants of a version that their model does not have.
    fn warn_of_versions(&self, task: &str, catalog: &Catalog) {
        for (place, claim) in self.settings.variants.iter().enumerate() {
            let there = catalog.versions(claim.model.get_ref());
            let Some(version) = claim.version else { continue };
            if there.is_empty() || there.iter().any(|served| served.version == version) {
                continue;
            }
            let there: Vec<_> = there.iter().map(|served| served.version.to_string()).collect();
            let reason = format!(
                "`version`: '{}' has no version {version} in service, but {}; the task goes on without that variant",
                claim.model.get_ref(),
                there.join(", ")
            );
            let reason = self.settings.wrong_of_variant(place, "version", reason).to_string();
            tracing::warn!(task, "{reason}");
        }
    }

    /// Where among these members those are that answer a coded task's requests and their sums, if both are.
    fn coded(&self, members: &[Member]) -> Option<[usize; 2]> {
        let rules = self.settings.coded.as_ref()?;
        let coded = self.settings.task.answer == AnswerMode::Coded;
        let place = |model: &str| members.iter().position(|member| member.served.model == model);
        let places = [place(rules.model.get_ref())?, place(rules.parity())?];
        coded.then_some(places)
    }

    fn look(
        &self,
        members: &[Member],
        places: [usize; 2],
        driver: &Arc<Driver>,
    ) -> Result<Looked, Unfit> {
        let bent = |error: CatalogError| Unfit::Bent(error.to_string());
        if places.iter().any(|&place| members[place].adapter.is_some()) {
            let reason =
                "a variant that is adapted cannot be coded: name one that answers as it is";
            return Err(bent(self.settings.not_coded(reason.to_owned())));
        }
        let [model, parity] = places.map(|place| &members[place].served);
        let fits = self.settings.check_coded_signature(&model.signature);
        fits.map_err(bent)?;
        let pair = linear::Pair { model, parity, group: self.group() };
        let located = |reason| self.settings.not_coded(reason).to_string();
        let zero = linear::zero(driver, &pair).map_err(|unfit| unfit.map(located))?;
        Ok(Looked { variants: [model.variant, parity.variant], zero: Some(Arc::new(zero)) })
    }

    fn group(&self) -> usize {
        self.settings.coded.as_ref().map_or(2, |rules| *rules.group.get_ref() as usize)
    }

    /// Nothing yet, of a coded task whose variants were seen to be linear.
    fn coding(&self, members: &[Member]) -> Option<Arc<Coding>> {
        let places = self.coded(members)?;
        let Looked { variants, zero } = self.linear.as_ref()?;
        let same = *variants == places.map(|place| members[place].served.variant);
        let zero = zero.as_ref().filter(|_| same)?;
        let reconstructed = self.metrics.reconstructed();
        Some(Arc::new(Coding::new(places, self.group(), Arc::clone(zero), reconstructed)))
    }

    /// Those of the variants that are served, if one of them answers as it is. One that does not fit the first of those
    /// is left out, if `misfit` allows it.
    fn members(
        &self,
        catalog: &Catalog,
        misfit: impl Fn(String) -> Result<(), String>,
    ) -> Result<Vec<Member>, String> {
        let found = |(place, claim): (usize, &VariantClaim)| {
            let version = claim.version.map(|version| version.to_string());
            if claim.elsewhere {
                return None;
            }
            Some((place, catalog.find(claim.model.get_ref(), version.as_deref()).ok()?))
        };
        let found: Vec<_> = self.settings.variants.iter().enumerate().filter_map(found).collect();
        let own = |(place, _): &&(usize, _)| self.settings.variants[*place].adapt.is_none();
        let Some((first, like)) = found.iter().find(own).cloned() else { return Ok(Vec::new()) };
        let mut members: Vec<Member> = Vec::new();
        for (place, served) in found {
            let fits = self.settings.fit((first, &like.signature), (place, &served.signature));
            let adapter = match fits {
                Ok(adapter) => adapter.map(Arc::new),
                Err(error) => {
                    misfit(error.to_string())?;
                    continue;
                }
            };
            let label = label_of(&served);
            let (answers, verdicts) =
                (self.metrics.answers_of(&label), self.metrics.verdicts_of(&label));
            let asked = self.metrics.asked_of(&label);
            members.push(Member { place, served, adapter, answers, verdicts, asked });
        }
        Ok(members)
    }
}

fn check_policy(settings: &TaskSettings) -> Result<(), String> {
    let Some(policy) = &settings.task.policy else { return Ok(()) };
    if SELECTIONS.iter().any(|entry| entry.name == policy) {
        return Ok(());
    }
    let known: Vec<_> = SELECTIONS.iter().map(|entry| entry.name).collect();
    let known = known.join(", ");
    let reason = format!("`policy`: unknown selection policy '{policy}'; known are: {known}");
    Err(settings.wrong_at("policy", reason).to_string())
}
