//! The flight recording of a server under load, given to the simulator's replay, makes the very same decisions: the
//! server and the simulator are one scheduler.

use std::sync::Arc;

use router::RouterSettings;
use server::infer::InferRequest;
use server::record::Recorder;
use server::service::Service;

use crate::counts::{Seen, load};
use crate::scripted::Echo;
use crate::world::*;

/// What the clients do in one run, by its seed.
async fn recorded(seed: u64) -> (String, Arc<Service>, Seen) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flight.jsonl");
    let recorder = Recorder::create(&path, RouterSettings::default()).unwrap();
    let service = service(2, Some(recorder));
    install_emulated(&service, with_slo(loaded("quick", MS / 4, MS / 20), 6 * MS), 2);
    let mut slow = with_slo(loaded("slow", 2 * MS, MS / 2), 40 * MS);
    slow.description.queue_max = 20;
    install_emulated(&service, slow, 2);
    install(&service, loaded("echo", MS / 10, MS / 100), Echo);
    let seen = load(&service, seed, any_request).await;
    until(|| service.idle()).await;
    // A version that goes is a decision too.
    service.withdraw("quick", 1, Box::new(|| ()));
    service.refuse_all();
    assert_eq!(service.infer(request("slow", &[1])).await.unwrap_err().http(), 503);
    service.stop();
    (std::fs::read_to_string(path).unwrap(), service, seen)
}

fn any_request(numbers: &mut Seeded) -> InferRequest {
    let model = ["quick", "quick", "slow", "echo"][numbers.below(4) as usize];
    // One row in 20 fails or panics where the model looks at it.
    let first = i64::from(numbers.below(40)) - 2;
    let row = vec![first; 1 + numbers.below(3) as usize];
    let request = InferRequest { priority: numbers.below(4).into(), ..request(model, &row) };
    let timeout = (numbers.below(3) == 0).then(|| MS / 10 * numbers.below(100));
    InferRequest { timeout, ..request }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_replayed_by_the_simulator_decides_the_same() {
    for seed in 1..=3 {
        let (recording, service, seen) = recorded(seed).await;
        let replayed = sim::replay(recording.lines()).unwrap_or_else(|error| panic!("{error}"));
        let tally = service.tally();
        let unloaded = 1;
        let decided = tally.refused_total() + tally.batches + tally.withdrawn;
        assert_eq!(replayed.actions, decided + unloaded);
        let lines = u64::try_from(recording.lines().count()).unwrap();
        assert_eq!(replayed.events + replayed.actions + 1, lines, "settings are the first line");
        assert_eq!(tally.arrived, seen.asked + 1);
        // The load is worth the name: all kinds of ends are in it.
        let refused = seen.refused.values().sum::<u64>();
        let all = [seen.answered, refused, seen.failed, tally.cancelled];
        assert!(all.iter().all(|&count| count > 0), "{seen:?} {tally:?}");
    }
}
