//! NumPy's files: .npy holds one array, .npz is a zip archive of them.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use models::DataType;

/// The arrays of an archive by name.
pub type Arrays = BTreeMap<String, Array>;

/// One array, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<i64>,
    /// What it holds.
    pub elements: Elements,
}

/// What an array holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Numbers, little-endian.
    Numbers {
        /// Of that type.
        datatype: DataType,
        /// One after the other.
        bytes: Bytes,
    },
    /// Strings.
    Text(Vec<String>),
}

impl Array {
    /// The elements, if they are integers.
    #[must_use]
    pub fn whole_numbers(&self) -> Option<Vec<i64>> {
        let Elements::Numbers { datatype, bytes } = &self.elements else { return None };
        super::metric::whole_numbers(*datatype, bytes)
    }
}

/// NumPy's names of types that models take.
const TYPES: [(&str, DataType); 13] = [
    ("|b1", DataType::Bool),
    ("|u1", DataType::Uint8),
    ("<u2", DataType::Uint16),
    ("<u4", DataType::Uint32),
    ("<u8", DataType::Uint64),
    ("|i1", DataType::Int8),
    ("<i2", DataType::Int16),
    ("<i4", DataType::Int32),
    ("<i8", DataType::Int64),
    ("<f2", DataType::Fp16),
    ("<f4", DataType::Fp32),
    ("<f8", DataType::Fp64),
    ("bool", DataType::Bool),
];

/// Reads a .npz archive.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn read(archive: &[u8]) -> Result<Arrays, String> {
    let mut arrays = Arrays::new();
    for (name, bytes) in unzip(archive)? {
        let array = read_npy(&bytes).map_err(|reason| format!("'{name}' {reason}"))?;
        let name = name.strip_suffix(".npy").unwrap_or(&name);
        arrays.insert(name.to_owned(), array);
    }
    Ok(arrays)
}

/// Reads a .npy file.
///
/// # Errors
/// What is wrong and what is allowed.
pub fn read_npy(bytes: &[u8]) -> Result<Array, String> {
    let broken = || "is no whole .npy file".to_owned();
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(broken)?;
    let (&version, rest) = rest.split_first().ok_or_else(broken)?;
    let (length, rest) = if version < 2 {
        let (length, rest) =
            rest.get(1..).and_then(<[u8]>::split_first_chunk).ok_or_else(broken)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) =
            rest.get(1..).and_then(<[u8]>::split_first_chunk).ok_or_else(broken)?;
        (usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX), rest)
    };
    let (head, body) = rest.split_at_checked(length).ok_or_else(broken)?;
    let head = std::str::from_utf8(head).map_err(|_| broken())?;
    if !value(head, "fortran_order").ok_or_else(broken)?.starts_with("False") {
        return Err("is in Fortran's order; allowed is C's (numpy.ascontiguousarray)".into());
    }
    let shape = shape(value(head, "shape").ok_or_else(broken)?).ok_or_else(broken)?;
    let count =
        shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(usize::try_from(dim).ok()?));
    let count = count.ok_or_else(broken)?;
    let descr = value(head, "descr").ok_or_else(broken)?;
    let descr = descr.trim_start_matches('\'').split('\'').next().unwrap_or_default();
    let sized = |size: usize| {
        (count.checked_mul(size) == Some(body.len())).then_some(()).ok_or_else(|| {
            format!(
                "has {} bytes where its shape {shape:?} of '{descr}' needs another number",
                body.len()
            )
        })
    };
    if let Some(characters) =
        descr.strip_prefix("<U").and_then(|digits| digits.parse::<usize>().ok())
    {
        let size = characters.checked_mul(4).ok_or_else(broken)?;
        sized(size)?;
        let text = (0..count).map(|index| text(&body[index * size..(index + 1) * size]));
        return Ok(Array { elements: Elements::Text(text.collect()), shape });
    }
    let datatype = TYPES.iter().find(|(known, _)| *known == descr).map(|(_, datatype)| *datatype);
    let datatype = datatype.ok_or_else(|| {
        format!("is of NumPy's type '{descr}'; allowed are booleans, little-endian numbers and text ('<U..')")
    })?;
    sized(datatype.size().unwrap_or(1))?;
    let elements = Elements::Numbers { datatype, bytes: Bytes::copy_from_slice(body) };
    Ok(Array { shape, elements })
}

/// What stands behind a key of the head, a Python dictionary.
fn value<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = head.split_once(&format!("'{key}':"))?;
    Some(rest.trim_start())
}

fn shape(tuple: &str) -> Option<Vec<i64>> {
    let inside = tuple.strip_prefix('(')?.split(')').next()?;
    let dims = inside.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    dims.map(|dim| dim.parse().ok().filter(|&dim: &i64| dim >= 0)).collect()
}

/// NumPy fills text up with zeros.
fn text(codes: &[u8]) -> String {
    let codes = codes.as_chunks::<4>().0.iter().map(|code| u32::from_le_bytes(*code));
    let text: String = codes.filter_map(char::from_u32).collect();
    text.trim_end_matches('\0').to_owned()
}

/// The record that ends an archive, without its comment.
const END: usize = 22;

