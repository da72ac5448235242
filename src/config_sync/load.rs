//! The directory as it is written: rendered, parsed, checked against the schema, every problem at once.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
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
    ui_export,
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

impl File {
    fn parse(
        dir: &Path,
        path: &Path,
        environment: &minijinja::Environment<'_>,
        variables: &BTreeMap<String, Value>,
    ) -> Result<Self, Problem> {
        let name = path.strip_prefix(dir).unwrap_or(path).display().to_string();
        let source = std::fs::read_to_string(path).map_err(|error| Problem::at(&name, None, error.to_string()))?;
        let rendered = template::render(environment, Path::new(&name), &source, variables)?;
        let blank = rendered.text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#'));
        let document = if blank {
            yaml::Document::default()
        } else {
            yaml::read(Path::new(&name), &rendered.text, &yaml_expand).map_err(|located| {
                let place = located.place.map(|(line, column)| (rendered.template_line(line), column));
                Problem::at(&name, place, located.problem).with_frame(&source)
            })?
        };
        Ok(Self { name, rendered, document })
    }
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
    checkers: HashMap<&'static str, Arc<Checker>>,
}

/// A compiled schema.
struct Checker {
    schema: Value,
    validator: Option<jsonschema::Validator>,
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
        let settings = dir.join("settings.yaml");
        let mut paths: Vec<(PathBuf, Kind)> = Vec::new();
        if settings.exists() {
            paths.push((settings, Kind::Settings));
        }
        for (folder, kind) in FOLDERS {
            paths.extend(yaml_files(&dir.join(folder)).into_iter().map(|path| (path, kind)));
        }
        // Parsing is most of the work, and files don't know of each other.
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let parsed: Vec<Result<File, Problem>> = std::thread::scope(|scope| {
            let chunks = paths.chunks(paths.len().div_ceil(threads).max(1));
            let workers: Vec<_> = chunks
                .map(|chunk| {
                    let (environment, variables) = (&environment, &variables);
                    scope.spawn(move || {
                        chunk.iter().map(|(path, _)| File::parse(dir, path, environment, variables)).collect::<Vec<_>>()
                    })
                })
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        for (file, (_, kind)) in parsed.into_iter().zip(paths) {
            match file {
                Ok(file) => directory.take(file, kind),
                Err(problem) => directory.problems.push(problem),
            }
        }
        directory
    }

    fn take(&mut self, file: File, kind: Kind) {
        let number = self.files.len();
        self.files.push(file);
        // Only the places are needed from here on.
        let mut value = std::mem::take(&mut self.files[number].document.value);
        if value.is_null() {
            return;
        }
        let mut base = String::new();
        if matches!(kind, Kind::Accounts) && is_single_account(&value) {
            base = "accounts.0".to_owned();
            value = serde_json::json!({ "accounts": [value] });
        }
        if matches!(kind, Kind::Profile) {
            value = ui_export::profile(value);
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
    }

    /// Everything that the schema has against a value, each with its place; the value where there is nothing.
    fn typed<T: DeserializeOwned + schemars::JsonSchema>(&mut self, context: &Context, value: Value) -> Option<T> {
        let checker = self.checkers.entry(std::any::type_name::<T>()).or_insert_with(|| {
            let schema = schema_of::<T>();
            // A schema that is made from our own types compiles; the types check once more below.
            let validator = jsonschema::validator_for(&schema).ok();
            Arc::new(Checker { schema, validator })
        });
        let checker = Arc::clone(checker);
        let errors = checker.validator.iter().flat_map(|validator| validator.iter_errors(&value));
        let found: Vec<(String, String)> =
            errors.map(|error| (path_of(&error.instance_path().to_string()), error.to_string())).collect();
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
            let (path, text) = unexpected(&path, &text, &checker.schema);
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
        ("plan".to_owned(), schema_of::<super::plan::Plan>()),
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
