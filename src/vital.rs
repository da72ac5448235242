//! Work without which the process would look alive and do nothing.

use std::sync::atomic::{AtomicBool, Ordering};

static OVER: AtomicBool = AtomicBool::new(false);

/// The service has ended, and its runtime goes: what still waits for that panics, and is of no interest any more.
pub fn over() {
    OVER.store(true, Ordering::SeqCst);
}

/// Ends the process when the thread or the task that holds it panics. Leases that nobody renews, or lanes that nobody takes and gives,
/// do harm for as long as an orchestrator takes the process for healthy; one that is started anew goes on where this one was, as
/// after `kill -9`.
pub struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        // What went wrong, and where, was printed when the panic began.
        if std::thread::panicking() && !OVER.load(Ordering::SeqCst) {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    /// Set for the process that is to die.
    const DIES: &str = "FINDINGS_ROUTER_TEST_DIES";

    #[test]
    fn a_panic_of_what_is_vital_ends_the_process_and_an_end_does_not() {
        let die = async {
            let _vital = Vital;
            tokio::task::yield_now().await;
            panic!("a mistake");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        if std::env::var_os(DIES).is_some() {
            // Without the guard this is an error that nobody looks at.
            let _unseen = runtime.block_on(runtime.spawn(die));
            return;
        }
        drop(Vital);
        let this = std::env::current_exe().expect("this test");
        let name = "vital::tests::a_panic_of_what_is_vital_ends_the_process_and_an_end_does_not";
        let died = Command::new(this).args(["--exact", name]).env(DIES, "1").output().expect("started");
        assert_eq!(died.status.signal(), Some(6), "{}", String::from_utf8_lossy(&died.stderr));
    }
}
