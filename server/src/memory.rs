//! Memory that is at hand before the first request. What a server touches for the first time under load, the system has
//! to find and clear then: on a virtual machine some 3 ms for a MiB, in pieces of 2 MiB, while requests wait unread.

use std::ffi::{c_int, c_long};

/// mimalloc gives back blocks of that size to where every thread takes its own from.
const BLOCK: usize = 1 << 20;
/// `mi_option_purge_delay` in mimalloc's option list: milliseconds after which freed memory goes to the system; -1 keeps it.
const PURGE_DELAY: c_int = 15;

#[expect(unsafe_code, reason = "mimalloc is written in C")]
unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Touches that many bytes, rounded down to MiB, and keeps them and all that is freed later for the requests to come.
pub(crate) fn make_ready(bytes: u64) {
    #[expect(unsafe_code, reason = "mimalloc's options have no safe interface")]
    // SAFETY: the function stores a number in a table, and checks the place itself.
    unsafe {
        mi_option_set(PURGE_DELAY, -1);
    }
    let blocks: Vec<Vec<u8>> = (0..bytes / BLOCK as u64).map(|_| vec![1; BLOCK]).collect();
    std::hint::black_box(blocks);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "mimalloc is written in C")]
    unsafe extern "C" {
        fn mi_option_get(option: c_int) -> c_long;
    }

    fn delay() -> c_long {
        #[expect(unsafe_code, reason = "mimalloc's options have no safe interface")]
        // SAFETY: the function reads a number from a table, and checks the place itself.
        unsafe {
            mi_option_get(PURGE_DELAY)
        }
    }

    #[test]
    fn the_option_of_that_number_is_the_delay_and_memory_made_ready_is_kept() {
        assert_eq!(delay(), 1000, "mimalloc's default");
        make_ready(8 << 20);
        assert_eq!(delay(), -1);
    }
}
