//! One file of the directory: rendered, parsed, checked against its schema. Files know nothing of each other, so they are
//! read on all cores; the places of values are looked for only where there is something to say.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    load::{Kind, schema_of},
    problem::Problem,
    schema::{AccountsFile, GroupsFile, NotificationsFile, ProfileFile, ReportsFile, SettingsFile},
    template::{self, Rendered},
    ui_export,
};
use crate::settings::{yaml, yaml_expand};

/// A file that was read.
pub(super) struct File {
    /// Relative to the directory.
    pub name: String,
    rendered: Rendered,
    /// Made by the first problem of the file.
    places: OnceLock<yaml::Document>,
}

impl File {
    fn read(dir: &Path, path: &Path, with: &With<'_>) -> Result<(Self, Value), Problem> {
        let name = path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let source = std::fs::read_to_string(path).map_err(|error| Problem::at(&name, None, error.to_string()))?;
        let rendered = template::render(with.environment, Path::new(&name), &source, with.variables)?;
        let blank = rendered.text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#'));
        let value = match yaml::read_value(&rendered.text, &yaml_expand(path)) {
            _ if blank => Value::Null,
            Some(value) => value,
            None => {
                let read = yaml::read(Path::new(&name), &rendered.text, &yaml_expand(path)).map_err(|located| {
                    let place = located.place.map(|(line, column)| (rendered.template_line(line), column));
                    Problem::at(&name, place, located.problem).with_frame(&source)
                })?;
                read.value
            }
        };
        Ok((Self { name, rendered, places: OnceLock::new() }, value))
    }

    /// A problem with the place of `path` in the template.
    pub(super) fn problem(&self, path: &str, text: impl Into<String>) -> Problem {
        let places = self.places.get_or_init(|| {
            // It was read once, so it can be read; what `${…}` stands for has no part in where it stands.
            yaml::read(Path::new(&self.name), &self.rendered.text, &|text| Ok(text.to_owned())).unwrap_or_default()
        });
        let place = places.place(path).map(|(line, column)| (self.rendered.template_line(line), column));
        Problem::at(&self.name, place, text).with_frame(&self.rendered.source)
    }
}

/// What a file holds.
pub(super) enum Content {
    Nothing,
    Settings(Box<SettingsFile>),
    Accounts(Box<AccountsFile>),
    Profile(ProfileFile),
    Groups(GroupsFile),
    Notifications(NotificationsFile),
    Reports(ReportsFile),
}

/// What the files of a directory have in common.
pub(super) struct With<'a> {
    pub environment: &'a minijinja::Environment<'a>,
    pub variables: &'a BTreeMap<String, Value>,
}

/// A file and what it holds, or all that is wrong with it; without a file where it can't even be read.
pub(super) struct Loaded {
    pub file: Option<File>,
    pub content: Content,
    /// A path that stands in the value and not in the file: that of a file with one account at its top.
    pub base: &'static str,
    pub problems: Vec<Problem>,
}

/// Reads files, in their order.
pub(super) fn read(dir: &Path, paths: &[(std::path::PathBuf, Kind)], with: &With<'_>) -> Vec<Loaded> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get).min(paths.len());
    let (next, schemas) = (AtomicUsize::new(0), Schemas::default());
    let work = || {
        let mut loaded = Vec::new();
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some((path, kind)) = paths.get(number)
        {
            loaded.push((number, schemas.load(dir, path, *kind, with)));
        }
        loaded
    };
    let mut loaded: Vec<(usize, Loaded)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    loaded.sort_by_key(|(number, _)| *number);
    loaded.into_iter().map(|(_, loaded)| loaded).collect()
}

/// Compiled once, by the first file of the kind.
#[derive(Default)]
struct Schemas {
    settings: OnceLock<Schema>,
    accounts: OnceLock<Schema>,
    profiles: OnceLock<Schema>,
    groups: OnceLock<Schema>,
    notifications: OnceLock<Schema>,
    reports: OnceLock<Schema>,
}

struct Schema {
    text: Value,
    validator: Option<jsonschema::Validator>,
}

