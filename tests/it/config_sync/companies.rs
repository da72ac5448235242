//! Generated companies, and the choices of the platform that nobody documented.

use proptest::{
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};
use simulators::conformity::{Empties, Secrets, Write};

#[derive(Clone, Debug)]
pub struct Switches {
    pub tags: Write,
    pub bulk: Write,
    pub rule: Write,
    pub empties: Empties,
    pub secrets: Secrets,
    pub urls_are_secret: bool,
    pub vision_one: bool,
}

/// Files by name, of one state of a company.
pub type Company = Vec<(&'static str, Value)>;

pub fn switches() -> impl Strategy<Value = Switches> {
    let write = || prop_oneof![Just(Write::Replaces), Just(Write::Merges)];
    let empties = prop_oneof![Just(Empties::AsWritten), Just(Empties::Null), Just(Empties::Missing)];
    let secrets = prop_oneof![Just(Secrets::Shown), Just(Secrets::Masked), Just(Secrets::Withheld)];
    (write(), write(), write(), empties, secrets, any::<bool>(), any::<bool>()).prop_map(
        |(tags, bulk, rule, empties, secrets, urls_are_secret, vision_one)| Switches {
            tags,
            bulk,
            rule,
            empties,
            secrets,
            urls_are_secret,
            vision_one,
        },
    )
}

/// Some of these, in their order.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Value> {
    subsequence(of.to_vec(), 0..=of.len()).prop_map(|some| json!(some))
}

