//! Deterministic Conformity scans: check events as the service publishes them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::front::{mix, uuid};

pub(crate) const CATALOGUE: &str = include_str!("../../conformity-rules.json");
pub(crate) const ORGANISATION: &str = "102642678400";
const DAY: u64 = 86_400_000;
const TEAMS: [&str; 12] = [
    "payments",
    "orders",
    "identity",
    "data",
    "web",
    "mobile",
    "search",
    "billing",
    "logistics",
    "platform",
    "network",
    "research",
];
const ENVIRONMENTS: [&str; 4] = ["prod", "staging", "test", "dev"];

#[derive(Deserialize)]
struct Catalogue {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    title: Option<String>,
    service: Option<String>,
    provider: String,
    risk_level: Option<String>,
    categories: Option<Vec<String>>,
    compliances: Option<Vec<String>>,
    level: Option<String>,
    kb_slug: Option<String>,
    not_scored: Option<bool>,
    is_deprecated: Option<bool>,
}

/// The usable rules of AWS, Azure and GCP.
static RULES: LazyLock<[Vec<Rule>; 3]> = LazyLock::new(|| {
    let mut rules: [Vec<Rule>; 3] = Default::default();
    if let Ok(catalogue) = serde_json::from_str::<Catalogue>(CATALOGUE) {
        for rule in catalogue.rules {
            let usable = rule.risk_level.is_some() && rule.service.is_some() && !rule.is_deprecated.unwrap_or(false);
            let place = PROVIDERS.iter().position(|provider| *provider == rule.provider);
            if let Some(place) = place.filter(|_| usable) {
                rules[place].push(rule);
            }
        }
    }
    rules
});

const PROVIDERS: [&str; 3] = ["aws", "azure", "gcp"];

/// The rules of AWS by service: id, title, risk level, first category.
pub(crate) fn rules_by_service() -> std::collections::BTreeMap<String, Vec<(String, String, String, String)>> {
    let mut services: std::collections::BTreeMap<String, Vec<_>> = std::collections::BTreeMap::new();
    for rule in &RULES[0] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let category = rule.categories.as_ref().and_then(|all| all.first().cloned()).unwrap_or_default();
        let row = (rule.id.clone(), text(&rule.title), text(&rule.risk_level), category);
        services.entry(text(&rule.service)).or_default().push(row);
    }
    services
}

/// An account of the scanned organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The id in Conformity.
    pub id: String,
    /// The name.
    pub name: String,
    /// `aws`, `azure` or `gcp`.
    pub provider: String,
    /// The AWS account, Azure subscription or GCP project.
    pub cloud_account: String,
    /// `prod`, `staging`, `test` or `dev`.
    pub env: String,
    /// The team that owns it.
    pub team: String,
    /// The channel of the team.
    pub slack_channel: String,
}

/// The accounts of the organisation with this seed; a longer list begins with the shorter one.
pub fn accounts(seed: u64, count: usize) -> Vec<Account> {
    (0..count)
        .map(|index| {
            let hash = mix(seed ^ mix(index as u64));
            // Of ten accounts eight are AWS, one Azure and one GCP.
            let provider = match index % 10 {
                4 => 1,
                9 => 2,
                _ => 0,
            };
            let team = TEAMS[index % TEAMS.len()];
            let env = ENVIRONMENTS[(index / TEAMS.len()) % ENVIRONMENTS.len()];
            let name = match index / (TEAMS.len() * ENVIRONMENTS.len()) {
                0 => format!("{team}-{env}"),
                n => format!("{team}-{env}-{}", n + 1),
            };
            let cloud_account = match provider {
                0 => format!("{:012}", 100_000_000_000 + hash % 900_000_000_000),
                1 => uuid(hash ^ 1),
                _ => format!("{name}-{:04}", hash % 10_000),
            };
            Account {
                id: uuid(hash),
                name,
                provider: PROVIDERS[provider].to_owned(),
                cloud_account,
                env: env.to_owned(),
                team: team.to_owned(),
                slack_channel: format!("#sec-{team}"),
            }
        })
        .collect()
}

