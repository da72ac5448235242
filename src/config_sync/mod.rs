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

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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
    let context = context_of(api, checked, &remembered, &options.salt, options.now_ms);
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
    let by_platform = applied_by_platform(&managed);
    let organisation = if wants_organisation {
        actual::organisation(api, organisation_id, options.parallelism, &|group| has_reports(checked, group)).await
    } else if by_platform.is_empty() {
        actual::Organisation { id: organisation_id, ..actual::Organisation::default() }
    } else {
        let (profiles, unread) = actual::profiles(api, options.parallelism, &|name| by_platform.contains(name)).await;
        actual::Organisation { id: organisation_id, profiles, unread, ..actual::Organisation::default() }
    };
    let contents = diff::contents(&context, &organisation, &by_platform, wants_organisation);
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
        let managed = Managed { account, wanted: one.wanted };
        (diff::account(&context, &managed, &organisation.id, &contents), unmanaged)
    });
    let mut compared = stream::iter(compared).buffered(options.parallelism.max(1));
    while let Some((section, unmanaged)) = compared.next().await {
        plan.sections.push(section);
        for (kind, count) in unmanaged {
            *plan.unmanaged.entry(kind).or_default() += count;
        }
    }
    drop(compared);
    plan.contents = contents;
    refuse_deletions_beside_errors(&mut plan);
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
    plan: &Plan,
    now_ms: i64,
) -> Result<plan::Section, ApiError> {
    let remembered = checked.remembered();
    let context = context_of(api, checked, &remembered, &plan.salt, now_ms);
    if account_id.is_empty() {
        let reports_of = |group: &str| has_reports(checked, group);
        let organisation = actual::organisation(api, plan.organisation.clone(), 4, &reports_of).await;
        return Ok(diff::whole_organisation(&context, &organisation));
    }
    let Some(managed) = managed_again(api, checked, account_id, Wanted::sections).await? else {
        return Ok(plan::Section::default());
    };
    Ok(diff::account(&context, &managed, &plan.organisation, &plan.contents))
}

/// Reads the rules of one account again: whether the platform has applied the profile of the change with this name.
///
/// # Errors
/// The account is gone, or can't be listed.
pub async fn is_applied(
    api: &dyn ReadConformity,
    checked: &Checked,
    account_id: &str,
    name: &str,
    plan: &Plan,
    now_ms: i64,
) -> Result<bool, ApiError> {
    let remembered = checked.remembered();
    let context = context_of(api, checked, &remembered, &plan.salt, now_ms);
    let rules = |_: &Wanted| actual::Sections { rules: true, ..actual::Sections::default() };
    let managed = managed_again(api, checked, account_id, rules).await?;
    Ok(managed.is_none_or(|managed| diff::is_applied(&context, &managed, &plan.contents, name)))
}

/// One account as it is now, with what is wanted of it; none where nothing is.
async fn managed_again(
    api: &dyn ReadConformity,
    checked: &Checked,
    account_id: &str,
    sections: impl Fn(&Wanted) -> actual::Sections,
) -> Result<Option<Managed>, ApiError> {
    let answer = api.get(&format!("/accounts/{}", api::segment(account_id))).await?;
    let account = ActualAccount::listed(api::first(&answer).unwrap_or(&serde_json::Value::Null));
    let resolved = resolve::resolve(&checked.directory, vec![account]);
    let Some(Managed { account, mut wanted }) = resolved.managed.into_iter().next() else { return Ok(None) };
    wanted.fit(api.platform());
    let account = actual::read_account(api, account, sections(&wanted)).await;
    Ok(Some(Managed { account, wanted }))
}

fn context_of<'a>(
    api: &dyn ReadConformity,
    checked: &'a Checked,
    remembered: &'a Remembered,
    salt: &'a str,
    now_ms: i64,
) -> diff::Context<'a> {
    let (directory, catalogue, platform) = (&checked.directory, &checked.catalogue, api.platform());
    diff::Context { directory, catalogue, remembered, salt, now_ms, platform }
}

/// Names of the profiles that the platform is to apply to one of them.
fn applied_by_platform(managed: &[Managed]) -> BTreeSet<String> {
    let uses = managed.iter().flat_map(|one| &one.wanted.profiles);
    uses.filter(|used| used.apply == schema::ApplyBy::Platform).map(|used| used.profile.clone()).collect()
}

fn has_reports(checked: &Checked, group: &str) -> bool {
    checked.directory.reports.iter().any(|report| report.value.group.as_deref() == Some(group))
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

/// Where something is wrong it is not certain either what nothing names.
fn refuse_deletions_beside_errors(plan: &mut Plan) {
    for section in plan.sections.iter_mut().filter(|section| !section.errors.is_empty()) {
        for change in section.changes.iter_mut().filter(|change| change.action == plan::Action::Delete) {
            change.refused.get_or_insert_with(|| format!("nothing is deleted here: {}", section.errors.join("; ")));
        }
    }
}
