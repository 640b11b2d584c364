//! What the executor adds to ONNX Runtime: `cargo run --release -p gpu --example overhead -- MLP_FILE`, where the file
//! is made by `gpu/tests/models/make.py --mlp MLP_FILE`. Prints medians of thread CPU or wall time.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program"
)]

#[path = "../tests/common/backends.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{batch, floats};
use gpu::{Batch, Completion, Executor, LoadedModel, OnnxCpu, Output, RunError, Timing, Worker};
use models::{ExecutorId, VariantId};
use ort::session::Session;
use ort::value::TensorRef;

/// Answers at once.
struct Nothing;

impl LoadedModel for Nothing {
    fn run(&mut self, _: &Batch, _: &mut Timing) -> Result<Vec<Output>, RunError> {
        Ok(vec![])
    }
}

fn main() {
    let runtime = common::runtime().unwrap();
    let cpu = OnnxCpu::new(runtime, vec![]);
    let tiny = batch(&[&[4]], vec![(1, vec![floats(&[1.0; 4])])]);
    round_trip("nothing", Box::new(Nothing), &tiny);
    round_trip("tiny MLP (4-8-3)", cpu.load(&common::mlp()).unwrap(), &tiny);
    let mut model = cpu.load(&common::mlp()).unwrap();
    let times = sorted(2000, || model.run(&tiny, &mut Timing::default()).unwrap().len());
    println!("tiny MLP on the calling thread: p50 {:?}, min {:?}", times[1000], times[0]);
    let Some(file) = std::env::args().nth(1) else { return };
    let mut source = common::float_rows("large", 1024, 1000);
    source.path = file.clone().into();
    let mut model = cpu.load(&source).unwrap();
    // The same options, without our executor around.
    let environment = ort::environment::Environment::clone(runtime.environment());
    let builder = Session::builder(&environment).unwrap().with_intra_threads(1).unwrap();
    let mut bare = builder.with_intra_op_spinning(false).unwrap().commit_from_file(&file).unwrap();
    for rows in [1_u32, 8, 16, 32] {
        efficiency(&mut *model, &mut bare, rows);
    }
}

/// Submit to completion, back to back, and with the worker asleep before each.
fn round_trip(name: &str, model: Box<dyn LoadedModel>, request: &Batch) {
    let (done, completions) = crossbeam::channel::bounded::<Completion>(1);
    let worker = Worker::spawn(
        ExecutorId(0),
        &[],
        Box::new(move |completion| done.send(completion).unwrap()),
    );
    worker.install(VariantId(0), model);
    let times = sorted(5000, || {
        worker.submit(request.clone());
        completions.recv().unwrap()
    });
    println!("round trip, {name}, back to back: p50 {:?}, p99 {:?}", times[2500], times[4950]);
    let times = timed(500, Duration::from_millis(1), || {
        worker.submit(request.clone());
        completions.recv().unwrap()
    });
    println!("round trip, {name}, worker asleep: p50 {:?}, p99 {:?}", times[250], times[495]);
}

fn efficiency(model: &mut dyn LoadedModel, bare: &mut Session, rows: u32) {
    let row: Vec<f32> = (0..1024_u16).map(|i| f32::from(i) / 1024.0).collect();
    let parts = (0..rows).map(|_| (1, vec![floats(&row)])).collect();
    let request = batch(&[&[1024]], parts);
    let values = row.repeat(rows as usize);
    let (mut ours, mut theirs, mut gather, mut output) = (vec![], vec![], vec![], vec![]);
    for _ in 0..61 {
        let mut timing = Timing::default();
        ours.push(cpu_time(|| model.run(&request, &mut timing).unwrap()));
        gather.push(timing.input);
        output.push(timing.output);
        theirs.push(cpu_time(|| {
            let view = TensorRef::from_array_view(([i64::from(rows), 1024], &*values)).unwrap();
            bare.run(ort::inputs![view]).unwrap()["y"].try_extract_tensor::<f32>().unwrap().1.len()
        }));
    }
    for times in [&mut ours, &mut theirs, &mut gather, &mut output] {
        times.sort_unstable();
    }
    // Medians: on a virtual machine the clock of CPU time skips now and then, so that a minimum means nothing.
    println!(
        "batch {rows}: ours {:?}, bare {:?}, efficiency {:.3}; gather {:?}, outputs {:?}",
        ours[30],
        theirs[30],
        theirs[30].as_secs_f64() / ours[30].as_secs_f64(),
        gather[30],
        output[30]
    );
}

fn cpu_time<T>(run: impl FnOnce() -> T) -> Duration {
    let clock = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
    };
    let start = clock();
    std::hint::black_box(run());
    clock() - start
}

fn sorted<T>(count: usize, run: impl FnMut() -> T) -> Vec<Duration> {
    timed(count, Duration::ZERO, run)
}

/// Sorted times of `count` runs with a pause before each.
fn timed<T>(count: usize, pause: Duration, mut run: impl FnMut() -> T) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}
