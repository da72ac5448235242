//! What a ticket says. Pure.

use serde_json::{Map, Value, json};

use super::{
    JiraConfig,
    markup::{Part, adf, wiki},
};
use crate::{
    Delivery, Notice,
    text::{clean, day, one_line, safe_link, shorten, spoken_risk, spoken_span},
};

/// JIRA takes 32,767 characters; whether it counts the JSON of ADF is not documented, so the JSON stays below.
const MAX_DESCRIPTION: usize = 30_000;

pub fn summary(notice: &Notice) -> String {
    let account = if notice.account_name.is_empty() { &notice.account_id } else { &notice.account_name };
    let what = match notice.member_count {
        0 | 1 => notice.resource.clone(),
        count => format!("{count} resources"),
    };
    let head = format!("[{}] {}", spoken_risk(&notice.risk), notice.title);
    let head = if what.is_empty() { head } else { format!("{}: {}", shorten(&head, 90), shorten(&what, 40)) };
    let place = [shorten(account, 30), shorten(&notice.region, 20)].into_iter().filter(|part| !part.is_empty());
    let place = place.collect::<Vec<_>>().join("/");
    let place = if place.is_empty() { place } else { format!(" ({place})") };
    shorten(&one_line(&format!("{head}{place}")), 200)
}

/// Members that a ticket names; with more its JSON would not fit.
const SHOWN: usize = 30;

/// The parts in the order in which a person needs them. `tight` leaves out what is longest.
fn parts(delivery: &Delivery, notice: &Notice, due: Option<&str>, tight: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let since = notice.failing_since_ms.map_or_else(String::new, |since| {
        format!(" - failing since {} ({})", day(since), spoken_span(delivery.now_ms.max(since) - since))
    });
    let due = due.map_or_else(String::new, |due| format!(" - due {due}"));
    parts.push(Part::Headline(format!("{}{since}{due}", spoken_risk(&notice.risk))));
    let limit = if tight { 1_000 } else { 6_000 };
    if !notice.message.is_empty() {
        parts.push(Part::Heading("What is wrong"));
        parts.push(Part::Text(shorten(&clean(&notice.message), limit)));
    }
    if let Some(note) = &notice.note {
        parts.push(Part::Heading("Why it matters"));
        parts.push(Part::Text(shorten(&clean(note), 1_000)));
    }
    if let Some(delta) = &notice.delta {
        parts.push(Part::Text(shorten(&clean(delta), 1_000)));
    }
    parts.push(Part::Heading("Where"));
    parts.push(Part::Table(rows(notice, tight)));
    if notice.member_count > 1 {
        parts.push(Part::Heading("Resources"));
        let rows = grid(notice, if tight { 10 } else { SHOWN });
        let more = notice.member_count.saturating_sub(rows.len());
        let mut headers = vec!["Resource", "Account", "Region", "Failing since"];
        if rows.first().is_some_and(|row| row.len() > headers.len()) {
            headers.insert(0, "What");
        }
        parts.push(Part::Grid(headers, rows));
        if more > 0 {
            parts.push(Part::Text(format!("and {more} more")));
        }
    }
    if let Some(url) = notice.search_url.as_deref().and_then(safe_link) {
        parts.push(Part::Link("Every event behind this ticket, in Splunk", url.to_owned()));
    }
    parts.push(Part::Heading("How to fix"));
    match notice.fix_url.as_deref() {
        Some(url) if safe_link(url).is_some() => {
            parts.push(Part::Link("Knowledge base: steps for this rule", url.to_owned()))
        }
        Some(url) => parts.push(Part::Text(shorten(&one_line(url), 300))),
        None => parts.push(Part::Text(format!("See the knowledge base for rule {}.", one_line(&notice.rule_id)))),
    }
    if let Some(url) = notice.console_url.as_deref().and_then(safe_link) {
        parts.push(Part::Link("Open the resource in the console", url.to_owned()));
    }
    parts.push(Part::Heading("Verify"));
    parts.push(Part::Text("This ticket closes by itself once the check passes.".to_owned()));
    parts.push(Part::Heading("Not a problem?"));
    parts.push(Part::Text(
        "Suppress the check in Conformity with a reason and an end date, or add an exception to the rule.".to_owned(),
    ));
    if !tight && !notice.extra.is_empty() {
        let lines: Vec<String> = notice
            .extra
            .iter()
            .take(30)
            .map(|(key, value)| shorten(&one_line(&format!("{key}: {value}")), 300))
            .collect();
        parts.push(Part::Heading("Evidence"));
        parts.push(Part::Code(shorten(&lines.join("\n"), 4_000)));
    }
    let routed = notice.routed_by.join(", ");
    parts.push(Part::Text(one_line(&format!(
        "Score {}, routed by {routed}. fr-{}",
        notice.score, delivery.fingerprint
    ))));
    if let Some(explain) = notice.explain.as_deref() {
        parts.push(match safe_link(explain) {
            Some(url) => Part::Link("Why this ticket", url.to_owned()),
            None => Part::Text(one_line(&format!("Why: {explain}"))),
        });
    }
    parts
}

