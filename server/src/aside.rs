//! Work aside from serving: at the lowest priority, and a panic fails nothing but that work.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The system's least urgent.
const NICE: i32 = 19;

/// A panic of a backend fails the load and leaves the thread to the next one.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        Err(format!("loading panicked: {text}"))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

/// Gives the calling thread the lowest priority.
pub(crate) fn yield_to_serving() {
    // On Linux a nice value belongs to one thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "a loading thread keeps the usual priority");
    }
    if let Err(error) = gpu::background::yield_to_all() {
        tracing::warn!(%error, "a loading thread may keep others waiting for some milliseconds");
    }
}
