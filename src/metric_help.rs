//! What each metric means, as `/metrics` says it. `docs/operations.md` has the same list, and a test compares them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: [(&str, &str); 15] = [
    ("findings_router_received_total", "Messages taken from a source."),
    ("findings_router_empty_receives_total", "Polls of a queue that brought nothing."),
    ("findings_router_test_messages_total", "Test messages of Conformity."),
    ("findings_router_decoded_total", "Findings made of messages."),
    ("findings_router_parked_total", "Dead letters made, by kind."),
    ("findings_router_findings_total", "Findings by what changed; duplicates count too."),
    ("findings_router_skipped_total", "Refusals of scripts, by reason without its numbers."),
    ("findings_router_routed_total", "Sends that scripts asked for."),
    ("findings_router_silenced_total", "Sends that a silence kept from their target."),
    ("findings_router_kept_total", "Sends that a storm or a budget kept from their target."),
    ("findings_router_shadow_total", "Events that the shadow scripts saw, by how they differ."),
    ("findings_router_deliveries_total", "Tries to deliver, by outcome class."),
    ("findings_router_admin_calls_total", "Calls of the admin API, by HTTP status."),
    ("findings_router_trace_exports_total", "Requests to the collector of traces, sent or failed."),
    ("findings_router_scripts_reloaded_total", "Changes of the scripts, taken or refused."),
];

const GAUGES: [(&str, &str); 7] = [
    ("findings_router_outbox_rows", "Rows that wait in a lane."),
    ("findings_router_outbox_bytes", "Bytes of the store that the rows of a target take."),
    ("findings_router_outbox_oldest_seconds", "Age of the oldest row that could go."),
    (
        "findings_router_lane_open",
        "0 while a lane is paused or broken, else 1, also while its target fails for a while.",
    ),
    ("findings_router_slowest_delivery_seconds", "Longest time from sent to accepted since the start."),
    ("findings_router_source_open", "1 while a source takes messages, 0 while it pauses."),
    ("findings_router_store_bytes", "Size of the store on disk."),
];

const HISTOGRAMS: [(&str, &str); 2] = [
    ("findings_router_delivery_latency_seconds", "From the queue's sent time to accepted by the target."),
    ("findings_router_limiter_wait_seconds", "Waits for a target's quota."),
];

/// Tells the recorder of this process.
pub fn describe() {
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(name, Unit::Seconds, help);
    }
}
