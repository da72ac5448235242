//! Desired against actual: pure. What comes out is a plan; nothing here can read or write.

mod items;
mod organisation;
mod platform;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Platform,
    actual::{ActualAccount, Organisation, strings},
    api::segment,
    catalogue::Catalogue,
    items::{Secrets, fields},
    load::Directory,
    plan::{Action, Change, Contents, FieldChange, Kind, Section, Write},
    remembered::Remembered,
    resolve::{Managed, Wanted, glob_fits, names},
    rules,
    schema::{ApplyBy, Mode, ProfileWith, Rule},
};

/// What a comparison needs to know besides both sides.
pub struct Context<'a> {
    pub directory: &'a Directory,
    pub catalogue: &'a Catalogue,
    pub remembered: &'a Remembered,
    pub salt: &'a str,
    /// Milliseconds since the epoch, for expiry dates.
    pub now_ms: i64,
    pub platform: Platform,
}

impl Context<'_> {
    fn prunes(&self, kind: &str) -> bool {
        self.directory.settings.prune.iter().any(|pruned| pruned == kind)
    }

    fn protects_account(&self, account: &ActualAccount) -> bool {
        self.directory.settings.protected.accounts.iter().any(|glob| names(glob, account))
    }

    /// A pattern for all accounts may name rules of other clouds.
    fn foreign(&self, account: &ActualAccount, id: &str) -> bool {
        self.catalogue.get(id).is_some_and(|rule| !rule.provider.is_empty() && rule.provider != account.provider)
    }

    fn expired(&self, rule: &Rule) -> bool {
        rule.expires.as_deref().is_some_and(|date| super::dates::is_over(date, self.now_ms))
    }

    fn default_setting(&self, id: &str) -> Value {
        rules::default_setting(id, self.catalogue.get(id))
    }

    fn protects_rule(&self, id: &str) -> bool {
        self.directory.settings.protected.rules.iter().any(|glob| glob_fits(glob, id))
    }
}

/// A change whose call is still to be filled in.
fn change(kind: Kind, name: &str, action: Action, fields: Vec<FieldChange>, write: Write) -> Change {
    Change { kind, name: name.to_owned(), action, fields, refused: None, by: None, write }
}

fn patch(path: String, body: Value) -> Write {
    Write { method: "PATCH", path, body, ..Write::default() }
}

use items::{notifications, reports};
pub use organisation::{contents, profile_rules};
pub use platform::digest;

const NO_SECRETS: Secrets<'static> = Secrets { is: &|_| false, salt: "" };

/// Everything of one account; `contents` is what the platform's own applies bring.
pub fn account(context: &Context<'_>, managed: &Managed, organisation: &str, contents: &Contents) -> Section {
    let Managed { account, wanted } = managed;
    let mut section = Section {
        account_id: account.id.clone(),
        account: account.name.clone(),
        unknown: account.unread.clone(),
        ..Section::default()
    };
    if !account.unread.is_empty() {
        // Half of what is there is not known: a difference would be a guess.
        return section;
    }
    account_details(&mut section, account, wanted);
    bot(context, &mut section, account, wanted);
    account_rules(context, &mut section, managed, contents);
    let level = json!({ "account": { "data": { "type": "accounts", "id": account.id } },
        "organisation": { "data": { "type": "organisations", "id": organisation } } });
    let list = format!("/settings/communication?accountId={}", segment(&account.id));
    notifications(context, &mut section, &wanted.notifications, &account.notifications, &level, &list);
    let owner = json!({ "accountId": account.id });
    let list = format!("/report-configs?accountId={}", segment(&account.id));
    reports(context, &mut section, &wanted.reports, &account.reports, &owner, &list);
    section.changes.sort_by_key(|change| change.kind);
    if context.protects_account(account) {
        for change in &mut section.changes {
            change.refused = Some("the account is protected in settings.yaml".to_owned());
        }
    }
    section.seal();
    section
}

