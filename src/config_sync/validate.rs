//! What can be said against the files without asking anybody: all of it at once.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    catalogue::{Catalogue, CatalogueRule},
    dates,
    items::wanted_notification,
    load::{Directory, Origin},
    problem::Problem,
    resolve::{key_of, profile_with},
    rules::CHOICES,
    same::same,
    schema::{Account, ApplyBy, Mode, Rule},
    validate_items,
};

const RISKS: [&str; 5] = ["LOW", "MEDIUM", "HIGH", "VERY_HIGH", "EXTREME"];
const PRUNABLE: [&str; 4] = ["notifications", "reports", "profiles", "groups"];

/// Adds problems to the directory; answers what is only worth a word.
pub(super) fn validate(directory: &mut Directory, catalogue: &Catalogue) -> Vec<Problem> {
    let mut found = Found { directory: Vec::new(), warnings: Vec::new() };
    settings(directory, &mut found);
    accounts(directory, catalogue, &mut found);
    profiles(directory, catalogue, &mut found);
    validate_items::groups(directory, &mut found);
    let own = directory.notifications.iter().filter(|it| it.value.accounts.is_none());
    validate_items::alike(own.map(|it| (wanted_notification(&it.value, None).0, &it.origin)), &mut found);
    let own = directory.reports.iter().filter(|it| it.value.accounts.is_none());
    validate_items::alike(own.map(|it| ((&it.value.group, &it.value.title), &it.origin)), &mut found);
    for notification in &directory.notifications {
        validate_items::notification(&notification.value, &notification.origin, catalogue, &mut found);
    }
    for report in &directory.reports {
        validate_items::report(&report.value, &report.origin, catalogue, &mut found);
        if let Some(group) = &report.value.group
            && report.value.accounts.is_some()
        {
            found.problem(&report.origin, format!("a report is of accounts or of group `{group}`, not of both"));
        }
    }
    let problems: Vec<Problem> =
        found.directory.iter().map(|(origin, text)| directory.problem(origin, text.clone())).collect();
    directory.problems.extend(problems);
    found.warnings.iter().map(|(origin, text)| directory.problem(origin, text.clone())).collect()
}

/// What was found so far.
pub(super) struct Found {
    directory: Vec<(Origin, String)>,
    warnings: Vec<(Origin, String)>,
}

impl Found {
    pub(super) fn problem(&mut self, origin: &Origin, text: impl Into<String>) {
        self.directory.push((origin.clone(), text.into()));
    }

    pub(super) fn warning(&mut self, origin: &Origin, text: impl Into<String>) {
        self.warnings.push((origin.clone(), text.into()));
    }
}

fn settings(directory: &Directory, found: &mut Found) {
    let settings = &directory.settings;
    let origin = Origin::default();
    if let Some(api) = &settings.api
        && let Err(problem) = super::base_url(api)
    {
        found.problem(&origin.below("api"), problem);
    }
    if let Some(share) = &settings.max_change
        && !share.trim_end_matches('%').trim().parse::<f64>().is_ok_and(|share| (0.0..=100.0).contains(&share))
    {
        found.problem(&origin.below("max_change"), format!("`{share}` is no share; write e.g. 20%, at most 100%"));
    }
    for (number, kind) in settings.prune.iter().enumerate() {
        if !PRUNABLE.contains(&kind.as_str()) {
            let text = format!("`{kind}` can't be pruned; these can: {}", PRUNABLE.join(", "));
            found.problem(&origin.below("prune").below(&number.to_string()), text);
        }
    }
    if settings.parallelism == Some(0) {
        found.problem(&origin.below("parallelism"), "parallelism is at least 1");
    }
    if settings.timeout_seconds == Some(0) {
        found.problem(&origin.below("timeout_seconds"), "timeout_seconds is at least 1");
    }
    if settings.requests_per_second == Some(0) {
        found.problem(&origin.below("requests_per_second"), "requests_per_second is at least 1");
    }
}

fn accounts(directory: &Directory, catalogue: &Catalogue, found: &mut Found) {
    let mut keys: HashMap<String, usize> = HashMap::new();
    for entry in &directory.accounts {
        match key_of(&entry.value) {
            None => found.problem(
                &entry.origin,
                "`account` is missing: the cloud account number, subscription, project or Conformity id",
            ),
            Some(key) => {
                if let Some(first) = keys.insert(key.clone(), entry.origin.file) {
                    let text = format!("account {key} is written twice (also in {})", directory.file_name(first));
                    found.problem(&entry.origin.below("account"), text);
                }
            }
        }
        if entry.value.r#match.is_some() {
            found.problem(&entry.origin.below("match"), "`match` belongs into patterns");
        }
    }
    for pattern in &directory.patterns {
        match &pattern.value.r#match {
            None => found.problem(&pattern.origin, "`match` is missing: name, environment or tag, as globs"),
            Some(fits) if fits.name.is_none() && fits.environment.is_none() && fits.tag.is_none() => {
                found.problem(&pattern.origin.below("match"), "it names nothing: write `name: \"*\"` for all accounts");
            }
            Some(_) => {}
        }
        if pattern.value.account.is_some() {
            found.problem(
                &pattern.origin.below("account"),
                "a pattern is for many accounts: `account` belongs into accounts",
            );
        }
    }
    let all = directory.defaults.iter().chain(&directory.patterns).chain(&directory.accounts);
    for entry in all {
        account(directory, &entry.value, &entry.origin, catalogue, found);
    }
}

