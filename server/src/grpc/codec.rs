//! Protobuf with a bound on what a small message can blow up to in memory.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Most fields of a message, entries of lists and maps counted one by one. An empty input is two bytes on the wire and
/// hundreds in memory; the largest legal inference has 1024 inputs, outputs and raw tensors each, and 256 parameters.
const FIELDS_MAX: usize = 4096;

/// Prost's codec that counts fields before it decodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::new(BufferSettings::default()))
    }
}

/// Prost's decoder, behind the count.
#[derive(Debug)]
pub(super) struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if is_crowded(buf.chunk()) {
            return Err(Status::invalid_argument(format!(
                "a message has at most {FIELDS_MAX} inputs, outputs and parameters"
            )));
        }
        self.0.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Whether a message has more than [`FIELDS_MAX`] fields. What is no message at all is left to the decoder to refuse.
fn is_crowded(mut message: &[u8]) -> bool {
    for _ in 0..FIELDS_MAX {
        if message.is_empty() || skip_field(&mut message).is_none() {
            return false;
        }
    }
    !message.is_empty()
}

fn skip_field(message: &mut &[u8]) -> Option<()> {
    let (_, wire) = decode_key(message).ok()?;
    let length = match wire {
        WireType::Varint => decode_varint(message).map(|_| 0).ok()?,
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => decode_varint(message).ok()?,
        // Our messages have no groups.
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    *message = message.get(usize::try_from(length).ok()?..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::inference::ModelInferRequest;
    use crate::grpc::inference::model_infer_request::InferInputTensor;

    fn inputs(count: usize) -> Vec<u8> {
        ModelInferRequest { inputs: vec![InferInputTensor::default(); count], ..Default::default() }
            .encode_to_vec()
    }

    #[test]
    fn messages_of_many_small_parts_are_refused_before_they_are_decoded() {
        assert!(!is_crowded(&inputs(FIELDS_MAX)));
        assert!(is_crowded(&inputs(FIELDS_MAX + 1)));
    }

    #[test]
    fn bytes_that_are_no_message_are_left_to_the_decoder() {
        assert!(!is_crowded(&[0xff; 20]));
        assert!(!is_crowded(&[0x3a, 0x80]));
        assert!(!is_crowded(&[0x3b; 10_000]));
    }
}
