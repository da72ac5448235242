//! Conformity's configuration as code: files and live state in, a plan out; only apply writes.
//!
//! ```text
//! files -> rendered -> parsed -> validated ─┐
//!                                           ├─> diff (pure) -> plan ──> apply -> read again -> history
//! live state, read in parallel ─────────────┘
//! ```
//!
//! The planner holds a [`ReadConformity`], which has no way to write.

pub mod actual;
pub mod api;
pub mod apply;
mod apply_profile;
pub mod cache;
pub mod catalogue;
mod dates;
mod diff;
pub mod export;
mod file;
pub mod history;
mod items;
pub mod load;
pub mod plan;
mod problem;
pub mod reference;
pub mod remembered;
pub mod remote;
pub mod resolve;
mod rules;
mod same;
pub mod scan;
mod schema;
pub mod show;
mod template;
mod ui_export;
mod validate;
mod validate_items;

use std::{collections::BTreeMap, path::Path};

pub use actual::ActualAccount;
pub use api::{ApiError, Conformity, Endpoint, Platform, ReadConformity, Writer, base_url};
pub use catalogue::Catalogue;
use futures_util::{StreamExt, stream};
pub use load::Directory;
pub use plan::Plan;
pub use problem::Problem;
use remembered::Remembered;
use resolve::{Managed, Resolved, Wanted};
pub use template::{environment, render};

