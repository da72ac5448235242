//! What is wanted of each account: defaults, then the patterns that match, then its own entry.

use std::collections::BTreeMap;

use super::{
    Platform,
    actual::{ActualAccount, Sections},
    load::{At, Directory, Origin},
    rules,
    schema::{Account, ApplyBy, Bot, Create, Match, Mode, Notification, ProfileUse, ProfileWith, Report, Rule},
};

/// Keys of an account that Vision One keeps in another of its applications.
pub const OF_THE_ACCOUNT: &str = "name, environment, tags, code and subscription";

/// What is wanted of one account, and where it is written.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// As written; empty for an account that only a pattern names.
    pub key: String,
    pub name: Option<String>,
    pub environment: Option<String>,
    pub tags: Option<Vec<String>>,
    pub code: Option<String>,
    pub subscription: Option<String>,
    pub create: Option<Create>,
    pub bot: Option<Bot>,
    pub profiles: Vec<ProfileWith>,
    pub rules: BTreeMap<String, Rule>,
    pub notifications: Vec<Notification>,
    pub reports: Vec<Report>,
    pub origin: Origin,
}

impl Wanted {
    fn lay_over(&mut self, account: &Account) {
        let keep = |under: &mut Option<String>, over: &Option<String>| {
            if over.is_some() {
                under.clone_from(over);
            }
        };
        keep(&mut self.name, &account.name);
        keep(&mut self.environment, &account.environment);
        keep(&mut self.code, &account.code);
        keep(&mut self.subscription, &account.subscription);
        if account.tags.is_some() {
            self.tags.clone_from(&account.tags);
        }
        if account.create.is_some() {
            self.create.clone_from(&account.create);
        }
        if let Some(over) = &account.bot {
            let under = self.bot.get_or_insert_default();
            under.enabled = over.enabled.or(under.enabled);
            under.delay = over.delay.or(under.delay);
            keep(&mut under.disabled_until, &over.disabled_until);
            if over.disabled_regions.is_some() {
                under.disabled_regions.clone_from(&over.disabled_regions);
            }
        }
        for profile in account.profiles.iter().flatten() {
            let with = profile_with(profile);
            self.profiles.retain(|known| known.profile != with.profile);
            self.profiles.push(with);
        }
        for (id, rule) in &account.rules {
            rules::merge(self.rules.entry(id.clone()).or_default(), rule);
        }
        self.notifications.extend(account.notifications.iter().cloned());
        self.reports.extend(account.reports.iter().cloned());
    }

    /// Takes out what the platform keeps elsewhere; true where there was something.
    pub fn fit(&mut self, platform: Platform) -> bool {
        match platform {
            Platform::Conformity => false,
            Platform::VisionOne => {
                let texts = [&mut self.name, &mut self.environment, &mut self.code, &mut self.subscription];
                let written = texts.into_iter().filter_map(Option::take).count();
                self.tags.take().is_some() || written > 0
            }
        }
    }

    /// What has to be read to compare.
    pub fn sections(&self) -> Sections {
        Sections {
            details: self.tags.is_some()
                || self.name.is_some()
                || self.environment.is_some()
                || self.code.is_some()
                || self.subscription.is_some(),
            bot: self.bot.is_some(),
            rules: !self.rules.is_empty() || !self.profiles.is_empty(),
            notifications: !self.notifications.is_empty(),
            reports: !self.reports.is_empty(),
        }
    }
}

pub fn profile_with(profile: &ProfileUse) -> ProfileWith {
    match profile {
        ProfileUse::Name(name) => {
            ProfileWith { profile: name.clone(), mode: Mode::Overwrite, exceptions: false, apply: ApplyBy::ConfigSync }
        }
        ProfileUse::With(with) => with.clone(),
    }
}

/// A live account and what is wanted of it.
pub struct Managed {
    pub account: ActualAccount,
    pub wanted: Wanted,
}

/// What the directory says about the live accounts.
#[derive(Default)]
pub struct Resolved {
    pub managed: Vec<Managed>,
    /// Written in the directory and not to be found live.
    pub missing: Vec<Wanted>,
    /// Live and named nowhere.
    pub unmanaged: Vec<ActualAccount>,
}

