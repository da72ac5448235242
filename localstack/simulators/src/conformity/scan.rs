//! A scan of an account under its rule settings.

use super::jobs::Publication;
use super::state::State;
use crate::front::now_ms;

/// Scans an account; answers what is to be published.
pub(super) fn run(state: &mut State, id: &str) -> Vec<Publication> {
    let now = now_ms();
    if let Some(account) = state.account(id) {
        account.running = false;
        account.last_checked = Some(now);
    }
    Vec::new()
}
