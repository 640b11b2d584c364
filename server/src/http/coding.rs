//! Compressed bodies: which coding a client uses or takes, and both directions of gzip and deflate.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use crate::status::Failure;

/// A content coding other than identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950: deflate in a zlib envelope, which is what HTTP means by the word.
    Deflate,
}

impl Coding {
    /// Its name in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The coding of a request's body; `None` for a plain one.
    ///
    /// # Errors
    /// A coding that this server does not read.
    pub fn of_body(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let name = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            _ => Err(Failure::Encoding(format!(
                "unsupported Content-Encoding '{name}': send gzip, deflate or identity"
            ))),
        }
    }

    /// The coding that the client likes best, if it likes one at least as much as none.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut gzip = None;
        let mut deflate = None;
        let mut identity = None;
        let mut any = None;
        for value in headers.get_all(ACCEPT_ENCODING) {
            for entry in value.to_str().unwrap_or("").split(',') {
                let (name, quality) = quality(entry);
                match name.to_ascii_lowercase().as_str() {
                    "gzip" | "x-gzip" => gzip = Some(quality),
                    "deflate" => deflate = Some(quality),
                    "identity" => identity = Some(quality),
                    "*" => any = Some(quality),
                    _ => {}
                }
            }
        }
        // A bare `*` does not ask for work: only a coding that is named is used.
        let (gzip, deflate, identity) =
            (gzip.unwrap_or(0), deflate.unwrap_or(0), identity.or(any).unwrap_or(0));
        let best = if gzip >= deflate { (Self::Gzip, gzip) } else { (Self::Deflate, deflate) };
        (best.1 > 0 && best.1 >= identity).then_some(best.0)
    }

    /// Decompresses a body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It is damaged, ends early, or grows beyond the limit.
    pub fn decompress(self, body: &[u8], bytes_max: usize) -> Result<Bytes, Failure> {
        let mut plain = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = match self {
            Self::Gzip => GzDecoder::new(body).take(limit).read_to_end(&mut plain),
            Self::Deflate => ZlibDecoder::new(body).take(limit).read_to_end(&mut plain),
        };
        read.map_err(|error| {
            Failure::Invalid(format!(
                "failed to decompress the {} request body: {error}",
                self.name()
            ))
        })?;
        if plain.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(plain.into())
    }

    /// Compresses an answer given in parts, fast rather than small.
    ///
    /// # Errors
    /// None in practice: memory takes every write.
    pub fn compress<'a>(
        self,
        parts: impl IntoIterator<Item = &'a Bytes>,
    ) -> std::io::Result<Bytes> {
        let packed = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                parts.into_iter().try_for_each(|part| encoder.write_all(part))?;
                encoder.finish()?
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                parts.into_iter().try_for_each(|part| encoder.write_all(part))?;
                encoder.finish()?
            }
        };
        Ok(packed.into())
    }
}

/// The name and the q-value in thousandths of one entry of `Accept-Encoding`; 0 for a q-value that is none.
fn quality(entry: &str) -> (&str, u16) {
    let mut fields = entry.split(';').map(str::trim);
    let name = fields.next().unwrap_or("");
    let given =
        fields.find_map(|field| field.strip_prefix("q=").or_else(|| field.strip_prefix("Q=")));
    let quality = given.map_or(1.0, |text| text.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..1 just above"
    )]
    let thousandths = (quality * 1000.0) as u16;
    (name, thousandths)
}

/// Of a body that is, or becomes, larger than a flag allows.
pub(super) fn too_large(bytes_max: usize) -> Failure {
    Failure::TooLarge(format!(
        "the request body is larger than the {bytes_max} bytes that --http-max-input-size allows"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_client_gets_the_coding_it_likes_best() {
        let cases = [
            ("gzip", Some(Coding::Gzip)),
            ("deflate, gzip", Some(Coding::Gzip)),
            ("gzip;q=0.5, deflate;q=0.8", Some(Coding::Deflate)),
            ("gzip;q=0.1, identity;q=0.9", None),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("br", None),
            ("*", None),
            ("", None),
            ("GZIP ; q=1.0", Some(Coding::Gzip)),
        ];
        for (value, coding) in cases {
            assert_eq!(Coding::accepted(&header(ACCEPT_ENCODING, value)), coding, "{value}");
        }
    }

    #[test]
    fn an_unknown_coding_of_a_body_is_415() {
        assert_eq!(Coding::of_body(&header(CONTENT_ENCODING, "identity")), Ok(None));
        assert_eq!(Coding::of_body(&header(CONTENT_ENCODING, "GZip")), Ok(Some(Coding::Gzip)));
        assert_eq!(Coding::of_body(&header(CONTENT_ENCODING, "br")).unwrap_err().http(), 415);
        assert_eq!(
            Coding::of_body(&header(CONTENT_ENCODING, "gzip, deflate")).unwrap_err().http(),
            415
        );
    }

    #[test]
    fn what_was_compressed_comes_back_within_the_limit_and_not_beyond() {
        let parts = [Bytes::from(vec![0; 100_000]), Bytes::from_static(b"tail")];
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = coding.compress(&parts).unwrap();
            assert!(packed.len() < 2_000);
            assert_eq!(coding.decompress(&packed, 100_004).unwrap(), parts.concat());
            assert_eq!(coding.decompress(&packed, 100_003).unwrap_err().http(), 413);
            assert_eq!(
                coding.decompress(&packed[..packed.len() - 9], 100_004).unwrap_err().http(),
                400
            );
            assert_eq!(coding.decompress(b"plain", 100).unwrap_err().http(), 400);
        }
    }
}