fn account(directory: &Directory, account: &Account, origin: &Origin, catalogue: &Catalogue, found: &mut Found) {
    if let Some(tags) = &account.tags {
        validate_items::tags(tags, &origin.below("tags"), found);
    }
    if account.code.as_ref().is_some_and(|code| code.chars().count() != 3) {
        found.problem(&origin.below("code"), "a code has three characters");
    }
    if account.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        found.problem(&origin.below("name"), "a name can't be empty");
    }
    if let Some(subscription) = &account.subscription
        && !["essentials", "advanced"].contains(&subscription.as_str())
    {
        found.problem(
            &origin.below("subscription"),
            format!("`{subscription}` is no subscription: essentials or advanced"),
        );
    }
    if let Some(bot) = &account.bot {
        let origin = origin.below("bot");
        if bot.delay.is_some_and(|delay| !(1..=72).contains(&delay)) {
            found.problem(&origin.below("delay"), "delay is 1 to 72 hours");
        }
        if let Some(problem) = bot.disabled_until.as_ref().and_then(|until| dates::start_ms(until).err()) {
            found.problem(&origin.below("disabled_until"), problem);
        }
    }
    for (number, used) in account.profiles.iter().flatten().enumerate() {
        let origin = origin.below("profiles").below(&number.to_string());
        let with = profile_with(used);
        if !directory.profiles.iter().any(|profile| profile.value.name == with.profile) {
            let names: Vec<&str> = directory.profiles.iter().map(|profile| profile.value.name.as_str()).collect();
            found.problem(
                &origin,
                format!("there is no profile `{}`; profiles/ has: {}", with.profile, names.join(", ")),
            );
        }
        if with.apply == ApplyBy::Platform && with.mode == Mode::Replace && !with.exceptions {
            let text = "the platform's replace wipes the account's exceptions: say so with `exceptions: true`, or leave it to config-sync";
            found.problem(&origin, text);
        }
        let earlier = account.profiles.iter().flatten().take(number).map(profile_with);
        if with.apply == ApplyBy::Platform && earlier.into_iter().any(|other| other.apply == ApplyBy::ConfigSync) {
            found.problem(&origin, "profiles that the platform applies come before those that config-sync merges");
        }
        if with.exceptions && with.mode == Mode::FillGaps {
            found.problem(&origin, "`exceptions: true` goes with overwrite and replace only");
        }
    }
    for (id, rule) in &account.rules {
        let origin = origin.below("rules").below(id);
        let known = check_rule(id, rule, &origin, catalogue, found);
        if known.is_some_and(|known| known.is_organisational) {
            found.problem(&origin, format!("{id} is a rule of the organisation: an account can't set it"));
        }
        if known.is_some_and(|known| known.is_deprecated) {
            found.warning(&origin, format!("{id} is deprecated: the platform is about to give it up"));
        }
    }
    let places = |kind: &'static str| (0..).map(move |number: usize| origin.below(kind).below(&number.to_string()));
    let names = account.notifications.iter().map(|one| wanted_notification(one, None).0);
    validate_items::alike(names.zip(places("notifications")), found);
    validate_items::alike(account.reports.iter().map(|one| &one.title).zip(places("reports")), found);
    for (number, one) in account.notifications.iter().enumerate() {
        let origin = origin.below("notifications").below(&number.to_string());
        if one.accounts.is_some() {
            found.problem(
                &origin.below("accounts"),
                "`accounts` belongs into notifications/*.yaml; this one is the account's",
            );
        }
        validate_items::notification(one, &origin, catalogue, found);
    }
    for (number, one) in account.reports.iter().enumerate() {
        let origin = origin.below("reports").below(&number.to_string());
        if one.accounts.is_some() || one.group.is_some() {
            found.problem(&origin, "`accounts` and `group` belong into reports/*.yaml; this one is the account's");
        }
        validate_items::report(one, &origin, catalogue, found);
    }
}

fn profiles(directory: &Directory, catalogue: &Catalogue, found: &mut Found) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for profile in &directory.profiles {
        if profile.value.name.trim().is_empty() {
            found.problem(&profile.origin.below("name"), "a profile needs a name");
        }
        if let Some(first) = names.insert(&profile.value.name, profile.origin.file) {
            let text =
                format!("profile `{}` is written twice (also in {})", profile.value.name, directory.file_name(first));
            found.problem(&profile.origin.below("name"), text);
        }
        for (id, rule) in &profile.value.rules {
            let origin = profile.origin.below("rules").below(id);
            let known = check_rule(id, rule, &origin, catalogue, found);
            if known.is_some_and(|known| known.is_deprecated) {
                // A live profile may hold one from earlier times.
                let text = format!("{id} is deprecated: the platform refuses any change of a profile that names it");
                found.warning(&origin, text);
            }
        }
    }
}

