//! What `shared.rhai` imports.

use std::{path::Path, sync::Arc};

use findings_router::{
    finding::{Change, Finding, History},
    route::{Decision, LiveRoutes, RouteLimits, Routes},
};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn load(folder: &Path) -> Result<Routes, String> {
    Routes::load(folder, &RouteLimits::default())
        .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect())
}

fn decide(routes: &Routes) -> Decision {
    let finding = Finding { id: "c".into(), ..Finding::default() };
    routes.decide(&Arc::new(finding), Change::Opened, &Arc::new(History::default()), false, &RouteLimits::default())
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.skips.iter().map(|skip| skip.reason.as_str()).collect()
}

const SHARED: &str = "import \"lib\" as l;
import \"deep.rhai\";
fn both(f) { `${l::name(f)} ${lib::name(f)} ${deep::three()}` }
";
const LIB: &str = "import \"deep\" as d;
fn name(f) { `${f.id}${d::three()}` }
fn own() { hidden() }
fn hidden() { lookup(\"none\", \"x\") }
";
const DEEP: &str = "fn three() { 3 }\n";

#[test]
fn what_shared_imports_is_there_for_every_script() {
    let script = "fn route(f) { [skip(both(f)), skip(l::name(f)), skip(lib::name(f)), skip(`${deep::three()}`)] }";
    let folder = folder(&[
        ("shared.rhai", SHARED),
        ("lib.rhai", LIB),
        ("deep.rhai", DEEP),
        ("a.rhai", script),
        ("b.rhai", script),
    ]);
    let routes = load(folder.path()).expect("it compiles");
    assert_eq!(routes.names().collect::<Vec<_>>(), ["a", "b"], "what is imported decides nothing");
    let decision = decide(&routes);
    assert_eq!(reasons(&decision), ["c3 c3 3", "c3", "c3", "3"].repeat(2), "{:?}", decision.failures);
    // Also where functions were found before.
    assert_eq!(decide(&routes), decision);
}

#[test]
fn a_change_of_what_is_imported_is_taken_up() {
    let script = "fn route(f) { skip(`${deep::three()}`) }";
    let folder = folder(&[("shared.rhai", SHARED), ("lib.rhai", LIB), ("deep.rhai", DEEP), ("a.rhai", script)]);
    let live = LiveRoutes::load(folder.path().to_owned(), RouteLimits::default()).expect("it compiles");
    std::fs::write(folder.path().join("deep.rhai"), "fn three() { 4 }").expect("written");
    assert_eq!(live.reload(), Ok(true));
    assert_eq!(reasons(&decide(&live.current())), ["4"]);
}

#[test]
fn what_fails_in_a_shared_file_is_told_with_its_place_there() {
    let folder = folder(&[
        ("shared.rhai", "import \"lib\";\nfn far() {\n  throw \"no\";\n}"),
        ("lib.rhai", LIB),
        ("deep.rhai", DEEP),
        ("a.rhai", "fn route(f) {\n\n\n\n\n  far() }"),
        ("b.rhai", "fn near() { lib::own() }\nfn route(f) { near() }"),
    ]);
    let decision = decide(&load(folder.path()).expect("it compiles"));
    let places: Vec<&str> = decision.failures.iter().map(|failure| failure.at.as_str()).collect();
    assert_eq!(places, ["shared.rhai:3:3", "lib.rhai:4:15"], "{:?}", decision.failures);
}

#[test]
fn imports_that_can_not_be_are_refused_where_they_stand() {
    let script = ("a.rhai", "fn route(f) { [] }");
    for (shared, lib, script, expected) in [
        ("import \"gone\";", "", script, "shared.rhai:1:1: there is no gone.rhai in "),
        ("\nimport \"../lib\" as l;", "", script, "shared.rhai:2:1: `../lib` is no file that can be imported"),
        ("import \"/etc/lib\" as l;", "", script, "shared.rhai:1:1: `/etc/lib` is no file"),
        ("import \"lib\" + 1;", "", script, "shared.rhai:1:1: import stands at the top"),
        ("fn f() { import \"lib\"; }", "", script, "shared.rhai:1:10: import stands at the top"),
        (
            "import \"lib\";",
            "import \"lib\";",
            script,
            "lib.rhai:1:1: lib.rhai imports lib.rhai: imports can't go round",
        ),
        (
            "import \"lib\";",
            "import \"shared\";",
            script,
            "lib.rhai:1:1: shared.rhai imports lib.rhai imports shared.rhai: imports can't go round",
        ),
        ("import \"lib\";", "fn f( {", script, "lib.rhai:1:"),
        ("import \"lib\";", "const N = 1 / 0;\nfn f() { 1 }", script, "lib.rhai:1:13: "),
        ("", "fn f() { 1 }", script, "lib.rhai: it defines neither"),
        ("", "import \"a\";", script, "lib.rhai:1:1: import stands in shared.rhai"),
        (
            "import \"lib\" as l;",
            "fn f() { 1 }",
            ("a.rhai", "import \"lib\" as l;\nfn route(f) { l::f() }"),
            "a.rhai:1:1: import stands in shared.rhai",
        ),
        (
            "import \"lib\" as l;",
            "fn f() { 1 }",
            ("a.rhai", "fn route(f) { import \"lib\" as l; l::f() }"),
            "a.rhai:1:15: import stands in shared.rhai",
        ),
        ("import \"lib\" as l;", "fn f() { 1 }", ("a.rhai", "fn route(f) { m::f() }"), "a.rhai:1:15: "),
    ] {
        let folder = folder(&[("shared.rhai", shared), ("lib.rhai", lib), script]);
        let problem = load(folder.path()).err().unwrap_or_else(|| panic!("{shared} {lib}: nothing is refused"));
        assert!(problem.contains(expected), "{shared} {lib}: {problem}");
    }
}
