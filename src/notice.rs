//! A finding as the notice that people read at a target.

use connectors::{Notice, SendOptions};

use crate::{
    decode,
    finding::Finding,
    route::Send,
    store::{Known, Payload},
};

/// Tags that name who should act, in order of trust.
const OWNER_TAGS: [&str; 5] = ["Owner", "Team", "OwnerContact", "resource-owner", "Squad"];

/// The notice of a finding, and what the script asked for.
pub fn payload(finding: &Finding, known: &Known, send: &Send, score: i64, env: &str) -> Payload {
    let mut notice = notice(finding, known, score, env);
    if let Some(title) = &send.title {
        notice.title.clone_from(title);
    } else if let Some(digest) = &send.digest {
        notice.title = format!("New findings ({digest})");
    }
    notice.note.clone_from(&send.note);
    notice.routed_by = vec![match send.line {
        Some(line) => format!("{}:{line}", send.script),
        None => send.script.clone(),
    }];
    let options = SendOptions {
        channel: send.channel.clone(),
        mention: send.mention.clone(),
        assignee: send.assignee.clone(),
        labels: send.labels.clone(),
        fields: send.fields.clone(),
        update: send.update,
    };
    Payload { notice, options }
}

/// Bytes: what Slack takes as a button's address, with room to spare, and what somebody would paste into a shell.
const LONGEST_EXPLAIN: usize = 2_000;

/// How to see why something was sent: `explain_url` filled in, else the command line to run.
///
/// A check id comes from outside: one that a shell would read as more than a name gives no command line, and one that
/// alone would fill a ticket gives nothing: cut, it would name no check.
pub fn explain(template: Option<&str>, finding: &Finding) -> Option<String> {
    let why = match template {
        Some(template) => {
            let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            // `+` means a space only in forms.
            let encoded = |text: &str| encoded(text).replace('+', "%20");
            let filled = template.replace("{event_id}", &finding.event_id);
            Some(filled.replace("{check_id}", &encoded(&finding.id)))
        }
        None => {
            let safe = !finding.id.contains(|c: char| c == '\'' || c.is_control());
            safe.then(|| format!("findings-router explain '{}'", finding.id))
        }
    };
    why.filter(|why| why.len() <= LONGEST_EXPLAIN)
}

/// Who should act, and which tag says so.
pub fn owner(finding: &Finding) -> Option<(String, String)> {
    OWNER_TAGS.iter().find_map(|tag| {
        finding.tag(tag).filter(|value| !value.is_empty()).map(|value| (value.to_owned(), format!("tag {tag}")))
    })
}

/// The notice of a finding as it is now.
pub fn notice(finding: &Finding, known: &Known, score: i64, env: &str) -> Notice {
    let owner = owner(finding);
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Notice {
        title: if finding.rule_title.is_empty() { finding.rule_id.clone() } else { finding.rule_title.clone() },
        risk: finding.risk.as_str().to_owned(),
        risk_rank: finding.risk.rank(),
        score,
        message: finding.message.clone(),
        note: None,
        ended: None,
        resource: finding.resource.clone(),
        resource_type: if finding.resource_type.is_empty() {
            finding.resource_name.clone()
        } else {
            finding.resource_type.clone()
        },
        service: finding.service.clone(),
        region: finding.region.clone(),
        provider: finding.provider.clone(),
        account_id: finding.account_id.clone(),
        account_name: finding.account_name.clone(),
        cloud_account: finding.cloud_account.clone(),
        environment: env.to_owned(),
        rule_id: finding.rule_id.clone(),
        check_id: finding.id.clone(),
        ccrn: finding.ccrn.clone(),
        owner,
        tags: finding.tags.clone(),
        extra: decode::evidence(finding),
        categories: finding.categories.clone(),
        compliances: decode::compliances(finding),
        introduced_by: finding.introduced_by.clone(),
        resolved_by: finding.resolved_by.clone(),
        failing_since_ms: known.failing_since,
        resolved_at_ms: known.resolved_at,
        fix_url: given(&finding.fix_url),
        console_url: given(&finding.link),
        ticket: None,
        routed_by: Vec::new(),
        explain: None,
        members: Vec::new(),
        member_count: 0,
        delta: None,
        search_url: None,
    }
}
