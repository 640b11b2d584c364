//! The infer body: any bytes behind any headers are decoded or refused; what is decoded is bounded by the body.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use server::http::coding::Coding;
use server::http::decode::{Envelope, decode};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    header_length: Option<u16>,
    deadline_us: Option<u32>,
    coding: Option<bool>,
    body: &'a [u8],
}

/// Small, so that the fuzzer meets the limit.
const BODY_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|input: Input<'_>| {
    let body = match input.coding {
        None => bytes::Bytes::copy_from_slice(input.body),
        Some(gzip) => {
            let coding = if gzip { Coding::Gzip } else { Coding::Deflate };
            let Ok(body) = coding.decompress(input.body, BODY_BYTES_MAX) else { return };
            assert!(body.len() <= BODY_BYTES_MAX);
            body
        }
    };
    let envelope = Envelope {
        model: "m".to_owned(),
        version: None,
        header_length: input.header_length.map(u64::from),
        deadline: input.deadline_us.map(|us| Duration::from_micros(us.into())),
    };
    if let Ok((request, forms)) = decode(envelope, &body) {
        assert!(request.raw || forms.binary.len() == request.outputs.len());
        // One byte of JSON makes at most one element, and none has more than 8 bytes.
        let bytes: usize = request.inputs.iter().map(|input| input.data.len()).sum();
        assert!(bytes <= body.len() * 8);
    }
});
