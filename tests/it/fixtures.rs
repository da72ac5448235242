//! Frozen events, never edited: what each of them is to the router stands in `decoded.txt` beside them.

use std::{fmt::Write as _, fs, path::Path};

use findings_router::{decode::decode, finding::RawMessage};

#[test]
fn frozen_events_are_read_as_they_always_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut all = String::new();
    for file in files {
        let body = fs::read(&file).expect("an event");
        let decoded = decode(&RawMessage { body, received_at: 1, ..RawMessage::default() });
        writeln!(all, "{}", file.file_name().expect("a name").to_string_lossy()).expect("written");
        for finding in decoded.findings {
            writeln!(
                all,
                "  {} {} {} {} account={} cloud={} region={} resource={} tags={} version={} event_id={}",
                finding.rule_id,
                finding.status.as_str(),
                finding.risk.as_str(),
                finding.provider,
                finding.account_id,
                finding.cloud_account,
                finding.region,
                finding.resource,
                finding.tags.len(),
                finding.version.time_ms,
                finding.event_id,
            )
            .expect("written");
        }
        for rejected in decoded.rejected {
            writeln!(all, "  rejected: {}", rejected.reason).expect("written");
        }
        if decoded.tests > 0 {
            writeln!(all, "  test messages: {}", decoded.tests).expect("written");
        }
    }
    let expected = folder.join("decoded.txt");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(&expected, &all).expect("written");
    }
    let expected = fs::read_to_string(&expected).expect("UPDATE_FIXTURES=1 writes it");
    assert_eq!(all, expected, "an event id that changes sends everything anew after an upgrade");
}
