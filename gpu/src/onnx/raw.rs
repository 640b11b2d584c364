//! ONNX Runtime's C interface where the safe one costs copies or lacks a type: tensors over borrowed bytes of every
//! element type, strings of any bytes, and outputs handed on as [`Bytes`] without a copy.
#![expect(unsafe_code, reason = "the runtime is a C library")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use models::DataType;
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{Session, SharedSessionInner};
use ort::sys::{
    ONNXTensorElementDataType as Element, OrtStatusPtr, OrtTensorTypeAndShapeInfo, OrtValue,
};

use crate::Output;
use crate::executor::byte_length;
use crate::stream::Stream;

/// The runtime's own words on what went wrong.
pub(crate) type Refusal = String;

/// What must live as long as any output: the session, whose memory it is, and the stream that it runs on.
struct Alive {
    session: Arc<SharedSessionInner>,
    /// After the session, so that it is dropped later.
    _stream: Option<Arc<Stream>>,
}

/// A loaded session with the names of what goes in and comes out.
pub(crate) struct Runner {
    alive: Arc<Alive>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl Runner {
    /// Takes a session over: nothing else can run it. Outputs come in the order of `outputs`.
    pub(crate) fn new<'a>(
        session: &Session,
        stream: Option<Arc<Stream>>,
        inputs: impl Iterator<Item = &'a str>,
        outputs: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Refusal> {
        let name =
            |name| CString::new(name).map_err(|_| format!("the name {name:?} holds a zero byte"));
        Ok(Self {
            alive: Arc::new(Alive { session: session.inner(), _stream: stream }),
            inputs: inputs.map(name).collect::<Result<_, _>>()?,
            outputs: outputs.map(name).collect::<Result<_, _>>()?,
        })
    }

    /// Runs the model once on `feeds`, one for each input in order.
    pub(crate) fn run(&mut self, feeds: &[Feed<'_>]) -> Result<Vec<Value>, Refusal> {
        if feeds.len() != self.inputs.len() {
            return Err(format!("{} inputs for a model of {}", feeds.len(), self.inputs.len()));
        }
        let inputs: Vec<*const c_char> = self.inputs.iter().map(|name| name.as_ptr()).collect();
        let outputs: Vec<*const c_char> = self.outputs.iter().map(|name| name.as_ptr()).collect();
        let values: Vec<*const OrtValue> =
            feeds.iter().map(|feed| feed.value.0.as_ptr().cast_const()).collect();
        let mut results: Vec<*mut OrtValue> = vec![ptr::null_mut(); outputs.len()];
        // SAFETY: each array is as long as told and lives through the call, as do the names and values they point to;
        // the session is alive and, by `&mut self`, not in another run.
        let status = unsafe {
            (ort::api().Run)(
                self.alive.session.ptr().cast_mut(),
                ptr::null(),
                inputs.as_ptr(),
                values.as_ptr(),
                values.len(),
                outputs.as_ptr(),
                outputs.len(),
                results.as_mut_ptr(),
            )
        };
        let owned: Vec<Value> =
            results.into_iter().filter_map(|value| NonNull::new(value).map(Value)).collect();
        check(status)?;
        if owned.len() == self.outputs.len() {
            Ok(owned)
        } else {
            Err("an output is missing".into())
        }
    }

    /// Takes a tensor out of the runtime's value, which the bytes keep alive (with the session that made it).
    pub(crate) fn output(&self, value: Value) -> Result<Output, Refusal> {
        let (element, shape) = value.describe()?;
        let datatype = DataType::from_onnx(element)
            .ok_or_else(|| format!("element type {element} of ONNX is not in the protocol"))?;
        let Some(size) = datatype.size() else {
            let count = byte_length(&shape, 1).ok_or("the shape is impossible")?;
            return Ok(Output { datatype, shape, data: value.strings(count)? });
        };
        let length = byte_length(&shape, size).ok_or("the shape is impossible")?;
        let data = if length == 0 {
            Bytes::new()
        } else {
            let start = value.start()?;
            Bytes::from_owner(Region {
                start,
                length,
                _value: value,
                _alive: Arc::clone(&self.alive),
            })
        };
        Ok(Output { datatype, shape, data })
    }
}

/// One input of a run: a tensor over bytes that are borrowed for as long as it lives, or strings of its own.
pub(crate) struct Feed<'a> {
    value: Value,
    _bytes: PhantomData<&'a [u8]>,
}

impl<'a> Feed<'a> {
    /// Makes a tensor of `bytes`, which must be just its elements.
    pub(crate) fn view(
        memory: &MemoryInfo<'static>,
        datatype: DataType,
        shape: &[i64],
        bytes: &'a [u8],
    ) -> Result<Self, Refusal> {
        let size = datatype.size().ok_or("strings are no plain bytes")?;
        let length = byte_length(shape, size).ok_or("the shape is impossible")?;
        if length != bytes.len() || !bytes.as_ptr().addr().is_multiple_of(size) {
            return Err(format!("{} bytes are no tensor of {length} bytes", bytes.len()));
        }
        let mut value = ptr::null_mut();
        // SAFETY: the bytes are as many as the shape needs, aligned for the element, and outlive the value by `'a`;
        // the runtime does not write to inputs.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                bytes.as_ptr().cast_mut().cast(),
                length,
                shape.as_ptr(),
                shape.len(),
                element(datatype),
                &raw mut value,
            )
        };
        check(status)?;
        Ok(Self { value: Value::new(value)?, _bytes: PhantomData })
    }

    /// Makes a tensor of strings: exactly as many as the shape has elements.
    pub(crate) fn strings(shape: &[i64], strings: &[&[u8]]) -> Result<Self, Refusal> {
        if byte_length(shape, 1) != Some(strings.len()) {
            return Err(format!("{} strings for a tensor of shape {shape:?}", strings.len()));
        }
        let mut value = ptr::null_mut();
        let mut allocator = Allocator::default();
        // SAFETY: the shape is as long as told; the default allocator is the runtime's own and never goes away.
        let status = unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator.ptr_mut(),
                shape.as_ptr(),
                shape.len(),
                element(DataType::Bytes),
                &raw mut value,
            )
        };
        check(status)?;
        let value = Value::new(value)?;
        for (index, string) in strings.iter().enumerate() {
            let mut buffer: *mut c_char = ptr::null_mut();
            // SAFETY: the value is a tensor of strings with more than `index` elements.
            check(unsafe {
                let resize = ort::api().GetResizedStringTensorElementBuffer;
                resize(value.0.as_ptr(), index, string.len(), &raw mut buffer)
            })?;
            // SAFETY: the runtime made room for as many bytes as the string has, in memory of its own.
            unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast(), string.len()) };
        }
        Ok(Self { value, _bytes: PhantomData })
    }
}

