//! The directory as it is written: rendered, parsed, checked against the schema, every problem at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    problem::Problem,
    schema::{
        Account, AccountsFile, Group, GroupsFile, Notification, NotificationsFile, ProfileFile, Report, ReportsFile,
        SettingsFile,
    },
    template::{self, Rendered},
};
use crate::settings::{yaml, yaml_expand};

/// A value with the file and path it came from.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub origin: Origin,
}

/// Where a value stands.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub file: usize,
    pub path: String,
}

impl Origin {
    /// A place below.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { file: self.file, path }
    }
}

/// A file that was read.
pub struct File {
    /// Relative to the directory.
    pub name: String,
    rendered: Rendered,
    document: yaml::Document,
}

/// Everything that is written in the directory.
#[derive(Default)]
pub struct Directory {
    pub settings: SettingsFile,
    pub defaults: Vec<At<Account>>,
    pub patterns: Vec<At<Account>>,
    pub accounts: Vec<At<Account>>,
    pub profiles: Vec<At<ProfileFile>>,
    pub groups: Vec<At<Group>>,
    pub notifications: Vec<At<Notification>>,
    pub reports: Vec<At<Report>>,
    pub problems: Vec<Problem>,
    files: Vec<File>,
}

impl Directory {
    /// A problem with the place of `origin` in its template.
    pub fn problem(&self, origin: &Origin, text: impl Into<String>) -> Problem {
        let Some(file) = self.files.get(origin.file) else { return Problem::at("", None, text) };
        let place = file.document.place(&origin.path);
        let place = place.map(|(line, column)| (file.rendered.template_line(line), column));
        Problem::at(&file.name, place, text).with_frame(&file.rendered.source)
    }

