//! Executors of little memory: models come when they are asked for or when a placement says so, and go to make room; a
//! load that fails is told to those who wait for it and to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use gpu::LoadedModel;
use models::{ExecutorId, TaskSettings};
use parking_lot::Mutex;
use router::{Router, RouterSettings, Weights};
use server::carrier::Bring;
use server::record::Recorder;
use server::service::{Loaded, Movable, Placing, Service, ServiceOptions};
use server::status::Failure;

use crate::counts::load;
use crate::scripted::{Echo, gated};
use crate::world::*;

/// A service whose executors hold so many bytes.
fn service(memory: &[u64], on_demand: bool, recorder: Option<Recorder>) -> Arc<Service> {
    placed_by("all_everywhere", memory, on_demand, recorder)
}

fn placed_by(
    policy: &str,
    memory: &[u64],
    on_demand: bool,
    recorder: Option<Recorder>,
) -> Arc<Service> {
    let router = Router::new(RouterSettings::default()).unwrap();
    let placing = Placing {
        memory: memory.to_vec(),
        policy: policy.into(),
        every: 1000 * MS,
        moves_max: 1,
        on_demand,
        cores: Vec::new(),
    };
    let options = ServiceOptions { placing: Some(placing), ..ServiceOptions::default() };
    Service::start(options, router, &vec![Vec::new(); memory.len()], recorder).unwrap()
}

/// Where a model of a test comes from.
#[derive(Default)]
struct Shop {
    loads: AtomicU32,
    fails: AtomicBool,
    /// Every third load fails.
    moody: bool,
    /// A load waits for a word, where there is one to be waited for.
    held: Mutex<Option<Receiver<()>>>,
}

impl Bring for Shop {
    fn bring(&self, _: ExecutorId) -> Result<Box<dyn LoadedModel>, String> {
        if let Some(held) = &*self.held.lock() {
            let _ = held.recv();
        }
        let number = self.loads.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) || (self.moody && number % 3 == 1) {
            return Err("no such weights".into());
        }
        Ok(Box::new(Echo))
    }
}

/// A model of one byte that is nowhere yet.
fn movable(name: &str, shop: &Arc<Shop>) -> Loaded {
    let origin: Arc<dyn Bring> = Arc::clone(shop) as Arc<dyn Bring>;
    let weights = Movable { weights: Weights { bytes: 1, load: MS }, origin };
    Loaded { weights: Some(weights), ..loaded(name, MS / 10, MS / 100) }
}

fn install_movable(service: &Service, name: &str) -> Arc<Shop> {
    let shop = Arc::default();
    service.install(movable(name, &shop));
    shop
}

fn held(shop: &Shop) -> Sender<()> {
    let (go, wait) = channel();
    *shop.held.lock() = Some(wait);
    go
}

fn executors(service: &Service, model: &str) -> Vec<u64> {
    let profile = service.profile_json(model, None).unwrap();
    let on = profile["placement"]["executors"].as_array().unwrap();
    on.iter().map(|executor| executor.as_u64().unwrap()).collect()
}

