//! One set of behaviours that every backend shows. A backend whose library or device is not here is skipped aloud.

#[path = "common/backends.rs"]
mod common;

use std::path::PathBuf;

use bytes::Bytes;
use common::{Backend, Filled, backends, batch, floats, onnx_backends, rows_of, run};
use gpu::{Output, RunError};
use models::{BatchId, DataType, Dim, ExecutorId, VariantId};

#[test]
fn a_batch_answers_each_request_as_if_it_ran_alone() {
    for Backend { name, executor, .. } in backends() {
        let mut model = executor.load(&common::mlp()).unwrap();
        let (first, second) =
            (floats(&[0.1, -0.2, 0.3, 0.4]), floats(&[1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.0, -8.0]));
        let parts = vec![(1, vec![first.clone()]), (2, vec![second.clone()])];
        let together = run(&mut *model, &batch(&[&[4]], parts)).unwrap();
        assert_eq!(
            (together.len(), together[0].shape.as_slice()),
            (1, [3_i64, 3].as_slice()),
            "{name}"
        );
        assert_eq!((together[0].datatype, together[0].data.len()), (DataType::Fp32, 36), "{name}");
        let one = run(&mut *model, &batch(&[&[4]], vec![(1, vec![first])])).unwrap();
        let two = run(&mut *model, &batch(&[&[4]], vec![(2, vec![second])])).unwrap();
        let alone: Vec<f32> = [one, two].iter().flat_map(|outputs| rows_of(&outputs[0])).collect();
        for (alone, together) in alone.iter().zip(rows_of(&together[0])) {
            assert!(
                (alone - together).abs() <= 1e-5 * alone.abs().max(1.0),
                "{name}: {alone} {together}"
            );
        }
    }
}

#[test]
fn outputs_outlive_the_model_that_made_them() {
    for Backend { name, executor, .. } in backends() {
        let mut model = executor.load(&common::mlp()).unwrap();
        let request = batch(&[&[4]], vec![(1, vec![floats(&[1.0; 4])])]);
        let outputs = run(&mut *model, &request).unwrap();
        let before = outputs[0].data.to_vec();
        for _ in 0..10 {
            run(&mut *model, &batch(&[&[4]], vec![(1, vec![floats(&[9.0; 4])])])).unwrap();
        }
        drop((model, executor));
        assert_eq!(outputs[0].data, before, "{name}");
    }
}

#[test]
fn a_worker_runs_the_backend_and_tells_the_time_of_each_phase() {
    for Backend { name, executor, .. } in backends() {
        let (done, completions) = crossbeam::channel::unbounded();
        let worker =
            gpu::Worker::spawn(ExecutorId(0), &[], Box::new(move |c| done.send(c).unwrap()));
        worker.install(VariantId(0), executor.load(&common::mlp()).unwrap());
        worker.submit(batch(&[&[4]], vec![(1, vec![floats(&[1.0; 4])])]));
        let completion = completions.recv().unwrap();
        assert_eq!(completion.batch, BatchId(0), "{name}");
        assert!(completion.timing.infer > std::time::Duration::ZERO, "{name}");
        assert_eq!(completion.outputs.unwrap()[0].shape, [1, 3], "{name}");
    }
}

/// Two elements of each type, whose bits are not symmetric, so that a swap would be seen.
fn two_of(datatype: DataType) -> Bytes {
    match datatype.size() {
        None => Bytes::from_static(b"\x03\0\0\0a\0\xff\0\0\0\0"),
        Some(_) if datatype == DataType::Bool => Bytes::from_static(&[1, 0]),
        Some(size) => {
            (1..=2 * u8::try_from(size).expect("at most 8")).map(|byte| byte * 3).collect()
        }
    }
}

#[test]
fn every_type_goes_through_bit_for_bit() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::every_type()).unwrap();
        let tensors: Vec<Bytes> = DataType::ALL.map(two_of).to_vec();
        let inner: Vec<&[i64]> = vec![&[2]; 14];
        let parts = vec![(1, tensors.clone()), (1, tensors.clone()), (1, tensors.clone())];
        let outputs = run(&mut *model, &batch(&inner, parts)).unwrap();
        for ((datatype, output), tensor) in DataType::ALL.into_iter().zip(outputs).zip(tensors) {
            assert_eq!(
                (output.datatype, output.shape.as_slice()),
                (datatype, [3_i64, 2].as_slice()),
                "{name}"
            );
            assert_eq!(output.data, tensor.repeat(3), "{name} {datatype}");
        }
    }
}

#[test]
fn a_model_without_a_batch_axis_runs_one_request_and_gives_scalars() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::fixed()).unwrap();
        let (a, b) = (floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), floats(&[10.0; 6]));
        let request = batch(&[&[3, 2], &[3, 2]], vec![(1, vec![a, b])]);
        let outputs = run(&mut *model, &request).unwrap();
        assert_eq!(rows_of(&outputs[0]), [11.0, 12.0, 13.0, 14.0, 15.0, 16.0], "{name}");
        assert_eq!((outputs[1].shape.len(), rows_of(&outputs[1])), (0, vec![16.0]), "{name}");
        let mut two = request.clone();
        two.parts.push(two.parts[0].clone());
        two.rows = 2;
        assert!(matches!(run(&mut *model, &two), Err(RunError::Failed(_))), "{name}");
    }
}