/// The directory with everything that can be said against it without asking anybody.
pub struct Checked {
    pub directory: Directory,
    pub catalogue: Catalogue,
    pub remembered: std::sync::Mutex<Remembered>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Checked {
    fn remembered(&self) -> Remembered {
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Reads and validates a directory.
///
/// # Errors
/// The rule catalogue can't be read.
pub fn check(dir: &Path, overrides: &[(String, serde_json::Value)]) -> Result<Checked, String> {
    let catalogue = Catalogue::load(dir)?;
    let mut directory = Directory::read(dir, overrides);
    let warnings = validate::validate(&mut directory, &catalogue);
    let mut problems = std::mem::take(&mut directory.problems);
    problems.sort_by(|a, b| (&a.file, a.place, &a.text).cmp(&(&b.file, b.place, &b.text)));
    problems.dedup();
    let remembered = std::sync::Mutex::new(Remembered::load(dir));
    Ok(Checked { directory, catalogue, remembered, problems, warnings })
}

/// What a plan is made with.
pub struct PlanOptions<'a> {
    /// Globs; empty means all accounts and the organisation.
    pub only: &'a [String],
    pub tenant: &'a str,
    pub parallelism: usize,
    /// Of the plan that is to be repeated; a new one otherwise.
    pub salt: String,
    pub now_ms: i64,
    /// Told how many accounts there are, then once for each that was read.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Accounts(usize),
    Read,
}

/// Reads the live state that the directory is about, and compares.
///
/// # Errors
/// The key is refused, or the accounts can't be listed.
pub async fn plan(api: &dyn ReadConformity, checked: &Checked, options: PlanOptions<'_>) -> Result<Plan, ApiError> {
    let organisation_id = actual::check_key(api).await?;
    let accounts = actual::accounts(api).await?;
    let Resolved { mut managed, missing, unmanaged } = resolve::resolve(&checked.directory, accounts);
    let elsewhere = managed.iter_mut().filter_map(|one| one.wanted.fit(api.platform()).then_some(())).count();
    let named = |account: &ActualAccount| {
        options.only.is_empty() || options.only.iter().any(|glob| resolve::names(glob, account))
    };
    managed.retain(|one| named(&one.account));
    (options.progress)(Progress::Accounts(managed.len()));
    let remembered = checked.remembered();
    let context = diff::Context {
        directory: &checked.directory,
        catalogue: &checked.catalogue,
        remembered: &remembered,
        salt: &options.salt,
        now_ms: options.now_ms,
        platform: api.platform(),
    };
    let mut plan = Plan {
        version: plan::VERSION,
        tenant: options.tenant.to_owned(),
        organisation: organisation_id.clone(),
        created_at: options.now_ms,
        salt: options.salt.clone(),
        only: options.only.to_vec(),
        ..Plan::default()
    };
    let wants_organisation = options.only.is_empty() && has_organisation(&checked.directory);
    let organisation = if wants_organisation {
        actual::organisation(api, organisation_id, options.parallelism).await
    } else {
        actual::Organisation { id: organisation_id, ..actual::Organisation::default() }
    };
    if wants_organisation {
        plan.sections.push(diff::whole_organisation(&context, &organisation));
    }
    if options.only.is_empty() {
        plan.sections.extend(missing.iter().map(|wanted| diff::missing(wanted, api.platform())));
        plan.unmanaged_accounts = unmanaged.iter().map(|account| account.name.clone()).collect();
    }
    // Compared as soon as it is read: 140 accounts with all their rules at once would not fit a small CI machine.
    let compared = managed.into_iter().map(|one| async {
        let sections = one.wanted.sections();
        let account = actual::read_account(api, one.account, sections).await;
        (options.progress)(Progress::Read);
        let mut unmanaged = BTreeMap::new();
        count_unmanaged(&mut unmanaged, &account, &one.wanted);
        (diff::account(&context, &Managed { account, wanted: one.wanted }, &organisation), unmanaged)
    });
    let mut compared = stream::iter(compared).buffered(options.parallelism.max(1));
    while let Some((section, unmanaged)) = compared.next().await {
        plan.sections.push(section);
        for (kind, count) in unmanaged {
            *plan.unmanaged.entry(kind).or_default() += count;
        }
    }
    drop(compared);
    guard_shared_identities(&mut plan);
    if elsewhere > 0 {
        plan.warnings.push(format!(
            "{elsewhere} accounts: {} belong to Vision One's Cloud Accounts and are not written here; patterns match by them all the same",
            resolve::OF_THE_ACCOUNT
        ));
    }
    refuse_what_can_not_be(&mut plan, api.platform());
    plan.count(options.parallelism);
    Ok(plan)
}

/// Reads one account again and compares: what is left is what an apply did not bring about.
///
/// # Errors
/// The account is gone, or can't be listed.
pub async fn compare_again(
    api: &dyn ReadConformity,
    checked: &Checked,
    account_id: &str,
    organisation_id: &str,
    salt: &str,
    now_ms: i64,
) -> Result<plan::Section, ApiError> {
    let remembered = checked.remembered();
    let context = diff::Context {
        directory: &checked.directory,
        catalogue: &checked.catalogue,
        remembered: &remembered,
        salt,
        now_ms,
        platform: api.platform(),
    };
    if account_id.is_empty() {
        let organisation = actual::organisation(api, organisation_id.to_owned(), 4).await;
        return Ok(diff::whole_organisation(&context, &organisation));
    }
    let answer = api.get(&format!("/accounts/{}", api::segment(account_id))).await?;
    let account = ActualAccount::listed(api::first(&answer).unwrap_or(&serde_json::Value::Null));
    let resolved = resolve::resolve(&checked.directory, vec![account]);
    let Some(mut one) = resolved.managed.into_iter().next() else { return Ok(plan::Section::default()) };
    one.wanted.fit(api.platform());
    let sections = one.wanted.sections();
    let account = actual::read_account(api, one.account, sections).await;
    let organisation = actual::Organisation { id: organisation_id.to_owned(), ..actual::Organisation::default() };
    Ok(diff::account(&context, &Managed { account, wanted: one.wanted }, &organisation))
}

fn has_organisation(directory: &Directory) -> bool {
    let prunes = |kind: &str| directory.settings.prune.iter().any(|pruned| pruned == kind);
    !directory.profiles.is_empty()
        || !directory.groups.is_empty()
        || directory.notifications.iter().any(|it| it.value.accounts.is_none())
        || directory.reports.iter().any(|it| it.value.accounts.is_none())
        || prunes("profiles")
        || prunes("groups")
}

fn count_unmanaged(unmanaged: &mut BTreeMap<String, usize>, account: &ActualAccount, wanted: &Wanted) {
    let mut add = |kind: &str, live: usize, written: usize| {
        if live > written && written > 0 {
            *unmanaged.entry(kind.to_owned()).or_default() += live - written;
        }
    };
    add("notifications", account.notifications.len(), wanted.notifications.len());
    add("reports", account.reports.len(), wanted.reports.len());
}

/// What a platform has no place for is shown with the reason, and not sent.
fn refuse_what_can_not_be(plan: &mut Plan, platform: Platform) {
    if platform == Platform::Conformity {
        return;
    }
    for change in plan.sections.iter_mut().flat_map(|section| &mut section.changes) {
        change.refused = change.refused.take().or_else(|| api::cannot(change.kind, &change.write));
    }
}

/// Two settings of one identity would fight each other for ever.
fn guard_shared_identities(plan: &mut Plan) {
    for section in &mut plan.sections {
        let mut seen = std::collections::HashSet::new();
        let doubled: Vec<String> = section
            .changes
            .iter()
            .filter(|change| !seen.insert((change.kind, change.name.clone())))
            .map(|change| format!("{} `{}` is written twice", change.kind.as_str(), change.name))
            .collect();
        section.errors.extend(doubled);
    }
}
