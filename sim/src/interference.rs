//! How much longer a run takes beside another on the same device: measured pairs of models, by batch and share.

use std::collections::BTreeMap;

/// A table of measured pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interference {
    /// By model, and the one beside it.
    pairs: BTreeMap<String, BTreeMap<String, Vec<Entry>>>,
}

/// A run that was measured beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Rows of the run.
    pub batch: u32,
    /// Rows of the run beside it.
    pub beside_batch: u32,
    /// Per cent of the device that the run's executor has.
    pub share: f64,
    /// Its time over that alone on the same share.
    pub slowdown: f64,
}

/// The head of a file.
const HEAD: &str = "model,beside,batch,beside_batch,share,slowdown";
/// No neighbour makes a run faster, and what makes it so much slower is an error of the file.
const SLOWDOWN: std::ops::RangeInclusive<f64> = 1.0..=1000.0;

impl Interference {
    /// Reads lines of `model,beside,batch,beside_batch,share,slowdown` under a head of these words.
    ///
    /// # Errors
    /// Says which line is wrong.
    pub fn from_csv(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for (index, line) in text.lines().enumerate() {
            if index == 0 || line.trim().is_empty() {
                if index == 0 && line.trim() != HEAD {
                    return Err(format!("line 1: a table of pairs begins with {HEAD}"));
                }
                continue;
            }
            let read = entry(line).filter(|(_, entry)| SLOWDOWN.contains(&entry.slowdown));
            let ((model, beside), entry) = read.ok_or_else(|| {
                format!(
                    "line {}: expected {HEAD}, with batches of at least 1, a share above 0 and at most 100, and a \
                     slowdown from 1 to 1000, found '{line}'",
                    index + 1
                )
            })?;
            table.insert(model, beside, entry);
        }
        Ok(table)
    }

    /// Adds what was measured of a model beside another.
    pub fn insert(&mut self, model: &str, beside: &str, entry: Entry) {
        let besides = self.pairs.entry(model.to_owned()).or_default();
        besides.entry(beside.to_owned()).or_default().push(entry);
    }

    /// Whether the model was measured beside the other.
    #[must_use]
    pub fn knows(&self, model: &str, beside: &str) -> bool {
        self.pairs.get(model).is_some_and(|besides| besides.contains_key(beside))
    }

    /// How many runs were measured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The slowdown of the entry nearest to a run beside another: first in share, then in the run's rows, then in the
    /// other's, both by ratio; of equally near ones the first. None where the pair was not measured.
    #[must_use]
    pub fn slowdown(
        &self,
        (model, beside): (&str, &str),
        share: f64,
        (batch, beside_batch): (u32, u32),
    ) -> Option<f64> {
        let entries = self.pairs.get(model)?.get(beside)?;
        let ratio = |one: u32, other: u32| (f64::from(one) / f64::from(other)).ln().abs();
        let far = |entry: &&Entry| {
            let share = (entry.share - share).abs();
            [share, ratio(entry.batch, batch), ratio(entry.beside_batch, beside_batch)]
        };
        let nearer = |one: &&Entry, other: &&Entry| {
            let (one, other) = (far(one), far(other));
            let mut axes = one.iter().zip(&other).map(|(one, other)| one.total_cmp(other));
            axes.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        entries.iter().min_by(nearer).map(|entry| entry.slowdown)
    }
}

fn entry(line: &str) -> Option<((&str, &str), Entry)> {
    let columns: Vec<&str> = line.split(',').map(str::trim).collect();
    let [model, beside, batch, beside_batch, share, slowdown] = columns[..] else { return None };
    let entry = Entry {
        batch: batch.parse().ok().filter(|batch| *batch >= 1)?,
        beside_batch: beside_batch.parse().ok().filter(|batch| *batch >= 1)?,
        share: share.parse().ok().filter(|share| *share > 0.0 && *share <= 100.0)?,
        slowdown: slowdown.parse().ok()?,
    };
    Some(((model, beside), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "model,beside,batch,beside_batch,share,slowdown\n\
        a,b,1,1,50,1.1\na,b,1,8,50,1.2\na,b,8,1,50,1.3\na,b,8,8,50,1.4\na,b,8,8,20,2\nb,a,1,1,50,1.5\n";

    #[test]
    fn the_nearest_entry_counts_by_share_then_rows_then_the_others_rows() {
        let table = Interference::from_csv(TABLE).unwrap();
        assert_eq!((table.len(), table.knows("a", "b"), table.knows("a", "a")), (6, true, false));
        let found = |share, batches| table.slowdown(("a", "b"), share, batches).unwrap();
        assert_eq!(
            [found(50.0, (1, 1)), found(50.0, (8, 1)), found(50.0, (1, 64))],
            [1.1, 1.3, 1.2]
        );
        // 2 is nearer to 1 and 3 is nearer to 8, by ratio.
        assert_eq!([found(50.0, (2, 8)), found(50.0, (3, 8))], [1.2, 1.4]);
        assert_eq!([found(36.0, (1, 1)), found(34.0, (1, 1))], [1.1, 2.0]);
        assert_eq!(table.slowdown(("b", "a"), 1.0, (32, 32)), Some(1.5));
        assert_eq!(table.slowdown(("b", "b"), 50.0, (1, 1)), None);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = Interference::from_csv("a,b\n").unwrap_err();
        assert!(error.starts_with("line 1: a table of pairs begins with model,beside,"), "{error}");
        for line in
            ["a,b,1,1,50,0.9", "a,b,0,1,50,1.1", "a,b,1,1,101,1.1", "a,b,1,1,50", "a,b,1,1,50,x"]
        {
            let error = Interference::from_csv(&format!("{TABLE}{line}\n")).unwrap_err();
            assert!(
                error.starts_with("line 8: ") && error.ends_with(&format!("'{line}'")),
                "{error}"
            );
        }
    }
}
