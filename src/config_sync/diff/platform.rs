//! The platform's own way to apply a profile: one call for many accounts, in the background. Only where a file asks for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Context, NO_SECRETS, change};
use crate::config_sync::{
    actual::ActualAccount,
    items::fields,
    plan::{Action, Change, Contents, FieldChange, Kind, Write},
    rules,
    same::{canonical, same},
    schema::{ApplyBy, Mode, ProfileWith},
};

type Rules = BTreeMap<String, Value>;

/// A profile that the platform is to apply, with the rules that it holds then.
pub(super) struct Use<'a> {
    with: &'a ProfileWith,
    content: &'a Rules,
}

/// Those of an account, in order.
///
/// # Errors
/// It is not known what one of them will hold.
pub(super) fn uses<'a>(contents: &'a Contents, profiles: &'a [ProfileWith]) -> Result<Vec<Use<'a>>, String> {
    let by_platform = profiles.iter().filter(|used| used.apply == ApplyBy::Platform);
    let with_content = by_platform.filter_map(|with| Some((with, contents.get(&with.profile)?)));
    with_content.map(|(with, content)| Ok(Use { with, content: content.as_ref().map_err(Clone::clone)? })).collect()
}

impl Use<'_> {
    /// Of its change.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.with.profile, self.with.mode.as_str())
    }

    /// How many settings it manages.
    pub(super) fn size(&self) -> usize {
        self.content.len()
    }

    /// What an account holds after the platform applied it.
    pub(super) fn on(&self, context: &Context<'_>, account: &ActualAccount, live: &Rules) -> Rules {
        let mut next = live.clone();
        if self.with.mode == Mode::Replace {
            for (id, setting) in next.iter_mut().filter(|(_, setting)| setting["configured"] != false) {
                *setting = rules::default_setting(id, context.catalogue.get(id));
                setting["configured"] = json!(false);
            }
        }
        for (id, setting) in self.content.iter().filter(|(id, _)| !context.foreign(account, id)) {
            let known = next.get(id).filter(|setting| setting["configured"] != false);
            if self.with.mode == Mode::FillGaps && known.is_some() {
                continue;
            }
            let mut setting = setting.clone();
            if let Some(known) = known.filter(|_| self.with.mode == Mode::Overwrite && !self.with.exceptions) {
                setting["exceptions"] = known["exceptions"].clone();
            }
            next.insert(id.clone(), setting);
        }
        next
    }

    /// What applying it changes.
    pub(super) fn changes(&self, context: &Context<'_>, before: &Rules, after: &Rules) -> Vec<FieldChange> {
        let of_rule = |(id, setting): (&String, &Value)| {
            let old = before.get(id).cloned().unwrap_or_else(|| context.default_setting(id));
            fields(id, &rules::compared(&old), &rules::compared(setting), &NO_SECRETS)
        };
        after.iter().flat_map(of_rule).collect()
    }

    pub(super) fn change(&self, context: &Context<'_>, changes: Vec<FieldChange>) -> Change {
        let used = self.with;
        let mut meta = json!({ "types": ["rule"], "mode": used.mode.as_str(), "notes": format!("config-sync: profile {}", used.profile) });
        if used.mode == Mode::Overwrite {
            meta["include"] = json!({ "exceptions": used.exceptions });
        }
        // The path is completed with the profile's id, which may be made by this very apply; accounts join in one call.
        let write = Write {
            method: "POST",
            path: "/profiles/{id}/apply".to_owned(),
            body: json!({ "profile": used.profile, "content": digest(self.content), "meta": meta }),
            ..Write::default()
        };
        let mut one = change(Kind::ProfileApply, &self.name(), Action::Update, changes, write);
        let touched = one.rules();
        let protected = self.content.keys().chain(&touched).find(|id| context.protects_rule(id));
        if let Some(rule) = protected {
            one.refused = Some(format!("the profile changes rule {rule}, which is protected in settings.yaml"));
        }
        one
    }
}

/// The shortest tail of the profiles after which all rules are the `same` as after all of them: what later layers
/// bring back by themselves needs no call, or it would be shown for ever.
pub(super) fn needed<'u, 'a>(
    context: &Context<'_>,
    account: &ActualAccount,
    uses: &'u [Use<'a>],
    layers: impl Fn(&Rules) -> Rules,
) -> &'u [Use<'a>] {
    let end = |tail: &[Use<'_>]| {
        let mut rules = tail.iter().fold(account.rules.clone(), |rules, one| one.on(context, account, &rules));
        rules.extend(layers(&rules));
        rules
    };
    if uses.is_empty() {
        return uses;
    }
    let whole = end(uses);
    let as_whole = |tail: &&[Use<'_>]| {
        let rules = end(tail);
        let of = |rules: &Rules, id: &String| {
            rules::compared(&rules.get(id).cloned().unwrap_or_else(|| context.default_setting(id)))
        };
        rules.keys().chain(whole.keys()).all(|id| same(&of(&rules, id), &of(&whole, id)))
    };
    (1..=uses.len()).rev().map(|start| &uses[start..]).find(as_whole).unwrap_or(uses)
}

/// Of what a profile holds: the platform applies whatever is there, so it is looked at once more before the call.
pub fn digest(content: &BTreeMap<String, Value>) -> String {
    let rules: Value = content.iter().map(|(id, setting)| (id.clone(), rules::compared(setting))).collect();
    hex::encode(Sha256::digest(canonical(&rules).to_string()))
}
