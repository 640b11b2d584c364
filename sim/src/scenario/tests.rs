use super::*;

const PLAIN: &str = "duration = \"1s\"\n[[executor]]\ncount = 2\n[[model]]\nname = \"m\"\nrate = 1\nprofile = { fixed = \"1ms\", per_item = \"1ms\", batch_max = 1 }\n";

fn error_of(from: &str, to: &str) -> String {
    assert!(PLAIN.contains(from));
    Scenario::from_text("s.toml", &PLAIN.replace(from, to)).unwrap_err().to_string()
}

/// What is replaced in the plain scenario, by what, and what the refusal says.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("rate = 1", "rate = 0", "s.toml, line 6: model \"m\": rate must be above 0"),
    ("rate = 1", "rate = 1e18", "line 6: model \"m\": rate must be above 0 and at most 100000000 "),
    ("\"1s\"", "\"1s\"\nload = 1e12", "line 7: model \"m\": rate, times load, must be above 0"),
    ("rate = 1", "", "s.toml, line 4: model \"m\": a model needs a rate"),
    (
        "rate = 1",
        "rate = 1\ncount = 4000000000",
        "line 7: model \"m\": count must be from 0 to 100000,",
    ),
    ("rate = 1", "rate = 1\nslo = \"0s\"", "line 7: model \"m\": slo must be above 0"),
    (
        "rate = 1",
        "rate = 1\nslo = \"99999999s\"",
        "line 7: model \"m\": slo must be at most 8640000s, a hundred days",
    ),
    (
        "rate = 1",
        "rate = 1\nexecutors = 7",
        "line 7: model \"m\": executors must be from 1 to 2, not 7",
    ),
    ("rate = 1", "rate = 1\nshapes = 0", "line 7: model \"m\": shapes must be from 1 to 1000000"),
    (
        "batch_max = 1",
        "batch_max = 70000",
        "line 7: model \"m\": batch_max must be from 1 to 65536",
    ),
    (
        "fixed = \"1ms\"",
        "fixed = \"7200s\"",
        "line 7: model \"m\": fixed and per_item must be at most",
    ),
    ("count = 2", "count = 0", "line 2: a scenario needs an executor"),
    (
        "count = 2",
        "count = 4000000000",
        "line 3: executor 1: count must be from 0 to 65536, not 40",
    ),
    ("count = 2", "noise = -1.0", "line 3: executor 1: noise must be from 0 to 3, not -1"),
    ("count = 2", "\nnoise = 1e9", "line 4: executor 1: noise must be from 0 to 3, not 1000000000"),
    ("count = 2", "straggler_share = 2.0", "executor 1: straggler_share must be from 0 to 1"),
    (
        "count = 2",
        "neighbours = { count = 2, slowdown = 0.2 }",
        "line 3: executor 1: neighbours.slowdown must be from 1 to 1000, not 0.2",
    ),
    (
        "count = 2",
        "stall = { every = \"1ns\", lasts = \"1s\" }",
        "line 3: executor 1: stall.every must be at least a 1000th of stall.lasts",
    ),
    ("\"1s\"", "\"1s\"\nwarmup = \"1s\"", "s.toml, line 2: warmup must be shorter"),
    ("\"1s\"", "\"1s\"\nload = 0.0", "s.toml, line 2: load must be a positive number"),
    ("\"1s\"", "\"1s\"\nrouter = { batching = \"x\" }", "unknown batching policy \"x\""),
    (
        "\"1s\"",
        "\"1s\"\nplacement = { on_demand = true, group = 3 }",
        "line 2: placement.group must",
    ),
    ("rate = 1", "rate = 1\npopularity = \"zip\"", "unknown popularity \"zip\""),
    ("rate = 1", "rate = 1\ntrace = { file = \"absent\" }", "line 7: model \"m\": absent: "),
    ("fixed = \"1ms\", ", "", "a profile is { fixed, per_item, batch_max }"),
    ("batch_max = 1", "batch_max = 1, slope = 2", "unknown field `slope`"),
];

#[test]
fn unknown_keys_and_impossible_numbers_are_refused_with_their_place() {
    let error = error_of("count = 2", "cuont = 2");
    assert!(error.contains("line 3") && error.contains("unknown field `cuont`"), "{error}");
    for (from, to, wanted) in IMPOSSIBLE {
        let error = error_of(from, to);
        assert!(error.contains(wanted), "{to:?}: {error}");
    }
}

#[test]
fn two_models_of_one_name_are_refused_at_the_second() {
    let model = &PLAIN[PLAIN.find("[[model]]").unwrap()..];
    let error = Scenario::from_text("s.toml", &format!("{PLAIN}{model}")).unwrap_err().to_string();
    let wanted = "s.toml, line 9: model \"m\": name must be another than that of a model before it";
    assert_eq!(error, wanted);
}

