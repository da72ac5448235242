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

/// The same statement for so many rows at once, where it has such a form: an insert of new rows, or a word on rows by their `id`
/// or their `finding`. Row after row stand the parameters of one, `columns` each. A server takes a row of them for a tenth of what a
/// statement costs.
/// `distinct`: no two of them are about the same row.
pub fn postgres_for_many(sql: &str, rows: usize, columns: usize, distinct: bool) -> Option<String> {
    let by_number = |column: &'static str| Some((sql.strip_suffix(&format!("WHERE {column} = ?1"))?, column));
    if let Some((head, column)) = ["id", "finding"].into_iter().find_map(by_number) {
        let list = (1..=rows).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
        return Some(format!("{}WHERE {column} IN ({list})", postgres(head)));
    }
    // What is there already may stand among the rows twice; a server takes only one word on it in a statement.
    let (head, rest) = sql.split_once("VALUES (").filter(|_| distinct || !sql.contains("ON CONFLICT"))?;
    let (tuple, tail) = rest.split_once(')').filter(|(tuple, tail)| !tuple.contains('(') && !tail.contains('?'))?;
    let one = |row: usize| {
        let parts = tuple.split('?').enumerate().map(|(at, part)| {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            match part[..digits].parse::<usize>() {
                Ok(number) if at > 0 => format!("${}{}", row * columns + number, &part[digits..]),
                Ok(_) | Err(_) => part.to_owned(),
            }
        });
        format!("({})", parts.collect::<String>())
    };
    let tuples = (0..rows).map(one).collect::<Vec<_>>().join(", ");
    Some(format!("{}VALUES {tuples}{}", postgres(head), postgres(tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_writes_many_rows_where_that_means_the_same() {
        assert_eq!(
            postgres_for_many("INSERT INTO r (a, b, c) VALUES (?1, 0, ?2) RETURNING id", 2, 2, false).as_deref(),
            Some("INSERT INTO r (a, b, c) VALUES ($1, 0, $2), ($3, 0, $4) RETURNING id")
        );
        assert_eq!(
            postgres_for_many("DELETE FROM r WHERE id = ?1", 3, 1, false).as_deref(),
            Some("DELETE FROM r WHERE id IN ($1, $2, $3)")
        );
        assert_eq!(
            postgres_for_many("DELETE FROM r WHERE finding = ?1", 2, 1, false).as_deref(),
            Some("DELETE FROM r WHERE finding IN ($1, $2)")
        );
        let upsert = "INSERT INTO r (a) VALUES (?1) ON CONFLICT (a) DO UPDATE SET b = excluded.b";
        assert_eq!(postgres_for_many(upsert, 2, 1, false), None);
        assert_eq!(
            postgres_for_many(upsert, 2, 1, true).as_deref(),
            Some("INSERT INTO r (a) VALUES ($1), ($2) ON CONFLICT (a) DO UPDATE SET b = excluded.b")
        );
        assert_eq!(postgres_for_many("UPDATE r SET a = ?2 WHERE b = ?1", 2, 2, true), None);
    }

    #[test]
    fn parameters_are_renamed_outside_of_texts_and_hints_are_left_out() {
        assert_eq!(
            postgres("SELECT '?1' FROM s CROSS JOIN silenced m INDEXED BY silenced_pending ON a = ?1 AND b = ?12"),
            "SELECT '?1' FROM s JOIN silenced m  ON a = $1 AND b = $12"
        );
    }
}
