//! CUDA streams of our own: with a priority on the whole GPU, or in a partition of its multiprocessors.
#![expect(unsafe_code, reason = "green contexts have no safe bindings")]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::{
    self, CUdevResource, CUdevResourceType, CUgreenCtx, CUgreenCtxCreate_flags, CUresult, CUstream,
    CUstream_flags,
};

use crate::LoadError;
use crate::device::{context, guarded};
use crate::partition::SmGrain;

/// The grain where the driver does not tell it: NVIDIA's documentation for compute capability 9.0 and later.
const GRAIN_DEFAULT: u32 = 8;

/// A stream that kernels run on, destroyed when dropped.
pub struct Stream {
    raw: CUstream,
    ordinal: u32,
    multiprocessors: Option<u32>,
    partition: Option<CUgreenCtx>,
    /// Streams and partitions live in the device's primary context.
    context: Arc<CudaContext>,
}

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver locks.
unsafe impl Sync for Stream {}

impl Stream {
    /// Makes a stream on the whole GPU. A lower `priority` is more urgent; see [`priorities`].
    ///
    /// # Errors
    /// Where there is no such GPU, or the driver refuses.
    pub fn whole(ordinal: u32, priority: i32) -> Result<Self, LoadError> {
        let context = context(ordinal)?;
        guarded("use the GPU", || context.bind_to_thread())?;
        let mut raw = ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the device's context is current; the handle is written on success.
        call("make a stream", || unsafe {
            sys::cuStreamCreateWithPriority(&raw mut raw, flags, priority)
        })?;
        Ok(Self { raw, ordinal, multiprocessors: None, partition: None, context })
    }

    /// Cuts the GPU's multiprocessors into `parts` equal partitions and makes a stream in each.
    ///
    /// # Errors
    /// Where the GPU cannot be cut so, or the driver has no partitions.
    pub fn partitions(ordinal: u32, parts: u32, priority: i32) -> Result<Vec<Self>, LoadError> {
        let context = context(ordinal)?;
        guarded("use the GPU", || context.bind_to_thread())?;
        let whole = whole_resource(&context)?;
        let share = grain_of(&whole).share(parts)?;
        // SAFETY: the resource is plain numbers, for which zeros are valid.
        let mut groups: Vec<CUdevResource> =
            vec![unsafe { MaybeUninit::zeroed().assume_init() }; parts as usize];
        let mut count = parts;
        // SAFETY: there is room for `count` groups; the remainder is not asked for.
        call("cut the GPU", || unsafe {
            sys::cuDevSmResourceSplitByCount(
                groups.as_mut_ptr(),
                &raw mut count,
                &raw const whole,
                ptr::null_mut(),
                0,
                share,
            )
        })?;
        groups.truncate(count as usize);
        if count != parts {
            return Err(LoadError::Device(format!(
                "the driver gave {count} partitions instead of {parts}"
            )));
        }
        groups
            .into_iter()
            .map(|group| Self::in_partition(ordinal, &context, group, priority))
            .collect()
    }

    fn in_partition(
        ordinal: u32,
        context: &Arc<CudaContext>,
        mut group: CUdevResource,
        priority: i32,
    ) -> Result<Self, LoadError> {
        let multiprocessors = Some(grain_of(&group).total);
        let (mut description, mut partition, mut raw) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: one resource is given, as told.
        call("describe a partition", || unsafe {
            sys::cuDevResourceGenerateDesc(&raw mut description, &raw mut group, 1)
        })?;
        let flags = CUgreenCtxCreate_flags::CU_GREEN_CTX_DEFAULT_STREAM as u32;
        // SAFETY: the description was made above, of resources of this device.
        call("make a partition", || unsafe {
            sys::cuGreenCtxCreate(&raw mut partition, description, context.cu_device(), flags)
        })?;
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the partition was made above.
        let made = call("make a stream in a partition", || unsafe {
            sys::cuGreenCtxStreamCreate(&raw mut raw, partition, flags, priority)
        });
        if let Err(error) = made {
            // SAFETY: ours, without streams.
            let _ = unsafe { sys::cuGreenCtxDestroy(partition) };
            return Err(error);
        }
        Ok(Self {
            raw,
            ordinal,
            multiprocessors,
            partition: Some(partition),
            context: Arc::clone(context),
        })
    }

    /// The GPU.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Multiprocessors of its partition; `None` for a stream on the whole GPU.
    #[must_use]
    pub fn multiprocessors(&self) -> Option<u32> {
        self.multiprocessors
    }

    /// Its priority, as the driver has it.
    ///
    /// # Errors
    /// Where the driver does not tell it.
    pub fn priority(&self) -> Result<i32, LoadError> {
        let mut priority = 0;
        // SAFETY: the stream is ours; the number is written on success.
        call("ask a stream's priority", || unsafe {
            sys::cuStreamGetPriority(self.raw, &raw mut priority)
        })?;
        Ok(priority)
    }

    /// The driver's handle, valid for as long as this lives.
    pub(crate) fn raw(&self) -> *mut () {
        self.raw.cast()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        // SAFETY: both are ours and go once, the stream first; what still runs on it ends before the driver frees it.
        unsafe {
            let _ = sys::cuStreamDestroy_v2(self.raw);
            if let Some(partition) = self.partition {
                let _ = sys::cuGreenCtxDestroy(partition);
            }
        }
    }
}

/// Returns the least and the most urgent priority that streams of a GPU can have.
///
/// # Errors
/// Where there is no such GPU.
pub fn priorities(ordinal: u32) -> Result<(i32, i32), LoadError> {
    let context = context(ordinal)?;
    guarded("use the GPU", || context.bind_to_thread())?;
    let (mut least, mut greatest) = (0, 0);
    // SAFETY: the device's context is current; both numbers are written.
    call("read the priorities", || unsafe {
        sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest)
    })?;
    Ok((least, greatest))
}

/// Returns what a GPU can be cut into.
///
/// # Errors
/// Where there is no such GPU, or the driver has no partitions.
pub fn grain(ordinal: u32) -> Result<SmGrain, LoadError> {
    let context = context(ordinal)?;
    Ok(grain_of(&whole_resource(&context)?))
}

fn whole_resource(context: &CudaContext) -> Result<CUdevResource, LoadError> {
    let mut whole = MaybeUninit::<CUdevResource>::zeroed();
    let kind = CUdevResourceType::CU_DEV_RESOURCE_TYPE_SM;
    // SAFETY: the device is open; the resource is written on success.
    call("read the multiprocessors", || unsafe {
        sys::cuDeviceGetDevResource(context.cu_device(), whole.as_mut_ptr(), kind)
    })?;
    // SAFETY: plain numbers, zeroed and then written.
    Ok(unsafe { whole.assume_init() })
}

fn grain_of(resource: &CUdevResource) -> SmGrain {
    // SAFETY: every resource here is of multiprocessors, whose numbers these are.
    let sm = unsafe { resource.__bindgen_anon_1.sm };
    let known = |number| if number == 0 { GRAIN_DEFAULT } else { number };
    SmGrain {
        total: sm.smCount,
        least: known(sm.minSmPartitionSize),
        step: known(sm.smCoscheduledAlignment),
    }
}

fn call(what: &str, function: impl FnOnce() -> CUresult) -> Result<(), LoadError> {
    guarded(what, || function().result())
}
