//! What only a GPU can tell. Where there is one this prints the facts that docs/gpu.md asks for (`make test-gpu` fetches what it
//! needs and runs it); elsewhere, why it is skipped.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "the facts are the point")]

#[path = "common/backends.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{batch, float_rows, floats, rows_of, run, source, spec};
use gpu::measure::{BUDGET, Probe};
use gpu::stream::{Stream, grain, priorities};
use gpu::{Executor, LoadError, LoadedModel, ModelSource, OnnxCpu, OnnxCuda, Timing};
use models::DataType;

/// The first GPU's number, or `None` after saying why there is none.
fn gpu() -> Option<u32> {
    match gpu::device::gpus() {
        Ok(gpus) => {
            for gpu in &gpus {
                println!("fact: {gpu:?}");
            }
            gpus.first().map(|gpu| gpu.ordinal)
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// An executor on a stream, or `None` where only the CPU's build of the runtime is here; the other one must start.
fn executor(stream: Stream) -> Option<OnnxCuda> {
    let runtime = common::runtime()?;
    match OnnxCuda::new(runtime, Arc::new(stream), None) {
        Ok(executor) => Some(executor),
        Err(error) if common::for_gpu().is_dir() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// A stream, or `None` after saying why the driver has none such.
fn stream(made: Result<Stream, LoadError>) -> Option<Stream> {
    made.inspect_err(|error| println!("fact: {error}")).ok()
}

/// A model that `make test-gpu` makes, where it was made.
fn large(mut source: ModelSource) -> Option<ModelSource> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/onnxruntime/models");
    source.path = folder.join(format!("{}.onnx", source.name));
    if source.path.is_file() {
        source.rows_max = 32;
        return Some(source);
    }
    println!("skipped: {} is not made", source.path.display());
    None
}

fn large_models() -> Vec<ModelSource> {
    let floats = |name, dims: &[Option<u64>]| vec![spec(name, DataType::Fp32, dims)];
    let image = floats("x", &[None, Some(3), Some(224), Some(224)]);
    let tokens = floats("x", &[None, Some(128), Some(384)]);
    let answer = floats("y", &[None, Some(128), Some(384)]);
    let sources = [
        float_rows("mlp", 1024, 1000),
        source("transformer", tokens, answer, true),
        source("resnet", image, floats("y", &[None, Some(1000)]), true),
    ];
    sources.into_iter().filter_map(large).collect()
}

/// So many requests of one row, no two rows alike.
fn rows_apart(source: &ModelSource, rows: u16) -> gpu::Batch {
    let inner: Vec<i64> =
        source.signature.inputs[0].dims[1..].iter().map(models::Dim::protocol).collect();
    let count = usize::try_from(inner.iter().product::<i64>()).unwrap();
    let row = |row: u16| {
        let values = (0..count).map(|place| ((place + 7 * usize::from(row)) % 31) as f32 / 31.0);
        floats(&values.collect::<Vec<f32>>())
    };
    batch(&[&inner], (0..rows).map(|number| (1, vec![row(number)])).collect())
}

#[test]
fn streams_have_priorities_and_partitions_have_a_grain() {
    let Some(gpu) = gpu() else { return };
    let (least, greatest) = priorities(gpu).unwrap();
    println!("fact: priorities {least} (least) to {greatest} (most urgent)");
    assert!(greatest <= least);
    for priority in [least, greatest] {
        let stream = Stream::whole(gpu, priority).unwrap();
        assert_eq!(stream.priority().unwrap(), priority);
    }
    match grain(gpu) {
        Ok(grain) => {
            println!("fact: {grain:?}, at most {} partitions", grain.parts_max());
            for parts in [1, 2, 4, grain.parts_max()] {
                let streams = Stream::partitions(gpu, parts, least).unwrap();
                let sizes: Vec<_> = streams.iter().filter_map(Stream::multiprocessors).collect();
                println!("fact: {parts} partitions have {sizes:?} multiprocessors");
                assert_eq!(sizes.len(), parts as usize);
            }
        }
        Err(error) => println!("fact: no partitions: {error}"),
    }
}

#[test]
fn the_provider_answers_as_the_cpu_does_on_whole_and_partitioned_streams() {
    let Some(gpu) = gpu() else { return };
    let Some(runtime) = common::runtime() else { return };
    let partition = Stream::partitions(gpu, 2, 0).map(|mut streams| streams.remove(0));
    let streams = [("whole", Stream::whole(gpu, 0)), ("partition", partition)];
    let mut models = vec![common::mlp()];
    models.extend(large_models());
    for (name, stream) in streams {
        let Some(executor) = self::stream(stream).and_then(executor) else { continue };
        for source in &models {
            let request = rows_apart(source, 3);
            let mut cpu = OnnxCpu::new(runtime, vec![]).load(source).unwrap();
            let expected = rows_of(&run(&mut *cpu, &request).unwrap()[0]);
            let mut model = executor.load(source).unwrap();
            let found = rows_of(&run(&mut *model, &request).unwrap()[0]);
            let scale = expected.iter().fold(0.0_f32, |scale, value| scale.max(value.abs()));
            let worst =
                expected.iter().zip(&found).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            println!(
                "fact: {} on a {name} stream differs from the CPU by {:.1e} of its scale",
                source.name,
                worst / scale
            );
            assert!(worst <= 1e-3 * scale, "{name} {}", source.name);
        }
    }
}

#[test]
fn latency_by_batch() {
    let Some(gpu) = gpu() else { return };
    for source in large_models() {
        let Some(executor) = stream(Stream::whole(gpu, 0)).and_then(executor) else { return };
        let mut model = executor.load(&source).unwrap();
        let mut probe = Probe::new(&mut *model, &source, &executor.kind(), None).unwrap();
        let profile = probe.profile(BUDGET).unwrap();
        println!(
            "fact: {} by batch, gain {:.1}:\n{}",
            source.name,
            profile.batching_gain(),
            profile.to_csv()
        );
    }
}

/// Times of single-row runs, and of their copies in, while a neighbour runs without pause.
fn beside(
    neighbour: Option<(OnnxCuda, &ModelSource)>,
    executor: &OnnxCuda,
    source: &ModelSource,
) -> Vec<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let thread = neighbour.map(|(executor, source)| {
        let mut model: Box<dyn LoadedModel> = executor.load(source).unwrap();
        let (request, stop) = (rows_apart(source, 16), Arc::clone(&stop));
        run(&mut *model, &request).unwrap();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                run(&mut *model, &request).unwrap();
            }
        })
    });
    let mut model = executor.load(source).unwrap();
    let request = rows_apart(source, 1);
    let mut times = Vec::new();
    for _ in 0..300 {
        let mut timing = Timing::default();
        model.run(&request, &mut timing).unwrap();
        times.push(timing.total());
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(thread) = thread {
        thread.join().unwrap();
    }
    times.drain(..50);
    times.sort_unstable();
    times
}

#[test]
fn a_neighbours_effect_inside_and_outside_a_partition() {
    let Some(gpu) = gpu() else { return };
    let models = large_models();
    let (Some(victim), Some(noisy)) = (models.first(), models.last()) else { return };
    let say = |what: &str, times: &[Duration]| {
        println!("fact: {} beside {what}: p50 {:?}, p95 {:?}", victim.name, times[125], times[237]);
    };
    let whole = |priority| stream(Stream::whole(gpu, priority)).and_then(executor);
    let (least, greatest) = priorities(gpu).unwrap();
    let Some(urgent) = whole(greatest) else { return };
    say("nobody, on a whole stream", &beside(None, &urgent, victim));
    say("an equal stream", &beside(whole(greatest).map(|other| (other, noisy)), &urgent, victim));
    say(
        "a stream of least priority",
        &beside(whole(least).map(|other| (other, noisy)), &urgent, victim),
    );
    let mut streams = match Stream::partitions(gpu, 2, greatest) {
        Ok(streams) => streams,
        Err(error) => return println!("fact: no partitions: {error}"),
    };
    let (Some(other), Some(ours)) =
        (streams.pop().and_then(executor), streams.pop().and_then(executor))
    else {
        return;
    };
    say("nobody, in a half", &beside(None, &ours, victim));
    say("the other half", &beside(Some((other, noisy)), &ours, victim));
    say(
        "a whole stream, in a half",
        &beside(whole(least).map(|other| (other, noisy)), &ours, victim),
    );
}

#[test]
fn a_copy_runs_while_another_stream_computes() {
    let Some(gpu) = gpu() else { return };
    let models = large_models();
    let (Some(source), Some(stream)) = (models.last(), stream(Stream::whole(gpu, 0))) else {
        return;
    };
    let Some(executor) = executor(stream) else { return };
    let context = cudarc::driver::CudaContext::new(gpu as usize).unwrap();
    let copies = context.new_stream().unwrap();
    #[expect(unsafe_code, reason = "pinned memory starts with any bytes")]
    // SAFETY: bytes have no invalid values, and it is only read by the copy.
    let host = unsafe { context.alloc_pinned::<u8>(256 << 20) }.unwrap();
    let mut device = copies.alloc_zeros::<u8>(256 << 20).unwrap();
    let mut model = executor.load(source).unwrap();
    let request = rows_apart(source, 32);
    run(&mut *model, &request).unwrap();
    let mut both = |copy: bool, compute: bool| {
        let mut timing = Timing::default();
        let start = copies
            .record_event(Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT))
            .unwrap();
        if copy {
            copies.memcpy_htod(&host, &mut device).unwrap();
        }
        let end = copies
            .record_event(Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT))
            .unwrap();
        if compute {
            model.run(&request, &mut timing).unwrap();
        }
        copies.synchronize().unwrap();
        (start.elapsed_ms(&end).unwrap(), timing.infer)
    };
    both(true, true);
    println!("fact: 256 MiB to the GPU alone: {:.2} ms", both(true, false).0);
    println!("fact: {} alone: {:?}", source.name, both(false, true).1);
    let (copy, infer) = both(true, true);
    println!("fact: together: copy {copy:.2} ms, {} {infer:?}", source.name);
}

#[test]
fn without_a_provider_the_error_says_what_is_needed() {
    let Some(runtime) = common::runtime() else { return };
    if gpu().is_some() {
        return;
    }
    let Err(error) = Stream::whole(0, 0) else { panic!("a stream without a GPU") };
    assert!(error.to_string().contains("no NVIDIA driver"), "{error}");
    assert!(runtime.library().is_file() && !runtime.version().is_empty());
}