async fn ask(service: &Service, model: &str) -> Result<Vec<i64>, Failure> {
    service.infer(request(model, &[7])).await.map(|response| answer(&response))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_nowhere_is_loaded_for_its_first_request_and_makes_room_for_the_next() {
    let service = service(&[1], true, None);
    let (a, b) = (install_movable(&service, "a"), install_movable(&service, "b"));
    assert!(service.model_ready("a", None) && service.model_ready("b", None));
    for (turn, model) in ["a", "a", "b", "a"].iter().enumerate() {
        assert_eq!(ask(&service, model).await.unwrap(), [7], "{turn}");
        assert_eq!(executors(&service, model), [0]);
    }
    assert_eq!(executors(&service, "b"), [0_u64; 0]);
    assert_eq!((a.loads.load(Ordering::Relaxed), b.loads.load(Ordering::Relaxed)), (2, 1));
    assert_eq!(metric(&service, "punctual_loads_total", &["model=\"a\""]), 2);
    assert_eq!(metric(&service, "punctual_evictions_total", &["model=\"b\""]), 1);
    assert_eq!(metric(&service, "punctual_executor_model_bytes", &["executor=\"0\""]), 1);
    assert_eq!(metric(&service, "punctual_executor_memory_bytes", &["executor=\"0\""]), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_load_that_fails_is_told_and_nobody_else_notices() {
    let service = service(&[2], true, None);
    let shop = install_movable(&service, "broken");
    shop.fails.store(true, Ordering::Relaxed);
    let go = held(&shop);
    install(&service, movable("sound", &Arc::default()), Echo);
    let asked = tokio::spawn({
        let service = Arc::clone(&service);
        async move { ask(&service, "broken").await }
    });
    until(|| waiting(&service, "broken") == 1).await;
    // The load is under way, and disturbs no one.
    assert_eq!(ask(&service, "sound").await.unwrap(), [7]);
    go.send(()).unwrap();
    let Err(Failure::Refused(refusal)) = asked.await.unwrap() else { panic!("it was answered") };
    assert_eq!(refusal.reason, "load_failed");
    assert_eq!(ask(&service, "sound").await.unwrap(), [7]);
    let placement = &service.profile_json("broken", None).unwrap()["placement"];
    assert_eq!(placement["failed"][0]["reason"], "no such weights");
    assert_eq!(metric(&service, "punctual_load_failures_total", &["model=\"broken\""]), 1);
    assert_eq!(metric(&service, "punctual_refusals_total", &["\"broken\"", "load_failed"]), 1);
    // Its room is free again, and it is not tried again at once.
    assert_eq!(metric(&service, "punctual_executor_model_bytes", &[]), 1);
    assert!(ask(&service, "broken").await.is_err());
    assert_eq!(shop.loads.load(Ordering::Relaxed), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_measured_stays_where_it_was_if_there_is_room_and_goes_if_there_is_none() {
    let service = service(&[1], true, None);
    let shop = Arc::<Shop>::default();
    install(&service, movable("first", &shop), Echo);
    install(&service, movable("second", &shop), Echo);
    assert_eq!(executors(&service, "first"), [0]);
    assert_eq!(executors(&service, "second"), [0_u64; 0]);
    assert_eq!(ask(&service, "second").await.unwrap(), [7]);
    assert_eq!(shop.loads.load(Ordering::Relaxed), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placement_brings_models_where_nobody_asked_yet_and_without_it_nothing_is_ready() {
    let service = service(&[1, 1], false, None);
    for model in ["a", "b"] {
        install_movable(&service, model);
        assert!(!service.model_ready(model, None));
        assert_eq!(ask(&service, model).await.unwrap_err().http(), 503);
    }
    service.place();
    assert!(service.model_ready("a", None) && service.model_ready("b", None));
    until(|| executors(&service, "a").len() + executors(&service, "b").len() == 2).await;
    assert_eq!(ask(&service, "a").await.unwrap(), [7]);
    assert_eq!(ask(&service, "b").await.unwrap(), [7]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placement_loads_no_more_than_its_bound_while_the_server_serves() {
    let service = service(&[4], false, None);
    service.place();
    for model in ["a", "b", "c"] {
        install_movable(&service, model);
    }
    let there =
        || -> usize { ["a", "b", "c"].iter().map(|one| executors(&service, one).len()).sum() };
    for placed in 1..=3_usize {
        service.place();
        until(|| there() == placed).await;
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_wishes_for_a_better_variant_than_is_there_gets_it_by_the_next_placement() {
    let service = placed_by("by_accuracy", &[1], false, None);
    let shop = Arc::<Shop>::default();
    let quick =
        |name| Loaded { profile: loaded(name, MS / 100, MS / 100).profile, ..movable(name, &shop) };
    install(&service, quick("good"), Echo);
    service.install(quick("better"));
    let variant = |model: &str, accuracy: f64| {
        format!(
            "[[variant]]\nmodel = \"{model}\"\naccuracy = {accuracy}\nmetric = \"top-1\"\nsource = \"a test\"\ncost = 1.0\n"
        )
    };
    let text = format!("[task]\n{}{}", variant("good", 0.9), variant("better", 0.99));
    let task = TaskSettings::from_text("t/punctual.toml", &text).unwrap();
    service.install_task("t", task).unwrap();
    service.place();
    assert_eq!(executors(&service, "better"), [0_u64; 0]);
    let by = async || service.infer(request("t", &[7])).await.unwrap().choice.unwrap().model;
    for _ in 0..5 {
        assert_eq!(by().await, "good");
    }
    service.place();
    until(|| executors(&service, "better") == [0]).await;
    assert_eq!(by().await, "better");
    let shown = service.task_json("t").unwrap();
    assert_eq!(shown["variants"][0]["placement"]["executors"], serde_json::json!([]));
    assert_eq!(shown["variants"][1]["placement"]["executors"], serde_json::json!([0]));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_keeps_its_model_until_it_has_ended() {
    let service = service(&[1], true, None);
    let shop = Arc::<Shop>::default();
    let (model, mut gate) = gated();
    install(&service, movable("slow", &shop), model);
    install_movable(&service, "next");
    let asked = tokio::spawn({
        let service = Arc::clone(&service);
        async move { ask(&service, "slow").await }
    });
    gate.next().await;
    // No room can be made for it.
    assert_eq!(ask(&service, "next").await.unwrap_err().http(), 503);
    gate.open();
    assert_eq!(asked.await.unwrap().unwrap(), [7]);
    assert_eq!(ask(&service, "next").await.unwrap(), [7]);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_goes_while_it_is_loaded_is_not_put_in_place() {
    let service = service(&[1], true, None);
    let shop = install_movable(&service, "m");
    let go = held(&shop);
    let asked = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.infer(request_within("m", &[7], 5000 * MS)).await }
    });
    until(|| waiting(&service, "m") == 1).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    let (told, gone) = tokio::sync::oneshot::channel();
    service.withdraw("m", 1, Box::new(|| told.send(()).unwrap()));
    gone.await.unwrap();
    go.send(()).unwrap();
    let other = install_movable(&service, "other");
    assert_eq!(ask(&service, "other").await.unwrap(), [7]);
    assert_eq!(other.loads.load(Ordering::Relaxed), 1);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recording_with_models_that_move_and_loads_that_fail_replays() {
    for seed in 1..=2 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flight.jsonl");
        let recorder = Recorder::create(&path, RouterSettings::default()).unwrap();
        let service = service(&[2, 1], true, Some(recorder));
        for model in ["a", "b", "c", "d"] {
            let shop = Arc::new(Shop { moody: model == "d", ..Shop::default() });
            service.install(movable(model, &shop));
        }
        let placing = tokio::spawn({
            let service = Arc::clone(&service);
            async move {
                for _ in 0..100 {
                    service.place();
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        let seen = load(&service, seed, |numbers| {
            let model = ["a", "a", "a", "b", "b", "c", "d"][numbers.below(7) as usize];
            // Some can wait for any load, however slow the machine is.
            let patient = numbers.below(4) == 0;
            request_within(model, &[1], MS * if patient { 10_000 } else { 1 + numbers.below(50) })
        })
        .await;
        placing.abort();
        until(|| service.idle()).await;
        service.stop();
        let recording = std::fs::read_to_string(path).unwrap();
        let replayed = sim::replay(recording.lines()).unwrap_or_else(|error| panic!("{error}"));
        let tally = service.tally();
        let decided = tally.refused_total() + tally.batches + tally.withdrawn;
        assert_eq!(replayed.actions, decided + tally.loads + tally.evictions);
        assert!(seen.answered > 0 && tally.loads > 3 && tally.evictions > 0, "{tally:?} {seen:?}");
        assert!(recording.contains("\"PlacementDecided\"") && recording.contains("MemoryStated"));
    }
}
