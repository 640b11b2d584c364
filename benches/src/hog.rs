//! A CPU hog on one core, switched on and off: the neighbour that no scheduler of ours knows of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::{Error, pin};

/// A thread that takes all that its core gives it while it is on.
#[derive(Debug)]
pub struct Hog {
    on: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hog {
    /// A hog that is off, on that core and of that niceness.
    ///
    /// # Errors
    /// The core or the niceness cannot be had.
    pub fn start(core: usize, nice: i32) -> Result<Self, Error> {
        let (on, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, tell) = std::sync::mpsc::channel();
        let (is_on, to_end) = (Arc::clone(&on), Arc::clone(&ends));
        let run = move || {
            let ready = pin(Some(core)).and_then(|()| {
                // On Linux a nice value belongs to one thread.
                rustix::process::setpriority_process(None, nice)
                    .map_err(|error| Error::system("cannot set a niceness")(error.into()))
            });
            // Whoever started it waits for this.
            drop(told.send(ready));
            while !to_end.load(Relaxed) {
                if is_on.load(Relaxed) {
                    std::hint::spin_loop();
                } else {
                    std::thread::park();
                }
            }
        };
        let thread = std::thread::Builder::new().name("hog".into()).spawn(run);
        let thread = thread.map_err(Error::system("cannot start a thread"))?;
        tell.recv().map_err(|_| Error::Server("the hog did not start".into()))??;
        Ok(Self { on, ends, thread: Some(thread) })
    }

    /// Switches it on or off.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
        self.thread.iter().for_each(|thread| thread.thread().unpark());
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        self.switch(false);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could fail.
            drop(thread.join());
        }
    }
}