fn account_details(section: &mut Section, account: &ActualAccount, wanted: &Wanted) {
    let live = json!({ "name": account.name, "environment": account.environment, "tags": account.tags,
        "code": account.attributes["code"] });
    let mut next = live.clone();
    for (key, value) in [("name", &wanted.name), ("environment", &wanted.environment), ("code", &wanted.code)] {
        if let Some(value) = value {
            next[key] = json!(value);
            section.managed += 1;
        }
    }
    if let Some(tags) = &wanted.tags {
        next["tags"] = json!(tags);
        section.managed += 1;
    }
    let changes = fields("", &live, &next, &NO_SECRETS);
    if !changes.is_empty() {
        // The name is sent always; tags as a whole.
        let mut attributes = json!({ "name": next["name"] });
        for change in &changes {
            attributes[&change.field] = next[&change.field].clone();
        }
        let path = format!("/accounts/{}", segment(&account.id));
        let body = json!({ "data": { "type": "accounts", "attributes": attributes } });
        section.changes.push(change(Kind::Account, &account.name, Action::Update, changes, patch(path, body)));
    }
    if let Some(subscription) = &wanted.subscription {
        section.managed += 1;
        let live = account.attributes["subscription-type"].as_str().unwrap_or_default();
        if !live.eq_ignore_ascii_case(subscription) {
            let field =
                FieldChange { field: "subscription".to_owned(), before: json!(live), after: json!(subscription) };
            let path = format!("/accounts/{}/subscription", segment(&account.id));
            let body = json!({ "data": { "attributes": { "subscriptionType": subscription } } });
            section.changes.push(change(
                Kind::Subscription,
                &account.name,
                Action::Update,
                vec![field],
                patch(path, body),
            ));
        }
    }
}

fn bot(_context: &Context<'_>, section: &mut Section, account: &ActualAccount, wanted: &Wanted) {
    let Some(bot) = &wanted.bot else { return };
    let live = json!({
        "disabled": account.bot["disabled"] == true,
        "delay": account.bot["delay"].as_u64().unwrap_or(1),
        "disabledUntil": account.bot["disabledUntil"],
        "disabledRegions": account.bot["disabledRegions"].as_object().into_iter().flatten()
            .filter(|(_, off)| **off == true).map(|(region, _)| region.clone()).collect::<Vec<_>>(),
    });
    let mut next = live.clone();
    if let Some(enabled) = bot.enabled {
        next["disabled"] = json!(!enabled);
    }
    if let Some(delay) = bot.delay {
        next["delay"] = json!(delay);
    }
    if let Some(until) = &bot.disabled_until {
        next["disabledUntil"] = json!(super::dates::start_ms(until).ok());
    }
    if let Some(regions) = &bot.disabled_regions {
        next["disabledRegions"] = json!(regions);
    }
    section.managed += 1;
    let changes = fields("", &live, &next, &NO_SECRETS);
    if changes.is_empty() {
        return;
    }
    let mut sent = serde_json::Map::new();
    for change in &changes {
        let value = match change.field.as_str() {
            // Sent whole, region by region.
            "disabledRegions" => {
                strings(&next["disabledRegions"]).into_iter().map(|region| (region, json!(true))).collect()
            }
            field => next[field].clone(),
        };
        sent.insert(change.field.clone(), value);
    }
    let path = format!("/accounts/{}/settings/bot", segment(&account.id));
    let body = json!({ "data": { "type": "accounts", "attributes": { "settings": { "bot": sent } } } });
    section.changes.push(change(Kind::Bot, "bot", Action::Update, changes, patch(path, body)));
}

