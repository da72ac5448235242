//! Who may import whom, read from the sources.

use std::{fs, path::Path};

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).expect("source")));
        }
    }
}

fn all(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found
}

/// `crate::module::…`, alone or within a `use crate::{…}`.
fn imports(text: &str, module: &str) -> bool {
    let grouped = text.split("use crate::{").skip(1).any(|rest| {
        let group = rest.split("};").next().unwrap_or_default();
        group.contains(&format!("\n    {module}::")) || group.starts_with(&format!("{module}::"))
    });
    grouped || text.contains(&format!("crate::{module}::"))
}

#[test]
fn no_stage_imports_what_it_must_not_know() {
    let rules: [(&str, &[&str]); 8] = [
        (
            "src/config_sync",
            &["decode", "track", "route", "engine", "store", "deliver", "source", "pipeline", "service", "finding"],
        ),
        ("src/decode", &["route", "store", "deliver", "source", "settings", "engine", "pipeline"]),
        ("src/route", &["store", "deliver", "source", "engine", "pipeline", "service"]),
        ("src/store", &["route", "deliver", "source", "engine", "pipeline", "service", "settings"]),
        ("src/silence", &["deliver", "source", "settings", "engine", "pipeline", "service"]),
        ("src/deliver", &["route", "source", "engine", "pipeline", "service", "decode"]),
        ("src/source", &["route", "store", "engine", "pipeline", "service", "decode"]),
        // Of the store it takes plain types only; see the test below.
        ("src/replay", &["deliver", "source", "engine", "pipeline", "service", "settings", "clock", "cli"]),
    ];
    for (folder, forbidden) in rules {
        for (path, text) in all(folder) {
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> = shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let code = code.join("\n");
            for module in forbidden {
                assert!(!imports(&code, module), "{path} imports {module}");
            }
        }
    }
}

#[test]
fn a_replay_opens_no_store_and_reads_no_clock() {
    for (path, text) in all("src/replay") {
        for forbidden in ["store::Store", "Store::open", "Access", "rusqlite", "connectors", "now_ms", "SystemTime"] {
            assert!(!text.contains(forbidden), "{path} uses {forbidden}");
        }
    }
}

#[test]
fn connectors_and_simulators_know_nothing_of_the_router() {
    for folder in ["connectors/src", "localstack/simulators/src"] {
        for (path, text) in all(folder) {
            assert!(!text.contains("findings_router::"), "{path}");
        }
    }
    for manifest in ["connectors/Cargo.toml", "localstack/simulators/Cargo.toml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).expect("manifest");
        assert!(!text.contains("path ="), "{manifest} depends on a crate of ours");
    }
}

#[test]
fn planning_has_no_way_to_write() {
    let places =
        ["src/config_sync/diff/", "src/config_sync/actual.rs", "src/config_sync/mod.rs", "src/config_sync/export.rs"];
    for (path, text) in all("src/config_sync") {
        if places.iter().any(|place| path.contains(place)) {
            let code =
                text.replace("pub use api::{ApiError, Conformity, Endpoint, ReadConformity, Writer, base_url};", "");
            assert!(!code.contains("Writer"), "{path} names a writer");
            assert!(!code.contains("reqwest"), "{path} makes requests itself");
        }
    }
}

#[test]
fn only_the_command_line_knows_config_sync() {
    for (path, text) in all("src") {
        let own = path.contains("src/config_sync") || path.contains("src/cli") || path.ends_with("src/lib.rs");
        assert!(own || !text.contains("config_sync"), "{path} imports config_sync");
    }
}

#[test]
fn connectors_never_sleep() {
    for (path, text) in all("connectors/src") {
        assert!(!text.contains("time::sleep"), "{path} sleeps: only deliver may wait");
    }
}
