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

/// The same statement for any number of rows at once, where it has such a form: an insert of new rows, or a word on rows by their
/// `id` or their `finding`. Each parameter is an array then, of the type that the parameter of one row has. A server takes a row of
/// them for a tenth of what a statement costs.
/// `distinct`: no two of them are about the same row.
pub fn postgres_for_many(sql: &str, types: &[&str], distinct: bool) -> Option<String> {
    if let (Some((head, column)), [of]) = (by_number(sql), types) {
        return Some(format!("{}WHERE {column} = ANY($1::{of}[])", postgres(head)));
    }
    // What is there already may stand among the rows twice; a server takes only one word on it in a statement.
    let (head, rest) = sql.split_once("VALUES (").filter(|_| distinct || !sql.contains("ON CONFLICT"))?;
    let (tuple, tail) = rest.split_once(')').filter(|(tuple, tail)| !tuple.contains('(') && !tail.contains('?'))?;
    let list = |of: &dyn Fn(usize, &str) -> String| {
        types.iter().enumerate().map(|(at, name)| of(at + 1, name)).collect::<Vec<_>>().join(", ")
    };
    let arrays = list(&|number, of| format!("${number}::{of}[]"));
    let names = list(&|number, _| format!("c{number}"));
    // Numbers are given in the order of the rows: whoever inserts them is answered with theirs.
    Some(format!(
        "{}SELECT {} FROM UNNEST({arrays}) WITH ORDINALITY AS each ({names}, place) ORDER BY place{}",
        postgres(head),
        tuple.replace('?', "c"),
        postgres(tail)
    ))
}

fn by_number(sql: &str) -> Option<(&str, &'static str)> {
    ["id", "finding"].into_iter().find_map(|column| Some((sql.strip_suffix(&format!("WHERE {column} = ?1"))?, column)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_writes_many_rows_where_that_means_the_same() {
        assert_eq!(
            postgres_for_many("INSERT INTO r (a, b, c) VALUES (?1, 0, ?2) RETURNING id", &["int8", "text"], false)
                .as_deref(),
            Some(
                "INSERT INTO r (a, b, c) SELECT c1, 0, c2 FROM UNNEST($1::int8[], $2::text[]) \
                 WITH ORDINALITY AS each (c1, c2, place) ORDER BY place RETURNING id"
            )
        );
        assert_eq!(
            postgres_for_many("DELETE FROM r WHERE id = ?1", &["int8"], false).as_deref(),
            Some("DELETE FROM r WHERE id = ANY($1::int8[])")
        );
        assert_eq!(
            postgres_for_many("DELETE FROM r WHERE finding = ?1", &["text"], false).as_deref(),
            Some("DELETE FROM r WHERE finding = ANY($1::text[])")
        );
        let upsert = "INSERT INTO r (a) VALUES (?1) ON CONFLICT (a) DO UPDATE SET b = excluded.b";
        assert_eq!(postgres_for_many(upsert, &["int8"], false), None);
        assert_eq!(
            postgres_for_many(upsert, &["int8"], true).as_deref(),
            Some(
                "INSERT INTO r (a) SELECT c1 FROM UNNEST($1::int8[]) WITH ORDINALITY AS each (c1, place) ORDER BY place \
                 ON CONFLICT (a) DO UPDATE SET b = excluded.b"
            )
        );
        assert_eq!(postgres_for_many("UPDATE r SET a = ?2 WHERE b = ?1", &["int8", "int8"], true), None);
        assert_eq!(postgres_for_many("UPDATE r SET a = ?2 WHERE id = ?1", &["int8", "int8"], true), None);
    }

    #[test]
    fn parameters_are_renamed_outside_of_texts_and_hints_are_left_out() {
        assert_eq!(
            postgres("SELECT '?1' FROM s CROSS JOIN silenced m INDEXED BY silenced_pending ON a = ?1 AND b = ?12"),
            "SELECT '?1' FROM s JOIN silenced m  ON a = $1 AND b = $12"
        );
    }
}