/// What is wanted of each rule: over what the platform's applies leave, the profiles in order, then the account's own.
fn wanted_rules(
    context: &Context<'_>,
    account: &ActualAccount,
    rules_then: &BTreeMap<String, Value>,
    wanted: &Wanted,
) -> BTreeMap<String, Value> {
    let mut next: BTreeMap<String, Value> = BTreeMap::new();
    let live = |id: &str| rules_then.get(id).cloned().unwrap_or_else(|| context.default_setting(id));
    let profile_of = |used: &ProfileWith| context.directory.profiles.iter().find(|it| it.value.name == used.profile);
    for used in wanted.profiles.iter().filter(|used| used.apply == ApplyBy::ConfigSync) {
        let Some(profile) = profile_of(used) else { continue };
        if used.mode == Mode::Replace {
            for (id, setting) in rules_then.iter().filter(|(_, setting)| setting["configured"] != false) {
                let mut default = context.default_setting(id);
                if !used.exceptions {
                    // An account's exceptions are never wiped unless that is asked for.
                    default["exceptions"] = setting["exceptions"].clone();
                } else if setting["exceptions"].is_object() {
                    // In words: a platform that keeps what is not sent would keep them.
                    default["exceptions"] = json!({ "tags": [], "filterTags": [], "resources": [] });
                }
                next.entry(id.clone()).or_insert(default);
            }
        }
        for (id, rule) in profile.value.rules.iter().filter(|(id, _)| !context.foreign(account, id)) {
            let configured = rules_then.get(id).is_some_and(|setting| setting["configured"] != false);
            if used.mode == Mode::FillGaps && configured && !next.contains_key(id) {
                continue;
            }
            let under = next.get(id).cloned().unwrap_or_else(|| live(id));
            let mut rule = rule.clone();
            if !used.exceptions && configured {
                rule.exceptions = None;
            }
            let over = rules::overlay(&under, &rule, context.catalogue.get(id), context.expired(&rule));
            next.insert(id.clone(), over);
        }
    }
    // An account keeps its exceptions; those that a profile brought end with the profile's.
    for (id, rule) in wanted.profiles.iter().filter_map(profile_of).flat_map(|profile| &profile.value.rules) {
        let held = next.get(id).or_else(|| rules_then.get(id)).filter(|_| context.expired(rule));
        if let Some(without) = held.and_then(|held| rules::without_exceptions(held, rule)) {
            next.insert(id.clone(), without);
        }
    }
    for (id, rule) in wanted.rules.iter().filter(|(id, _)| !context.foreign(account, id)) {
        let under = next.get(id).cloned().unwrap_or_else(|| live(id));
        next.insert(id.clone(), rules::overlay(&under, rule, context.catalogue.get(id), context.expired(rule)));
    }
    next
}

fn account_rules(context: &Context<'_>, section: &mut Section, managed: &Managed, contents: &Contents) {
    let Managed { account, wanted } = managed;
    let uses = match platform::uses(contents, &wanted.profiles) {
        Ok(uses) => uses,
        Err(problem) => {
            section.errors.push(problem);
            return;
        }
    };
    let layers = |then: &BTreeMap<String, Value>| wanted_rules(context, account, then, wanted);
    // What is there once the platform has applied its profiles.
    let mut rules_then = account.rules.clone();
    for one in platform::needed(context, account, &uses, layers) {
        let after = one.on(context, account, &rules_then);
        let changes = one.changes(context, &rules_then, &after);
        if !changes.is_empty() {
            section.changes.push(one.change(context, changes));
        }
        rules_then = after;
    }
    section.managed += uses.iter().map(platform::Use::size).sum::<usize>();
    let next = layers(&rules_then);
    section.managed += next.len();
    for (id, setting) in next {
        let catalogue = context.catalogue.get(&id);
        let live = rules_then.get(&id).cloned().unwrap_or_else(|| context.default_setting(&id));
        let changes = fields("", &rules::compared(&live), &rules::compared(&setting), &NO_SECRETS);
        if changes.is_empty() {
            continue;
        }
        let note = wanted.rules.get(&id).and_then(|rule| rule.note.clone());
        let note = note.unwrap_or_else(|| "config-sync".to_owned());
        let path = format!("/accounts/{}/settings/rules/{}", segment(&account.id), segment(&id));
        let body =
            json!({ "data": { "attributes": { "note": note, "ruleSetting": rules::body(&setting, catalogue) } } });
        let mut one = change(Kind::Rule, &id, Action::Update, changes, patch(path, body));
        if context.protects_rule(&id) {
            one.refused = Some("the rule is protected in settings.yaml".to_owned());
        }
        section.changes.push(one);
    }
}

