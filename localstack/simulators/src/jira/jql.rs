//! The part of JIRA's query language that is asked for.

use super::{Issue, STATUSES};

/// The part of JQL that is understood: clauses joined with AND, and ORDER BY.
pub(super) struct Jql {
    pub(super) clauses: Vec<(String, bool, Vec<String>)>,
    pub(super) descending: bool,
}

impl Jql {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut rest = tokens.iter().map(String::as_str).peekable();
        let mut query = Self { clauses: Vec::new(), descending: false };
        while let Some(field) = rest.next() {
            if field.eq_ignore_ascii_case("order") {
                query.descending = rest.any(|token| token.eq_ignore_ascii_case("desc"));
                break;
            }
            let fail = || format!("Error in the JQL Query: the clause of '{field}' is not supported by the simulator.");
            let field_name = field.to_ascii_lowercase();
            let operator = rest.next().ok_or_else(fail)?.to_ascii_lowercase();
            let (positive, list) = match operator.as_str() {
                "=" => (true, false),
                "!=" => (false, false),
                "in" => (true, true),
                "not" => {
                    rest.next().filter(|token| token.eq_ignore_ascii_case("in")).ok_or_else(fail)?;
                    (false, true)
                }
                "is" => (rest.next_if(|token| token.eq_ignore_ascii_case("not")).is_none(), false),
                _ => return Err(fail()),
            };
            let mut values = Vec::new();
            if list {
                rest.next().filter(|token| *token == "(").ok_or_else(fail)?;
                loop {
                    match rest.next().ok_or_else(fail)? {
                        ")" => break,
                        "," => {}
                        value => values.push(unquoted(value)),
                    }
                }
            } else {
                values.push(unquoted(rest.next().ok_or_else(fail)?));
            }
            let known = [
                "project",
                "labels",
                "statuscategory",
                "status",
                "key",
                "id",
                "issuekey",
                "issue",
                "resolution",
                "issuetype",
                "type",
            ];
            if !known.contains(&field_name.as_str()) {
                return Err(format!("Field '{field}' does not exist or you do not have permission to view it."));
            }
            query.clauses.push((field_name, positive, values));
            match rest.peek() {
                Some(token) if token.eq_ignore_ascii_case("and") => {
                    rest.next();
                }
                Some(token) if token.eq_ignore_ascii_case("order") => {}
                None => {}
                Some(token) => {
                    return Err(format!("Error in the JQL Query: '{token}' is not supported by the simulator."));
                }
            }
        }
        Ok(query)
    }

    pub(super) fn matches(&self, issue: &Issue, labels: &[String], status: &str) -> bool {
        self.clauses.iter().all(|(field, positive, values)| {
            let same = |text: &str| values.iter().any(|value| value.eq_ignore_ascii_case(text));
            let category =
                STATUSES.iter().find(|(name, _, _)| *name == status).map_or("", |(_, category, _)| *category);
            let hit = match field.as_str() {
                "project" => same(issue.key.rsplit_once('-').map_or("", |(project, _)| project)),
                "labels" => labels.iter().any(|label| values.contains(label)),
                "status" => same(status),
                "statuscategory" => {
                    same(category)
                        || same(match category {
                            "new" => "To Do",
                            "indeterminate" => "In Progress",
                            _ => "Done",
                        })
                }
                "resolution" => match category {
                    "done" => same("Done"),
                    _ => same("EMPTY") || same("Unresolved"),
                },
                "issuetype" | "type" => same(issue.fields["issuetype"]["name"].as_str().unwrap_or_default()),
                _ => same(&issue.key) || same(&issue.id),
            };
            hit == *positive
        })
    }
}

fn unquoted(token: &str) -> String {
    token.strip_prefix('"').unwrap_or(token).to_owned()
}

/// Quoted words keep a leading `"`, so that they are never taken for keywords.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' | '\'' => {
                let mut word = "\"".to_owned();
                loop {
                    match chars.next() {
                        Some('\\') => word.extend(chars.next()),
                        Some(next) if next == c => break,
                        Some(next) => word.push(next),
                        None => {
                            return Err("Error in the JQL Query: The quoted string has not been completed.".to_owned());
                        }
                    }
                }
                tokens.push(word);
            }
            '(' | ')' | ',' | '=' | '~' => tokens.push(c.to_string()),
            '!' | '<' | '>' => {
                let mut operator = c.to_string();
                operator.extend(chars.next_if_eq(&'='));
                tokens.push(operator);
            }
            c => {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|next| !next.is_whitespace() && !"()=,!<>~\"'".contains(*next)) {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    Ok(tokens)
}
