//! Who may import whom, read from the sources.

use std::{collections::BTreeSet, fs, path::Path};

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

pub fn all(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if place.is_dir() {
        sources(&place, &mut found);
    } else {
        found.push((place.display().to_string(), fs::read_to_string(&place).expect("source")));
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// Modules of ours that a source names, in whatever form Rust allows: `crate::a::b`, `use crate::{a::b, c};`,
/// `super::super::a`. `depth`: how many `super::` lead from the source to the root of the crate.
fn imported(text: &str, depth: usize) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    let roots = ["crate::".to_owned(), "super::".repeat(depth.max(1))];
    for root in roots {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || (root.starts_with("super") && c == ':')) {
                continue;
            }
            found.extend(heads(&code[at + root.len()..]));
        }
    }
    found
}

/// The first names of a path or, after a brace, of each path within it.
fn heads(rest: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![name(rest)] };
    let (mut level, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level == 0 => {
                found.push(name(&group[start..at]));
                break;
            }
            '}' => level -= 1,
            ',' if level == 0 => {
                found.push(name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// How deep below `src` a source's module lies: `src/a.rs` and `src/a/mod.rs` 1, `src/a/b.rs` 2.
fn depth(path: &str) -> usize {
    let below = path.rsplit_once("/src/").map_or(path, |(_, below)| below);
    below.matches('/').count() + usize::from(!below.ends_with("/mod.rs"))
}

#[test]
fn a_forbidden_import_is_found_in_every_form_that_rust_allows() {
    for text in [
        "use crate::store::Store;",
        "use crate::store;",
        "use crate::{clock::now_ms, store::{Batch, Store}, track};",
        "use crate::{\n    clock,\n    store as rows,\n};",
        "use crate::{finding::{Change, Finding}, store};",
        "fn f() { let _ = crate::store::Store::open; }",
        "use super::super::store::Store;",
        "use super::super::{finding, store::Store};",
        "pub(crate) use crate::store::Store;",
    ] {
        assert!(imported(text, 2).contains("store"), "{text}");
    }
    for text in [
        "// crate::store::Store decides",
        "use crate::{restore::Store, track::store};",
        "use super::store::Store;",
        "use other_crate::store::Store;",
        "use self::store;",
    ] {
        assert!(!imported(text, 2).contains("store"), "{text}");
    }
    assert!(imported("use super::store;", 1).contains("store"));
    assert_eq!([depth("/x/src/a.rs"), depth("/x/src/a/mod.rs"), depth("/x/src/a/b.rs")], [1, 1, 2]);
}

#[test]
fn no_stage_imports_what_it_must_not_know() {
    let rules: [(&str, &[&str]); 11] = [
        (
            "src/config_sync",
            &["decode", "track", "route", "engine", "store", "deliver", "source", "pipeline", "service", "finding"],
        ),
        ("src/decode", &["route", "store", "deliver", "source", "settings", "engine", "pipeline"]),
        ("src/route", &["store", "deliver", "source", "engine", "pipeline", "service"]),
        ("src/store", &["route", "deliver", "source", "engine", "pipeline", "service", "settings"]),
        ("src/admin.rs", &["deliver", "source", "engine", "pipeline", "service", "route", "decode"]),
        ("src/operate", &["deliver", "source", "engine", "pipeline", "service", "cli"]),
        ("src/track.rs", &["route", "deliver", "source", "engine", "pipeline", "service", "settings", "clock"]),
        ("src/silence", &["deliver", "source", "settings", "engine", "pipeline", "service"]),
        ("src/deliver", &["route", "source", "engine", "pipeline", "service", "decode"]),
        ("src/source", &["route", "store", "engine", "pipeline", "service", "decode"]),
        // Of the store it takes plain types only; see the test below.
        ("src/replay", &["deliver", "source", "engine", "pipeline", "service", "settings", "clock", "cli"]),
    ];
    for (folder, forbidden) in rules {
        for (path, text) in all(folder) {
            let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
            let imported = imported(shipped, depth(&path));
            for module in forbidden {
                assert!(!imported.contains(*module), "{path} imports {module}");
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
            let code = text.replace(
                "pub use api::{ApiError, Conformity, Endpoint, Platform, ReadConformity, Writer, base_url};",
                "",
            );
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
