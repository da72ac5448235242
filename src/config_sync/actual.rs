//! The live state, read in parallel; what could not be read is named and unknown, never empty.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::api::{ApiError, ReadConformity, first, list, segment};

/// What of an account is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    pub details: bool,
    pub bot: bool,
    pub rules: bool,
    pub notifications: bool,
    pub reports: bool,
}

impl Sections {
    pub const ALL: Self = Self { details: true, bot: true, rules: true, notifications: true, reports: true };
}

/// One account as it is.
#[derive(Clone, Debug, Default)]
pub struct ActualAccount {
    /// Conformity's own.
    pub id: String,
    pub name: String,
    pub environment: String,
    pub tags: Vec<String>,
    /// `aws azure gcp`.
    pub provider: String,
    /// Account number, subscription or project.
    pub cloud_account: String,
    pub attributes: Value,
    pub bot: Value,
    /// By rule id: every rule with its effective setting.
    pub rules: BTreeMap<String, Value>,
    pub notifications: Vec<Value>,
    pub reports: Vec<Value>,
    /// What could not be read, with the reason.
    pub unread: Vec<String>,
}

impl ActualAccount {
    /// From a list's item.
    pub fn listed(resource: &Value) -> Self {
        let attributes = &resource["attributes"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let provider = attributes["cloud-type"].as_str().unwrap_or("aws").to_owned();
        let cloud_account = match provider.as_str() {
            "azure" => text(&attributes["cloud-data"]["azure"]["subscriptionId"]),
            "gcp" => text(&attributes["cloud-data"]["gcp"]["projectId"]),
            // A number in some answers: leading zeros are lost there.
            _ => match &attributes["awsaccount-id"] {
                Value::Number(number) => format!("{:0>12}", number.to_string()),
                other => text(other),
            },
        };
        Self {
            id: text(&resource["id"]),
            name: text(&attributes["name"]),
            environment: text(&attributes["environment"]),
            tags: strings(&attributes["tags"]),
            provider,
            cloud_account,
            attributes: attributes.clone(),
            ..Self::default()
        }
    }

    /// Whether `key` means this account.
    pub fn is(&self, key: &str) -> bool {
        self.id == key || (!self.cloud_account.is_empty() && self.cloud_account.eq_ignore_ascii_case(key))
    }
}

pub fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// What belongs to no account.
#[derive(Clone, Debug, Default)]
pub struct Organisation {
    pub id: String,
    pub profiles: Vec<Value>,
    pub groups: Vec<Value>,
    pub notifications: Vec<Value>,
    pub reports: Vec<Value>,
    /// By the group's id; of the groups that were asked for.
    pub group_reports: BTreeMap<String, Vec<Value>>,
    pub unread: Vec<String>,
}

/// Proves the key before 403 may mean empty. The organisation's id where it is told.
///
/// # Errors
/// The key is refused, or nothing answers.
pub async fn check_key(api: &dyn ReadConformity) -> Result<String, ApiError> {
    let answer = match api.get("/users/whoami").await {
        Err(error) if error.status() == 404 => api.get("/users").await,
        answer => answer,
    };
    let who = answer.map_err(|error| match error.status() {
        401 | 403 => ApiError::Setup(format!(
            "the API key is refused: wrong, expired, or of another region ({error}); set CONFORMITY_API_KEY, and api: in settings.yaml"
        )),
        _ => error,
    })?;
    let user = first(&who).cloned().unwrap_or_default();
    if let Some(role) = user["attributes"]["role"].as_str()
        && role != "ADMIN"
    {
        tracing::warn!(
            role,
            "the key is not an administrator's: profiles, groups and the organisation's settings may look empty"
        );
    }
    Ok(user["relationships"]["organisation"]["data"]["id"].as_str().unwrap_or_default().to_owned())
}

/// The platform's id of the key's user; empty where it is not told.
pub async fn key_user(api: &dyn ReadConformity) -> String {
    let answer = api.get("/users/whoami").await.unwrap_or_default();
    first(&answer).and_then(|user| user["id"].as_str()).unwrap_or_default().to_owned()
}

/// All accounts that the key can see.
///
/// # Errors
/// They can't be listed.
pub async fn accounts(api: &dyn ReadConformity) -> Result<Vec<ActualAccount>, ApiError> {
    let answer = api.get("/accounts").await?;
    let mut accounts: Vec<ActualAccount> = list(&answer).iter().map(ActualAccount::listed).collect();
    accounts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(accounts)
}

/// Reads what is asked for of each account, in parallel; `done` is told each account that is complete.
pub async fn read(
    api: &dyn ReadConformity,
    accounts: Vec<(ActualAccount, Sections)>,
    parallelism: usize,
    done: &(dyn Fn() + Sync),
) -> Vec<ActualAccount> {
    let reading = accounts.into_iter().map(|(account, sections)| async move {
        let account = read_account(api, account, sections).await;
        done();
        account
    });
    stream::iter(reading).buffered(parallelism.max(1)).collect().await
}

/// Reads the sections of one account again.
pub async fn read_account(api: &dyn ReadConformity, mut account: ActualAccount, sections: Sections) -> ActualAccount {
    let id = segment(&account.id);
    account.unread.clear();
    if sections.details {
        match api.get(&format!("/accounts/{id}")).await {
            Ok(answer) => {
                let resource = first(&answer).cloned().unwrap_or_default();
                if resource["attributes"].is_object() {
                    let listed = ActualAccount::listed(&resource);
                    account.attributes = listed.attributes;
                    (account.name, account.environment, account.tags) = (listed.name, listed.environment, listed.tags);
                }
            }
            Err(error) => account.unread.push(error.to_string()),
        }
    }
    if sections.bot {
        match api.get(&format!("/accounts/{id}/settings/bot")).await {
            Ok(answer) => {
                account.bot = first(&answer).map(|it| it["attributes"]["settings"]["bot"].clone()).unwrap_or_default();
            }
            Err(error) if error.status() == 404 => account.bot = json!({}),
            Err(error) => account.unread.push(error.to_string()),
        }
    }
    if sections.rules {
        match api.get(&format!("/accounts/{id}/settings/rules?includeDefaults=true")).await {
            Ok(answer) => account.rules = rules_of(&answer),
            // Nothing was ever configured.
            Err(error) if error.status() == 404 => account.rules = BTreeMap::new(),
            Err(error) => account.unread.push(error.to_string()),
        }
    }
    if sections.notifications {
        match empty_if_hidden(api.get(&format!("/settings/communication?accountId={id}")).await) {
            Ok(found) => account.notifications = found.into_iter().filter(|it| belongs(it, &account.id)).collect(),
            Err(error) => account.unread.push(error.to_string()),
        }
    }
    if sections.reports {
        match empty_if_hidden(api.get(&format!("/report-configs?accountId={id}")).await) {
            Ok(found) => account.reports = found,
            Err(error) => account.unread.push(error.to_string()),
        }
    }
    account
}

/// The organisation's own settings may come along.
fn belongs(setting: &Value, account: &str) -> bool {
    let owner = &setting["relationships"]["account"]["data"]["id"];
    match owner.as_str() {
        Some(owner) => owner == account,
        None => setting["id"].as_str().is_some_and(|id| id.starts_with(account)),
    }
}

/// Rules of an answer by id.
pub fn rules_of(answer: &Value) -> BTreeMap<String, Value> {
    let resource = first(answer).cloned().unwrap_or_default();
    let rules = resource["attributes"]["settings"]["rules"].as_array().cloned().unwrap_or_default();
    rules.into_iter().filter_map(|rule| Some((rule["id"].as_str()?.to_owned(), rule))).collect()
}

/// An empty collection comes as 403 on Cloud One: the key was proved good before.
fn empty_if_hidden(answer: Result<Value, ApiError>) -> Result<Vec<Value>, ApiError> {
    match answer {
        Ok(answer) => Ok(list(&answer)),
        Err(error) if matches!(error.status(), 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Profiles with their rules, groups, and what the organisation itself has; reports of groups where `reports_of` wants them.
pub async fn organisation(
    api: &dyn ReadConformity,
    id: String,
    parallelism: usize,
    reports_of: &(dyn Fn(&str) -> bool + Sync),
) -> Organisation {
    let mut found = Organisation { id, ..Organisation::default() };
    let (profiles, groups, notifications, reports) = tokio::join!(
        profiles(api, parallelism, &|_| true),
        api.get("/groups"),
        api.get("/settings/communication"),
        api.get("/report-configs"),
    );
    (found.profiles, found.unread) = profiles;
    let mut take = |answer: Result<Value, ApiError>| {
        empty_if_hidden(answer).unwrap_or_else(|error| {
            found.unread.push(error.to_string());
            Vec::new()
        })
    };
    let (groups, notifications, reports) = (take(groups), take(notifications), take(reports));
    let organisations = |setting: &Value| {
        setting["relationships"]["account"]["data"].is_null()
            && setting["id"].as_str().is_none_or(|id| !id.contains(':') || id.starts_with("communication:"))
    };
    found.notifications = notifications.into_iter().filter(organisations).collect();
    let own =
        |report: &Value| ["is-account-level", "is-group-level"].iter().all(|level| report["attributes"][level] != true);
    found.reports = reports.into_iter().filter(own).collect();
    let wanted = groups.iter().filter(|group| reports_of(group["attributes"]["name"].as_str().unwrap_or_default()));
    // The list without a group holds none of theirs.
    let reading = wanted.filter_map(|group| group["id"].as_str()).map(|id| async move {
        (id.to_owned(), empty_if_hidden(api.get(&format!("/report-configs?groupId={}", segment(id))).await))
    });
    let answers: Vec<_> = stream::iter(reading).buffered(parallelism.max(1)).collect().await;
    for (id, answer) in answers {
        match answer {
            Ok(reports) => drop(found.group_reports.insert(id, reports)),
            Err(error) => found.unread.push(error.to_string()),
        }
    }
    found.groups = groups;
    found
}

/// The profiles whose names are wanted, with their rules; and what could not be read.
pub async fn profiles(
    api: &dyn ReadConformity,
    parallelism: usize,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> (Vec<Value>, Vec<String>) {
    let all = match empty_if_hidden(api.get("/profiles").await) {
        Ok(all) => all,
        Err(error) => return (Vec::new(), vec![error.to_string()]),
    };
    let ids = all
        .iter()
        .filter(|profile| wanted(profile["attributes"]["name"].as_str().unwrap_or_default()))
        .map(|profile| profile["id"].as_str().unwrap_or_default());
    let reading =
        ids.map(|id| async move { api.get(&format!("/profiles/{}?includes=ruleSettings", segment(id))).await });
    let details: Vec<_> = stream::iter(reading).buffered(parallelism.max(1)).collect().await;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for detail in details {
        match detail {
            Ok(detail) => found.push(detail),
            Err(error) => unread.push(error.to_string()),
        }
    }
    (found, unread)
}
