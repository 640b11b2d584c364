//! Profiles and the self-check of batching, on models whose answers are known.

#[path = "common/backends.rs"]
mod common;

use std::time::Duration;

use common::{emulated, float_rows, onnx_backends};
use gpu::measure::{Batching, Probe};
use gpu::{Executor, LoadedModel, ModelSource};

fn loaded(executor: &dyn Executor, source: &ModelSource) -> Box<dyn LoadedModel> {
    executor.load(source).expect("the model loads")
}

fn batching(executor: &dyn Executor, source: &ModelSource) -> Batching {
    let mut model = loaded(executor, source);
    let mut probe = Probe::new(&mut *model, source, &executor.kind(), None).expect("a shape runs");
    probe.batching().expect("rows run alone")
}

#[test]
fn an_emulated_device_measures_as_its_profile_says() {
    let backend = emulated();
    let source = common::mlp();
    let mut model = loaded(&*backend.executor, &source);
    let mut probe = Probe::new(&mut *model, &source, &backend.executor.kind(), None).unwrap();
    let profile = probe.profile(Duration::from_millis(100)).unwrap();
    let sizes: Vec<u32> = profile.points().iter().map(|point| point.batch).collect();
    assert_eq!(sizes, [1, 2, 4, 8]);
    for point in profile.points() {
        assert!(
            point.median >= Duration::from_micros(100) + Duration::from_micros(10) * point.batch
        );
        assert!(point.runs >= 5);
    }
}

#[test]
fn a_size_that_the_budget_has_no_room_for_is_left_out() {
    let backend = emulated();
    let source = common::mlp();
    let mut model = loaded(&*backend.executor, &source);
    let mut probe = Probe::new(&mut *model, &source, &backend.executor.kind(), None).unwrap();
    let profile = probe.profile(Duration::ZERO).unwrap();
    assert_eq!(profile.points().len(), 1);
}

#[test]
fn rows_that_do_not_touch_each_other_may_share_a_run() {
    for backend in onnx_backends() {
        assert_eq!(batching(&*backend.executor, &common::mlp()), Batching::True);
        assert_eq!(batching(&*backend.executor, &common::lookup()), Batching::True);
        assert_eq!(batching(&*backend.executor, &common::every_type()), Batching::True);
    }
}

#[test]
fn rows_that_depend_on_each_other_may_not_and_the_reason_names_the_output() {
    for backend in onnx_backends() {
        for name in ["centred", "summed"] {
            let found = batching(&*backend.executor, &float_rows(name, 3, 3));
            let Batching::False { reason } = found else { panic!("{name} passed") };
            assert!(reason.contains("output y"), "{name}: {reason}");
        }
        let found = batching(&*backend.executor, &common::fixed());
        assert_eq!(found, Batching::False { reason: "the model has no batch axis".into() });
    }
}

#[test]
fn free_axes_get_the_first_length_that_runs() {
    for backend in onnx_backends() {
        let mut source = common::eights();
        let mut model = loaded(&*backend.executor, &source);
        let kind = backend.executor.kind();
        let probe = Probe::new(&mut *model, &source, &kind, None).unwrap();
        assert_eq!(probe.inner_shapes(), [[32]]);
        let Err(error) = Probe::new(&mut *model, &source, &kind, Some(vec![vec![12]])) else {
            panic!()
        };
        assert!(error.to_string().contains("eights does not run with the given shape"), "{error}");
        source.signature.batched = false;
        assert!(Probe::new(&mut *model, &source, &kind, None).is_err());
    }
}

#[test]
fn a_profile_of_a_real_model_grows_with_the_batch_within_its_budget() {
    for backend in onnx_backends() {
        let source = common::mlp();
        let mut model = loaded(&*backend.executor, &source);
        let mut probe = Probe::new(&mut *model, &source, &backend.executor.kind(), None).unwrap();
        let profile = probe.profile(Duration::from_millis(200)).unwrap();
        assert_eq!(profile.batch_max(), 8);
        assert!(profile.points().iter().all(|point| point.runs >= 5 && point.p99 >= point.median));
    }
}
