//! The parts of a ticket in ADF and in wiki markup. Pure.

use serde_json::{Value, json};

use crate::text::one_line;

/// The part of a ticket, independent of the markup.
pub enum Part {
    Headline(String),
    Text(String),
    Heading(&'static str),
    Table(Vec<(String, String)>),
    /// Headers, then rows of as many cells.
    Grid(Vec<&'static str>, Vec<Vec<String>>),
    Link(&'static str, String),
    Code(String),
}

/// One paragraph, for comments.
pub fn comment(text: &str, cloud: bool) -> Value {
    if cloud { adf(&[Part::Text(text.to_owned())]) } else { Value::String(wiki_escape(text)) }
}

/// What a comment says, whatever JIRA has made of its markup.
pub fn plain(body: &Value) -> String {
    match body {
        Value::String(text) => text.trim().to_owned(),
        node => {
            let below = node["content"].as_array().into_iter().flatten().map(plain);
            node["text"].as_str().map(str::to_owned).into_iter().chain(below).collect()
        }
    }
}

fn text_node(text: &str) -> Value {
    // An empty text node is refused.
    json!({ "type": "text", "text": if text.is_empty() { "-" } else { text } })
}

fn paragraph(text: &str) -> Value {
    let mut content = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            content.push(json!({ "type": "hardBreak" }));
        }
        if !line.is_empty() {
            content.push(text_node(line));
        }
    }
    json!({ "type": "paragraph", "content": content })
}

/// Text nodes are inert in ADF: nothing in them is parsed.
pub fn adf(parts: &[Part]) -> Value {
    let mut content = Vec::new();
    for part in parts {
        content.push(match part {
            Part::Headline(text) => json!({ "type": "panel", "attrs": { "panelType": "error" },
                "content": [{ "type": "paragraph", "content": [
                    { "type": "text", "text": text, "marks": [{ "type": "strong" }] }] }] }),
            Part::Text(text) => paragraph(text),
            Part::Heading(text) => json!({ "type": "heading", "attrs": { "level": 3 }, "content": [text_node(text)] }),
            Part::Table(rows) => {
                let rows: Vec<Value> = rows
                    .iter()
                    .map(|(label, value)| {
                        json!({ "type": "tableRow", "content": [
                            { "type": "tableHeader", "content": [paragraph(label)] },
                            { "type": "tableCell", "content": [paragraph(value)] }] })
                    })
                    .collect();
                json!({ "type": "table", "content": rows })
            }
            Part::Grid(headers, rows) => {
                let row = |kind: &str, cells: &mut dyn Iterator<Item = &str>| {
                    let cells: Vec<Value> =
                        cells.map(|cell| json!({ "type": kind, "content": [paragraph(cell)] })).collect();
                    json!({ "type": "tableRow", "content": cells })
                };
                let mut all = vec![row("tableHeader", &mut headers.iter().copied())];
                all.extend(rows.iter().map(|cells| row("tableCell", &mut cells.iter().map(String::as_str))));
                json!({ "type": "table", "content": all })
            }
            Part::Link(label, url) => json!({ "type": "paragraph", "content": [
                { "type": "text", "text": label, "marks": [{ "type": "link", "attrs": { "href": url } }] }] }),
            Part::Code(text) => json!({ "type": "codeBlock", "content": [text_node(text)] }),
        });
    }
    json!({ "type": "doc", "version": 1, "content": content })
}

pub fn wiki(parts: &[Part]) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Headline(text) => out.push_str(&format!("*{}*\n", wiki_escape(text))),
            Part::Text(text) => out.push_str(&format!("\n{}\n", wiki_escape(text))),
            Part::Heading(text) => out.push_str(&format!("\nh3. {text}\n")),
            Part::Table(rows) => {
                for (label, value) in rows {
                    out.push_str(&format!("||{label}|{}|\n", wiki_escape(&one_line(value))));
                }
            }
            Part::Grid(headers, rows) => {
                out.push_str(&format!("||{}||\n", headers.join("||")));
                for row in rows {
                    // An empty cell would be taken for a header.
                    let cells = row.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { wiki_escape(cell) });
                    out.push_str(&format!("|{}|\n", cells.collect::<Vec<_>>().join("|")));
                }
            }
            // Braces and exclamation marks begin macros and pictures, in an address too.
            Part::Link(label, url) => {
                let url = url.replace('{', "%7B").replace('}', "%7D").replace('!', "%21");
                out.push_str(&format!("[{label}|{url}]\n"));
            }
            // The only way out of a noformat block is its own end.
            Part::Code(text) => {
                let inert = text.replace('{', "(").replace('}', ")");
                out.push_str(&format!("{{noformat}}\n{inert}\n{{noformat}}\n"));
            }
        }
    }
    out
}

/// Every character that wiki markup may read is literal.
fn wiki_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if matches!(c, '\\' | '{' | '}' | '[' | ']' | '*' | '_' | '-' | '+' | '^' | '~' | '|' | '!' | '#' | '?' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j24_an_address_opens_no_macro_in_wiki_markup() {
        let link = wiki(&[Part::Link("fix", "https://x.example/{noformat}!a!".to_owned())]);
        assert_eq!(link, "[fix|https://x.example/%7Bnoformat%7D%21a%21]\n");
    }

    #[test]
    fn j24_hostile_text_is_literal_in_wiki_markup() {
        let escaped = wiki_escape("a\"b\\c{code}[~admin]!x!");
        assert_eq!(escaped, "a\"b\\\\c\\{code\\}\\[\\~admin\\]\\!x\\!");
    }
}