/// The value, or no key at all.
fn maybe(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<(&'static str, Value)> {
    proptest::option::of(value).prop_map(move |value| (name, value.unwrap_or_default())).boxed()
}

fn object(keys: Vec<BoxedStrategy<(&'static str, Value)>>) -> impl Strategy<Value = Value> {
    keys.prop_map(|keys| {
        let keys = keys.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(keys.map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

fn flag() -> impl Strategy<Value = Value> {
    any::<bool>().prop_map(Value::from)
}

fn risk() -> impl Strategy<Value = Value> {
    select(vec!["LOW", "MEDIUM", "HIGH", "VERY_HIGH", "EXTREME"]).prop_map(Value::from)
}

/// One setting of each shape that the platform has.
fn setting(rule: &'static str) -> BoxedStrategy<Value> {
    let mapping = |vpc: String, gateways: Value| {
        let ids: Vec<Value> = gateways.as_array().into_iter().flatten().map(|id| json!({ "value": id })).collect();
        json!({ "type": "multiple-vpc-gateway-mappings", "mappings": [{ "values": [
            { "type": "single-string-value", "name": "vpcId", "value": vpc },
            { "type": "multiple-string-values", "name": "gatewayIds", "values": ids }] }] })
    };
    match rule {
        "SQS-003" => (1..100_u32)
            .prop_flat_map(|number| select(vec![json!(number), json!(number.to_string())]))
            .prop_filter("a number where the platform wants one", Value::is_number)
            .prop_map(|value| json!({ "threshold": value }))
            .boxed(),
        "EC2-017" => some(&["t2.micro", "t3.large"]).prop_map(|it| json!({ "desiredInstanceTypes": it })).boxed(),
        "EC2-034" => subsequence(vec![22, 80, 443], 0..=3).prop_map(|it| json!({ "commonlyUsedPorts": it })).boxed(),
        "EC2-025" => select(vec!["default", "host"]).prop_map(|it| json!({ "desiredTenancy": it })).boxed(),
        "GD-002" => some(&["LOW", "HIGH"]).prop_map(|it| json!({ "ConfigurationChanges": it })).boxed(),
        "IAM-047" => "[a-z]{1,5}".prop_map(|it| json!({ "iam_master_role_name": format!("role-{it}") })).boxed(),
        "RTM-001" => (1..100_u32).prop_map(|it| json!({ "ttl": it })).boxed(),
        "RTM-005" => some(&["CA", "AU"]).prop_map(|it| json!({ "authorisedCountries": it })).boxed(),
        "RTM-008" => some(&["us-east-1", "eu-west-1"]).prop_map(|it| json!({ "authorisedRegions": it })).boxed(),
        "RTM-011" => "[A-Z][a-z]{1,4}"
            .prop_map(
                |it| json!({ "patterns": [{ "value": { "eventName": it, "eventSource": "iam.amazonaws.com" } }] }),
            )
            .boxed(),
        "VPC-013" => ("vpc-[0-9]", some(&["igw-1", "igw-2"]))
            .prop_map(move |(vpc, ids)| json!({ "SpecificVPCToSpecificGatewayMapping": mapping(vpc, ids) }))
            .boxed(),
        _ => Just(Value::Null).boxed(),
    }
}

const RULES: [&str; 13] = [
    "S3-001", "S3-026", "SQS-003", "EC2-017", "EC2-034", "EC2-025", "GD-002", "IAM-047", "RTM-001", "RTM-005",
    "RTM-008", "RTM-011", "VPC-013",
];

fn rule(id: &'static str, filter_tags: bool) -> impl Strategy<Value = (String, Value)> {
    let tags = || some(&["Role::Temporary", "env::dev"]);
    let mut exceptions = vec![maybe("tags", tags()), maybe("resources", some(&["i-1", "bucket"]))];
    if filter_tags {
        exceptions.push(maybe("filter_tags", some(&["dev", "test"])));
    }
    let mut keys =
        vec![maybe("enabled", flag()), maybe("exceptions", object(exceptions)), maybe("settings", setting(id))];
    if id != "GD-002" {
        keys.push(maybe("risk", risk()));
    }
    (object(keys), proptest::option::of(select(vec!["2020-01-01", "2999-01-01"]))).prop_map(
        move |(mut rule, expires)| {
            if let Some(expires) = expires.filter(|_| rule["exceptions"].is_object()) {
                rule["expires"] = json!(expires);
            }
            (id.to_owned(), rule)
        },
    )
}

fn rules(filter_tags: bool) -> impl Strategy<Value = Value> {
    subsequence(RULES.to_vec(), 0..6)
        .prop_flat_map(move |ids| ids.into_iter().map(|id| rule(id, filter_tags)).collect::<Vec<_>>())
        .prop_map(|rules| Value::Object(rules.into_iter().collect()))
}

fn notification(label: &'static str, channel: &'static str, filter_tags: bool) -> impl Strategy<Value = Value> {
    let secret = "[a-z]{4}".prop_map(Value::from);
    let configuration = match channel {
        "slack" => (secret, flag())
            .prop_map(|(secret, flag)| {
                json!({ "channel": "#soc", "display_tags": flag,
            "url": format!("https://hooks.example/{}", secret.as_str().expect("text")) })
            })
            .boxed(),
        "webhook" => secret.prop_map(|it| json!({ "url": "https://hook.example/x", "security_token": it })).boxed(),
        "pager-duty" => secret.prop_map(|it| json!({ "service_name": "duty", "service_key": it })).boxed(),
        _ => Just(json!({ "arn": "arn:aws:sns:us-east-1:111122223333:checks" })).boxed(),
    };
    let mut filter = vec![
        maybe("risk_levels", some(&["HIGH", "EXTREME"])),
        maybe("services", some(&["S3", "EC2"])),
        maybe("compliances", some(&["AWAF"])),
        maybe("tags", some(&["a::b"])),
    ];
    if channel == "sns" {
        filter.push(maybe("statuses", some(&["FAILURE"])));
    }
    if filter_tags {
        filter.push(maybe("filter_tags", some(&["dev"])));
        filter.push(maybe("suppressed", flag()));
    }
    let keys = vec![
        maybe("enabled", flag()),
        maybe("filter", object(filter)),
        configuration.prop_map(|it| ("configuration", it)).boxed(),
    ];
    object(keys).prop_map(move |mut one| {
        one["channel"] = json!(channel);
        one["label"] = json!(label);
        one
    })
}

fn report() -> impl Strategy<Value = Value> {
    let schedule = select(vec!["* * *", "* * 1", "1 * *"]).prop_map(Value::from);
    let filter = object(vec![maybe("risk_levels", some(&["HIGH"])), maybe("services", some(&["S3"]))]);
    let keys = vec![
        maybe("frequency", schedule),
        maybe("include_checks", flag()),
        maybe("filter", filter),
        maybe("should_email_include_csv", flag()),
    ];
    object(keys).prop_map(|mut configuration| {
        let scheduled =
            json!({ "scheduled": true, "tz": "Australia/Sydney", "send_email": true, "emails": ["a@acme.example"] });
        let map = configuration.as_object_mut().expect("a map");
        if map.contains_key("frequency") {
            map.extend(scheduled.as_object().cloned().unwrap_or_default());
        } else {
            map.remove("should_email_include_csv");
        }
        json!([{ "title": "Weekly", "configuration": configuration }])
    })
}

pub fn company(vision_one: bool) -> impl Strategy<Value = Company> {
    let older = !vision_one;
    let bot = object(vec![
        maybe("enabled", flag()),
        maybe("delay", (1..=12_u32).prop_map(Value::from)),
        maybe("disabled_regions", some(&["us-west-1", "eu-west-1"])),
    ]);
    let modes = select(vec![
        json!({ "mode": "overwrite" }),
        json!({ "mode": "overwrite", "exceptions": true }),
        json!({ "mode": "fill-gaps" }),
        json!({ "mode": "replace" }),
        json!({ "mode": "replace", "exceptions": true }),
        json!({ "mode": "overwrite", "apply": "platform" }),
        json!({ "mode": "overwrite", "exceptions": true, "apply": "platform" }),
        json!({ "mode": "fill-gaps", "apply": "platform" }),
        json!({ "mode": "replace", "exceptions": true, "apply": "platform" }),
    ]);
    let channels = (
        notification("soc", "slack", older),
        notification("audit", "webhook", older),
        notification("duty", "pager-duty", older),
        notification("bus", "sns", older),
    );
    let account = object(vec![
        maybe("tags", some(&["payments", "prod", "team x"])),
        maybe("environment", select(vec!["prod", "dev"]).prop_map(Value::from)),
        maybe("bot", bot),
        rules(older).prop_map(|it| ("rules", it)).boxed(),
        maybe("reports", report()),
        maybe(
            "profiles",
            modes.prop_map(|mut mode| {
                mode["profile"] = json!("baseline");
                json!([mode])
            }),
        ),
    ]);
    let group = some(&["payments", "prod"]);
    (account, rules(older), rules(older), channels, group).prop_map(|(account, profile, pattern, channels, tags)| {
        let (soc, audit, duty, bus) = channels;
        let mut account = account;
        account["account"] = json!("ACCOUNT");
        account["notifications"] = json!([soc, audit]);
        vec![
            ("profiles/baseline.json", json!({ "name": "baseline", "description": "for all", "rules": profile })),
            ("accounts/all.json", json!({ "patterns": [{ "match": { "name": "*" }, "rules": pattern }] })),
            ("accounts/one.json", account),
            ("groups/all.json", json!({ "groups": [{ "name": "Payments", "tags": tags }] })),
            ("notifications/all.json", json!({ "notifications": [duty, bus] })),
        ]
    })
}