/// A row for each member, all of the same length.
fn grid(notice: &Notice, rows: usize) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = notice.members.iter().take(rows).map(crate::Member::cells).collect();
    let most = all.iter().map(Vec::len).max().unwrap_or(0);
    for row in &mut all {
        if row.len() < most {
            row.insert(0, notice.title.clone());
        }
        for cell in row {
            *cell = shorten(&one_line(cell), 120);
        }
    }
    all
}

fn rows(notice: &Notice, tight: bool) -> Vec<(String, String)> {
    let tags: Vec<String> = notice
        .tags
        .iter()
        .filter(|(key, _)| !tight || key.eq_ignore_ascii_case("owner") || key.eq_ignore_ascii_case("environment"))
        .take(20)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let owner = notice.owner.as_ref().map(|(owner, source)| format!("{owner} (from {source})")).unwrap_or_default();
    [
        ("Resource", notice.resource.clone()),
        ("Type", notice.resource_type.clone()),
        ("Account", account(notice)),
        ("Environment", notice.environment.clone()),
        ("Region", notice.region.clone()),
        ("Owner", owner),
        ("Tags", tags.join(", ")),
        ("Category", notice.categories.join(", ")),
        ("Standards", notice.compliances.join(", ")),
        ("Rule", notice.rule_id.clone()),
        ("Check", notice.check_id.clone()),
        ("Introduced by", notice.introduced_by.clone().unwrap_or_default()),
    ]
    .into_iter()
    .map(|(label, value)| (label.to_owned(), shorten(&one_line(&value), 500)))
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn account(notice: &Notice) -> String {
    match notice.cloud_account.as_str() {
        "" => notice.account_name.clone(),
        number => format!("{} ({number})", notice.account_name),
    }
}

/// The description in the deployment's markup, within its limit.
pub fn description(config: &JiraConfig, delivery: &Delivery, notice: &Notice, cloud: bool, tight: bool) -> Value {
    // Of an old ticket: the day that it was given when it was made.
    let opened = delivery.ledger.as_ref().map_or(delivery.now_ms, crate::Ledger::opened_ms);
    let due = due(config, notice, opened);
    let render = |tight| {
        let parts = parts(delivery, notice, due.as_deref(), tight);
        if cloud { adf(&parts) } else { Value::String(wiki(&parts)) }
    };
    let full = render(tight);
    if full.to_string().len() <= MAX_DESCRIPTION { full } else { render(true) }
}

/// Labels hold no white space and 255 characters at most.
pub fn label(text: &str) -> String {
    let text: String =
        clean(text).chars().map(|c| if c.is_whitespace() { '_' } else { c }).filter(|c| !c.is_control()).collect();
    text.chars().take(255).collect()
}

pub fn labels(config: &JiraConfig, delivery: &Delivery, notice: &Notice) -> Vec<String> {
    let mut labels: Vec<String> =
        config.labels.iter().chain(&delivery.options.labels).map(|text| label(text)).collect();
    labels.push(format!("fr-{}", delivery.fingerprint));
    for (prefix, value) in [
        ("rule", &notice.rule_id),
        ("risk", &notice.risk.to_lowercase().replace('_', "-")),
        ("acct", if notice.cloud_account.is_empty() { &notice.account_id } else { &notice.cloud_account }),
        ("env", &notice.environment),
        ("svc", &notice.service.to_lowercase()),
    ] {
        if !value.is_empty() {
            labels.push(label(&format!("{prefix}-{value}")));
        }
    }
    labels.retain(|label| !label.is_empty());
    let mut seen = std::collections::HashSet::new();
    labels.retain(|label| seen.insert(label.clone()));
    labels
}

/// By score where the settings hold numbers (the highest that the score reaches), else by risk.
fn priority<'a>(config: &'a JiraConfig, notice: &Notice) -> Option<&'a String> {
    let by_score = config.priorities.iter().filter_map(|(least, name)| Some((least.parse::<i64>().ok()?, name)));
    let reached = by_score.filter(|(least, _)| *least <= notice.score).max_by_key(|(least, _)| *least);
    reached.map(|(_, name)| name).or_else(|| config.priorities.get(&notice.risk))
}

