//! The platform's own way to apply a profile: one call for many accounts, in the background. Only where a file asks for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Context, NO_SECRETS, change};
use crate::config_sync::{
    actual::ActualAccount,
    items::fields,
    plan::{Action, FieldChange, Kind, Section, Write},
    rules,
    schema::{ApplyBy, Mode, ProfileWith},
};

/// What an account holds after the platform applied these profiles to it; a change for each that would change something.
pub(super) fn applied(
    context: &Context<'_>,
    section: &mut Section,
    account: &ActualAccount,
    profiles: &[ProfileWith],
) -> BTreeMap<String, Value> {
    let mut live = account.rules.clone();
    for used in profiles.iter().filter(|used| used.apply == ApplyBy::Platform) {
        let Some(profile) = context.directory.profiles.iter().find(|profile| profile.value.name == used.profile) else {
            continue;
        };
        let before = live.clone();
        if used.mode == Mode::Replace {
            for (id, setting) in live.iter_mut().filter(|(_, setting)| setting["configured"] != false) {
                *setting = rules::default_setting(id, context.catalogue.get(id));
                setting["configured"] = json!(false);
            }
        }
        for (id, rule) in &profile.value.rules {
            let catalogue = context.catalogue.get(id);
            if catalogue.is_some_and(|rule| !rule.provider.is_empty() && rule.provider != account.provider) {
                continue;
            }
            let known = live.get(id).filter(|setting| setting["configured"] != false);
            if used.mode == Mode::FillGaps && known.is_some() {
                continue;
            }
            let mut setting = rules::overlay(&rules::default_setting(id, catalogue), rule, catalogue, false);
            if let Some(known) = known.filter(|_| used.mode == Mode::Overwrite && !used.exceptions) {
                setting["exceptions"] = known["exceptions"].clone();
            }
            live.insert(id.clone(), setting);
        }
        let mut changes: Vec<FieldChange> = Vec::new();
        for (id, setting) in &live {
            let default = rules::default_setting(id, context.catalogue.get(id));
            let old = before.get(id).unwrap_or(&default);
            changes.extend(fields(id, &rules::compared(old), &rules::compared(setting), &NO_SECRETS));
        }
        section.managed += profile.value.rules.len();
        if changes.is_empty() {
            continue;
        }
        let mut meta = json!({ "types": ["rule"], "mode": used.mode.as_str(), "notes": format!("config-sync: profile {}", used.profile) });
        if used.mode == Mode::Overwrite {
            meta["include"] = json!({ "exceptions": used.exceptions });
        }
        // The path is completed with the profile's id, which may be made by this very apply; accounts join in one call.
        let write = Write {
            method: "POST",
            path: "/profiles/{id}/apply".to_owned(),
            body: json!({ "profile": used.profile, "meta": meta }),
            ..Write::default()
        };
        let name = format!("{} ({})", used.profile, used.mode.as_str());
        let mut one = change(Kind::ProfileApply, &name, Action::Update, changes, write);
        let protected = profile.value.rules.keys().find(|id| context.protects_rule(id));
        if let Some(rule) = protected {
            one.refused = Some(format!("the profile holds rule {rule}, which is protected in settings.yaml"));
        }
        section.changes.push(one);
    }
    live
}
