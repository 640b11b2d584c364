//! What this process may run on: the cores it is allowed, and the GPUs that the driver shows.

use std::panic::catch_unwind;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::CUdevice_attribute;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::LoadError;

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as CUDA counts.
    pub ordinal: u32,
    /// The maker's name for it.
    pub name: String,
    /// Its streaming multiprocessors.
    pub multiprocessors: u32,
    /// Its memory.
    pub memory_bytes: u64,
}

/// Returns the cores that this process may use, by the system's numbers.
///
/// # Errors
/// Where the system does not tell.
pub fn cores() -> Result<Vec<usize>, LoadError> {
    let allowed = sched_getaffinity(None).map_err(|error| {
        LoadError::Device(format!("the system does not tell the allowed cores: {error}"))
    })?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect())
}

/// Returns the GPUs of this machine.
///
/// # Errors
/// Where there is no driver, or it does not work; the text says which.
pub fn gpus() -> Result<Vec<Gpu>, LoadError> {
    require_driver()?;
    let count = guarded("count the GPUs", CudaContext::device_count)?;
    (0..u32::try_from(count).unwrap_or(0)).map(gpu).collect()
}

fn gpu(ordinal: u32) -> Result<Gpu, LoadError> {
    let context = context(ordinal)?;
    let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    let multiprocessors = guarded("read the GPU", || context.attribute(attribute))?;
    let memory_bytes = guarded("read the GPU", || context.mem_get_info())?.1;
    Ok(Gpu {
        ordinal,
        name: guarded("read the GPU", || context.name())?,
        multiprocessors: u32::try_from(multiprocessors).unwrap_or(0),
        memory_bytes: memory_bytes as u64,
    })
}

/// The GPU's primary context, where its memory lives.
pub(crate) fn context(ordinal: u32) -> Result<Arc<CudaContext>, LoadError> {
    require_driver()?;
    guarded(&format!("open GPU {ordinal}"), || CudaContext::new(ordinal as usize))
}

/// Refuses where there is no NVIDIA driver: the bindings would panic.
#[expect(unsafe_code, reason = "asking whether a library can be loaded runs its initialisers")]
pub(crate) fn require_driver() -> Result<(), LoadError> {
    // SAFETY: the library is the driver's own, made to be loaded by any process.
    if unsafe { cudarc::driver::sys::is_culib_present() } {
        return Ok(());
    }
    Err(LoadError::Device("no NVIDIA driver on this machine (libcuda.so.1 is not found)".into()))
}

/// Calls the driver; a function that an old driver lacks panics in the bindings, which becomes an error here.
pub(crate) fn guarded<T, E: std::fmt::Debug>(
    what: &str,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, LoadError> {
    match catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(LoadError::Device(format!("cannot {what}: {error:?}"))),
        Err(_) => Err(LoadError::Device(format!("cannot {what}: the NVIDIA driver is too old"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_cores_are_those_of_the_system() {
        let cores = cores().unwrap();
        assert!(!cores.is_empty() && cores.is_sorted());
        assert_eq!(cores.len(), std::thread::available_parallelism().unwrap().get());
    }

    #[test]
    fn a_machine_without_a_driver_says_so_and_does_not_panic() {
        match gpus() {
            Ok(gpus) => assert!(gpus.iter().all(|gpu| gpu.multiprocessors > 0)),
            Err(error) => assert!(error.to_string().starts_with("no NVIDIA driver"), "{error}"),
        }
    }

    #[test]
    fn a_panic_of_the_bindings_is_an_error() {
        let error =
            guarded("count", || -> Result<(), ()> { panic!("Missing symbol") }).unwrap_err();
        assert_eq!(error.to_string(), "cannot count: the NVIDIA driver is too old");
    }
}
