//! The life of each model version, as the repository index shows it.

use std::collections::BTreeMap;

use crate::service::IndexEntry;

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its files are read, its model measured.
    Loading,
    /// It takes requests.
    Ready,
    /// It takes none; accepted ones are still answered.
    Unloading,
    /// It takes none, for a reason.
    Unavailable,
}

impl State {
    /// The protocol's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::Unloading => "UNLOADING",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

#[derive(Clone, Debug)]
struct Version {
    state: State,
    reason: String,
    /// Which change of this version led here: an unloading that ends after the next load must not undo it.
    change: u64,
}

/// A model: its versions, and why it has none.
#[derive(Clone, Debug, Default)]
struct Model {
    reason: String,
    /// It lies in no repository any more: forgotten with its last version.
    absent: bool,
    versions: BTreeMap<u64, Version>,
}

/// All models that were found or asked for.
#[derive(Clone, Debug, Default)]
pub struct Index {
    models: BTreeMap<String, Model>,
    changes: u64,
}

impl Index {
    /// A model lies in a repository.
    pub fn found(&mut self, model: &str) {
        self.models.entry(model.to_owned()).or_default().absent = false;
    }

    /// A model lies in no repository any more; it is forgotten once no version is in use.
    pub fn gone(&mut self, model: &str) {
        if let Some(absent) = self.models.get_mut(model) {
            absent.absent = true;
        }
        self.forget_if_unused(model);
    }

    fn forget_if_unused(&mut self, name: &str) {
        let used = |version: &Version| version.state != State::Unavailable;
        let unused = |model: &Model| model.absent && !model.versions.values().any(used);
        if self.models.get(name).is_some_and(unused) {
            self.models.remove(name);
        }
    }

    /// A version is being loaded. One that takes requests goes on taking them.
    pub fn loading(&mut self, model: &str, version: u64) {
        if !self.is_ready(model, version) {
            self.set(model, version, State::Loading, String::new());
        }
    }

    /// A version takes requests.
    pub fn ready(&mut self, model: &str, version: u64) {
        self.set(model, version, State::Ready, String::new());
    }

    /// A version could not be loaded. If an earlier form of it takes requests it goes on, with that reason to see.
    pub fn failed(&mut self, model: &str, version: u64, reason: &str) {
        let ready = self.is_ready(model, version);
        let state = if ready { State::Ready } else { State::Unavailable };
        self.set(model, version, state, reason.to_owned());
    }

    /// A model could not be loaded, whatever its versions; those that take requests go on.
    pub fn model_failed(&mut self, model: &str, versions: impl Iterator<Item = u64>, reason: &str) {
        for version in versions {
            self.failed(model, version, reason);
        }
        self.models.entry(model.to_owned()).or_default().reason = reason.to_owned();
    }

    /// A version takes no more requests. Returns the change that [`Self::unloaded`] ends.
    pub fn unloading(&mut self, model: &str, version: u64) -> u64 {
        self.set(model, version, State::Unloading, String::new())
    }

    /// A version that took no more requests has answered the accepted ones. Nothing, if it was loaded again since.
    pub fn unloaded(&mut self, model: &str, version: u64, change: u64) {
        let versions = self.models.get(model).map(|model| &model.versions);
        let current = versions.and_then(|versions| versions.get(&version));
        if current.is_some_and(|current| current.change == change) {
            self.set(model, version, State::Unavailable, "unloaded".into());
            self.forget_if_unused(model);
        }
    }

    /// A repository has that name.
    #[must_use]
    pub fn knows(&self, model: &str) -> bool {
        self.models.get(model).is_some_and(|model| !model.absent)
    }

    /// That version takes requests.
    #[must_use]
    pub fn is_ready(&self, model: &str, version: u64) -> bool {
        self.state(model, version) == Some(State::Ready)
    }

    /// Some version takes requests.
    #[must_use]
    pub fn any_ready(&self) -> bool {
        let mut versions = self.models.values().flat_map(|model| model.versions.values());
        versions.any(|version| version.state == State::Ready)
    }

