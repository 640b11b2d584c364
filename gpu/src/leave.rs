//! The end of a process that has loaded a runtime.
#![expect(unsafe_code, reason = "the one system call that the standard library does not offer")]

/// Ends the process with that code at once. What the runtimes' libraries would tear down at a usual exit may still be in
/// use by a thread that loads a model, and nothing can stop such a thread.
///
/// What the program itself buffers must have been written before.
pub fn leave(code: u8) -> ! {
    // SAFETY: it takes a number, touches no memory and does not return.
    unsafe { libc::_exit(code.into()) }
}
