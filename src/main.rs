//! The binary; everything is in the library.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long free memory is kept before the kernel gets it back, milliseconds. After mimalloc's own ten, each batch faults in
/// again what the one before it gave back, which is a tenth of the CPU under load (docs/performance.md).
const PURGE_DELAY_MS: std::ffi::c_long = 500;

/// `mi_option_purge_delay` of mimalloc 2, which its bindings leave out: the one after `eager_commit_delay`.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = libmimalloc_sys::mi_option_eager_commit_delay + 1;

fn main() -> std::process::ExitCode {
    keep_free_memory_a_while();
    findings_router::cli::main()
}

/// `MIMALLOC_PURGE_DELAY` in the environment counts for more.
#[expect(unsafe_code, reason = "the option has no safe way in; the call sets a number, and no other thread runs yet")]
fn keep_free_memory_a_while() {
    // SAFETY: PURGE_DELAY is an option of this version, and its value has no meaning that memory safety depends on.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}
