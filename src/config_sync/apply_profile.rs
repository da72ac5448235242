//! Profiles that the platform applies: accounts in chunks, one call each; done when the settings read as they should.

use std::{sync::atomic::Ordering, time::Duration};

use reqwest::Method;
use serde_json::json;

use super::{
    ApiError, ReadConformity, Writer,
    api::{list, segment},
    apply::{Apply, Outcome},
    diff,
    history::Entry,
    plan::{Change, Kind, Plan, Section},
};

/// The platform takes 30 s for a call and not longer.
const CHUNK: usize = 25;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// Accounts that get the same profile in the same way.
struct Batch<'p> {
    change: &'p Change,
    members: Vec<(&'p Section, &'p Change)>,
}

fn batches<'p>(sections: &[&'p Section]) -> Vec<Batch<'p>> {
    let mut batches: Vec<Batch<'p>> = Vec::new();
    for section in sections {
        // Behind the batch of its profile before: a later profile of an account is to win.
        let mut from = 0;
        for change in section.applicable().filter(|change| change.kind == Kind::ProfileApply) {
            let joins = |batch: &Batch<'_>| batch.change.write.body == change.write.body && batch.members.len() < CHUNK;
            let place = batches.iter().skip(from).position(joins).map_or(batches.len(), |place| from + place);
            match batches.get_mut(place) {
                Some(batch) => batch.members.push((section, change)),
                None => batches.push(Batch { change, members: vec![(section, change)] }),
            }
            from = place + 1;
        }
    }
    batches
}

/// Calls that these sections need.
pub(super) fn calls(sections: &[&Section]) -> usize {
    batches(sections).len()
}

impl Apply<'_> {
    /// Applies all profiles that the plan leaves to the platform; an outcome for each account that has one.
    pub(super) async fn profiles(&self, plan: &Plan, sections: &[&Section], done: &(dyn Fn() + Sync)) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        // One after the other: a later profile of an account is to win over an earlier one.
        for batch in batches(sections) {
            let stopped = self.stopped();
            let result = if stopped { None } else { Some(self.profile(&batch).await) };
            done();
            for (section, change) in &batch.members {
                let place = outcomes.iter().position(|outcome| outcome.account_id == section.account_id);
                let place = place.unwrap_or_else(|| {
                    outcomes.push(Outcome::of(section));
                    outcomes.len() - 1
                });
                let outcome = &mut outcomes[place];
                let Some(result) = &result else {
                    outcome.left += 1;
                    continue;
                };
                let answer = result.as_ref().map_or_else(ToString::to_string, Clone::clone);
                if let Err(error) = self.history.append(Entry::of(plan, section, change, &answer, result.is_ok())) {
                    outcome.failures.push(format!("the history can't be written, so nothing more is applied: {error}"));
                    self.stop.store(true, Ordering::Relaxed);
                }
                match result {
                    Ok(_) => {
                        outcome.applied += 1;
                        self.note_changes(section, change);
                        self.wait(plan, section, change, outcome).await;
                    }
                    Err(error) => outcome.failures.push(format!("profile {}: {error}", change.name)),
                }
            }
        }
        outcomes
    }

    async fn profile(&self, batch: &Batch<'_>) -> Result<String, ApiError> {
        let body = &batch.change.write.body;
        let name = body["profile"].as_str().unwrap_or_default();
        let profiles = list(&self.conformity.get("/profiles").await?);
        let mut named = profiles.iter().filter(|profile| profile["attributes"]["name"] == name);
        let (Some(profile), None) = (named.next(), named.next()) else {
            return Err(ApiError::Setup(format!("there is not exactly one profile named `{name}`")));
        };
        let id = segment(profile["id"].as_str().unwrap_or_default());
        let content =
            diff::profile_rules(&self.conformity.get(&format!("/profiles/{id}?includes=ruleSettings")).await?);
        if body["content"] != diff::digest(&content) {
            // It was not written, or somebody changed it: the accounts would get what no plan showed.
            return Err(ApiError::Setup(format!("profile `{name}` does not hold what the plan showed; plan again")));
        }
        let mut meta = body["meta"].clone();
        let ids: Vec<&str> = batch.members.iter().map(|(section, _)| section.account_id.as_str()).collect();
        meta["accountIds"] = json!(ids);
        let path = format!("/profiles/{id}/apply");
        let answer = Writer(self.conformity).send(Method::POST, &path, &json!({ "meta": meta })).await;
        match answer {
            Ok(answer) => Ok(answer["meta"]["message"].as_str().unwrap_or("sent").to_owned()),
            // Applying it twice is the same as once, and reading back says whether it was.
            Err(ApiError::Unknown { text, .. }) => Ok(format!("no certain answer ({text}); read back")),
            Err(error) => Err(error),
        }
    }

    /// There is no job to ask for: it is done when the settings are as they should be.
    async fn wait(&self, plan: &Plan, section: &Section, change: &Change, outcome: &mut Outcome) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.is_applied(plan, section, change).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    outcome.differences.push(format!("not read back: {error}"));
                    return;
                }
            }
            if self.stopped() {
                outcome.differences.push(format!("profile {} was sent and not read back: stopped", change.name));
                return;
            }
            if tokio::time::Instant::now() >= deadline {
                outcome.differences.push(format!(
                    "profile {} was sent {} s ago and is not applied yet; plan again later",
                    change.name,
                    PATIENCE.as_secs()
                ));
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_sync::plan::{Action, Write};

    fn change(profile: &str, mode: &str) -> Change {
        Change {
            kind: Kind::ProfileApply,
            name: profile.into(),
            action: Action::Update,
            fields: Vec::new(),
            refused: None,
            by: None,
            write: Write { body: json!({ "profile": profile, "meta": { "mode": mode } }), ..Write::default() },
        }
    }

    fn section(id: &str, changes: Vec<Change>) -> Section {
        Section { account_id: id.into(), changes, ..Section::default() }
    }

    #[test]
    fn the_profiles_of_an_account_are_applied_in_its_order_whoever_shares_them() {
        let pci = || change("pci", "overwrite");
        let (a, b) = (section("a", vec![pci()]), section("b", vec![change("baseline", "overwrite"), pci()]));
        let order: Vec<(String, Vec<&str>)> = batches(&[&a, &b])
            .iter()
            .map(|it| (it.change.name.clone(), it.members.iter().map(|it| it.0.account_id.as_str()).collect()))
            .collect();
        assert_eq!(order, [("pci".into(), vec!["a"]), ("baseline".into(), vec!["b"]), ("pci".into(), vec!["b"])]);
        assert_eq!(batches(&[&b, &a]).len(), 2, "behind it they share one call");
    }

    #[test]
    fn accounts_with_the_same_profile_share_calls_of_25() {
        let section = |number: usize, mode: &str| section(&format!("a{number}"), vec![change("p", mode)]);
        let all: Vec<Section> =
            (0..60).map(|number| section(number, "overwrite")).chain([section(99, "replace")]).collect();
        let all: Vec<&Section> = all.iter().collect();
        let sizes: Vec<usize> = batches(&all).iter().map(|batch| batch.members.len()).collect();
        assert_eq!(sizes, [25, 25, 10, 1]);
        assert_eq!(calls(&all), 4);
    }
}
