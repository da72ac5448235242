//! A report as a comment on a pull request.

use std::fmt::Write as _;

use super::{Changes, Counts, Difference, Example, Group, Moves, Report, TargetKind, TargetRow};

/// GitHub takes 65,536 characters.
const MOST: usize = 60_000;
/// Kept free for what is said after the examples.
const REST: usize = 400;
/// Rows of a table; the rest is counted.
const ROWS: usize = 15;
/// Characters of one text of a finding or a script.
const TEXT: usize = 240;

/// At most 60,000 characters; what does not fit is counted.
pub fn markdown(report: &Report) -> String {
    let mut page = Page::default();
    page.add(&format!("### Replay of routes: {}\n\n", if report.same { "no difference" } else { "differences" }));
    page.add(&format!("{}\n\n", report.summary));
    page.add(&format!(
        "{} (version {}) instead of {} (version {}).\n\n",
        code(&report.new.directory),
        report.new.version,
        code(&report.old.directory),
        report.old.version
    ));
    targets(&mut page, report);
    if !report.same {
        for (title, groups) in [("rule", &report.rules), ("account", &report.accounts), ("owner", &report.owners)] {
            table(&mut page, title, groups);
        }
        for (title, difference) in report.differences() {
            let mut letters = title.chars();
            let title: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
            examples(&mut page, &title, difference);
        }
    }
    failures(&mut page, report);
    if page.left_out > 0 {
        let _ = write!(page.text, "\n{} entries are left out here; `--format json` has them all.\n", page.left_out);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    characters: usize,
    left_out: usize,
}

impl Page {
    /// False where it would not fit any more.
    fn add(&mut self, text: &str) -> bool {
        let characters = text.chars().count();
        let fits = self.characters + characters <= MOST - REST;
        if fits {
            self.text.push_str(text);
            self.characters += characters;
        } else {
            self.left_out += 1;
        }
        fits
    }
}

fn targets(page: &mut Page, report: &Report) {
    page.add(
        "| target | tickets, alerts | reopened | resolved | records | appear | vanish | move away | move here |\n",
    );
    page.add("|---|---|---|---|---|---|---|---|---|\n");
    for row in &report.targets {
        let both = |pick: fn(&Counts) -> u64| change(pick(&row.old), pick(&row.new));
        let guess = if row.kind_guessed { " (guessed)" } else { "" };
        let line = match row.kind {
            TargetKind::AppendOnly => {
                format!("| {}{guess} | | | | {} | | | | |\n", code(&row.target), both(|counts| counts.records))
            }
            TargetKind::Stateful => format!(
                "| {}{guess} | {} | {} | {} | {}\n",
                code(&row.target),
                both(|counts| counts.creates),
                both(|counts| counts.reopens),
                both(|counts| counts.resolves),
                format_args!("| {}", moves(row.moves)),
            ),
        };
        page.add(&line);
    }
    page.add("\n");
    let has_digests = |row: &&TargetRow| row.old.digests + row.new.digests > 0;
    if report.targets.iter().any(|row| has_digests(&row)) {
        page.add("| target | digests | findings told | appear | vanish | move away | move here |\n");
        page.add("|---|---|---|---|---|---|---|\n");
        for row in report.targets.iter().filter(has_digests) {
            let (sent, told) = (change(row.old.digests, row.new.digests), change(row.old.told, row.new.told));
            page.add(&format!("| {} | {sent} | {told} | {}\n", code(&row.target), moves(row.digest_moves)));
        }
        page.add("\n");
    }
    for row in &report.targets {
        let storms = (row.old.held_by_storms, row.new.held_by_storms);
        let budgets = (row.old.over_budget, row.new.over_budget);
        if storms != (0, 0) || budgets != (0, 0) {
            let (storms, budgets) = (change(storms.0, storms.1), change(budgets.0, budgets.1));
            page.add(&format!("Kept from {}: {storms} by storms, {budgets} over budgets.\n\n", code(&row.target)));
        }
    }
}

fn moves(moves: Moves) -> String {
    let Moves { appear, vanish, move_away, move_here } = moves;
    format!("{appear} | {vanish} | {move_away} | {move_here} |")
}

fn change(old: u64, new: u64) -> String {
    if old == new { old.to_string() } else { format!("{old} → **{new}**") }
}

fn table(page: &mut Page, title: &str, groups: &[Group]) {
    let changed: Vec<&Group> = groups.iter().filter(|group| group.differ() > 0).collect();
    if changed.is_empty() {
        return;
    }
    let digests = changed.iter().any(|group| group.digests != Changes::default());
    let (more, line) = if digests { (" digests | appear | vanish | move |", "---|---|---|---|") } else { ("", "") };
    page.add(&format!("| {title} | tickets, alerts | appear | vanish | move |{more}\n|---|---|---|---|---|{line}\n"));
    let cells = |changes: Changes| {
        let Changes { old, new, appear, vanish, moved } = changes;
        format!("{} | {appear} | {vanish} | {moved} |", change(old, new))
    };
    for group in changed.iter().take(ROWS) {
        let more = if digests { format!(" {}", cells(group.digests)) } else { String::new() };
        page.add(&format!("| {} | {}{more}\n", code(&group.name), cells(group.alerts)));
    }
    if changed.len() > ROWS {
        page.add(&format!("\nand {} more\n", changed.len() - ROWS));
    }
    page.add("\n");
}

fn examples(page: &mut Page, title: &str, difference: &Difference) {
    if difference.examples.is_empty() {
        return;
    }
    let (shown, total) = (difference.examples.len(), difference.total);
    if !page.add(&format!("<details><summary>{title}: {shown} of {total}</summary>\n\n")) {
        return;
    }
    for example in &difference.examples {
        page.add(&item(example));
    }
    // Closed whatever was left out, or everything after it would be inside.
    page.text.push_str("\n</details>\n\n");
    page.characters += "\n</details>\n\n".len();
}

fn item(example: &Example) -> String {
    let Example { check_id, rule, account, old_place, new_place, old_score, new_score, old_reason, new_reason } =
        example;
    let nowhere = || "nowhere".to_owned();
    let place = |place: &Option<String>| place.as_deref().map_or_else(nowhere, code);
    format!(
        "- {} (rule {}, account {}): {} → {}, score {old_score} → {new_score}\n  - old: {}\n  - new: {}\n",
        code(check_id),
        code(rule),
        code(account),
        place(old_place),
        place(new_place),
        code(old_reason),
        code(new_reason)
    )
}

fn failures(page: &mut Page, report: &Report) {
    let archive = &report.archive;
    if !report.script_failures.is_empty() {
        page.add("**Scripts that failed**\n\n");
        for failed in &report.script_failures {
            let (at, count, reason) = (code(&failed.at), failed.count, code(&failed.reason));
            page.add(&format!("- {at}: {count} times, first on {}: {reason}\n", code(&failed.check_id)));
        }
        page.add("\n");
    }
    if archive.rejected > 0 {
        page.add(&format!("{} parts of the archive hold no check:\n\n", archive.rejected));
        for line in &archive.rejected_lines {
            page.add(&format!("- {}: {}\n", code(&line.at), code(&line.reason)));
        }
    }
    for damage in &archive.damage {
        page.add(&format!("\n**Damaged** at {}: {}\n", code(&damage.at), code(&damage.problem)));
    }
}

/// Text that nobody can trust: no markup, no link, nobody is mentioned.
///
/// A character reference never is markup (CommonMark), and within `code` GitHub neither links nor mentions.
pub(crate) fn code(text: &str) -> String {
    let mut out = "<code>".to_owned();
    for (count, character) in text.chars().enumerate() {
        if count == TEXT {
            out.push('…');
            break;
        }
        match character {
            '-' | ',' | '/' | ' ' => out.push(character),
            _ if character.is_control() => out.push(' '),
            _ if character.is_ascii_punctuation() => {
                let _ = write!(out, "&#{};", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push_str("</code>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Archive, Digests, ScriptSet};

    fn report(examples: usize) -> Report {
        let example = Example {
            check_id: format!("ccc:{}", "|<>@".repeat(200)),
            rule: "S3-001".into(),
            account: "@everyone".into(),
            old_place: Some("soc".into()),
            new_place: None,
            old_score: 80,
            new_score: 60,
            old_reason: "</details> [x](http://evil.example)".into(),
            new_reason: "`score` 60\nis under 70".into(),
        };
        Report {
            summary: "s".into(),
            same: false,
            old: ScriptSet::default(),
            new: ScriptSet::default(),
            archive: Archive::default(),
            targets: Vec::new(),
            rules: Vec::new(),
            accounts: Vec::new(),
            owners: Vec::new(),
            appear: Difference::default(),
            vanish: Difference { total: 1_000, examples: vec![example; examples] },
            moves: Difference::default(),
            digests: Digests::default(),
            script_failures: Vec::new(),
        }
    }

    #[test]
    fn a_comment_fits_and_says_what_is_left_out() {
        let text = markdown(&report(500));
        assert!(text.chars().count() <= MOST, "{}", text.chars().count());
        assert!(text.contains("entries are left out") && text.contains("</details>"), "{text}");
    }

    #[test]
    fn text_of_a_finding_is_no_markup() {
        let text = markdown(&report(1));
        for forbidden in ["@everyone", "](http", "`score`", "under 70</details>"] {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
        assert_eq!(text.matches("</details>").count(), 1);
    }
}
