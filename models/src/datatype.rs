//! Element types of tensors, in the names of the Open Inference Protocol, Triton's configuration and ONNX.

use serde::{Deserialize, Serialize};

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the variants are the protocol's own names")]
pub enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// (type, protocol name, config.pbtxt name, ONNX `TensorProto.DataType`, bytes an element; 0 = variable).
const TABLE: [(DataType, &str, &str, i32, usize); 14] = [
    (DataType::Bool, "BOOL", "TYPE_BOOL", 9, 1),
    (DataType::Uint8, "UINT8", "TYPE_UINT8", 2, 1),
    (DataType::Uint16, "UINT16", "TYPE_UINT16", 4, 2),
    (DataType::Uint32, "UINT32", "TYPE_UINT32", 12, 4),
    (DataType::Uint64, "UINT64", "TYPE_UINT64", 13, 8),
    (DataType::Int8, "INT8", "TYPE_INT8", 3, 1),
    (DataType::Int16, "INT16", "TYPE_INT16", 5, 2),
    (DataType::Int32, "INT32", "TYPE_INT32", 6, 4),
    (DataType::Int64, "INT64", "TYPE_INT64", 7, 8),
    (DataType::Fp16, "FP16", "TYPE_FP16", 10, 2),
    (DataType::Bf16, "BF16", "TYPE_BF16", 16, 2),
    (DataType::Fp32, "FP32", "TYPE_FP32", 1, 4),
    (DataType::Fp64, "FP64", "TYPE_FP64", 11, 8),
    (DataType::Bytes, "BYTES", "TYPE_STRING", 8, 0),
];

impl DataType {
    /// Every type, in the order of the table of the protocol.
    pub const ALL: [Self; 14] = {
        let mut all = [Self::Bool; 14];
        let mut i = 0;
        while i < 14 {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    fn row(self) -> &'static (Self, &'static str, &'static str, i32, usize) {
        &TABLE[self as usize]
    }

    /// The name in the Open Inference Protocol, `"FP32"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The name in config.pbtxt, `"TYPE_FP32"`.
    #[must_use]
    pub fn config_name(self) -> &'static str {
        self.row().2
    }

    /// Bytes of one element; `None` for `BYTES`, whose elements carry their own length.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self.row().4 {
            0 => None,
            size => Some(size),
        }
    }

    /// The type of that protocol name, `"FP32"`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The type of that config.pbtxt name, `"TYPE_FP32"`.
    #[must_use]
    pub fn from_config_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The type of that ONNX `TensorProto.DataType` number.
    #[must_use]
    pub fn from_onnx(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.3 == number).map(|row| row.0)
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_stands_at_its_own_row() {
        for datatype in DataType::ALL {
            assert_eq!(datatype.row().0, datatype);
            assert_eq!(DataType::from_name(datatype.name()), Some(datatype));
            assert_eq!(DataType::from_config_name(datatype.config_name()), Some(datatype));
        }
    }
}