#[test]
fn a_run_of_two_threads_uses_the_executors_cores() {
    let Some(runtime) = common::runtime() else { return };
    let cores = gpu::device::cores().unwrap();
    let Ok(split) = gpu::partition::split_cores(&cores, 1, 2) else { return };
    let executor = gpu::OnnxCpu::new(runtime, split[0].clone());
    assert_eq!(gpu::Executor::kind(&executor).to_string(), "cpu:2");
    let mut source = common::mlp();
    source.threads = 2;
    let mut model = gpu::Executor::load(&executor, &source).unwrap();
    let pinned = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let status =
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let alone = format!("Cpus_allowed_list:\t{}\n", split[0][1]);
        status.filter(|status| status.contains(&alone)).count()
    };
    // The runtime's thread pins itself a moment after the load.
    let seen = (0..10_000).any(|_| {
        let outputs =
            run(&mut *model, &batch(&[&[4]], vec![(1, vec![floats(&[1.0; 4])])])).unwrap();
        assert_eq!(outputs[0].shape, [1, 3]);
        std::thread::yield_now();
        pinned() == 1
    });
    assert!(seen, "no thread is pinned to core {}", split[0][1]);
}

#[test]
fn a_failing_run_says_why_and_the_next_one_works() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::lookup()).unwrap();
        let ids = |id: i64| Bytes::from([1, id].map(i64::to_le_bytes).concat());
        let failed = run(&mut *model, &batch(&[&[2]], vec![(1, vec![ids(99)])])).unwrap_err();
        assert!(failed.to_string().contains("99"), "{name}: {failed}");
        let outputs = run(&mut *model, &batch(&[&[2]], vec![(1, vec![ids(3)])])).unwrap();
        assert_eq!(rows_of(&outputs[0]), [8.0, 9.0, 10.0, 11.0], "{name}");
    }
}

#[test]
fn malformed_batches_fail_with_a_sentence() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::mlp()).unwrap();
        let good = || batch(&[&[4]], vec![(1, vec![floats(&[1.0; 4])])]);
        let refused = |change: &dyn Fn(&mut gpu::Batch), model: &mut dyn gpu::LoadedModel| {
            let mut request = good();
            change(&mut request);
            let error = run(model, &request).unwrap_err();
            assert!(matches!(&error, RunError::Failed(text) if text.len() > 10), "{name}: {error}");
        };
        let model = &mut *model;
        refused(&|batch| batch.parts[0].tensors[0] = floats(&[1.0; 3]), model);
        refused(&|batch| batch.parts[0].tensors[0] = floats(&[1.0; 5]), model);
        refused(&|batch| batch.parts[0].tensors.clear(), model);
        refused(&|batch| batch.parts.clear(), model);
        refused(&|batch| batch.rows = 2, model);
        refused(&|batch| batch.inner_shapes.clear(), model);
        refused(&|batch| batch.inner_shapes[0] = vec![-4], model);
        refused(&|batch| batch.inner_shapes[0] = vec![i64::MAX, 4], model);
        refused(&|batch| batch.inner_shapes[0] = vec![2, 2], model);
        refused(&|batch| batch.inner_shapes[0] = vec![1 << 62], model);
        run(model, &good()).unwrap();
    }
}

#[test]
fn cut_off_strings_fail_with_a_sentence() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::every_type()).unwrap();
        for bytes in
            [&b"\x05\0\0\0ab"[..], b"\x01\0\0", b"\x01\0\0\0a", b"\x01\0\0\0a\0\0\0\0\0\0\0\0"]
        {
            let mut tensors: Vec<Bytes> = DataType::ALL.map(two_of).to_vec();
            *tensors.last_mut().unwrap() = Bytes::from_static(bytes);
            let inner: Vec<&[i64]> = vec![&[2]; 14];
            let failed = run(&mut *model, &batch(&inner, vec![(1, tensors)])).unwrap_err();
            assert!(failed.to_string().contains("input in_string"), "{name}: {failed}");
        }
    }
}

#[test]
fn outputs_that_are_not_row_per_row_fail_instead_of_being_cut_wrong() {
    for Backend { name, executor, .. } in onnx_backends() {
        let mut model = executor.load(&common::float_rows("summed", 3, 3)).unwrap();
        let parts = vec![(1, vec![floats(&[1.0; 3])]), (1, vec![floats(&[2.0; 3])])];
        let failed = run(&mut *model, &batch(&[&[3]], parts)).unwrap_err();
        assert!(failed.to_string().contains("output y"), "{name}: {failed}");
    }
}

#[test]
fn a_model_that_is_not_what_was_said_is_refused_at_load() {
    for Backend { name, executor, .. } in onnx_backends() {
        let refuse = |source: &gpu::ModelSource, words: &str| {
            let Err(error) = executor.load(source) else { panic!("{name} loaded {words}") };
            assert!(error.to_string().contains(words), "{name}: {error}");
        };
        let mut wrong = common::mlp();
        wrong.signature.inputs[0].datatype = DataType::Int64;
        refuse(&wrong, "is FP32, not INT64");
        let mut unknown = common::mlp();
        unknown.signature.outputs[0].name = "z".into();
        refuse(&unknown, "no output \"z\"");
        let mut short = common::fixed();
        short.signature.inputs.pop();
        refuse(&short, "input \"b\" is not in the signature");
        let mut absent = common::mlp();
        absent.path = PathBuf::from("absent.onnx");
        refuse(&absent, "absent.onnx");
        let mut garbage = common::mlp();
        garbage.path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/make.py"));
        refuse(&garbage, "make.py");
    }
}

#[test]
fn an_emulated_device_answers_models_of_any_signature() {
    let Backend { executor, filled, .. } = common::emulated();
    assert_eq!(filled, Filled::Zeros);
    let free = Dim::Any(None);
    let mut text = common::every_type();
    text.signature.outputs[13].dims = vec![free.clone(), free];
    let mut model = executor.load(&text).unwrap();
    let outputs: Vec<Output> = run(&mut *model, &batch(&[], vec![(5, vec![])])).unwrap();
    assert_eq!((outputs[13].shape.as_slice(), outputs[13].data.len()), ([5_i64, 1].as_slice(), 20));
}
