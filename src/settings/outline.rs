//! What scripts have to do with router.yaml, readable without the secrets and queues that the service needs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use super::{Located, resolve, yaml, yaml_expand};
use crate::{
    restraint::{Budget, BudgetSettings, StormSettings},
    route::RouteLimits,
};

/// Scripts, their limits and the types of the targets they may send to.
#[derive(Debug)]
pub struct Outline {
    pub routes: PathBuf,
    pub limits: RouteLimits,
    /// Target and type: `soc`, `jira`.
    pub targets: BTreeMap<String, String>,
    pub storms: Option<StormSettings>,
    pub budget: Option<BudgetSettings>,
}

impl Outline {
    /// Reads the file. A variable that is not set stays as it is written: in a pull request nobody has the secrets.
    pub fn read(path: &Path) -> Result<Self, Vec<Located>> {
        let name = path.display().to_string();
        let located = |place, problem: String| vec![Located { file: name.clone(), place, problem }];
        let text = std::fs::read_to_string(path).map_err(|error| located(None, format!("read it: {error}")))?;
        let expand = yaml_expand(path);
        let lenient = |text: &str| Ok(expand(text).unwrap_or_else(|_| text.to_owned()));
        let document = yaml::read(path, &text, &lenient).map_err(|problem| vec![problem])?;
        let top = &document.value;
        let routes = top.get("routes").and_then(Value::as_str).unwrap_or("./routes");
        let mut limits = match top.get("limits") {
            Some(limits) => RouteLimits::deserialize(limits)
                .map_err(|error| located(document.place("limits"), format!("limits: {error}")))?,
            None => RouteLimits::default(),
        };
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
        let part = |name: &'static str| top.get(name).map(|value| (name, value));
        let wrong = |name: &str, problem: String| located(document.place(name), format!("{name}: {problem}"));
        let storms = part("storms")
            .map(|(name, value)| StormSettings::deserialize(value).map_err(|error| wrong(name, error.to_string())))
            .transpose()?;
        let budget = part("budget")
            .map(|(name, value)| -> Result<BudgetSettings, Vec<Located>> {
                let settings = BudgetSettings::deserialize(value).map_err(|error| wrong(name, error.to_string()))?;
                Budget::new(settings.clone(), Vec::new()).map_err(|problem| wrong(name, problem))?;
                Ok(settings)
            })
            .transpose()?;
        if let Some(storms) = storms.as_ref().filter(|storms| !targets.contains_key(&storms.target)) {
            return Err(wrong("storms", format!("there is no target `{}`", storms.target)));
        }
        Ok(Self { routes: resolve(path, routes), limits, targets, storms, budget })
    }
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
}
