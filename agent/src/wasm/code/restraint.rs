//! What a process can ask the kernel to hold it to.
//!
//! Owns the calls of the C library for it; decides no figure. The invariant: every call here concerns this process alone and
//! hands the kernel nothing but numbers that it reads at once.

use std::io;

/// What can be limited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// Address space. What exceeds it is an allocation that fails.
    AddressSpaceBytes,
    /// CPU time. A second after what exceeds it was told, the process is killed.
    CpuSeconds,
    /// The size of a file that is written.
    FileBytes,
    /// The size of what is written about a crash.
    CoreDumpBytes,
}

/// Sets a limit that this process cannot lift again.
#[expect(unsafe_code, reason = "the standard library knows no limits")]
pub(super) fn limit(what: Limit, most: u64) -> io::Result<()> {
    let (resource, grace) = match what {
        Limit::AddressSpaceBytes => (libc::RLIMIT_AS, 0),
        // The first signal says why, the second would not.
        Limit::CpuSeconds => (libc::RLIMIT_CPU, 1),
        Limit::FileBytes => (libc::RLIMIT_FSIZE, 0),
        Limit::CoreDumpBytes => (libc::RLIMIT_CORE, 0),
    };
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most.saturating_add(grace) };
    // SAFETY: the kernel reads the structure during the call and keeps no reference to it.
    checked(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Has this process killed when the thread that started it ends.
#[expect(unsafe_code, reason = "the standard library does not offer it")]
pub(super) fn end_with_parent() -> io::Result<()> {
    // SAFETY: this operation takes a number and touches no memory of ours.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Leaves the CPU to others when they want it, by this much of what the kernel calls nice.
#[expect(unsafe_code, reason = "the standard library does not offer it")]
pub(super) fn step_back(niceness: i32) {
    // SAFETY: takes a number and touches no memory of ours. Its result cannot tell an error from a value, and to become nicer
    // is allowed to everybody.
    unsafe { libc::nice(niceness) };
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