#[test]
fn weights_that_no_executor_holds_are_refused() {
    let text = PLAIN
        .replace("count = 2", "count = 2\nmemory_mb = 100")
        .replace("rate = 1", "rate = 1\ncount = 3\nweights_mb = 40");
    let error = Scenario::from_text("s.toml", &text).unwrap_err().to_string();
    assert!(error.starts_with("s.toml, line 9: model \"m\": weights_mb of all models"), "{error}");
    assert!(error.contains("are 120, more than its memory_mb of 100"), "{error}");
    let placed = text.replace("\"1s\"", "\"1s\"\nplacement = { on_demand = true }");
    assert!(Scenario::from_text("s.toml", &placed).is_ok());
    let error = Scenario::from_text("s.toml", &placed.replace("= 40", "= 101")).unwrap_err();
    let wanted = "weights_mb must be at most 100, what an executor holds (memory_mb), not 101";
    assert!(error.to_string().ends_with(wanted), "{error}");
}

#[test]
fn a_models_own_policy_wins_over_the_scenarios_and_a_comparison_over_both() {
    let last = batcher::ALL[batcher::ALL.len() - 1].name;
    let text = PLAIN.replace("\"1s\"", &format!("\"1s\"\nrouter = {{ batching = \"{last}\" }}"));
    let scenario = Scenario::from_text("s", &text).unwrap();
    assert_eq!(scenario.policy_of(&scenario.models[0]).unwrap().name, last);
    let own = text.replace("rate = 1", &format!("rate = 1\npolicy = \"{}\"", batcher::ALL[0].name));
    let scenario = Scenario::from_text("s", &own).unwrap();
    assert_eq!(scenario.policy_of(&scenario.models[0]).unwrap().name, batcher::ALL[0].name);
    let scenario = scenario.with_batching(last);
    assert_eq!(scenario.policy_of(&scenario.models[0]).unwrap().name, last);
}

fn arrivals_of(scenario: &Scenario) -> Vec<Vec<u64>> {
    let until = u64::try_from(scenario.duration.as_nanos()).unwrap();
    let demands = scenario.demands().unwrap().into_iter();
    demands.map(|demand| demand.arrivals.take_while(|&at| at < until).collect()).collect()
}

#[test]
fn equal_models_share_the_rate_by_popularity() {
    let text = PLAIN.replace("rate = 1", "rate = 30000\ncount = 4\npopularity = \"zipf:1\"");
    let scenario = Scenario::from_text("s", &text).unwrap();
    let arrivals = arrivals_of(&scenario);
    let found: Vec<usize> = arrivals.iter().map(Vec::len).collect();
    // 1, 1/2, 1/3 and 1/4 of 25/12 parts.
    for (found, wanted) in found.into_iter().zip([14_400_usize, 7_200, 4_800, 3_600]) {
        assert!(found.abs_diff(wanted) < wanted / 20, "{found} for {wanted}");
    }
    assert_eq!(arrivals, arrivals_of(&scenario));
    let half = Scenario { load: 0.5, ..scenario };
    assert!(arrivals_of(&half)[0][5].abs_diff(arrivals[0][5] * 2) <= 1);
}

fn traced(trace: &str, more: &str) -> Scenario {
    let folder = std::env::temp_dir().join(format!("punctual-demand-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let name = format!("{}.csv", trace.len());
    std::fs::write(folder.join(&name), trace).unwrap();
    let text = PLAIN.replace("rate = 1", more).replace("FILE", &name);
    Scenario::from_text(&folder.join("s.toml").display().to_string(), &text).unwrap()
}

#[test]
fn functions_of_a_trace_are_dealt_to_models_in_turn() {
    let trace = "t_seconds,model\n0.1,f\n0.2,g\n0.3,h\n0.4,f\n";
    let scenario = traced(trace, "count = 2\ntrace = { file = \"FILE\" }");
    let ms = |times: &[u64]| times.iter().map(|ms| ms * 1_000_000).collect::<Vec<_>>();
    let arrivals = arrivals_of(&scenario);
    // The recording of 0.4 s begins again until the second is full.
    assert_eq!(arrivals[0], ms(&[100, 300, 400, 500, 700, 800, 900]));
    assert_eq!(arrivals[1], ms(&[200, 600]));
}

#[test]
fn a_trace_is_brought_to_a_rate_in_time_or_in_number() {
    let times = (1..=50).map(|n| format!("{}\n", f64::from(n) * 0.02));
    let trace = format!("seconds\n{}", times.collect::<String>());
    for (scale, first) in [("time", 500_000_u64), ("count", 20_000_000)] {
        let more = format!("rate = 2000\ntrace = {{ file = \"FILE\", scale = \"{scale}\" }}");
        let arrivals = arrivals_of(&traced(&trace, &more)).remove(0);
        assert_eq!(arrivals[0], first, "{scale}");
        assert!(arrivals.len().abs_diff(2000) <= 60, "{scale}: {}", arrivals.len());
    }
}

#[test]
fn a_drift_goes_from_one_to_its_factor() {
    let drift = |shape| Drift { shape, factor: 2.0, over: Duration::from_secs(60) };
    let at = |shape, seconds| drift(shape).at(Duration::from_secs(seconds));
    let found = [0, 30, 60, 90].map(|seconds| at(DriftShape::Linear, seconds));
    assert_eq!(found, [1.0, 1.5, 2.0, 2.0]);
    let found = [0, 15, 30, 60].map(|seconds| (at(DriftShape::Sine, seconds) * 1e6).round() / 1e6);
    assert_eq!(found, [1.0, 1.5, 2.0, 1.0]);
}