fn check_rule<'c>(
    id: &str,
    rule: &Rule,
    origin: &Origin,
    catalogue: &'c Catalogue,
    found: &mut Found,
) -> Option<&'c CatalogueRule> {
    if let Some(risk) = &rule.risk
        && !RISKS.contains(&risk.as_str())
    {
        found.problem(&origin.below("risk"), format!("`{risk}` is no risk level: {}", RISKS.join(", ")));
    }
    if let Some(expires) = &rule.expires {
        if let Err(problem) = dates::start_ms(expires) {
            found.problem(&origin.below("expires"), problem);
        }
        if rule.exceptions.is_none() {
            found.problem(&origin.below("expires"), "`expires` ends exceptions, and there are none here");
        }
    }
    if rule.note.as_ref().is_some_and(|note| note.chars().count() > 200) {
        found.problem(&origin.below("note"), "a note has at most 200 characters");
    }
    let Some(known) = catalogue.get(id) else {
        unknown_rule(id, origin, catalogue, found);
        return None;
    };
    if rule.risk.is_some() && known.multi_risk_level {
        found.problem(
            &origin.below("risk"),
            format!("{id} has a risk level for each of its parts: none can be set for the whole"),
        );
    }
    if known.must_be_configured && rule.enabled == Some(true) && rule.settings.is_empty() {
        found.warning(origin, format!("{id} checks nothing until its settings are filled in"));
    }
    for (name, value) in &rule.settings {
        setting(id, name, value, known, &origin.below("settings").below(name), found);
    }
    Some(known)
}

/// A slip of the pen is a problem. What is like nothing that is known may be a custom rule, whose ids have any shape, or one
/// that is newer than the catalogue: an export may hold either.
pub(super) fn unknown_rule(id: &str, origin: &Origin, catalogue: &Catalogue, found: &mut Found) {
    let newer = "`config catalogue update` brings rules that are newer than the catalogue";
    match catalogue.suggestion(id) {
        Some(near) if !id.starts_with("CUSTOM-") => {
            found.problem(origin, format!("there is no rule `{id}`; did you mean `{near}`? {newer}"));
        }
        _ => found.warning(origin, format!("rule `{id}` can't be checked: it is not in the catalogue; {newer}")),
    }
}

fn setting(id: &str, name: &str, value: &Value, known: &CatalogueRule, origin: &Origin, found: &mut Found) {
    let Some(defaults) = known.settings.as_ref().filter(|settings| !settings.is_empty()) else {
        // The catalogue may not know all settings of a rule.
        return;
    };
    let Some(default) = known.setting(name) else {
        let names: Vec<&str> = defaults.iter().filter_map(|default| default["name"].as_str()).collect();
        let text = format!("{id} has no setting `{name}`; it has: {}", names.join(", "));
        // One that is like none of them may be newer than the catalogue.
        let slip = names.iter().any(|known| strsim::damerau_levenshtein(known, name) <= 2);
        return if slip { found.problem(origin, text) } else { found.warning(origin, text) };
    };
    if value.is_object() {
        return;
    }
    let kind = default["type"].as_str().unwrap_or_default();
    let number = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    let fits = match kind {
        "single-number-value" | "ttl" => number(value),
        "single-string-value" | "single-value-regex" => value.is_string() || value.is_number(),
        "multiple-number-values" => value.as_array().is_some_and(|list| list.iter().all(number)),
        kind if kind.starts_with("multiple-")
            || kind.starts_with(CHOICES)
            || ["countries", "regions", "ignored-regions", "tags"].contains(&kind) =>
        {
            value.is_array()
        }
        _ => true,
    };
    if !fits {
        let wanted = match kind {
            "single-number-value" | "ttl" => "a number",
            "single-string-value" | "single-value-regex" => "a text",
            "multiple-number-values" => "a list of numbers",
            _ => "a list",
        };
        return found.problem(origin, format!("setting `{name}` of {id} takes {wanted} ({kind})"));
    }
    let choices = default["values"].as_array().filter(|choices| kind.starts_with(CHOICES) && !choices.is_empty());
    for (choices, wanted) in choices.into_iter().flat_map(|choices| value.as_array().map(|list| (choices, list))) {
        for value in wanted.iter().filter(|value| !choices.iter().any(|choice| same(&choice["value"], value))) {
            let names: Vec<String> = choices.iter().map(|choice| choice["value"].to_string()).collect();
            let text = format!("setting `{name}` of {id} has no choice {value}; it has: {}", names.join(", "));
            found.problem(origin, text);
        }
    }
}
