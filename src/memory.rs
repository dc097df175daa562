//! What becomes of memory that is freed.

/// Keeps the memory of an event for the next one.
///
/// By its defaults glibc gives the memory of a large event back when the event is over, and the next one has to fetch it again, page
/// by page: a fourth of the time that an event of 6 MB takes. What is in use at most does not change by that.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "library calls, argued for below")]
pub fn keep() {
    /// What is larger is mapped for itself and goes back when it is freed, in bytes. No payload is.
    const MAPPED: i32 = 16 * 1024 * 1024;
    /// How much may be free, in bytes: all that a few large payloads take.
    const KEPT: i32 = 32 * 1024 * 1024;
    // SAFETY: the calls take numbers alone, and come before there is a second thread. One that is refused changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Keeps the memory of an event for the next one, where the allocator can be told so.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep() {}