    /// Relative to the directory.
    pub fn file_name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.name)
    }

    fn report(&mut self, origin: &Origin, text: impl Into<String>) {
        let problem = self.problem(origin, text);
        self.problems.push(problem);
    }

    /// Reads all files. Problems are in `problems`; what could be read is there too.
    pub fn read(dir: &Path, overrides: &[(String, Value)]) -> Self {
        let mut directory = Self::default();
        if !dir.is_dir() {
            let text = "there is no such directory; `--dir` names it, `config export` makes one";
            directory.problems.push(Problem::at(&dir.display().to_string(), None, text));
            return directory;
        }
        let variables = match variables(dir, overrides) {
            Ok(variables) => variables,
            Err(problem) => {
                directory.problems.push(problem);
                return directory;
            }
        };
        let environment = template::environment(dir);
        let mut read = |path: &Path, kind: Kind| {
            let name = path.strip_prefix(dir).unwrap_or(path).display().to_string();
            if let Err(problem) = directory.file(path, name, kind, &environment, &variables) {
                directory.problems.push(problem);
            }
        };
        let settings = dir.join("settings.yaml");
        if settings.exists() {
            read(&settings, Kind::Settings);
        }
        for (folder, kind) in FOLDERS {
            for path in yaml_files(&dir.join(folder)) {
                read(&path, kind);
            }
        }
        directory
    }

    fn file(
        &mut self,
        path: &Path,
        name: String,
        kind: Kind,
        environment: &minijinja::Environment<'_>,
        variables: &BTreeMap<String, Value>,
    ) -> Result<(), Problem> {
        let source = std::fs::read_to_string(path).map_err(|error| Problem::at(&name, None, error.to_string()))?;
        let rendered = template::render(environment, Path::new(&name), &source, variables)?;
        let document = if rendered.text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
            yaml::Document::default()
        } else {
            yaml::read(Path::new(&name), &rendered.text, &yaml_expand).map_err(|located| {
                let place = located.place.map(|(line, column)| (rendered.template_line(line), column));
                Problem::at(&name, place, located.problem).with_frame(&source)
            })?
        };
        let number = self.files.len();
        self.files.push(File { name, rendered, document });
        let mut value = self.files[number].document.value.clone();
        if value.is_null() {
            return Ok(());
        }
        let mut base = String::new();
        if matches!(kind, Kind::Accounts) && is_single_account(&value) {
            base = "accounts.0".to_owned();
            value = serde_json::json!({ "accounts": [value] });
        }
        if matches!(kind, Kind::Profile) {
            value = from_ui_export(value);
        }
        let context = Context { file: number, base };
        match kind {
            Kind::Settings => {
                if let Some(settings) = self.typed::<SettingsFile>(&context, value) {
                    self.settings = settings;
                }
            }
            Kind::Accounts => {
                if let Some(file) = self.typed::<AccountsFile>(&context, value) {
                    self.defaults.extend(file.defaults.map(|value| context.at("defaults", value)));
                    self.patterns.extend(context.list("patterns", file.patterns));
                    self.accounts.extend(context.list("accounts", file.accounts));
                }
            }
            Kind::Profile => {
                if let Some(value) = self.typed::<ProfileFile>(&context, value) {
                    self.profiles.push(context.at("", value));
                }
            }
            Kind::Groups => {
                if let Some(file) = self.typed::<GroupsFile>(&context, value) {
                    self.groups.extend(context.list("groups", file.groups));
                }
            }
            Kind::Notifications => {
                if let Some(file) = self.typed::<NotificationsFile>(&context, value) {
                    self.notifications.extend(context.list("notifications", file.notifications));
                }
            }
            Kind::Reports => {
                if let Some(file) = self.typed::<ReportsFile>(&context, value) {
                    self.reports.extend(context.list("reports", file.reports));
                }
            }
        }
        Ok(())
    }

    /// Everything that the schema has against a value, each with its place; the value where there is nothing.
    fn typed<T: DeserializeOwned + schemars::JsonSchema>(&mut self, context: &Context, value: Value) -> Option<T> {
        let schema = schema_of::<T>();
        let found: Vec<(String, String)> = match jsonschema::validator_for(&schema) {
            Ok(validator) => validator
                .iter_errors(&value)
                .map(|error| (path_of(&error.instance_path().to_string()), error.to_string()))
                .collect(),
            Err(error) => vec![(String::new(), error.to_string())],
        };
        if found.is_empty() {
            match serde_path_to_error::deserialize(value) {
                Ok(typed) => return Some(typed),
                Err(error) => {
                    let path = error.path().to_string().replace('[', ".").replace(']', "");
                    self.report(&context.origin(&path), error.into_inner().to_string());
                }
            }
            return None;
        }
        for (path, text) in found {
            let (path, text) = unexpected(&path, &text, &schema);
            self.report(&context.origin(&path), text);
        }
        None
    }
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

struct Context {
    file: usize,
    /// A path that stands in the value and not in the file.
    base: String,
}

impl Context {
    fn origin(&self, path: &str) -> Origin {
        let path = match path.strip_prefix(&self.base) {
            Some(rest) if !self.base.is_empty() => rest.trim_start_matches('.'),
            _ => path,
        };
        Origin { file: self.file, path: path.to_owned() }
    }

    fn at<T>(&self, path: &str, value: T) -> At<T> {
        At { value, origin: self.origin(path) }
    }

