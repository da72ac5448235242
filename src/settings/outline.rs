//! What scripts and the commands over the store have to do with router.yaml, readable without the secrets and queues that
//! the service needs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Located, SilenceSettings, read,
    yaml::{self, Document},
    yaml_expand,
};
use crate::{
    restraint::{Budget, BudgetSettings, StormSettings},
    route::RouteLimits,
    store::Place,
};

/// Scripts, their limits and the types of the targets they may send to; how long a silence may last.
#[derive(Debug)]
pub struct Outline {
    pub routes: PathBuf,
    pub limits: RouteLimits,
    /// Target and type: `soc`, `jira`.
    pub targets: BTreeMap<String, String>,
    pub storms: Option<StormSettings>,
    pub budget: Option<BudgetSettings>,
    pub silences: SilenceSettings,
}

/// Where the store is: all that a command needs which only reads it. A reference counts in `store` alone.
pub fn store_place(path: &Path) -> Result<Place, Vec<Located>> {
    let document = yaml::read_file(path, &|text| Ok(text.to_owned()))?;
    let value = document.value.get("store").map(|store| match store.as_str() {
        Some(text) => yaml_expand(path)(text).map(Value::from),
        None => Ok(store.clone()),
    });
    let place = value.transpose().and_then(|value| read::store(path, value.as_ref()));
    place.map_err(|problem| vec![Located { file: path.display().to_string(), place: document.place("store"), problem }])
}

impl Outline {
    /// Reads the file. A variable that is not set stays as it is written: in a pull request nobody has the secrets.
    pub fn read(path: &Path) -> Result<Self, Vec<Located>> {
        let name = path.display().to_string();
        let located = |place, problem: String| vec![Located { file: name.clone(), place, problem }];
        let expand = yaml_expand(path);
        let document = yaml::read_file(path, &|text| Ok(expand(text).unwrap_or_else(|_| text.to_owned())))?;
        let top = &document.value;
        let routes =
            read::routes(path, top.get("routes")).map_err(|problem| located(document.place("routes"), problem))?;
        // As `run` reads them: a number that comes from a variable is a text here.
        let mut limits: RouteLimits = part(&document, &name, "limits")?.unwrap_or_default();
        let mut targets = BTreeMap::new();
        for (target, settings) in top.get("targets").and_then(Value::as_object).into_iter().flatten() {
            let kind = settings.get("type").and_then(Value::as_str).unwrap_or_default();
            if !connectors::KINDS.contains(&kind) {
                let built = connectors::KINDS.join(", ");
                let problem = format!("there is no target type `{kind}`; built are: {built}");
                return Err(located(document.place(&format!("targets.{target}.type")), problem));
            }
            targets.insert(target.clone(), kind.to_owned());
        }
        limits.targets = Some(targets.keys().cloned().collect());
        let wrong = |key: &str, problem: String| located(document.place(key), format!("{key}: {problem}"));
        let storms: Option<StormSettings> = part(&document, &name, "storms")?;
        if let Some(storms) = storms.as_ref().filter(|storms| !targets.contains_key(&storms.target)) {
            return Err(wrong("storms", format!("there is no target `{}`", storms.target)));
        }
        let budget: Option<BudgetSettings> = part(&document, &name, "budget")?;
        if let Some(budget) = &budget {
            Budget::new(budget.clone(), Vec::new()).map_err(|problem| wrong("budget", problem))?;
        }
        let silences = part(&document, &name, "silences")?.unwrap_or_default();
        Ok(Self { routes, limits, targets, storms, budget, silences })
    }
}

/// What stands under a key at the top, if anything does.
fn part<T: DeserializeOwned>(document: &Document, file: &str, key: &str) -> Result<Option<T>, Vec<Located>> {
    let Some(value) = document.value.get(key) else { return Ok(None) };
    connectors::typed(value.clone()).map(Some).map_err(|error| {
        let path = if error.path.is_empty() { key.to_owned() } else { format!("{key}.{}", error.path) };
        let problem = format!("{key}: {}", error.problem);
        vec![Located { file: file.to_owned(), place: document.place(&path), problem }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_secrets_are_not_set_still_names_its_targets() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("router.yaml");
        let text = "routes: ./scripts\nlimits: { max_operations: 7 }\ntargets:\n  soc: { type: jira, token: \"${NOT_SET_ANYWHERE}\" }\n";
        std::fs::write(&file, text).expect("written");
        let outline = Outline::read(&file).expect("read");
        assert_eq!((outline.targets["soc"].as_str(), outline.limits.max_operations), ("jira", 7));
        assert!(outline.routes.ends_with("scripts"));
        std::fs::write(&file, text.replace("jira", "jria")).expect("written");
        let problems = Outline::read(&file).expect_err("a wrong type");
        assert!(problems[0].to_string().contains("router.yaml:4:"), "{}", problems[0]);
    }
    #[test]
    fn a_number_from_a_variable_is_one_for_the_commands_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("router.yaml");
        let number = |number: &str| format!("\"${{NOT_SET_ANYWHERE:-{number}}}\"");
        let text = format!(
            "limits: {{ max_operations: {} }}\ntargets: {{ soc: {{ type: jira }} }}\nstorms: {{ target: soc, accounts: {} }}\n\
             budget: {{ interrupts: {}, digest: 1h }}\n",
            number("200000"),
            number("7"),
            number("9")
        );
        std::fs::write(&file, text.as_str()).expect("written");
        let outline = Outline::read(&file).expect("read");
        assert_eq!(outline.limits.max_operations, 200_000);
        assert_eq!(outline.storms.map(|storms| storms.accounts), Some(7));
        assert_eq!(outline.budget.map(|budget| budget.interrupts), Some(9));
        std::fs::write(&file, text.replace("200000", "many")).expect("written");
        let problems = Outline::read(&file).expect_err("no number");
        assert!(problems[0].to_string().contains("router.yaml:1:11: limits: "), "{}", problems[0]);
    }
}
