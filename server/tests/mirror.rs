//! The mirror test: what the server recorded under load, replayed in the simulator, gives the very same decisions.

#[path = "common/kit.rs"]
#[expect(dead_code, reason = "the kit serves several tests")]
mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::{Echo, Moody, Spec, install, request, service};
use router::RouterSettings;
use server::record::Recorder;
use tokio::task::JoinSet;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_of_the_server_replays_decision_for_decision() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flight.jsonl");
    let recorder = Recorder::create(&file, RouterSettings::default()).unwrap();
    let service = service(2, Some(recorder));
    let fast =
        Spec { name: "fast", executors: 2, takes: MS / 5, slo: Some(10 * MS), ..Spec::default() };
    let slow =
        Spec { name: "slow", executors: 2, takes: 6 * MS, slo: Some(60 * MS), ..Spec::default() };
    let moody = Spec { name: "moody", takes: MS / 10, batch_max: 2, ..Spec::default() };
    install(&service, &fast, || Box::new(Echo { takes: MS / 5 }));
    install(&service, &slow, || Box::new(Echo { takes: 6 * MS }));
    install(&service, &moody, || Box::new(Moody));
    let mut clients = JoinSet::new();
    for client in 0..30_u32 {
        let service = Arc::clone(&service);
        clients.spawn(async move {
            for turn in 0..40_u32 {
                let model = ["fast", "slow", "moody"][(client % 3) as usize];
                let mut asked =
                    request(model, turn % 20, i64::from(turn % 2 + 1), i64::from(client % 4 + 1));
                asked.priority = u64::from(turn % 4);
                asked.timeout = (turn % 6 == 0).then_some(3 * MS);
                let patience = if turn % 9 == 0 { MS } else { Duration::from_secs(20) };
                // What becomes of it is the other tests' concern.
                drop(tokio::time::timeout(patience, service.infer(asked)).await);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    service.withdraw("slow", 1, Box::new(|| {}));
    service.refuse_all();
    while !service.idle() {
        tokio::task::yield_now().await;
    }
    let tally = service.tally();
    service.stop();
    let text = std::fs::read_to_string(&file).unwrap();
    let replayed = sim::replay(text.lines()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tally.arrived, 1200);
    assert!(tally.finished > 300 && tally.failed > 10 && tally.refused_total() > 10, "{tally:?}");
    assert!(replayed.events > 1200 && replayed.actions > tally.batches, "{replayed:?}");
}