/// The company's look-up tables as a routes directory takes them: file name and text.
pub fn tables(seed: u64, count: usize) -> [(&'static str, String); 2] {
    let mut rows = "account,kind,env,team\n".to_owned();
    let mut owners = serde_json::Map::new();
    for account in accounts(seed, count) {
        let kind = if account.team == "platform" { "platform" } else { "application" };
        rows.push_str(&format!("{},{kind},{},team-{}\n", account.id, account.env, account.team));
        owners.insert(format!("team-{}", account.team), json!({ "channel": account.slack_channel }));
    }
    [("accounts.csv", rows), ("owners.json", Value::Object(owners).to_string())]
}

/// What a scan consists of.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// The same seed gives the same checks.
    pub seed: u64,
    /// How many accounts.
    pub accounts: usize,
    /// How many checks.
    pub checks: u64,
    /// The share of the checks that fail, from 0 to 1.
    pub failing_share: f64,
    /// When the scan began, in milliseconds since 1970.
    pub start_ms: u64,
    /// Whether this is the scan of the next day, in which four of five failures pass and a few more fail.
    pub follow_up: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            accounts: 140,
            checks: 10_000,
            failing_share: 0.02,
            start_ms: 1_790_000_000_000,
            follow_up: false,
        }
    }
}

/// The checks of a scan, as JSON texts.
pub struct Scan {
    options: ScanOptions,
    accounts: Vec<Account>,
    next: u64,
}

impl Scan {
    /// A scan with these options.
    pub fn new(options: ScanOptions) -> Self {
        let accounts = accounts(options.seed, options.accounts.max(1));
        Self { options, accounts, next: 0 }
    }

    /// The scan of the day after: the same checks with newer dates, most failures pass.
    pub fn follow_up(options: ScanOptions) -> Self {
        Self::new(ScanOptions { follow_up: true, ..options })
    }

    fn check(&self, index: u64) -> String {
        let options = &self.options;
        let hash = mix(options.seed.rotate_left(32) ^ mix(index));
        let account = &self.accounts[pick(hash, self.accounts.len())];
        let failed_before = share(mix(hash ^ 5)) < options.failing_share;
        let fails = match (options.follow_up, failed_before) {
            (false, failed) => failed,
            (true, true) => share(mix(hash ^ 6)) < 0.2,
            (true, false) => share(mix(hash ^ 6)) < options.failing_share / 20.0,
        };
        // A scan takes an hour and a half, however many checks there are.
        let within = index * 5_400_000 / options.checks.max(1);
        let first = options.start_ms + within;
        let now = first + if options.follow_up { DAY } else { 0 };
        let created = first - (30 + mix(hash ^ 7) % 700) * DAY;
        let changed_earlier = first - mix(hash ^ 8) % (30 * DAY);
        let changed = if options.follow_up && fails != failed_before { now } else { changed_earlier };
        Draw { account, index, hash, fails, created, changed, now }.check().to_string()
    }
}

/// The checks of one account, the same ones at each time.
pub(crate) fn account_checks(account: &Account, count: u64, failing_share: f64, now: u64) -> Vec<Value> {
    let seed = account.id.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    (0..count)
        .map(|index| {
            let hash = mix(seed ^ mix(index));
            let fails = share(mix(hash ^ 5)) < failing_share;
            Draw { account, index, hash, fails, created: now, changed: now, now }.check()
        })
        .collect()
}

/// What a check is made of.
struct Draw<'a> {
    account: &'a Account,
    index: u64,
    hash: u64,
    fails: bool,
    created: u64,
    changed: u64,
    now: u64,
}

