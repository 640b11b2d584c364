//! Executors that share a device slow each other down by what runs beside what.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use sim::{Report, Scenario, World};

/// Two executors of one device, each always busy with its own model: `a` of 2 rows a run and `b` of 1, 10 ms each.
const SHARED: &str = "duration = '10s'\n[router]\nadmission = 'always'\n\
    [[executor]]\ncount = 2\nNEIGHBOURS\n\
    [[model]]\nname = 'a'\nrate = 1000\nbatch_max = 2\nprofile = { fixed = '10ms', per_item = '0s', batch_max = 2 }\n\
    [[model]]\nname = 'bee'\nknown_as = 'b'\nrate = 1000\nbatch_max = 1\n\
    profile = { fixed = '10ms', per_item = '0s', batch_max = 1 }\n";

/// Of `a` beside `a`, of `a` beside `b`, of `b` beside `a` and `b` beside `b`, by the rows of `a`.
const TABLE: &str = "model,beside,batch,beside_batch,share,slowdown\n\
    a,a,2,2,50,1.5\na,b,2,1,50,2\na,b,1,1,50,7\nb,a,1,2,50,3\nb,a,1,1,50,9\nb,b,1,1,50,1.5\n";

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("punctual-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn scenario(folder: &Path, neighbours: &str) -> Result<Scenario, sim::ScenarioError> {
    let text = SHARED.replace("NEIGHBOURS", neighbours);
    Scenario::from_text(&folder.join("s.toml").display().to_string(), &text)
}

fn run(scenario: &Scenario) -> Report {
    World::new(scenario).unwrap().run().unwrap().0
}

/// Milliseconds of a run of each model.
fn times(report: &Report) -> Vec<f64> {
    let mean = |model: &sim::ModelReport| model.busy.as_secs_f64() * 1e3 / model.batches as f64;
    report.models.iter().map(mean).collect()
}

#[test]
fn a_run_takes_longer_by_the_models_and_the_rows_of_both() {
    let folder = folder("neighbours");
    std::fs::write(folder.join("pairs.csv"), TABLE).unwrap();
    let alone = times(&run(&scenario(&folder, "").unwrap()));
    assert!(alone.iter().all(|ms| (ms - 10.0).abs() < 0.01), "{alone:?}");
    let table = "neighbours = { count = 2, table = { file = 'pairs.csv' } }";
    let mut scenario = scenario(&folder, table).unwrap();
    // Nothing beside it: one executor is alone on the second device.
    scenario.executors[0].count = 1;
    assert_eq!(times(&run(&scenario)), alone);
    scenario.executors[0].count = 2;
    let found = times(&run(&scenario));
    // Beside its own kind 15 ms, beside the other 20 or 30; never the entries of a single row of `a`.
    assert!(found[0] > 15.5 && found[0] < 20.1, "{found:?}");
    assert!(found[1] > 16.0 && found[1] < 30.1, "{found:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_pair_that_is_not_in_the_table_needs_a_slowdown() {
    let folder = folder("pairs-missing");
    let lacking = TABLE.replace("b,b,1,1,50,1.5\n", "");
    std::fs::write(folder.join("pairs.csv"), lacking).unwrap();
    let error = |neighbours: &str| scenario(&folder, neighbours).unwrap_err().to_string();
    let table = "neighbours = { count = 2, table = { file = 'pairs.csv' } }";
    let found = error(table);
    assert!(
        found.contains("line 6: executor 1: neighbours.table has no \"b\" beside \"b\""),
        "{found}"
    );
    assert!(scenario(&folder, &table.replace("count = 2", "count = 2, slowdown = 1.5")).is_ok());
    let found = error("neighbours = { count = 2 }");
    assert!(
        found.ends_with("line 6: executor 1: neighbours need a slowdown from 1, or a table"),
        "{found}"
    );
    let found = error(&table.replace("pairs.csv", "absent.csv"));
    assert!(
        found.contains("line 6: executor 1: ") && found.contains("absent.csv: No such file"),
        "{found}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
