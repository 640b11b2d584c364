//! The table of answers and of those under way, without a service.

use std::time::Duration;

use batcher::Instant;
use models::DataType;

use super::*;
use crate::metrics::Metrics;

fn cache(bytes_max: u64) -> Arc<Cache> {
    Arc::new(Cache::new(bytes_max, Metrics::new().model("m", "1").cached()))
}

fn answer(bytes: usize) -> Arc<Answer> {
    let data = vec![7; bytes].into();
    let output = OutputTensor { name: "y".into(), datatype: DataType::Uint8, shape: vec![1], data };
    Answer::copied(&[output], 1)
}

fn urgency(deadline_ms: u64, priority: u32) -> Urgency {
    Urgency { deadline: Instant::ZERO + Duration::from_millis(deadline_ms), priority }
}

const LAZY: Urgency = Urgency { deadline: Instant::NEVER, priority: 2 };

fn lead(cache: &Arc<Cache>, key: Key, urgency: Urgency) -> Lead {
    match cache.turn(key, urgency) {
        Turn::Lead(lead) => lead,
        other @ (Turn::Hit(_) | Turn::Join(_)) => panic!("{other:?}"),
    }
}

fn join(cache: &Arc<Cache>, key: Key, urgency: Urgency) -> Join {
    match cache.turn(key, urgency) {
        Turn::Join(join) => join,
        other @ (Turn::Hit(_) | Turn::Lead(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_runs_and_all_equal_ones_get_its_answer() {
    let cache = cache(1 << 20);
    let first = lead(&cache, [1; 32], LAZY);
    let second = join(&cache, [1; 32], LAZY);
    lead(&cache, [2; 32], LAZY);
    first.answered(answer(3));
    assert_eq!(second.answer().await.unwrap().outputs[0].data.len(), 3);
    assert!(matches!(cache.turn([1; 32], urgency(0, 1)), Turn::Hit(_)));
}

#[tokio::test]
async fn whoever_waits_for_one_that_ends_without_an_answer_is_set_free() {
    let cache = cache(1 << 20);
    let first = lead(&cache, [1; 32], LAZY);
    let second = join(&cache, [1; 32], LAZY);
    drop(first);
    assert!(second.answer().await.is_none());
    lead(&cache, [1; 32], LAZY);
}

#[tokio::test]
async fn nobody_waits_for_one_that_is_less_urgent() {
    let cache = cache(1 << 20);
    let slow = lead(&cache, [1; 32], urgency(50, 2));
    join(&cache, [1; 32], urgency(50, 2));
    join(&cache, [1; 32], LAZY);
    let soon = lead(&cache, [1; 32], urgency(20, 2));
    let waits = join(&cache, [1; 32], urgency(30, 2));
    let _first = lead(&cache, [1; 32], urgency(30, 1));
    // Its end is not that of the one which leads by now.
    drop(slow);
    join(&cache, [1; 32], urgency(40, 1));
    soon.answered(answer(1));
    assert!(waits.answer().await.is_some());
}

#[test]
fn bytes_are_bounded_and_what_is_asked_often_stays() {
    let cache = cache(64 << 10);
    let (often, once) = ([0xff; 32], |number: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        key
    });
    cache.keep(often, answer(1000));
    for number in 0..2000 {
        assert!(number < 10 || cache.kept(&often).is_some());
        if cache.kept(&once(number)).is_none() {
            cache.keep(once(number), answer(1000));
        }
        cache.kept.run_pending_tasks();
        assert!(cache.kept.weighted_size() <= 64 << 10);
    }
    assert!(cache.kept.weighted_size() > 32 << 10);
    assert!(cache.kept(&often).is_some());
}

#[test]
fn an_answer_is_copied_out_of_its_batch() {
    let batch = Bytes::from(vec![1; 1 << 20]);
    let data = batch.slice(..8);
    let output = OutputTensor { name: "y".into(), datatype: DataType::Uint8, shape: vec![8], data };
    let copied = Answer::copied(&[output], 1);
    assert_ne!(copied.outputs[0].data.as_ptr(), batch.as_ptr());
}

#[test]
fn requests_are_equal_only_if_everything_is_that_decides_the_answer() {
    let input = |name: &str, shape: &[i64], data: &'static [u8]| InputTensor {
        name: name.into(),
        datatype: Some(DataType::Uint8),
        shape: shape.to_vec(),
        data: Bytes::from_static(data),
    };
    let asks = |classification| RequestedOutput { name: "y".into(), classification };
    let with = |inputs: Vec<InputTensor>, outputs: Vec<RequestedOutput>| InferRequest {
        inputs,
        outputs,
        ..InferRequest::default()
    };
    let base = with(vec![input("x", &[2], b"ab")], vec![]);
    let other_ways = InferRequest { id: "7".into(), priority: 1, ..base.clone() };
    assert_eq!(key(&base), key(&other_ways));
    let others = [
        with(vec![input("x", &[2], b"ac")], vec![]),
        with(vec![input("z", &[2], b"ab")], vec![]),
        with(vec![input("x", &[1, 2], b"ab")], vec![]),
        with(vec![input("x", &[2], b"ab")], vec![asks(None)]),
        with(vec![input("x", &[2], b"ab")], vec![asks(Some(2))]),
        with(vec![input("x", &[2], b"a"), input("x", &[2], b"b")], vec![]),
        InferRequest { raw: true, ..base.clone() },
    ];
    let mut keys: Vec<_> = others.iter().chain([&base]).map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), others.len() + 1);
}