/// Brings the directory and the live accounts together.
pub fn resolve(directory: &Directory, live: Vec<ActualAccount>) -> Resolved {
    let mut resolved = Resolved::default();
    let mut used = vec![false; directory.accounts.len()];
    for account in live {
        let own = directory.accounts.iter().position(|entry| key_of(&entry.value).is_some_and(|key| account.is(&key)));
        if let Some(own) = own {
            used[own] = true;
        }
        let own = own.map(|own| &directory.accounts[own]);
        let patterns: Vec<&At<Account>> = directory
            .patterns
            .iter()
            .filter(|pattern| fits(&pattern.value, own.map(|own| &own.value), &account))
            .collect();
        let fanned = fanned_out(directory, &account);
        if own.is_none() && patterns.is_empty() && fanned.is_empty() {
            resolved.unmanaged.push(account);
            continue;
        }
        let mut wanted = lay(directory, &patterns, own);
        for (notification, report) in fanned {
            wanted.notifications.extend(notification);
            wanted.reports.extend(report);
        }
        resolved.managed.push(Managed { account, wanted });
    }
    for (entry, _) in directory.accounts.iter().zip(used).filter(|(_, used)| !used) {
        let account = ActualAccount {
            name: entry.value.name.clone().unwrap_or_default(),
            environment: entry.value.environment.clone().unwrap_or_default(),
            tags: entry.value.tags.clone().unwrap_or_default(),
            cloud_account: key_of(&entry.value).unwrap_or_default(),
            ..ActualAccount::default()
        };
        let patterns: Vec<&At<Account>> =
            directory.patterns.iter().filter(|pattern| fits(&pattern.value, Some(&entry.value), &account)).collect();
        resolved.missing.push(lay(directory, &patterns, Some(entry)));
    }
    resolved
}

fn lay(directory: &Directory, patterns: &[&At<Account>], own: Option<&At<Account>>) -> Wanted {
    let mut wanted = Wanted::default();
    for layer in directory.defaults.iter().chain(patterns.iter().copied()).chain(own) {
        wanted.lay_over(&layer.value);
        wanted.origin = layer.origin.clone();
    }
    wanted.key = own.and_then(|own| key_of(&own.value)).unwrap_or_default();
    wanted
}

/// Settings of notifications/ and reports/ that name this account.
fn fanned_out(directory: &Directory, account: &ActualAccount) -> Vec<(Option<Notification>, Option<Report>)> {
    let named =
        |globs: &Option<Vec<String>>| globs.as_ref().is_some_and(|globs| globs.iter().any(|glob| names(glob, account)));
    let notifications = directory.notifications.iter().filter(|it| named(&it.value.accounts));
    let reports = directory.reports.iter().filter(|it| named(&it.value.accounts));
    notifications
        .map(|it| (Some(it.value.clone()), None))
        .chain(reports.map(|it| (None, Some(it.value.clone()))))
        .collect()
}

pub fn key_of(account: &Account) -> Option<String> {
    account.account.as_ref().map(super::schema::Text::text)
}

/// Whether a glob means the account, by name, id or cloud account.
pub fn names(glob: &str, account: &ActualAccount) -> bool {
    [&account.name, &account.id, &account.cloud_account].iter().any(|text| glob_fits(glob, text))
}

pub fn glob_fits(glob: &str, text: &str) -> bool {
    globset::GlobBuilder::new(glob)
        .case_insensitive(true)
        .build()
        .is_ok_and(|glob| glob.compile_matcher().is_match(text))
}

/// What the directory says of the account counts before what is live.
fn fits(pattern: &Account, own: Option<&Account>, live: &ActualAccount) -> bool {
    let Some(Match { name, environment, tag }) = &pattern.r#match else { return false };
    let written = |own: Option<&String>, live: &str| own.map_or_else(|| live.to_owned(), Clone::clone);
    let own_name = written(own.and_then(|own| own.name.as_ref()), &live.name);
    let own_environment = written(own.and_then(|own| own.environment.as_ref()), &live.environment);
    let tags = own.and_then(|own| own.tags.as_ref()).unwrap_or(&live.tags);
    name.as_ref().is_none_or(|glob| glob_fits(glob, &own_name))
        && environment.as_ref().is_none_or(|glob| glob_fits(glob, &own_environment))
        && tag.as_ref().is_none_or(|glob| tags.iter().any(|tag| glob_fits(glob, tag)))
}