/// A value of the runtime, freed when dropped.
pub(crate) struct Value(NonNull<OrtValue>);

// SAFETY: a value is plain memory with a reference-counted, locked allocator; any one thread may use or free it.
unsafe impl Send for Value {}
// SAFETY: shared use only reads (`describe` and `start` change nothing).
unsafe impl Sync for Value {}

impl Value {
    fn new(value: *mut OrtValue) -> Result<Self, Refusal> {
        NonNull::new(value).map(Self).ok_or_else(|| "the runtime gave no value".into())
    }

    /// The element type, in ONNX numbers, and the shape of a tensor.
    fn describe(&self) -> Result<(i32, Vec<i64>), Refusal> {
        let api = ort::api();
        let mut is_tensor = 0;
        // SAFETY: the value is alive.
        check(unsafe { (api.IsTensor)(self.0.as_ptr(), &raw mut is_tensor) })?;
        if is_tensor == 0 {
            return Err("it is a sequence or a map, not a tensor".into());
        }
        let mut about: *mut OrtTensorTypeAndShapeInfo = ptr::null_mut();
        // SAFETY: the value is a tensor.
        check(unsafe { (api.GetTensorTypeAndShape)(self.0.as_ptr(), &raw mut about) })?;
        let (mut element, mut rank) = (0_i32, 0);
        // SAFETY: `about` was just given to us; the element type is written as C's int, which may be a number that the
        // Rust enum does not know.
        let mut status = unsafe { (api.GetTensorElementType)(about, (&raw mut element).cast()) };
        if status.0.is_null() {
            // SAFETY: as above.
            status = unsafe { (api.GetDimensionsCount)(about, &raw mut rank) };
        }
        let mut shape = vec![0; rank];
        if status.0.is_null() {
            // SAFETY: as above, and the shape has room for every dimension.
            status = unsafe { (api.GetDimensions)(about, shape.as_mut_ptr(), rank) };
        }
        // SAFETY: ours to free, once.
        unsafe { (api.ReleaseTensorTypeAndShapeInfo)(about) };
        check(status)?;
        Ok((element, shape))
    }

    /// The first byte of a tensor that is not of strings and not empty.
    fn start(&self) -> Result<NonNull<u8>, Refusal> {
        let mut start: *mut c_void = ptr::null_mut();
        // SAFETY: the value is a tensor.
        check(unsafe { (ort::api().GetTensorMutableData)(self.0.as_ptr(), &raw mut start) })?;
        NonNull::new(start.cast()).ok_or_else(|| "the tensor has no memory".into())
    }

    /// The strings of a tensor of `count` elements, each after its length as a little-endian u32.
    fn strings(&self, count: usize) -> Result<Bytes, Refusal> {
        let api = ort::api();
        let mut total = 0;
        // SAFETY: the value is a tensor of strings.
        check(unsafe { (api.GetStringTensorDataLength)(self.0.as_ptr(), &raw mut total) })?;
        let (mut text, mut offsets) = (vec![0_u8; total], vec![0_usize; count]);
        // SAFETY: both buffers are as long as told.
        check(unsafe {
            let content = api.GetStringTensorContent;
            content(self.0.as_ptr(), text.as_mut_ptr().cast(), total, offsets.as_mut_ptr(), count)
        })?;
        let mut data = Vec::with_capacity(total + count * size_of::<u32>());
        for (index, &start) in offsets.iter().enumerate() {
            let end = offsets.get(index + 1).copied().unwrap_or(total);
            let string = text.get(start..end).ok_or("the strings overlap")?;
            let length =
                u32::try_from(string.len()).map_err(|_| "a string is longer than 4 GiB")?;
            data.extend_from_slice(&length.to_le_bytes());
            data.extend_from_slice(string);
        }
        Ok(data.into())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is ours and is freed once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// The memory of an output tensor, with what keeps it alive.
struct Region {
    start: NonNull<u8>,
    length: usize,
    _value: Value,
    _alive: Arc<Alive>,
}

// SAFETY: the region is read only, and its memory belongs to the value it holds.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the tensor holds `length` bytes from `start` for as long as the value lives; nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

/// The runtime's status as a result; frees it.
fn check(status: OrtStatusPtr) -> Result<(), Refusal> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null is an error with a text, ours to free once.
    unsafe {
        let text =
            CStr::from_ptr((ort::api().GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.0);
        Err(text)
    }
}

fn element(datatype: DataType) -> Element {
    match datatype {
        DataType::Bool => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DataType::Uint8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::Uint16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DataType::Uint32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DataType::Uint64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DataType::Int8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::Int16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DataType::Int32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::Int64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DataType::Fp16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::Bf16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DataType::Fp32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::Fp64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DataType::Bytes => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}
