//! Models that are on a part of the executors: pipelines, placements that follow the demand, loads on demand.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use sim::{PlacementSpec, Report, Scenario, World};

const MS: Duration = Duration::from_millis(1);

fn report(text: &str) -> Report {
    let scenario = Scenario::from_text("s.toml", text).unwrap();
    World::new(&scenario).unwrap().run().unwrap().0
}

/// One executor and a model of one megabyte that is asked every so many milliseconds.
fn alone(placement: &str, executor: &str, model: &str) -> String {
    format!(
        "duration = \"1s\"\n[placement]\n{placement}\n[[executor]]\n{executor}\n[[model]]\nname = \"m\"\n\
         profile = {{ fixed = \"10ms\", per_item = \"0s\", batch_max = 1 }}\narrivals = \"constant\"\n\
         weights_mb = 1\n{model}\n"
    )
}

#[test]
fn a_pipeline_answers_after_all_stages_and_takes_the_next_after_the_longest() {
    let text = |rate: u32| {
        alone(
            "policy = \"all_everywhere\"\ngroup = 2",
            "count = 2",
            &format!(
                "rate = {rate}\nslo = \"100ms\"\npipelines = [[\"10ms\"], [\"4ms\", \"6ms\"]]"
            ),
        )
    };
    let slow = report(&text(10));
    let latency = slow.total().latencies.percentile(0.99);
    assert!(latency >= 10 * MS && latency < 11 * MS, "{latency:?}");
    // One every 6 ms is all that the longer stage can do.
    let full = report(&text(166));
    assert!(full.attainment() > 0.99 && full.busy > 950 * MS, "{full}");
    assert!(report(&text(300)).attainment() < 0.7);
}

#[test]
fn the_deadline_of_a_pipeline_counts_its_whole_length() {
    let text = |slo: &str| {
        alone(
            "policy = \"all_everywhere\"\ngroup = 2",
            "count = 2",
            &format!("rate = 10\nslo = \"{slo}\"\npipelines = [[\"10ms\"], [\"4ms\", \"6ms\"]]"),
        )
    };
    assert_eq!(report(&text("10ms")).attainment(), 1.0);
    assert_eq!(report(&text("9ms")).attainment(), 0.0);
}

#[test]
fn a_first_request_waits_for_its_load_and_the_inputs_of_each_are_copied_in() {
    let text = alone(
        "on_demand = true",
        "memory_mb = 1\ncopy = { mb_per_s = 100, base = \"20ms\" }",
        "rate = 10\nslo = \"100ms\"\ninput_mb = 0.5",
    );
    let report = report(&text);
    let latencies = &report.total().latencies;
    let (usual, first) = (latencies.percentile(0.5), latencies.percentile(1.0));
    // 20 ms and 10 ms of load, 5 ms of input, 10 ms of run.
    assert!(usual >= 15 * MS && usual < 16 * MS, "{usual:?}");
    assert!(first >= 45 * MS && first < 46 * MS, "{first:?}");
    assert_eq!(report.loads, 1);
}

/// Two models of which one executor holds one alone; the trace asks first for one, then for the other.
fn shifting(placement: &str) -> Report {
    let folder = std::env::temp_dir().join(format!("punctual-places-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let times = (0..200).map(|n| (f64::from(n) * 0.01, if n < 100 { "f" } else { "g" }));
    let lines = times.map(|(at, name)| format!("{at},{name}\n")).collect::<String>();
    std::fs::write(folder.join("t.csv"), format!("t_seconds,model\n{lines}")).unwrap();
    let text = format!(
        "duration = \"1990ms\"\n[placement]\n{placement}\n[[executor]]\nmemory_mb = 1\n[[model]]\nname = \"m\"\n\
         count = 2\nslo = \"50ms\"\nweights_mb = 1\n\
         profile = {{ fixed = \"5ms\", per_item = \"0s\", batch_max = 1 }}\ntrace = {{ file = \"t.csv\" }}\n"
    );
    let name = folder.join("s.toml").display().to_string();
    World::new(&Scenario::from_text(&name, &text).unwrap()).unwrap().run().unwrap().0
}

#[test]
fn placing_anew_follows_the_demand_and_foresight_is_ahead_of_it() {
    let attainment =
        |more: &str| shifting(&format!("policy = \"selective_replication\"\n{more}")).attainment();
    let once = attainment("");
    let behind = attainment("every = \"250ms\"");
    let ahead = attainment("every = \"250ms\"\nforesight = true");
    assert!((0.45..0.55).contains(&once), "{once}");
    assert!(behind > 0.7 && behind < ahead && ahead > 0.98, "{behind} {ahead}");
}

#[test]
fn placements_are_read_by_name_group_time_and_demand() {
    let spec = PlacementSpec::default().named("greedy/4@60s+demand").unwrap();
    assert_eq!((spec.policy.as_deref(), spec.group), (Some("greedy"), 4));
    assert_eq!((spec.every, spec.on_demand), (Some(Duration::from_secs(60)), true));
    let plain = PlacementSpec { free: true, ..spec }.named("by_rate").unwrap();
    assert!(plain.every.is_none() && plain.group == 1 && !plain.on_demand && plain.free);
    for wrong in ["gredy", "greedy/x", "greedy@soon", "greedy@0s", ""] {
        assert!(PlacementSpec::default().named(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_placement_cannot_be_is_refused() {
    let error = |placement: &str, model: &str| {
        let text = alone(placement, "count = 2", &format!("rate = 1\n{model}"));
        let made = Scenario::from_text("s.toml", &text).and_then(|scenario| World::new(&scenario));
        made.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(error("polcy = \"greedy\"", "").contains("unknown field `polcy`"));
    assert!(error("policy = \"best\"", "").contains("unknown placement policy \"best\""));
    assert!(error("", "").contains("a placement needs a policy"));
    assert!(error("on_demand = true", "executors = 1").contains("executors have no meaning"));
    assert!(error("on_demand = true\ngroup = 2", "").contains("no pipeline of 2 stages"));
    assert!(error("on_demand = true", "pipelines = [[\"0s\"]]").contains("take some time"));
}
