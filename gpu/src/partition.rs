//! How a device is shared out: cores of a CPU, streaming multiprocessors of a GPU. Arithmetic only.

use crate::LoadError;

/// Cores for each of `executors` executors of `threads` threads, in the order of `cores`. No core is given twice.
///
/// # Errors
/// Where there are too few cores, or nothing is asked for.
pub fn split_cores(
    cores: &[usize],
    executors: usize,
    threads: usize,
) -> Result<Vec<Vec<usize>>, LoadError> {
    let needed =
        executors.checked_mul(threads).filter(|&needed| needed > 0 && needed <= cores.len());
    let Some(needed) = needed else {
        return Err(LoadError::Device(format!(
            "{executors} executors of {threads} threads do not fit on {} cores",
            cores.len()
        )));
    };
    Ok(cores[..needed].chunks(threads).map(<[usize]>::to_vec).collect())
}

/// What a GPU can be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmGrain {
    /// Multiprocessors of the whole device.
    pub total: u32,
    /// The smallest partition.
    pub least: u32,
    /// Partitions are multiples of this.
    pub step: u32,
}

impl SmGrain {
    /// Multiprocessors of each of `parts` equal partitions: as many as the grain allows.
    ///
    /// # Errors
    /// Where the parts would be smaller than the device allows.
    pub fn share(self, parts: u32) -> Result<u32, LoadError> {
        let step = self.step.max(1);
        let share = self.total.checked_div(parts).unwrap_or(0) / step * step;
        if share >= self.least.max(1) {
            return Ok(share);
        }
        let (total, most) = (self.total, self.parts_max());
        Err(LoadError::Device(format!(
            "{total} multiprocessors cannot be cut in {parts}: the most is {most} parts"
        )))
    }

    /// The largest number of equal partitions.
    #[must_use]
    pub fn parts_max(self) -> u32 {
        let step = self.step.max(1);
        self.total / self.least.max(1).next_multiple_of(step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The H100's and H200's: 132 multiprocessors, by eights.
    const HOPPER: SmGrain = SmGrain { total: 132, least: 8, step: 8 };

    #[test]
    fn cores_are_shared_out_in_order_and_never_twice() {
        assert_eq!(split_cores(&[2, 3, 6, 7, 8], 2, 2).unwrap(), [[2, 3], [6, 7]]);
        for (executors, threads) in [(3, 2), (0, 1), (1, 0), (usize::MAX, 2)] {
            let error = split_cores(&[2, 3, 6, 7, 8], executors, threads).unwrap_err();
            assert!(error.to_string().contains("do not fit on 5 cores"), "{error}");
        }
    }

    #[test]
    fn a_hopper_is_cut_by_eights_into_sixteen_at_most() {
        let shares = [1, 2, 3, 16].map(|parts| HOPPER.share(parts).unwrap());
        assert_eq!(shares, [128, 64, 40, 8]);
        assert_eq!(HOPPER.parts_max(), 16);
        assert!(HOPPER.share(17).unwrap_err().to_string().contains("the most is 16"));
        assert!(HOPPER.share(0).is_err());
    }

    proptest! {
        #[test]
        fn shares_fit_the_device_and_its_grain(total in 0_u32..300, least in 0_u32..20, step in 0_u32..20, parts in 0_u32..40) {
            let grain = SmGrain { total, least, step };
            match grain.share(parts) {
                Ok(share) => {
                    prop_assert!(share * parts <= total && share >= least && share.is_multiple_of(step.max(1)));
                    prop_assert!(parts <= grain.parts_max());
                }
                Err(_) => prop_assert!(parts == 0 || parts > grain.parts_max()),
            }
        }
    }
}