impl Schemas {
    fn load(&self, dir: &Path, path: &Path, kind: Kind, with: &With<'_>) -> Loaded {
        let (file, mut value) = match File::read(dir, path, with) {
            Ok(read) => read,
            Err(problem) => {
                return Loaded { file: None, content: Content::Nothing, base: "", problems: vec![problem] };
            }
        };
        let mut base = "";
        if matches!(kind, Kind::Accounts) && is_single_account(&value) {
            base = "accounts.0";
            value = Value::Object([("accounts".to_owned(), Value::Array(vec![value]))].into_iter().collect());
        }
        let content = match kind {
            _ if value.is_null() => Ok(Content::Nothing),
            Kind::Settings => self.settings.typed(&file, value, "").map(Box::new).map(Content::Settings),
            Kind::Accounts => self.accounts.typed(&file, value, base).map(Box::new).map(Content::Accounts),
            Kind::Profile => self.profiles.typed(&file, ui_export::profile(value), "").map(Content::Profile),
            Kind::Groups => self.groups.typed(&file, value, "").map(Content::Groups),
            Kind::Notifications => self.notifications.typed(&file, value, "").map(Content::Notifications),
            Kind::Reports => self.reports.typed(&file, value, "").map(Content::Reports),
        };
        let (content, problems) = match content {
            Ok(content) => (content, Vec::new()),
            Err(problems) => (Content::Nothing, problems),
        };
        Loaded { file: Some(file), content, base, problems }
    }
}

/// A path of the value as the file has it.
pub(super) fn written<'p>(path: &'p str, base: &str) -> &'p str {
    match path.strip_prefix(base) {
        Some(rest) if !base.is_empty() => rest.trim_start_matches('.'),
        _ => path,
    }
}

fn is_single_account(value: &Value) -> bool {
    let keys = ["defaults", "patterns", "accounts"];
    value.as_object().is_some_and(|map| !map.is_empty() && !keys.iter().any(|key| map.contains_key(*key)))
}

trait Typed {
    /// The value as its type, or everything that the schema has against it, each with its place.
    fn typed<T: DeserializeOwned + schemars::JsonSchema>(
        &self,
        file: &File,
        value: Value,
        base: &str,
    ) -> Result<T, Vec<Problem>>;
}

impl Typed for OnceLock<Schema> {
    fn typed<T: DeserializeOwned + schemars::JsonSchema>(
        &self,
        file: &File,
        value: Value,
        base: &str,
    ) -> Result<T, Vec<Problem>> {
        let schema = self.get_or_init(|| {
            let text = schema_of::<T>();
            // A schema that is made from our own types compiles; the types check once more below.
            let validator = jsonschema::validator_for(&text).ok();
            Schema { text, validator }
        });
        let problem = |path: &str, text: String| file.problem(written(path, base), text);
        if let Some(validator) = schema.validator.as_ref().filter(|validator| !validator.is_valid(&value)) {
            let found = validator.iter_errors(&value).flat_map(|error| told(&error)).map(|(path, text)| {
                let (path, text) = unexpected(&path, &text, &schema.text);
                problem(&path, text)
            });
            return Err(found.collect());
        }
        // Knowing the path costs as much as reading; it is asked for only where it is told.
        T::deserialize(&value).or_else(|_| serde_path_to_error::deserialize(value)).map_err(|error| {
            let path = error.path().to_string().replace('[', ".").replace(']', "");
            vec![problem(&path, error.into_inner().to_string())]
        })
    }
}

/// Places and texts of an error, without the value: it may be a secret that was filled in. Of several forms that a value may
/// have, the one is told that it has the kind of, so never the null of an optional one.
fn told(error: &ValidationError<'_>) -> Vec<(String, String)> {
    if let ValidationErrorKind::AnyOf { context } = error.kind() {
        let of_its_kind = |branch: &&Vec<ValidationError<'_>>| {
            let wrong = |inner: &ValidationError<'_>| {
                inner.instance_path() == error.instance_path()
                    && matches!(inner.kind(), ValidationErrorKind::Type { .. })
            };
            !branch.iter().any(wrong)
        };
        if let Some(meant) = context.iter().find(of_its_kind).or_else(|| context.first()) {
            return meant.iter().flat_map(told).collect();
        }
    }
    vec![(path_of(&error.instance_path().to_string()), error.masked().to_string())]
}

/// An unknown key is told at the key itself, with the nearest known one.
fn unexpected(path: &str, text: &str, schema: &Value) -> (String, String) {
    let Some(key) =
        text.strip_prefix("Additional properties are not allowed (").and_then(|rest| rest.split('\'').nth(1))
    else {
        return (path.to_owned(), text.to_owned());
    };
    let mut known = Vec::new();
    property_names(schema, &mut known);
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(key, name), name)).min();
    let text = match near {
        Some((distance, name)) if distance <= 3 => format!("unknown key `{key}`; did you mean `{name}`?"),
        _ => format!("unknown key `{key}`"),
    };
    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    (path, text)
}

fn property_names(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| property_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| property_names(value, names)),
        _ => {}
    }
}

/// `/accounts/0/rules` as `accounts.0.rules`.
fn path_of(pointer: &str) -> String {
    pointer
        .trim_start_matches('/')
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect::<Vec<_>>()
        .join(".")
}
