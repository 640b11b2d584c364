//! Gathers the tensors of a batch's requests into one buffer: the only copy on the way in.

use models::DataType;

use crate::InputPart;

/// Copies the `index`-th tensor of all parts, one after the other, into `room`, which is as long as they are together.
///
/// # Errors
/// A part whose bytes are not its rows of the stated type and length.
pub fn gather(
    parts: &[InputPart],
    index: usize,
    (datatype, row): (DataType, usize),
    room: &mut [u8],
) -> Result<(), String> {
    let mut start = 0;
    for part in parts {
        let (tensor, rows) = (&part.tensors[index], part.rows as usize);
        let place = room.get_mut(start..start + tensor.len());
        let Some(place) = place.filter(|_| row.checked_mul(rows) == Some(tensor.len())) else {
            return Err(format!("{} bytes are not {rows} times {row}", tensor.len()));
        };
        copy(datatype, tensor, place);
        start += tensor.len();
    }
    Ok(())
}

/// Copies elements; of a `BOOL` only 0 and 1 may reach the runtime, whose `bool` has no other values.
fn copy(datatype: DataType, from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
    if datatype == DataType::Bool {
        for byte in to {
            *byte = u8::from(*byte != 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: u32, bytes: &'static [u8]) -> InputPart {
        InputPart::new(rows, vec![bytes.into()])
    }

    #[test]
    fn rows_stand_one_after_the_other_and_booleans_are_0_or_1() {
        let (parts, mut room) = ([part(1, &[0, 2]), part(2, &[1, 0, 255, 0])], [9; 6]);
        gather(&parts, 0, (DataType::Bool, 2), &mut room).unwrap();
        assert_eq!(room, [0, 1, 1, 0, 1, 0]);
    }

    #[test]
    fn bytes_that_are_not_the_rows_stated_are_refused() {
        let error =
            gather(&[part(2, &[1, 2, 3])], 0, (DataType::Uint8, 2), &mut [0; 4]).unwrap_err();
        assert_eq!(error, "3 bytes are not 2 times 2");
    }
}
