//! What PostgreSQL says differently.

/// The statement as PostgreSQL takes it: `$1` for `?1`, and no word on which index to use.
pub fn postgres(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        if next == '\'' {
            quoted = !quoted;
        }
        if !quoted && next == '?' {
            out.push('$');
        } else if !quoted && let Some(after) = rest.strip_prefix("INDEXED BY ") {
            rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            continue;
        } else if !quoted && let Some(after) = rest.strip_prefix("CROSS JOIN ") {
            // SQLite's way to say which table comes first.
            out.push_str("JOIN ");
            rest = after;
            continue;
        } else {
            out.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_renamed_outside_of_texts_and_hints_are_left_out() {
        assert_eq!(
            postgres("SELECT '?1' FROM s CROSS JOIN silenced m INDEXED BY silenced_pending ON a = ?1 AND b = ?12"),
            "SELECT '?1' FROM s JOIN silenced m  ON a = $1 AND b = $12"
        );
    }
}