    fn list<T>(&self, path: &str, values: Vec<T>) -> Vec<At<T>> {
        values.into_iter().enumerate().map(|(number, value)| self.at(&format!("{path}.{number}"), value)).collect()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Settings,
    Accounts,
    Profile,
    Groups,
    Notifications,
    Reports,
}

const FOLDERS: [(&str, Kind); 5] = [
    ("profiles", Kind::Profile),
    ("accounts", Kind::Accounts),
    ("groups", Kind::Groups),
    ("notifications", Kind::Notifications),
    ("reports", Kind::Reports),
];

fn schema_of<T: schemars::JsonSchema>() -> Value {
    serde_json::to_value(schemars::schema_for!(T)).unwrap_or_default()
}

/// The schema of each kind of file, by folder, for editors.
pub fn schemas() -> Map<String, Value> {
    Map::from_iter([
        ("settings".to_owned(), schema_of::<SettingsFile>()),
        ("accounts".to_owned(), schema_of::<AccountsFile>()),
        ("profiles".to_owned(), schema_of::<ProfileFile>()),
        ("groups".to_owned(), schema_of::<GroupsFile>()),
        ("notifications".to_owned(), schema_of::<NotificationsFile>()),
        ("reports".to_owned(), schema_of::<ReportsFile>()),
    ])
}

/// One file as its template renders it.
///
/// # Errors
/// The file, the variables or the template.
pub fn rendered(dir: &Path, file: &Path, overrides: &[(String, Value)]) -> Result<String, Problem> {
    let path = if file.exists() { file.to_owned() } else { dir.join(file) };
    let name = path.strip_prefix(dir).unwrap_or(&path).to_owned();
    let source = std::fs::read_to_string(&path)
        .map_err(|error| Problem::at(&path.display().to_string(), None, error.to_string()))?;
    let variables = variables(dir, overrides)?;
    Ok(template::render(&template::environment(dir), &name, &source, &variables)?.text)
}

fn is_single_account(value: &Value) -> bool {
    let keys = ["defaults", "patterns", "accounts"];
    value.as_object().is_some_and(|map| !map.is_empty() && !keys.iter().any(|key| map.contains_key(*key)))
}

/// A profile as the web page exports it.
fn from_ui_export(value: Value) -> Value {
    let Some(settings) = value["ruleSettings"].as_array() else { return value };
    let rules: Map<String, Value> = settings
        .iter()
        .filter_map(|setting| {
            let mut rule = Map::new();
            for (from, to) in [("enabled", "enabled"), ("riskLevel", "risk")] {
                if !setting[from].is_null() {
                    rule.insert(to.to_owned(), setting[from].clone());
                }
            }
            let exceptions: Map<String, Value> =
                [("tags", "tags"), ("filterTags", "filter_tags"), ("resources", "resources")]
                    .into_iter()
                    .filter(|(from, _)| setting["exceptions"][from].as_array().is_some_and(|list| !list.is_empty()))
                    .map(|(from, to)| (to.to_owned(), setting["exceptions"][from].clone()))
                    .collect();
            if !exceptions.is_empty() {
                rule.insert("exceptions".to_owned(), Value::Object(exceptions));
            }
            let extra: Map<String, Value> = setting["extraSettings"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|extra| Some((extra["name"].as_str()?.to_owned(), extra.clone())))
                .collect();
            if !extra.is_empty() {
                rule.insert("settings".to_owned(), Value::Object(extra));
            }
            Some((setting["id"].as_str()?.to_owned(), Value::Object(rule)))
        })
        .collect();
    let mut profile = serde_json::json!({ "name": value["name"], "rules": rules });
    if value["description"].is_string() {
        profile["description"] = value["description"].clone();
    }
    profile
}

fn variables(dir: &Path, overrides: &[(String, Value)]) -> Result<BTreeMap<String, Value>, Problem> {
    let mut variables = BTreeMap::new();
    for path in yaml_files(&dir.join("vars")) {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let source = std::fs::read_to_string(&path).map_err(|error| Problem::at(&name, None, error.to_string()))?;
        let document = yaml::read(Path::new(&name), &source, &yaml_expand)
            .map_err(|located| Problem::at(&name, located.place, located.problem).with_frame(&source))?;
        let Value::Object(map) = document.value else {
            return Err(Problem::at(&name, Some((1, 1)), "variables are a map: name and value"));
        };
        variables.extend(map);
    }
    variables.extend(overrides.iter().cloned());
    Ok(variables)
}

/// By name, so that every run reads them in the same order.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
        })
        .collect();
    files.sort();
    files
}
