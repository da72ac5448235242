//! Look-up tables beside the scripts: `tables/*.{yaml,csv,json}`.

use std::{collections::HashMap, path::Path};

use rhai::{Dynamic, Map};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::RouteError;

/// Tables by name, rows by key.
#[derive(Debug, Default)]
pub struct Tables {
    tables: HashMap<String, HashMap<String, Dynamic>>,
    digest: [u8; 32],
}

impl Tables {
    pub fn load(directory: &Path) -> Result<Self, RouteError> {
        let folder = directory.join("tables");
        let mut files: Vec<_> = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(_) => return Ok(Self::default()),
        };
        files.sort();
        let mut tables = HashMap::new();
        let mut hash = Sha256::new();
        for path in files {
            let at = path.display().to_string();
            let problem = |problem: String| RouteError { at: at.clone(), problem };
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_owned();
            if !matches!(kind.as_str(), "yaml" | "yml" | "json" | "csv") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|error| problem(format!("read it: {error}")))?;
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            for part in [path.file_name().unwrap_or_default().as_encoded_bytes(), text.as_bytes()] {
                hash.update(part);
                hash.update([0]);
            }
            let rows = match kind.as_str() {
                "csv" => csv_rows(&text).map_err(problem)?,
                "json" => value_rows(serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?)
                    .map_err(problem)?,
                _ => value_rows(serde_saphyr::from_str(&text).map_err(|error| problem(error.to_string()))?)
                    .map_err(problem)?,
            };
            if tables.contains_key(&name) {
                return Err(problem(format!("there is another table `{name}` beside it: one of the two must go")));
            }
            tables.insert(name, rows);
        }
        Ok(Self { tables, digest: hash.finalize().into() })
    }

    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The names of the tables, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.tables.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A row; an empty map where the key is not there. The names of the tables where the table is not.
    pub fn lookup(&self, table: &str, key: &str) -> Result<Dynamic, String> {
        match self.tables.get(table) {
            Some(rows) => Ok(rows.get(key).cloned().unwrap_or_else(|| Dynamic::from(Map::new()))),
            None if self.tables.is_empty() => Err(format!("there is no table `{table}`; there are none")),
            None => Err(format!("there is no table `{table}`; there are: {}", self.names().join(", "))),
        }
    }

    /// A column of a row, as text.
    pub fn text(&self, table: &str, key: &str, columns: &[&str]) -> Option<String> {
        let row = self.tables.get(table)?.get(key)?.read_lock::<Map>()?;
        columns.iter().find_map(|column| row.get(*column)?.clone().into_string().ok())
    }
}

/// The first column is the key, the first line names the others.
fn csv_rows(text: &str) -> Result<HashMap<String, Dynamic>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut rows = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let map: Map =
            headers.iter().zip(&record).map(|(name, value)| (name.into(), value.to_owned().into())).collect();
        rows.insert(record.get(0).unwrap_or_default().to_owned(), Dynamic::from(map));
    }
    Ok(rows)
}

/// A map of rows, or a list of rows with `id` or `key`.
fn value_rows(value: Value) -> Result<HashMap<String, Dynamic>, String> {
    let dynamic = |value: Value| rhai::serde::to_dynamic(value).map_err(|error| error.to_string());
    match value {
        Value::Null => Ok(HashMap::new()),
        Value::Object(map) => {
            // `payments:` with nothing behind it is a row of which nothing is known, as one that is not there.
            let row = |value: Value| if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
            map.into_iter().map(|(key, value)| Ok((key, dynamic(row(value))?))).collect()
        }
        Value::Array(rows) => rows
            .into_iter()
            .map(|row| {
                let key = row.get("id").or_else(|| row.get("key"));
                let key = match key {
                    Some(Value::String(key)) => key.clone(),
                    Some(Value::Number(key)) => {
                        let problem = "is a number, which has no zeros in front: write it in quotes";
                        return Err(format!("the `id` or `key` {key} of a row {problem}"));
                    }
                    _ => return Err("a row of a list needs `id` or `key`".to_owned()),
                };
                Ok((key, dynamic(row)?))
            })
            .collect(),
        _ => Err("a table is a map of rows, or a list of rows with `id` or `key`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(files: &[(&str, &str)]) -> Result<Tables, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("tables")).expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join("tables").join(name), text).expect("written");
        }
        Tables::load(folder.path()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_row_of_nothing_is_an_empty_map() {
        let tables = tables(&[("owners.yaml", "payments:\nidentity: { channel: C1 }\n")]).expect("read");
        for key in ["payments", "nobody"] {
            let row = tables.lookup("owners", key).expect("a table");
            assert!(row.read_lock::<Map>().is_some_and(|row| row.is_empty()), "{key}: {row:?}");
        }
    }

    #[test]
    fn an_id_that_is_a_number_is_refused_for_that() {
        let problem = tables(&[("owners.yaml", "- id: 111122223333\n  lead: sam\n")]).expect_err("refused");
        assert!(problem.contains("111122223333 of a row is a number"), "{problem}");
    }

    #[test]
    fn of_two_tables_of_one_name_one_must_go() {
        let problem = tables(&[("owners.csv", "id,lead\na,sam\n"), ("owners.yaml", "a: { lead: kim }\n")]);
        let problem = problem.expect_err("refused");
        assert!(problem.contains("owners.yaml: there is another table `owners`"), "{problem}");
    }
}