/// The files of a zip archive, stored or deflated.
fn unzip(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let broken = || "is no whole .npz archive".to_owned();
    let last = archive.len().checked_sub(END).ok_or_else(broken)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last)
        .rev()
        .find(|&at| archive[at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(broken)?;
    let count = number(archive, end + 10, 2).ok_or_else(broken)?;
    let mut at = number(archive, end + 16, 4).ok_or_else(broken)?;
    let mut files = Vec::new();
    for _ in 0..count {
        let field = |offset: usize, length: usize| {
            number(archive, at.checked_add(offset)?, length).ok_or_else(broken).ok()
        };
        if archive.get(at..).is_none_or(|rest| !rest.starts_with(b"PK\x01\x02")) {
            return Err(broken());
        }
        let fields = [(10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)];
        let fields: Option<Vec<usize>> =
            fields.iter().map(|&(offset, length)| field(offset, length)).collect();
        let fields = fields.ok_or_else(broken)?;
        let [method, crc, packed, size, name, extra, comment, start] = fields[..] else {
            return Err(broken());
        };
        let name_at = at + 46;
        let name_bytes = archive.get(name_at..name_at + name).ok_or_else(broken)?;
        let name_text = String::from_utf8_lossy(name_bytes).into_owned();
        at = name_at + name + extra + comment;
        let lengths = (number(archive, start + 26, 2), number(archive, start + 28, 2));
        let (Some(name), Some(extra)) = lengths else { return Err(broken()) };
        let from = start + 30 + name + extra;
        let content = archive.get(from..).and_then(|rest| rest.get(..packed)).ok_or_else(broken)?;
        let content =
            inflate(content, method, size).map_err(|reason| format!("'{name_text}' {reason}"))?;
        let mut check = Crc::new();
        check.update(&content);
        if content.len() != size || usize::try_from(check.sum()) != Ok(crc) {
            return Err(format!("'{name_text}' is damaged: its checksum does not fit"));
        }
        files.push((name_text, content));
    }
    Ok(files)
}

fn inflate(content: &[u8], method: usize, size: usize) -> Result<Vec<u8>, String> {
    match method {
        0 => Ok(content.to_vec()),
        8 => {
            let mut whole = Vec::new();
            // One byte more than stated shows an archive that lies.
            let limit = size as u64 + 1;
            let read = DeflateDecoder::new(content).take(limit).read_to_end(&mut whole);
            read.map_err(|error| format!("cannot be inflated: {error}"))?;
            Ok(whole)
        }
        method => Err(format!("is packed by method {method}; allowed are stored and deflated")),
    }
}

fn number(archive: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = archive.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A .npy file of version 1.
    pub(in crate::evaluate) fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = u16::try_from(head.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], head.as_bytes(), body].concat()
    }

    /// An archive of stored files.
    pub(in crate::evaluate) fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let mut crc = Crc::new();
            crc.update(content);
            let size = u32::try_from(content.len()).unwrap().to_le_bytes();
            let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
            let start = u32::try_from(archive.len()).unwrap().to_le_bytes();
            let common =
                [&[0; 8][..], &crc.sum().to_le_bytes(), &size, &size, &name_length, &[0; 2]]
                    .concat();
            archive.extend([&b"PK\x03\x04\x14\0"[..], &common, name.as_bytes(), content].concat());
            directory.extend(
                [&b"PK\x01\x02\x14\0\x14\0"[..], &common, &[0; 10], &start, name.as_bytes()]
                    .concat(),
            );
        }
        let count = u16::try_from(files.len()).unwrap().to_le_bytes();
        let sizes =
            [directory.len(), archive.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes());
        archive.extend(directory);
        archive.extend(
            [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &sizes[0], &sizes[1], &[0; 2]].concat(),
        );
        archive
    }

    #[test]
    fn arrays_of_numbers_and_text_are_read() {
        let mut codes = Vec::new();
        for code in ['a', 'ß', '\0', 'b', '\0', '\0'] {
            codes.extend(u32::from(code).to_le_bytes());
        }
        let archive = zip(&[
            ("x.npy", npy("<i2", "(3,)", &[1, 0, 2, 0, 255, 255])),
            ("t.npy", npy("<U3", "(2,)", &codes)),
        ]);
        let arrays = read(&archive).unwrap();
        assert_eq!(arrays["x"].whole_numbers().unwrap(), [1, 2, -1]);
        assert_eq!(arrays["t"].elements, Elements::Text(vec!["aß".into(), "b".into()]));
    }

    #[test]
    fn damaged_archives_are_refused_and_never_panic() {
        let archive = zip(&[("x.npy", npy("<i2", "(3,)", &[1, 0, 2, 0, 3, 0]))]);
        for cut in 0..archive.len() {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
        for at in 0..archive.len() {
            let mut broken = archive.clone();
            broken[at] ^= 0xff;
            drop(read(&broken));
        }
    }

    #[test]
    fn what_models_do_not_take_is_refused_with_what_is_allowed() {
        let cases = [
            (
                npy(">f4", "(1,)", &[0; 4]),
                "is of NumPy's type '>f4'; allowed are booleans, little-endian numbers and text ('<U..')",
            ),
            (
                npy("<f4", "(2,)", &[0; 4]),
                "has 4 bytes where its shape [2] of '<f4' needs another number",
            ),
            (b"PK".to_vec(), "is no whole .npy file"),
        ];
        for (file, sentence) in cases {
            assert_eq!(read_npy(&file).unwrap_err(), sentence);
        }
        let fortran = npy("<f4", "(1,)", &[0; 4]);
        let fortran = String::from_utf8_lossy(&fortran[10..]).replace("False", "True ");
        let fortran = [
            b"\x93NUMPY\x01\x00",
            &[u8::try_from(fortran.len() - 4).unwrap(), 0][..],
            fortran.as_bytes(),
        ]
        .concat();
        assert!(read_npy(&fortran).unwrap_err().starts_with("is in Fortran's order"));
    }
}