impl Draw<'_> {
    fn check(&self) -> Value {
        let Self { account, index, hash, fails, created, changed, now } = *self;
        let place = PROVIDERS.iter().position(|provider| *provider == account.provider).unwrap_or(0);
        let rules = &RULES[place];
        let rule = &rules[pick(mix(hash ^ 2), rules.len())];
        let service = rule.service.as_deref().unwrap_or_default();
        let region = region(place, service, mix(hash ^ 3));
        let kind = service.to_lowercase();
        let name = format!("{}-{kind}-{index}", account.team);
        let resource = match place {
            _ if rule.level.as_deref() == Some("account") && index.is_multiple_of(4) => String::new(),
            1 => format!(
                "/subscriptions/{}/resourceGroups/rg-{}/providers/Microsoft.{service}/{kind}/{name}",
                account.cloud_account, account.team
            ),
            2 => format!("projects/{}/{kind}/{name}", account.cloud_account),
            _ if service == "ELBv2" => format!(
                "arn:aws:elasticloadbalancing:{region}:{}:loadbalancer/app/{name}/{:016x}",
                account.cloud_account,
                mix(hash ^ 4)
            ),
            _ => name.clone(),
        };
        let title = rule.title.as_deref().unwrap_or(&rule.id);
        let message = if fails {
            format!("{service} resource {name} does not meet: {title}")
        } else {
            format!("{service} resource {name} meets: {title}")
        };
        let mut tags = vec![format!("Environment::{}", account.env), format!("Owner::team-{}", account.team)];
        if mix(hash ^ 9).is_multiple_of(5) {
            tags.push("url::https://x.example::8443".to_owned());
        }
        let slug = rule.kb_slug.as_deref().unwrap_or("rule");
        let mut check = json!({
            "id": format!("ccc:{}:{}:{service}:{region}:{resource}", account.id, rule.id),
            "organisationId": ORGANISATION,
            "accountId": account.id,
            "accountName": account.name,
            "provider": account.provider,
            "cloudProviderId": account.cloud_account,
            "ruleId": rule.id,
            "ruleTitle": title,
            "link": link(place, &region, &resource),
            "service": service,
            "region": region,
            "riskLevel": rule.risk_level,
            "categories": rule.categories,
            "compliances": rule.compliances,
            "message": message,
            "resource": resource,
            "descriptorType": resource_type(service),
            "resourceName": format!("{service} Resource"),
            "status": if fails { "FAILURE" } else { "SUCCESS" },
            "notScored": rule.not_scored.unwrap_or(false),
            "suppressed": fails && mix(hash ^ 10).is_multiple_of(50),
            "lastStatusUpdateDate": changed,
            "ccrn": format!("ccrn:{}:{}:{service}:{region}:{resource}", account.provider, account.id),
            "extradata": [{"name": "Name", "label": "Name", "type": "META", "value": name}],
            "tags": tags,
            "cost": 0,
            "waste": 0,
            "lastModifiedDate": now,
            "lastModifiedBy": "SYSTEM",
            "createdDate": created,
            "createdBy": "SYSTEM",
            "resolutionPageUrl": format!(
                "https://www.trendmicro.com/cloudoneconformity/knowledge-base/{}/{service}/{slug}.html#{ORGANISATION}",
                account.provider
            ),
        });
        if resource.is_empty()
            && let Some(fields) = check.as_object_mut()
        {
            for name in ["resource", "descriptorType", "resourceName", "extradata"] {
                fields.shift_remove(name);
            }
        }
        if fails {
            check["failureDiscoveryDate"] = json!(changed);
        }
        check
    }
}

impl Iterator for Scan {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.next >= self.options.checks {
            return None;
        }
        let check = self.check(self.next);
        self.next += 1;
        Some(check)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.options.checks - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

fn pick(hash: u64, count: usize) -> usize {
    usize::try_from(hash % count.max(1) as u64).unwrap_or(0)
}

/// From 0 to 1.
fn share(hash: u64) -> f64 {
    f64::from(u32::try_from(hash >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// The regions of AWS, Azure and GCP.
const REGIONS: [&[&str]; 3] = [
    &["us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2"],
    &["eastus", "westeurope", "australiaeast"],
    &["global", "europe-west1", "us-central1"],
];

/// Each provider with each of its regions.
pub(crate) fn all_regions() -> Vec<(&'static str, &'static str)> {
    let of = |(provider, regions): (&'static str, &[&'static str])| -> Vec<_> {
        regions.iter().map(|region| (provider, *region)).collect()
    };
    PROVIDERS.into_iter().zip(REGIONS).flat_map(of).chain([("aws", "global")]).collect()
}

/// The resource type of the resources of a service.
pub(crate) fn resource_type(service: &str) -> String {
    format!("{}-resource", service.to_lowercase())
}

fn region(place: usize, service: &str, hash: u64) -> String {
    let regions: &[&str] = match (place, service) {
        (0, "IAM" | "CloudFront" | "Route53" | "Budgets" | "Organisations") | (2, "CloudIAM") => &["global"],
        _ => REGIONS[place],
    };
    regions[pick(hash, regions.len())].to_owned()
}

fn link(place: usize, region: &str, resource: &str) -> String {
    match place {
        1 => format!("https://portal.azure.com/#resource/{resource}"),
        2 => format!("https://console.cloud.google.com/{resource}"),
        _ => format!("https://{region}.console.aws.amazon.com/?region={region}#{resource}"),
    }
}
