//! YAML with the place of every value, so that an error can point to it; `${…}` is expanded after parsing.

use std::{collections::HashMap, fmt, path::Path};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// Line and column, from 1.
pub type Place = (u64, u64);

/// A document and where its values stand, by path (`targets.soc.url`).
#[derive(Debug, Default)]
pub struct Document {
    pub value: Value,
    places: HashMap<String, Place>,
}

impl Document {
    /// The nearest place known for a path: an unknown key's own, else that of the map around it.
    pub fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// An error with the place it is about.
#[derive(Debug, thiserror::Error)]
pub struct Located {
    pub file: String,
    pub place: Option<Place>,
    pub problem: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

struct Node(Shape);

enum Shape {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Shape::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }
}

/// A value alone, without places.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Plain)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Plain(item)) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = serde_json::Map::new();
        while let Some((key, Plain(value))) = map.next_entry::<String, Plain>()? {
            entries.insert(key, value);
        }
        Ok(Value::Object(entries))
    }
}

/// The value of a document that is good, for a third of the work of [`read`], which says what is wrong with one that is not.
pub fn read_value(text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Option<Value> {
    let Plain(mut value) = serde_saphyr::from_str(text).ok()?;
    expand_all(&mut value, expand)?;
    Some(value)
}

fn expand_all(value: &mut Value, expand: &dyn Fn(&str) -> Result<String, String>) -> Option<()> {
    match value {
        Value::String(text) if text.contains("${") => *text = expand(text).ok()?,
        Value::Array(list) => list.iter_mut().try_for_each(|item| expand_all(item, expand))?,
        Value::Object(map) => map.values_mut().try_for_each(|item| expand_all(item, expand))?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Some(())
}

/// Reads a document; `expand` gives the text of each scalar that holds `${`. The first problem, where there are several.
pub fn read(path: &Path, text: &str, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Document, Located> {
    read_all(path, text, expand).map_err(|mut problems| problems.swap_remove(0))
}

/// The router's configuration; every scalar that `expand` refuses is a problem.
pub fn read_file(path: &Path, expand: &dyn Fn(&str) -> Result<String, String>) -> Result<Document, Vec<Located>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let problem = format!("read it: {error}; name another with --config or FINDINGS_ROUTER_CONFIG");
        vec![Located { file: path.display().to_string(), place: None, problem }]
    })?;
    read_all(path, &text, expand)
}

fn read_all(
    path: &Path,
    text: &str,
    expand: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Document, Vec<Located>> {
    let file = path.display().to_string();
    let root: Spanned<Node> = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| (at.line(), at.column()));
        vec![Located { file: file.clone(), place, problem: in_words(&error.to_string()) }]
    })?;
    let mut reading = Reading { document: Document::default(), expand, file, problems: Vec::new() };
    let value = reading.convert(root, String::new());
    let Reading { mut document, problems, .. } = reading;
    document.value = value;
    if problems.is_empty() { Ok(document) } else { Err(problems) }
}

/// What the library says, without the place (a [`Located`] has it), the picture below the first line, and what only a
/// programmer could set.
fn in_words(error: &str) -> String {
    let line = error.lines().next().unwrap_or("not YAML");
    let said = line.strip_prefix("error: line ").and_then(|rest| rest.split_once(": ")).map_or(line, |(_, said)| said);
    said.split(", set DuplicateKeyPolicy").next().unwrap_or(said).to_owned()
}

struct Reading<'a> {
    document: Document,
    expand: &'a dyn Fn(&str) -> Result<String, String>,
    file: String,
    problems: Vec<Located>,
}

impl Reading<'_> {
    fn convert(&mut self, node: Spanned<Node>, path: String) -> Value {
        let place = (node.referenced.line(), node.referenced.column());
        self.document.places.entry(path.clone()).or_insert(place);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match node.value.0 {
            Shape::Scalar(Value::String(text)) if text.contains("${") => match (self.expand)(&text) {
                Ok(text) => Value::String(text),
                Err(problem) => {
                    self.problems.push(Located { file: self.file.clone(), place: Some(place), problem });
                    Value::Null
                }
            },
            Shape::Scalar(value) => value,
            Shape::List(list) => {
                let items = list.into_iter().enumerate();
                items.map(|(number, item)| self.convert(item, below(&number.to_string()))).collect()
            }
            Shape::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, item) in entries {
                    let path = below(&key.value);
                    self.document.places.insert(path.clone(), (key.referenced.line(), key.referenced.column()));
                    let value = self.convert(item, path);
                    map.insert(key.value, value);
                }
                Value::Object(map)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_places_is_the_value_with_them() {
        let expand =
            |text: &str| if text.contains("BAD") { Err("bad".to_owned()) } else { Ok(text.replace("${A}", "b")) };
        for text in [
            "a: 1\nb: [x, 2.5, true, ~, '7', 0123, 0x1f, -3, 18446744073709551615, yes, no]\nc: {}\n",
            "base: &base { risk: HIGH, tags: [a] }\nuse:\n  <<: *base\n  risk: LOW\nagain: *base\n",
            "text: |\n  two\n  lines\nfold: >\n  a\n  b\n\"quoted key\": 'it''s'\n7: number\n",
            "a: ${A}\nb: [\"x ${A}\", {c: '${A}${A}'}]\n",
            "- 1\n- [2]\n",
            "just a text",
            "{\"json\": [1, null, {\"a\": \"\\u00e9\"}]}",
        ] {
            let read = read(Path::new("a.yaml"), text, &expand).expect(text);
            assert_eq!(read_value(text, &expand), Some(read.value), "{text}");
        }
        for text in ["a: [1\n", "a: 1\na: 2\n", "a: ${BAD}\n", "a: *nothing\n", "a: 1\n---\nb: 2\n", "a: .inf\n"] {
            assert!(read(Path::new("a.yaml"), text, &expand).is_err(), "{text}");
            assert_eq!(read_value(text, &expand), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_once_with_its_place_and_without_what_only_a_programmer_could_set() {
        let read = |text| read(Path::new("a.yaml"), text, &|_| Ok(String::new())).expect_err(text).to_string();
        assert_eq!(read("a: 1\na: 2\n"), "a.yaml:2:1: duplicate mapping key: a");
        assert_eq!(read("a: [1\n"), "a.yaml:1:4: unclosed bracket '['");
    }
}
