//! A stack for whatever a script may nest.
//!
//! rhai copies, measures, prints and drops a value by recursion, and what bounds the depth of a value are the operations that made
//! it. A usual stack is enough for some of them, and scripts need some hundred. One that takes more is stopped and begins anew on a
//! thread with a stack for all of them: it is pure, so nobody notices.

use std::thread;

use super::{Decision, RouteLimits, engine::RUN};

/// Operations for which less than half of a stack of 2 MB is enough, whatever they do: comparing what they nested takes most, 720
/// bytes for each.
pub const FEW: u64 = 1_000;
/// Stack for each operation that is allowed. It is address space: only what is used becomes memory.
const BYTES_EACH: u64 = 1_024;

/// Decides, a second time where there was not stack enough. `decide`: pure.
pub fn enough(limits: &RouteLimits, decide: impl Fn() -> Decision + Sync) -> Decision {
    let decision = decide();
    if !RUN.with_borrow_mut(|run| std::mem::take(&mut run.cramped)) {
        return decision;
    }
    // Without the thread the script has failed, and says why.
    roomy(limits, &decide).unwrap_or(decision)
}

/// Does it on a thread that has the stack; `None` where there is none to be had.
pub fn roomy<T: Send>(limits: &RouteLimits, work: impl FnOnce() -> T + Send) -> Option<T> {
    let stack = limits.max_operations.clamp(100_000, 1_000_000) * BYTES_EACH;
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("scripts".to_owned()).stack_size(usize::try_from(stack).ok()?);
        let work = thread.spawn_scoped(scope, || {
            RUN.with_borrow_mut(|run| run.roomy = true);
            work()
        });
        Some(work.ok()?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
