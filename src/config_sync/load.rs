//! The directory as it is written: rendered, parsed, checked against the schema, every problem at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    file::{self, Content, File, Loaded, With},
    problem::Problem,
    schema::{
        Account, AccountsFile, Group, GroupsFile, Notification, NotificationsFile, ProfileFile, Report, ReportsFile,
        SettingsFile,
    },
    template,
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
        match self.files.get(origin.file) {
            Some(file) => file.problem(&origin.path, text),
            None => Problem::at("", None, text),
        }
    }

    /// Relative to the directory.
    pub fn file_name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| &file.name)
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
        directory.problems.extend(misnamed(dir));
        for (folder, kind) in FOLDERS {
            paths.extend(yaml_files(&dir.join(folder)).into_iter().map(|path| (path, kind)));
        }
        for loaded in file::read(dir, &paths, &With { environment: &environment, variables: &variables }) {
            directory.take(loaded);
        }
        directory
    }

    fn take(&mut self, loaded: Loaded) {
        self.problems.extend(loaded.problems);
        let Some(file) = loaded.file else { return };
        let context = Context { file: self.files.len(), base: loaded.base };
        self.files.push(file);
        match loaded.content {
            Content::Nothing => {}
            Content::Settings(settings) => self.settings = *settings,
            Content::Accounts(file) => {
                self.defaults.extend(file.defaults.map(|value| context.at("defaults", value)));
                self.patterns.extend(context.list("patterns", file.patterns));
                self.accounts.extend(context.list("accounts", file.accounts));
            }
            Content::Profile(profile) => self.profiles.push(context.at("", profile)),
            Content::Groups(file) => self.groups.extend(context.list("groups", file.groups)),
            Content::Notifications(file) => {
                self.notifications.extend(context.list("notifications", file.notifications));
            }
            Content::Reports(file) => self.reports.extend(context.list("reports", file.reports)),
        }
    }
}

/// Folders and files that nobody reads, and that were surely meant to be read.
fn misnamed(dir: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let yaml = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
        let is_folder = entry.path().is_dir();
        let (Some(stem), true) = (if is_folder { Some(name.as_str()) } else { yaml }, name != "settings.yaml") else {
            continue;
        };
        let near = |folder: &&str| strsim::damerau_levenshtein(stem, folder) <= 2;
        let Some(folder) = FOLDERS.iter().map(|(folder, _)| *folder).find(near) else { continue };
        if is_folder && stem != folder {
            problems.push(Problem::at(&name, None, format!("no folder has this name; did you mean `{folder}`?")));
        } else if !is_folder {
            let text = format!("files beside settings.yaml are not read; did you mean `{folder}/{name}`?");
            problems.push(Problem::at(&name, None, text));
        }
    }
    problems.sort_by(|one, other| one.file.cmp(&other.file));
    problems
}

struct Context {
    file: usize,
    /// A path that stands in the value and not in the file.
    base: &'static str,
}

impl Context {
    fn origin(&self, path: &str) -> Origin {
        Origin { file: self.file, path: file::written(path, self.base).to_owned() }
    }

    fn at<T>(&self, path: &str, value: T) -> At<T> {
        At { value, origin: self.origin(path) }
    }

    fn list<T>(&self, path: &str, values: Vec<T>) -> Vec<At<T>> {
        values.into_iter().enumerate().map(|(number, value)| self.at(&format!("{path}.{number}"), value)).collect()
    }
}

/// What a file is for, by its folder.
#[derive(Clone, Copy)]
pub(super) enum Kind {
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

pub(super) fn schema_of<T: schemars::JsonSchema>() -> Value {
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
    Ok(template::render(&template::environment(dir), &name, &source, &variables)?.text.to_string())
}

fn variables(dir: &Path, overrides: &[(String, Value)]) -> Result<BTreeMap<String, Value>, Problem> {
    // Each may use what those before it say, and what the command line says.
    let mut variables: BTreeMap<String, Value> = overrides.iter().cloned().collect();
    let environment = template::environment(dir);
    for path in yaml_files(&dir.join("vars")) {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let source = std::fs::read_to_string(&path).map_err(|error| Problem::at(&name, None, error.to_string()))?;
        let rendered = template::render(&environment, Path::new(&name), &source, &variables)?;
        let document = yaml::read(Path::new(&name), &rendered.text, &yaml_expand(&path)).map_err(|located| {
            let place = located.place.map(|(line, column)| (rendered.template_line(line), column));
            Problem::at(&name, place, located.problem).with_frame(&source)
        })?;
        let Value::Object(map) = document.value else {
            return Err(Problem::at(&name, Some((1, 1)), "variables are a map: name and value"));
        };
        variables.extend(map.into_iter().filter(|(key, _)| !overrides.iter().any(|(given, _)| given == key)));
    }
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