/// Whether an account reads as if the platform had applied the profile of the change that has this name.
pub fn is_applied(context: &Context<'_>, managed: &Managed, contents: &Contents, name: &str) -> bool {
    let Managed { account, wanted } = managed;
    let uses = platform::uses(contents, &wanted.profiles).unwrap_or_default();
    let again =
        |one: &platform::Use<'_>| one.changes(context, &account.rules, &one.on(context, account, &account.rules));
    account.unread.is_empty() && uses.iter().filter(|one| one.name() == name).all(|one| again(one).is_empty())
}

/// An account that Conformity does not know: made where the directory says how, an error elsewhere.
pub fn missing(wanted: &Wanted, platform: Platform) -> Section {
    let name = wanted.name.clone().unwrap_or_else(|| wanted.key.clone());
    let mut section = Section { account: name.clone(), ..Section::default() };
    if platform == Platform::VisionOne {
        section.errors.push(format!(
            "account {} is not in Vision One (or the key can't see it); accounts are added in its Cloud Accounts",
            wanted.key
        ));
        return section;
    }
    let Some(create) = &wanted.create else {
        section.errors.push(format!(
            "account {} is not in Conformity (or the key can't see it); add `create:` to have it made, or remove it here",
            wanted.key
        ));
        return section;
    };
    let mut attributes = json!({ "name": name, "environment": wanted.environment });
    let path = if let Some(directory) = &create.active_directory_id {
        attributes["access"] = json!({ "subscriptionId": wanted.key, "activeDirectoryId": directory });
        "/accounts/azure"
    } else if let Some(account) = &create.service_account_unique_id {
        attributes["access"] =
            json!({ "projectId": wanted.key, "projectName": create.project_name, "serviceAccountUniqueId": account });
        "/accounts/gcp"
    } else {
        attributes["access"] = json!({ "keys": { "roleArn": create.role_arn, "externalId": create.external_id } });
        "/accounts"
    };
    if let Some(subscription) = &wanted.subscription {
        attributes["subscriptionType"] = json!(subscription);
    }
    let shown = json!({ "name": name, "environment": wanted.environment, "cloud account": wanted.key });
    let changes = fields("", &json!({}), &shown, &NO_SECRETS);
    let write = Write {
        method: "POST",
        path: path.to_owned(),
        body: json!({ "data": { "type": "account", "attributes": attributes } }),
        lookup: Some(("/accounts".to_owned(), json!({ "account": wanted.key }))),
        ..Write::default()
    };
    section.changes.push(change(Kind::Account, &name, Action::Create, changes, write));
    section.managed = 1;
    section.seal();
    section
}

/// Profiles, groups and what the organisation itself has.
pub fn whole_organisation(context: &Context<'_>, live: &Organisation) -> Section {
    let mut section = Section { unknown: live.unread.clone(), ..Section::default() };
    if !live.unread.is_empty() {
        return section;
    }
    organisation::profiles(context, &mut section, live);
    organisation::groups(context, &mut section, live);
    let directory = context.directory;
    let wanted: Vec<_> =
        directory.notifications.iter().filter(|it| it.value.accounts.is_none()).map(|it| it.value.clone()).collect();
    let level =
        json!({ "account": { "data": null }, "organisation": { "data": { "type": "organisations", "id": live.id } } });
    notifications(context, &mut section, &wanted, &live.notifications, &level, "/settings/communication");
    let organisations: Vec<_> = directory
        .reports
        .iter()
        .filter(|it| it.value.accounts.is_none() && it.value.group.is_none())
        .map(|it| it.value.clone())
        .collect();
    reports(context, &mut section, &organisations, &live.reports, &json!({}), "/report-configs");
    organisation::group_reports(context, &mut section, live);
    section.changes.sort_by_key(|change| change.kind);
    section.seal();
    section
}
