//! Any bytes as a message: no panic, and no part that vanishes.
//!
//! `cargo +nightly fuzz run decode tests/fixtures/events`

#![no_main]

use findings_router::{decode::decode, finding::RawMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let message = RawMessage { body: body.to_vec(), received_at: 1, ..RawMessage::default() };
    let decoded = decode(&message);
    let parts = decoded.findings.len() + decoded.rejected.len() + decoded.tests as usize;
    assert!(parts > 0, "a message vanished");
    for finding in &decoded.findings {
        assert!(!finding.id.trim().is_empty() && !finding.rule_id.trim().is_empty());
        assert_eq!(finding.event_id.len(), 64);
        // Read again, the kept text is the same version: nothing of it was lost on the way.
        let again = decode(&RawMessage { body: finding.json.as_bytes().to_vec(), ..message.clone() });
        assert_eq!(again.findings.len(), 1, "{}", finding.json);
        assert_eq!(again.findings[0].event_id, finding.event_id);
    }
});
