//! Published schedulers against a simulation of their public code that is not ours: one model of `1.082 b + 5.204` ms,
//! Poisson arrivals, goodput being the rate of which 1 % is late or refused.

use sim::{Scenario, Search, World};

/// How far our goodput may be from theirs, which was measured with one seed too.
const APART: f64 = 0.05;

fn scenario(policy: &str, slo_ms: u32, devices: u32, rate: f64) -> Scenario {
    let text = format!(
        r#"
        duration = "10s"
        [router]
        admission = "always"
        batching = "{policy}"
        dispatch = "largest_batch"
        lead = "0ms"
        [[executor]]
        count = {devices}
        [[model]]
        name = "resnet50"
        profile = {{ fixed = "5204us", per_item = "1082us", batch_max = 64 }}
        slo = "{slo_ms}ms"
        rate = {rate}
        "#
    );
    Scenario::from_text("published", &text).expect("the scenario is right")
}

/// Policy, objective in milliseconds, devices, requests a second.
const GOODPUTS: [(&str, u32, u32, f64); 6] = [
    ("deferred", 13, 8, 3299.0),
    ("deferred", 25, 8, 5157.0),
    ("deferred", 50, 8, 6216.0),
    ("deferred", 100, 8, 6953.0),
    ("largest", 25, 8, 4641.0),
    ("largest", 50, 8, 6048.0),
];

#[test]
fn policies_reach_what_their_public_code_reaches_and_no_more() {
    let search = Search { requests: Some(20_000), ..Search::default() };
    for (policy, slo_ms, devices, rate) in GOODPUTS {
        let scenario = scenario(policy, slo_ms, devices, rate);
        let bad = |load: f64| {
            let world = search.world_at(&scenario, load).expect("the scenario is right");
            let world = World::new(&world).expect("the scenario makes sense").unchecked();
            let total = world.run().expect("no invariant breaks").0.total();
            1.0 - total.in_time as f64 / total.offered as f64
        };
        let (below, above) = (bad(1.0 - APART), bad(1.0 + APART));
        let cell = format!("{policy}, {slo_ms} ms, {devices} devices: {below:.4}, {above:.4} bad");
        assert!(below <= search.bad_max && above > search.bad_max, "{cell}");
    }
}
