//! Which policies are compared, and how they are set.

use router::place::PLACEMENTS;
use router::{ADMISSIONS, DISPATCHES};

use super::setting::Setting;
use crate::{PlacementSpec, Scenario};

/// One choice on each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The batching policy.
    pub batching: String,
    /// How it is set, where not as the scenario says.
    pub setting: Setting,
    /// The dispatch policy, if not the scenario's.
    pub dispatch: Option<String>,
    /// The admission policy, if not the scenario's.
    pub admission: Option<String>,
    /// The placement policy as [`PlacementSpec::named`] reads it, if not the scenario's.
    pub placement: Option<String>,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.batching, self.setting)?;
        let others = [
            ("dispatch", &self.dispatch),
            ("admission", &self.admission),
            ("placement", &self.placement),
        ];
        for (axis, name) in others {
            if let Some(name) = name {
                write!(f, " {axis}={name}")?;
            }
        }
        Ok(())
    }
}

impl Choice {
    /// The world with these policies.
    #[must_use]
    pub fn in_scenario(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.with_batching(&self.batching);
        self.setting.apply(&mut scenario);
        scenario.router.dispatch = self.dispatch.clone().or(scenario.router.dispatch);
        scenario.router.admission = self.admission.clone().or(scenario.router.admission);
        if let Some(name) = &self.placement {
            let spec = scenario.placement.unwrap_or_default();
            scenario.placement = Some(spec.named(name).expect("names were read when asked for"));
        }
        scenario
    }
}

/// What is asked for on each axis: names with commas, `all`, or nothing for the default of the axis (all batching
/// policies, the scenario's own of the others). A batching policy's name can have its setting behind it (see
/// [`Setting::behind`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Batching policies.
    pub batching: Option<&'a str>,
    /// Dispatch policies.
    pub dispatch: Option<&'a str>,
    /// Admission policies.
    pub admission: Option<&'a str>,
    /// Placements.
    pub placement: Option<&'a str>,
    /// Largest batches, for policies without a setting behind their names.
    pub batch_max: &'a [u32],
}

/// All combinations of what is asked for.
///
/// # Errors
/// Says which name is not known, and which are.
pub fn choices(asked: Asked<'_>) -> Result<Vec<Choice>, String> {
    let mut batching = Vec::new();
    for (name, setting) in settings(asked.batching.unwrap_or("all"))? {
        if setting != Setting::default() || asked.batch_max.is_empty() {
            batching.push((name, setting));
            continue;
        }
        batching.extend(asked.batch_max.iter().map(|&batch_max| {
            (name.clone(), Setting { batch_max: Some(batch_max), ..Setting::default() })
        }));
    }
    let dispatch = named("dispatch", asked.dispatch, &DISPATCHES.map(|entry| entry.name))?;
    let admission = named("admission", asked.admission, &ADMISSIONS.map(|entry| entry.name))?;
    let placement = placements(asked.placement)?;
    let mut all = Vec::new();
    for (batching, setting) in &batching {
        for dispatch in &dispatch {
            for admission in &admission {
                all.extend(placement.iter().map(|placement| Choice {
                    batching: batching.clone(),
                    setting: setting.clone(),
                    dispatch: dispatch.clone(),
                    admission: admission.clone(),
                    placement: placement.clone(),
                }));
            }
        }
    }
    Ok(all)
}

/// Batching policies, each perhaps with its setting.
fn settings(asked: &str) -> Result<Vec<(String, Setting)>, String> {
    let names = batcher::ALL.map(|entry| entry.name);
    let mut found = Vec::new();
    for one in asked.split(',') {
        let (name, setting) = one.split_once(':').map_or((one, None), |(a, b)| (a, Some(b)));
        let setting = setting.map(Setting::behind).transpose()?.unwrap_or_default();
        let named = named("batching", Some(name), &names)?;
        found.extend(named.into_iter().flatten().map(|name| (name, setting.clone())));
    }
    Ok(found)
}

/// Placements by name, each perhaps with the devices of a group and the time between placements.
fn placements(asked: Option<&str>) -> Result<Vec<Option<String>>, String> {
    let names = PLACEMENTS.map(|entry| entry.name);
    let Some(asked) = asked.filter(|asked| *asked != "all") else {
        return named("placement", asked, &names);
    };
    let read = |name: &str| {
        PlacementSpec::default().named(name.trim()).map(|_| Some(name.trim().to_owned()))
    };
    asked.split(',').map(read).collect()
}

fn named(axis: &str, asked: Option<&str>, known: &[&str]) -> Result<Vec<Option<String>>, String> {
    let Some(asked) = asked else { return Ok(vec![None]) };
    if asked == "all" {
        return Ok(known.iter().map(|name| Some((*name).to_owned())).collect());
    }
    let check = |name: &str| {
        let name = name.trim();
        let unknown =
            || format!("unknown {axis} policy {name:?}; known are: all, {}", known.join(", "));
        known.contains(&name).then(|| Some(name.to_owned())).ok_or_else(unknown)
    };
    asked.split(',').map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_all_combinations_and_unknown_names_are_refused() {
        let all = choices(Asked { admission: Some("all"), ..Asked::default() }).unwrap();
        assert_eq!(all.len(), batcher::ALL.len() * ADMISSIONS.len());
        let first =
            choices(Asked { batching: Some(batcher::ALL[0].name), ..Asked::default() }).unwrap();
        assert_eq!(first[0].to_string(), batcher::ALL[0].name);
        let error = choices(Asked { dispatch: Some("nearest"), ..Asked::default() }).unwrap_err();
        assert!(error.starts_with("unknown dispatch policy \"nearest\"; known are: all, "));
    }

    #[test]
    fn settings_stand_behind_names_and_largest_batches_go_to_policies_without() {
        let batching = Some("fixed:8,timeout:8/2ms,window");
        let all = choices(Asked { batching, batch_max: &[4, 16], ..Asked::default() }).unwrap();
        let names: Vec<String> = all.iter().map(Choice::to_string).collect();
        let wanted = [
            "fixed batch_max=8",
            "timeout batch_max=8 delay=2ms",
            "window batch_max=4",
            "window batch_max=16",
        ];
        assert_eq!(names, wanted);
        let error = choices(Asked { batching: Some("fixed:x"), ..Asked::default() }).unwrap_err();
        assert!(
            error.starts_with("cannot read the setting \"x\": write POLICY:BATCH_MAX"),
            "{error}"
        );
    }
}