/// Fields that are rewritten when the content changes.
pub fn changing_fields(config: &JiraConfig, delivery: &Delivery, notice: &Notice, cloud: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("summary".to_owned(), summary(notice).into());
    fields.insert("description".to_owned(), description(config, delivery, notice, cloud, false));
    if let Some(priority) = priority(config, notice) {
        fields.insert("priority".to_owned(), json!({ "name": priority }));
    }
    fields
}

/// The day by which a ticket made or reopened at that time is to be done.
pub fn due(config: &JiraConfig, notice: &Notice, opened_ms: i64) -> Option<String> {
    let span = crate::config::millis(*config.sla.get(&notice.risk)?);
    Some(day(opened_ms.saturating_add(span)))
}

/// The project's component for a service.
fn component<'a>(config: &'a JiraConfig, service: &str) -> Option<&'a String> {
    config.components.iter().find(|(known, _)| known.eq_ignore_ascii_case(service)).map(|(_, component)| component)
}

/// All fields of a new ticket.
pub fn create_fields(config: &JiraConfig, delivery: &Delivery, notice: &Notice, cloud: bool) -> Map<String, Value> {
    let mut fields = changing_fields(config, delivery, notice, cloud);
    fields.insert("project".to_owned(), json!({ "key": config.project }));
    fields.insert("issuetype".to_owned(), json!({ "name": config.issue_type }));
    fields.insert("labels".to_owned(), labels(config, delivery, notice).into());
    if let Some(due) = due(config, notice, delivery.now_ms) {
        fields.insert("duedate".to_owned(), due.into());
    }
    if let Some(component) = component(config, &notice.service) {
        fields.insert("components".to_owned(), json!([{ "name": component }]));
    }
    if let Some(assignee) = &delivery.options.assignee {
        let key = if cloud { "accountId" } else { "name" };
        fields.insert("assignee".to_owned(), json!({ key: assignee }));
    }
    for (name, value) in config.fields.iter().chain(&delivery.options.fields) {
        fields.insert(name.clone(), value.clone());
    }
    fields
}

/// Of what a ticket says, without what changes at each run: the age, and the day it is due.
pub fn content_hash(config: &JiraConfig, delivery: &Delivery, notice: &Notice) -> String {
    let still = Delivery { now_ms: 0, ledger: None, ..delivery.clone() };
    let fields = changing_fields(config, &still, notice, false);
    crate::fingerprint(&Value::Object(fields).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j9_labels_hold_no_white_space_whatever_the_tag_says() {
        for text in ["a b", "a\tb", "a\u{a0}b", "a\u{3000}b"] {
            assert_eq!(label(text), "a_b", "{text:?}");
        }
        assert_eq!(label(&"x".repeat(300)).len(), 255);
    }

    #[test]
    fn a_summary_is_one_line_of_200_characters_at_most() {
        let notice = Notice {
            title: "t\n".repeat(500),
            resource: "r".repeat(500),
            account_name: "a".repeat(500),
            risk: "VERY_HIGH".into(),
            region: "us-west-2".into(),
            ..Notice::default()
        };
        let summary = summary(&notice);
        assert!(summary.starts_with("[VERY HIGH] t t") && summary.ends_with("/us-west-2)"), "{summary}");
        assert!(summary.chars().count() <= 200 && !summary.contains('\n'));
    }
}
