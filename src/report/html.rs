//! The report as one page: no script, nothing loaded, charts drawn in it.

use std::fmt::Write as _;

use super::{
    NoiseReport,
    text::{headline, sheets},
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#1d2433}\
table{border-collapse:collapse;width:100%;margin:.5em 0 2em}th,td{text-align:left;padding:.3em .6em;\
border-bottom:1px solid #d9dee8;vertical-align:top;overflow-wrap:anywhere}th{color:#5a6478;font-weight:600}\
svg{width:100%;height:auto}h1{margin-bottom:0}text{font:11px system-ui,sans-serif;fill:#5a6478}\
rect{fill:#2f6fde}rect.over{fill:#d64545}";

/// A whole page. Text of findings is escaped everywhere; a policy keeps a browser from loading or running anything.
pub fn html(report: &NoiseReport) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Noise report</title><style>{STYLE}</style></head><body>\n\
         <h1>Noise report</h1><p>{}</p>\n",
        escaped(&headline(report))
    );
    let days =
        report.by_day.iter().enumerate().map(|(day, count)| (format!("day {}", day + 1), *count)).collect::<Vec<_>>();
    page.push_str(&columns("Interrupts a day", &days));
    for sheet in sheets(report).into_iter().filter(|sheet| !sheet.rows.is_empty()) {
        let _ = writeln!(page, "<h2>{}</h2>", escaped(sheet.title));
        match sheet.title {
            "Rules that interrupt most" => {
                page.push_str(&bars(
                    &report.rules.iter().map(|rule| (rule.rule.clone(), rule.interrupts, false)).collect::<Vec<_>>(),
                ));
            }
            "Owners" => page.push_str(&bars(
                &report
                    .owners
                    .iter()
                    .map(|row| (row.owner.clone(), row.interrupts, row.days_over_budget > 0))
                    .collect::<Vec<_>>(),
            )),
            "Open tickets and alerts by age" => page.push_str(&bars(
                &report.tickets_by_age.iter().map(|row| (row.age.to_owned(), row.tickets, false)).collect::<Vec<_>>(),
            )),
            _ => {}
        }
        page.push_str("<table><tr>");
        for head in sheet.heads {
            let _ = write!(page, "<th>{}</th>", escaped(head));
        }
        page.push_str("</tr>\n");
        for row in &sheet.rows {
            page.push_str("<tr>");
            for cell in row {
                let _ = write!(page, "<td>{}</td>", escaped(cell));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table>\n");
    }
    page.push_str("</body></html>\n");
    page
}

/// Nothing of it is markup, in text and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Lying bars with their names; red where it is too much.
fn bars(rows: &[(String, usize, bool)]) -> String {
    let most = rows.iter().map(|(_, count, _)| *count).max().unwrap_or(0).max(1);
    let mut svg = format!("<svg viewBox=\"0 0 800 {}\" role=\"img\">", rows.len() * 22 + 4);
    for (number, (name, count, over)) in rows.iter().enumerate() {
        let (y, width) = (number * 22 + 4, count * 480 / most);
        let short: String = name.chars().take(36).collect();
        let class = if *over { " class=\"over\"" } else { "" };
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{}\">{}</text><rect{class} x=\"240\" y=\"{y}\" width=\"{width}\" height=\"16\"/>\
             <text x=\"{}\" y=\"{}\">{count}</text>",
            y + 12,
            escaped(&short),
            246 + width,
            y + 12
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Standing bars, one for each day.
fn columns(title: &str, rows: &[(String, usize)]) -> String {
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let width = (780 / rows.len().max(1)).clamp(2, 40);
    let mut svg = format!(
        "<svg viewBox=\"0 0 800 130\" role=\"img\"><text x=\"0\" y=\"12\">{}, at most {most}</text>",
        escaped(title)
    );
    for (number, (name, count)) in rows.iter().enumerate() {
        let height = count * 100 / most;
        let _ = write!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\"><title>{}: {count}</title></rect>",
            number * width,
            125 - height,
            width.saturating_sub(1).max(1),
            escaped(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}
