//! The report for a terminal, and for a page that knows Markdown.

use super::NoiseReport;

/// A table of the report: title, heads, rows.
pub(super) struct Sheet {
    pub title: &'static str,
    pub heads: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
}

/// What every form of the report shows, in this order.
pub(super) fn sheets(report: &NoiseReport) -> Vec<Sheet> {
    let number = |count: usize| count.to_string();
    vec![
        Sheet {
            title: "Rules that interrupt most",
            heads: &["rule", "title", "risk", "interrupts", "failing", "accounts", "fixed", "flapping"],
            rows: report
                .rules
                .iter()
                .map(|rule| {
                    vec![
                        rule.rule.clone(),
                        rule.title.clone(),
                        rule.risk.clone(),
                        number(rule.interrupts),
                        number(rule.failing),
                        number(rule.accounts),
                        number(rule.fixed),
                        number(rule.flapping),
                    ]
                })
                .collect(),
        },
        Sheet {
            title: "Findings that flap",
            heads: &["check", "account", "failed", "interrupts"],
            rows: report
                .flappers
                .iter()
                .map(|flapper| {
                    vec![
                        flapper.check_id.clone(),
                        flapper.account.clone(),
                        flapper.times_failed.to_string(),
                        number(flapper.interrupts),
                    ]
                })
                .collect(),
        },
        Sheet {
            title: "Owners",
            heads: &["owner", "interrupts", "worst day", "budget", "days over it", "beyond it", "mostly because of"],
            rows: report
                .owners
                .iter()
                .map(|owner| {
                    vec![
                        owner.owner.clone(),
                        number(owner.interrupts),
                        number(owner.worst_day),
                        number(owner.budget),
                        number(owner.days_over_budget),
                        number(owner.over),
                        owner.because_of.clone(),
                    ]
                })
                .collect(),
        },
        Sheet {
            title: "Time to fix",
            heads: &["risk", "fixed", "median hours", "9 of 10 within hours"],
            rows: report
                .time_to_fix
                .iter()
                .map(|row| {
                    vec![row.risk.clone(), number(row.fixed), row.median_hours.to_string(), row.p90_hours.to_string()]
                })
                .collect(),
        },
        Sheet {
            title: "Open tickets and alerts by age",
            heads: &["age", "open"],
            rows: report.tickets_by_age.iter().map(|row| vec![row.age.to_owned(), number(row.tickets)]).collect(),
        },
        Sheet {
            title: "What to change",
            heads: &["rule", "why", "spares up to", "patch"],
            rows: report
                .suggestions
                .iter()
                .map(|row| vec![row.rule.clone(), row.why.clone(), number(row.spares), row.patch.clone()])
                .collect(),
        },
    ]
}

pub(super) fn headline(report: &NoiseReport) -> String {
    let day = |ms: i64| {
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.strftime("%F").to_string())
    };
    let days = report.by_day.len();
    format!(
        "{} interrupts in {days} days ({} to {}), {} a day; a budget of {} for each owner and day",
        report.interrupts,
        day(report.from_ms),
        day(report.to_ms),
        report.interrupts / days.max(1),
        report.budget
    )
}

/// For a terminal: no control character of a finding gets there.
pub fn plain_text(report: &NoiseReport) -> String {
    let mut out = headline(report);
    out.push('\n');
    for sheet in sheets(report).into_iter().filter(|sheet| !sheet.rows.is_empty()) {
        out.push_str(&format!("\n{}\n", sheet.title));
        let clean =
            |text: &String| -> String { text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect() };
        let rows: Vec<Vec<String>> = std::iter::once(sheet.heads.iter().map(|head| head.to_uppercase()).collect())
            .chain(sheet.rows.iter().map(|row| row.iter().map(clean).collect()))
            .collect();
        let widths: Vec<usize> = (0..sheet.heads.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            out.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
        }
    }
    out
}

/// For a wiki or a pull request: every text of a finding is code, which is never markup.
pub fn markdown(report: &NoiseReport) -> String {
    let mut out = format!("# Noise report\n\n{}\n", headline(report));
    for sheet in sheets(report).into_iter().filter(|sheet| !sheet.rows.is_empty()) {
        out.push_str(&format!(
            "\n## {}\n\n| {} |\n|{}\n",
            sheet.title,
            sheet.heads.join(" | "),
            "---|".repeat(sheet.heads.len())
        ));
        for row in &sheet.rows {
            let cells: Vec<String> = row.iter().map(|cell| crate::replay::code(cell)).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    out
}
