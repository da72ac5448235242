//! A decision, and what became of it, as a tree.

use std::fmt::Write as _;

use super::print::{plain, time};
use crate::route::{Action, Decision};

/// A line with what belongs under it.
#[derive(Debug, Default, PartialEq)]
pub struct Tree {
    pub text: String,
    pub under: Vec<Tree>,
}

impl Tree {
    pub fn leaf(text: impl Into<String>) -> Self {
        Self { text: text.into(), under: Vec::new() }
    }

    pub fn add(&mut self, text: impl Into<String>) {
        self.under.push(Self::leaf(text));
    }

    /// With the lines that trees have; text of findings can't forge one.
    pub fn draw(&self) -> String {
        let mut out = plain(&self.text);
        out.push('\n');
        self.branches("", &mut out);
        out
    }

    fn branches(&self, margin: &str, out: &mut String) {
        for (number, tree) in self.under.iter().enumerate() {
            let last = number + 1 == self.under.len();
            let _ = writeln!(out, "{margin}{}{}", if last { "└─ " } else { "├─ " }, plain(&tree.text));
            tree.branches(&format!("{margin}{}", if last { "   " } else { "│  " }), out);
        }
    }
}

fn at(script: &str, line: Option<usize>) -> String {
    line.map_or_else(|| script.to_owned(), |line| format!("{script}.rhai:{line}"))
}

/// Scores first, then each script with what it said, then silences.
pub fn decision(title: String, decision: &Decision) -> Tree {
    let mut tree = Tree::leaf(title);
    let mut score = Tree::leaf(format!("score {}", decision.score));
    let mut before = 0;
    for (script, after) in &decision.scores {
        score.add(format!("{script}.rhai: {before} → {after}"));
        before = *after;
    }
    tree.under.push(score);
    let mut scripts: Vec<&str> = Vec::new();
    let said = decision
        .actions
        .iter()
        .map(|action| match action {
            Action::Send(send) => send.script.as_str(),
            Action::Hold { script, .. } => script,
        })
        .chain(decision.skips.iter().map(|skip| skip.script.as_str()))
        .chain(decision.failures.iter().map(|failure| failure.script.as_str()))
        .chain(decision.logs.iter().map(|(script, _)| script.as_str()));
    for script in said {
        if !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    scripts.sort_unstable();
    for script in scripts {
        tree.under.push(by(script, decision));
    }
    for silence in &decision.silenced {
        tree.add(format!(
            "muted for {} by silence {} of {} until {}: {}",
            silence.targets.join(", "),
            silence.id,
            silence.author,
            time(silence.expires_at),
            silence.reason
        ));
    }
    for kept in &decision.kept {
        tree.add(format!("kept from {}: {}", kept.target, kept.reason));
    }
    if !decision.routes_version.is_empty() {
        tree.add(format!("scripts of version {}, environment {}", decision.routes_version, decision.env));
    }
    tree
}

fn by(script: &str, decision: &Decision) -> Tree {
    let mut tree = Tree::leaf(format!("{script}.rhai"));
    for action in &decision.actions {
        match action {
            Action::Send(send) if send.script == script => {
                let mut text = format!("send to {}", send.target);
                for (word, part) in
                    [(" in ", &send.channel), (", rolled up as ", &send.group), (", in a digest of ", &send.digest)]
                {
                    if let Some(part) = part {
                        text.push_str(word);
                        text.push_str(part);
                    }
                }
                tree.add(format!("{text}, priority {} ({})", send.priority, at(script, send.line)));
            }
            Action::Hold { script: holds, for_ms, reason } if holds == script => {
                tree.add(format!("hold for {} min: {reason}", for_ms / 60_000));
            }
            Action::Send(_) | Action::Hold { .. } => {}
        }
    }
    for skip in decision.skips.iter().filter(|skip| skip.script == script) {
        tree.add(format!("skip: {} ({})", skip.reason, at(script, skip.line)));
    }
    for failure in decision.failures.iter().filter(|failure| failure.script == script) {
        tree.add(format!("FAILED {}: {}", failure.at, failure.reason));
    }
    for (_, text) in decision.logs.iter().filter(|(by, _)| by == script) {
        tree.add(format!("log: {text}"));
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_branches_and_no_text_forges_one() {
        let mut inner = Tree::leaf("inner\n└─ forged");
        inner.add("leaf");
        let tree = Tree { text: "root".to_owned(), under: vec![inner, Tree::leaf("last")] };
        assert_eq!(tree.draw(), "root\n├─ inner └─ forged\n│  └─ leaf\n└─ last\n");
    }
}
