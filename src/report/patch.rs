//! The files that do what is suggested, as patches that `git apply` takes.

use std::fmt::Write as _;

use super::{NoiseReport, Suggestion, SuggestionKind};

/// One file of the directory of patches.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    pub file: String,
    pub text: String,
}

/// A rule id as part of a file's name: it comes from outside.
pub(super) fn word(rule: &str) -> String {
    rule.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(60).collect()
}

/// A patch for each suggestion; each adds one file, so that they can be taken one by one. `routes` and `conformity` are
/// the directories as git sees them.
pub fn patches(report: &NoiseReport, routes: &str, conformity: &str) -> Vec<Patch> {
    report.suggestions.iter().map(|suggestion| patch(suggestion, routes, conformity)).collect()
}

fn patch(suggestion: &Suggestion, routes: &str, conformity: &str) -> Patch {
    let name = word(&suggestion.rule);
    // In a string of a script or of YAML: quotes and line breaks are escaped the same way in both.
    let rule = serde_json::Value::from(suggestion.rule.as_str()).to_string();
    let why: String = suggestion.why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (path, text) = match suggestion.kind {
        SuggestionKind::DampFlapping => (
            format!("{routes}/score_8_damp_{name}.rhai"),
            format!(
                "// {why}.\nfn score(finding, score) {{\n    if finding.rule_id == {rule} && finding.history.flapping {{ return score - 40; }}\n    score\n}}\n"
            ),
        ),
        SuggestionKind::Wait => (
            format!("{routes}/score_8_wait_{name}.rhai"),
            format!(
                "// {why}: it weighs little until it has failed for two hours; the next run of the bot decides again.\nfn score(finding, score) {{\n    if finding.rule_id == {rule} && finding.history.failing_for_hours < 2 {{ return score - 60; }}\n    score\n}}\n"
            ),
        ),
        SuggestionKind::SwitchOff => (
            format!("{conformity}/profiles/quiet-{name}.yaml"),
            format!(
                "# {why}. Add this profile to the accounts that shall no longer check it.\nname: quiet-{name}\nrules:\n  {rule}: {{ enabled: false }}\n"
            ),
        ),
    };
    Patch { file: suggestion.patch.clone(), text: new_file(&path, &text) }
}

fn new_file(path: &str, text: &str) -> String {
    let lines = text.lines().count();
    let mut patch = format!(
        "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{lines} @@\n"
    );
    for line in text.lines() {
        let _ = writeln!(patch, "+{line}");
    }
    patch
}