    /// The versions of a model that take requests.
    #[must_use]
    pub fn ready_versions(&self, model: &str) -> Vec<u64> {
        let versions = self.models.get(model).into_iter().flat_map(|model| &model.versions);
        versions
            .filter(|(_, version)| version.state == State::Ready)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Where a version stands; `None` if it was never loaded.
    #[must_use]
    pub fn state(&self, model: &str, version: u64) -> Option<State> {
        Some(self.models.get(model)?.versions.get(&version)?.state)
    }

    /// The repository index, in the order of names and versions.
    #[must_use]
    pub fn entries(&self, ready: bool) -> Vec<IndexEntry> {
        let mut entries = Vec::new();
        for (name, model) in &self.models {
            for (number, version) in &model.versions {
                entries.push(IndexEntry {
                    name: name.clone(),
                    version: number.to_string(),
                    state: version.state.name(),
                    reason: version.reason.clone(),
                });
            }
            if model.versions.is_empty() {
                let state = if model.reason.is_empty() { "" } else { State::Unavailable.name() };
                let (version, reason) = (String::new(), model.reason.clone());
                entries.push(IndexEntry { name: name.clone(), version, state, reason });
            }
        }
        entries.retain(|entry| !ready || entry.state == State::Ready.name());
        entries
    }

    fn set(&mut self, model: &str, version: u64, state: State, reason: String) -> u64 {
        self.changes += 1;
        let change = self.changes;
        let model = self.models.entry(model.to_owned()).or_default();
        model.reason.clear();
        model.versions.insert(version, Version { state, reason, change });
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(index: &Index) -> Vec<String> {
        let line = |entry: IndexEntry| {
            format!("{} {} {} {}", entry.name, entry.version, entry.state, entry.reason)
        };
        index.entries(false).into_iter().map(line).collect()
    }

    #[test]
    fn a_model_goes_from_its_name_only_through_loading_and_ready_to_unloaded() {
        let mut index = Index::default();
        index.found("a");
        assert_eq!(lines(&index), ["a   "]);
        index.loading("a", 1);
        assert_eq!(lines(&index), ["a 1 LOADING "]);
        index.ready("a", 1);
        assert_eq!(lines(&index), ["a 1 READY "]);
        let change = index.unloading("a", 1);
        assert_eq!(lines(&index), ["a 1 UNLOADING "]);
        index.unloaded("a", 1, change);
        assert_eq!(lines(&index), ["a 1 UNAVAILABLE unloaded"]);
        assert!(index.entries(true).is_empty());
        index.gone("a");
        assert!(lines(&index).is_empty());
    }

    #[test]
    fn a_failed_load_leaves_what_is_ready_in_place_and_gives_the_reason() {
        let mut index = Index::default();
        index.ready("a", 1);
        index.loading("a", 1);
        assert_eq!(lines(&index), ["a 1 READY "]);
        index.failed("a", 1, "no");
        index.loading("a", 2);
        index.failed("a", 2, "no");
        assert_eq!(lines(&index), ["a 1 READY no", "a 2 UNAVAILABLE no"]);
        assert_eq!(index.ready_versions("a"), [1]);
    }

    #[test]
    fn a_model_without_versions_shows_why_it_cannot_be_loaded() {
        let mut index = Index::default();
        index.model_failed("a", std::iter::empty(), "no version");
        assert_eq!(lines(&index), ["a  UNAVAILABLE no version"]);
    }

    #[test]
    fn a_model_without_a_folder_is_forgotten_with_its_last_version() {
        let mut index = Index::default();
        index.ready("a", 1);
        let change = index.unloading("a", 1);
        index.gone("a");
        assert_eq!(lines(&index), ["a 1 UNLOADING "]);
        index.unloaded("a", 1, change);
        assert!(lines(&index).is_empty());
    }

    #[test]
    fn an_unloading_that_ends_after_the_next_load_does_not_undo_it() {
        let mut index = Index::default();
        index.ready("a", 1);
        let change = index.unloading("a", 1);
        index.ready("a", 1);
        index.unloaded("a", 1, change);
        assert_eq!(lines(&index), ["a 1 READY "]);
        index.gone("a");
        assert_eq!(lines(&index), ["a 1 READY "]);
    }
}
