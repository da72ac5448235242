//! A plan for people: a coloured diff, or Markdown that fits a comment of a pull request.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::plan::{Action, Change, Plan, Section};

/// A pull request's comment takes 65,536 characters.
const COMMENT: usize = 60_000;
/// Accounts that change alike are shown once from so many on.
const ALIKE: usize = 3;

/// Accounts whose changes look the same.
struct Group<'p> {
    sections: Vec<&'p Section>,
    text: String,
}

fn groups(plan: &Plan) -> Vec<Group<'_>> {
    let mut order: Vec<String> = Vec::new();
    let mut by_text: BTreeMap<String, Vec<&Section>> = BTreeMap::new();
    for section in plan.sections.iter().filter(|section| !section.changes.is_empty()) {
        let text: String = section.changes.iter().map(change_text).collect();
        if !by_text.contains_key(&text) {
            order.push(text.clone());
        }
        by_text.entry(text).or_default().push(section);
    }
    let mut groups = Vec::new();
    for text in order {
        let sections = by_text.remove(&text).unwrap_or_default();
        if sections.len() >= ALIKE {
            groups.push(Group { sections, text });
        } else {
            groups.extend(sections.into_iter().map(|section| Group { sections: vec![section], text: text.clone() }));
        }
    }
    groups
}

fn change_text(change: &Change) -> String {
    let mut text = format!("  {} {} {}\n", change.action.mark(), change.kind.as_str(), one_line(&change.name));
    if let Some(refused) = &change.refused {
        let _ = writeln!(text, "      refused: {refused}");
    }
    if let Some(by) = &change.by {
        let _ = writeln!(text, "      last changed by {}", one_line(&by.who));
    }
    for field in &change.fields {
        let _ = match (change.action, lists(&field.before, &field.after)) {
            (Action::Update, Some((gone, new))) => {
                let marked =
                    |mark: char, items: Vec<String>| items.into_iter().map(move |item| format!("{mark}{item}"));
                let items: Vec<String> = marked('-', gone).chain(marked('+', new)).collect();
                writeln!(text, "      {}: {}", field.field, items.join(" "))
            }
            (Action::Create, _) => writeln!(text, "      {}: {}", field.field, short(&field.after)),
            (Action::Delete, _) => writeln!(text, "      {}: {}", field.field, short(&field.before)),
            (Action::Update, None) => {
                writeln!(text, "      {}: {} -> {}", field.field, short(&field.before), short(&field.after))
            }
        };
    }
    text
}

/// What left and what joined a list.
fn lists(before: &Value, after: &Value) -> Option<(Vec<String>, Vec<String>)> {
    let (before, after) = match (before, after) {
        (Value::Array(before), Value::Array(after)) => (before.as_slice(), after.as_slice()),
        (Value::Null, Value::Array(after)) => (&[][..], after.as_slice()),
        (Value::Array(before), Value::Null) => (before.as_slice(), &[][..]),
        _ => return None,
    };
    let missing = |from: &[Value], of: &[Value]| -> Vec<String> {
        of.iter().filter(|item| !from.iter().any(|other| super::same::same(item, other))).map(short).collect()
    };
    Some((missing(after, before), missing(before, after)))
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "(none)".to_owned(),
        other => other.to_string(),
    };
    let text = one_line(&text);
    if text.chars().count() > 200 { text.chars().take(200).collect::<String>() + "…" } else { text }
}

/// Names come from the platform: they can't forge lines or move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn heading(group: &Group<'_>) -> String {
    match group.sections.as_slice() {
        [section] if section.account_id.is_empty() => one_line(section.label()),
        [section] => format!("{} ({})", one_line(section.label()), section.account_id),
        sections => {
            let names: Vec<String> = sections.iter().take(5).map(|section| one_line(section.label())).collect();
            let more = if sections.len() > 5 { format!(" and {} more", sections.len() - 5) } else { String::new() };
            format!("same change in {} accounts: {}{more}", sections.len(), names.join(", "))
        }
    }
}

fn footer(plan: &Plan) -> String {
    let [create, update, delete] = plan.counts;
    let mut text = if plan.is_empty() {
        "No changes: the live configuration is what is written here.\n".to_owned()
    } else {
        format!(
            "{create} to create, {update} to update, {delete} to delete; {} calls, about {} s.\n",
            plan.calls, plan.estimated_seconds
        )
    };
    let unmanaged: Vec<String> = plan.unmanaged.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if !unmanaged.is_empty() {
        let _ = writeln!(text, "Not managed here and left alone: {}.", unmanaged.join(", "));
    }
    if !plan.unmanaged_accounts.is_empty() {
        let names: Vec<&str> = plan.unmanaged_accounts.iter().take(10).map(String::as_str).collect();
        let _ =
            writeln!(text, "{} accounts are named nowhere here: {}.", plan.unmanaged_accounts.len(), names.join(", "));
    }
    text
}

fn troubles(plan: &Plan) -> String {
    let mut text = String::new();
    for section in &plan.sections {
        for unknown in &section.unknown {
            let _ = writeln!(text, "unknown: {}: {}", one_line(section.label()), one_line(unknown));
        }
        for error in &section.errors {
            let _ = writeln!(text, "error: {}: {}", one_line(section.label()), one_line(error));
        }
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {}", one_line(warning));
    }
    text
}

/// For a terminal; with colours where it is one.
pub fn text(plan: &Plan, colours: bool) -> String {
    let mut out = String::new();
    for group in groups(plan) {
        let _ = writeln!(out, "{}", heading(&group));
        for line in group.text.lines() {
            let colour = match line.trim_start().chars().next() {
                Some('+') => "32",
                Some('-') => "31",
                Some('~') => "33",
                _ => "",
            };
            let _ = if colours && !colour.is_empty() {
                writeln!(out, "\u{1b}[{colour}m{line}\u{1b}[0m")
            } else {
                writeln!(out, "{line}")
            };
        }
        out.push('\n');
    }
    out.push_str(&troubles(plan));
    out.push_str(&footer(plan));
    out
}

/// For a comment; cut with a note where it would not fit.
pub fn markdown(plan: &Plan) -> String {
    let [create, update, delete] = plan.counts;
    let mut out = format!("### Conformity plan: {create} to create, {update} to update, {delete} to delete\n\n");
    let troubles = troubles(plan);
    if !troubles.is_empty() {
        let _ = writeln!(out, "```text\n{}```\n", fenced(&troubles));
    }
    let groups = groups(plan);
    for (shown, group) in groups.iter().enumerate() {
        let lines: String = group
            .text
            .lines()
            .map(|line| {
                let trimmed = line.trim_start();
                let mark = match trimmed.chars().next() {
                    Some('~') => "!",
                    Some('+') => "+",
                    Some('-') => "-",
                    _ => " ",
                };
                format!("{mark} {line}\n")
            })
            .collect();
        let heading = heading(group).replace('<', "&lt;").replace('`', "'");
        let block = format!("<details><summary>{heading}</summary>\n\n```diff\n{}```\n</details>\n\n", fenced(&lines));
        if out.len() + block.len() > COMMENT {
            let _ = writeln!(
                out,
                "… and {} more groups of changes; the whole plan is in the job's log.\n",
                groups.len() - shown
            );
            break;
        }
        out += &block;
    }
    out.push_str(&footer(plan));
    out
}

/// Text from the platform can't end the block that it stands in.
fn fenced(text: &str) -> String {
    text.replace("```", "'''")
}
