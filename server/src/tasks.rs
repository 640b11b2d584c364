//! Tasks that take requests, and the served versions that answer them: looked up without a lock, renewed as models come
//! and go.

mod composition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use metrics::Counter;
use models::{Goals, Signature, TaskId, TaskSettings, VariantClaim, VariantId};
use parking_lot::Mutex;
use router::{Choice, SELECTIONS, TaskSpec};

use crate::driver::Driver;
use crate::feedback::AnswersGiven;
use crate::metrics::{ModelMetrics, Verdicts};
use crate::served::{Catalog, Served};
pub use crate::tasks::composition::Composition;

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
    /// Who can answer, in the file's order; never empty.
    pub members: Vec<Member>,
    /// Its counters.
    pub metrics: Arc<ModelMetrics>,
    /// Its last answers, for feedback.
    pub given: Arc<AnswersGiven>,
}

/// A served version that can answer a task's requests.
#[derive(Debug)]
pub struct Member {
    /// Its place in the file.
    pub place: usize,
    /// The version.
    pub served: Arc<Served>,
    /// Requests of the task that it answered.
    pub answers: Counter,
    /// What clients said of those answers.
    pub verdicts: Verdicts,
    /// Times it was asked where more than one variant answers.
    pub asked: Counter,
}

impl Member {
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

    /// The inputs and outputs, which all members share.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.first().signature
    }

    /// The member by which requests are checked: all have the same inputs and outputs.
    #[must_use]
    pub fn first(&self) -> &Arc<Served> {
        &self.members.first().expect("a task in the table has a member").served
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

    fn same_members(&self, other: &Self) -> bool {
        let variants = |task: &Self| -> Vec<_> {
            task.members.iter().map(|member| member.served.variant).collect()
        };
        self.id == other.id && variants(self) == variants(other)
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
}

impl Tasks {
    /// The task of that name, if some variant of it is served.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Task>> {
        self.table.load().get(name).map(Arc::clone)
    }

    /// Takes a task into service, or another file of one that is.
    ///
    /// # Errors
    /// Its policy is not known, or two of its variants that are served do not fit each other: by file and line.
    pub fn declare(
        &self,
        name: &str,
        settings: TaskSettings,
        metrics: Arc<ModelMetrics>,
        served: (&Catalog, &Driver),
    ) -> Result<(), String> {
        check_policy(&settings)?;
        let id = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        let declared =
            Declared { id, settings: Arc::new(settings), metrics, given: Arc::default() };
        let members = declared.members(served.0, Err)?;
        if let Some(first) = members.first() {
            let checked = declared.settings.check_confidence(&first.served.signature);
            checked.map_err(|error| error.to_string())?;
        }
        let before = self.declared.lock().insert(name.to_owned(), declared);
        self.refresh(served.0, served.1);
        if let Some(before) = before {
            served.1.retire_task(before.id);
        }
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
            let Declared { id, settings, metrics, given } = declared.clone();
            let task = Task { id, name: name.clone(), settings, members, metrics, given };
            let same = known.filter(|known| known.same_members(&task)).map(Arc::clone);
            let task = same.unwrap_or_else(|| {
                // The scheduler first: whoever finds the task here may be answered by any of its members.
                driver.load_task(task.spec());
                Arc::new(task)
            });
            table.insert(name.clone(), task);
        }
        self.table.store(Arc::new(table));
    }
}

impl Declared {
    /// Those of the variants that are served. One that does not fit the first is left out, if `misfit` allows it.
    fn members(
        &self,
        catalog: &Catalog,
        misfit: impl Fn(String) -> Result<(), String>,
    ) -> Result<Vec<Member>, String> {
        let mut members: Vec<Member> = Vec::new();
        for (place, claim) in self.settings.variants.iter().enumerate() {
            let version = claim.version.map(|version| version.to_string());
            let Ok(served) = catalog.find(claim.model.get_ref(), version.as_deref()) else {
                continue;
            };
            let fits = members.first().map_or(Ok(()), |first| {
                let one = (first.place, &first.served.signature);
                self.settings.check_signatures(one, (place, &served.signature))
            });
            if let Err(error) = fits {
                misfit(error.to_string())?;
                continue;
            }
            let label = label_of(&served);
            let (answers, verdicts) =
                (self.metrics.answers_of(&label), self.metrics.verdicts_of(&label));
            let asked = self.metrics.asked_of(&label);
            members.push(Member { place, served, answers, verdicts, asked });
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
