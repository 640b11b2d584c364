//! Arrays in NumPy's `.npy` format, versions 1 to 3.

use models::DataType;

/// The type, the shape and where the elements begin, or what is wrong.
pub(super) fn head(bytes: &[u8]) -> Result<(DataType, Vec<i64>, usize), String> {
    let cut = || "ends in its head".to_owned();
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("is not an .npy file".into());
    }
    let (start, length) = match bytes.get(6).ok_or_else(cut)? {
        1 => (
            10,
            bytes.get(8..10).map(|length| usize::from(u16::from_le_bytes([length[0], length[1]]))),
        ),
        _ => (
            12,
            bytes.get(8..12).map(|length| {
                u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize
            }),
        ),
    };
    let end = start + length.ok_or_else(cut)?;
    let text = bytes.get(start..end).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| "has a head that is not text")?;
    if !text.contains("'fortran_order': False") {
        return Err("is in column-major order: save it with numpy.ascontiguousarray".into());
    }
    let descr = after(text, "'descr': '").and_then(|rest| rest.split('\'').next());
    let descr = descr.ok_or("has a structured or no type")?;
    let datatype =
        datatype(descr).ok_or_else(|| format!("has the type '{descr}', which no input has"))?;
    let shape = after(text, "'shape': (").and_then(|rest| rest.split(')').next());
    let axes =
        shape.ok_or("has no shape")?.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape: Result<Vec<i64>, _> = axes.map(str::parse).collect();
    Ok((datatype, shape.map_err(|_| "has a shape that is not numbers")?, end))
}

fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, rest)| rest)
}

/// Little-endian types; a byte has no order.
fn datatype(descr: &str) -> Option<DataType> {
    Some(match descr {
        "|b1" => DataType::Bool,
        "|u1" => DataType::Uint8,
        "|i1" => DataType::Int8,
        "<u2" => DataType::Uint16,
        "<i2" => DataType::Int16,
        "<u4" => DataType::Uint32,
        "<i4" => DataType::Int32,
        "<u8" => DataType::Uint64,
        "<i8" => DataType::Int64,
        "<f2" => DataType::Fp16,
        "<f4" => DataType::Fp32,
        "<f8" => DataType::Fp64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as `numpy.save` writes it.
    pub(crate) fn npy(head: &str, elements: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(head.len()).unwrap().to_le_bytes());
        bytes.extend(head.as_bytes());
        bytes.extend(elements);
        bytes
    }

    #[test]
    fn type_and_shape_are_read_from_the_head() {
        let head_of = |text: &str| head(&npy(text, &[0; 24]));
        let found = head_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n");
        assert_eq!(found, Ok((DataType::Fp32, vec![2, 3], 70)));
        let found = head_of("{'descr': '|u1', 'fortran_order': False, 'shape': (24,), }\n");
        assert_eq!(found.unwrap().1, [24]);
        let column = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
        assert!(head_of(column).unwrap_err().contains("column-major"));
        let complex = "{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }\n";
        assert!(head_of(complex).unwrap_err().contains("<c8"));
        for end in 0..40 {
            let bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &[]);
            assert!(head(&bytes[..end]).is_err());
        }
    }
}
