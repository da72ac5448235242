//! Messages. Pure.

use serde_json::{Value, json};

use crate::{
    Delivery, Notice, Wanted,
    text::{clean, day, one_line, safe_link, shorten, spoken_risk, spoken_span},
};

/// All text of a message together: 9,600 characters pass, 11,300 do not.
const BUDGET: usize = 9_000;

/// Members that a message names.
const SHOWN: usize = 15;

/// `& < >` are the only characters that Slack treats as markup in plain places.
pub fn escape(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn escaped(text: &str, max: usize) -> String {
    let mut limit = max;
    loop {
        let out = escape(&shorten(text, limit));
        // Escaping makes text longer, and a cut must not fall inside `&amp;`.
        if out.chars().count() <= max || limit == 0 {
            return out;
        }
        limit -= (out.chars().count() - max).min(limit).max(1);
    }
}

/// Plain objects can't mention or link, and what would is escaped all the same: it stands in no request at all.
fn plain(text: &str, max: usize) -> Value {
    json!({ "type": "plain_text", "text": escaped(text, max), "emoji": false })
}

fn place(notice: &Notice) -> String {
    let account = if notice.account_name.is_empty() { &notice.account_id } else { &notice.account_name };
    let parts = [account.as_str(), notice.region.as_str()].into_iter().filter(|part| !part.is_empty());
    one_line(&parts.collect::<Vec<_>>().join(", "))
}

fn subject(notice: &Notice) -> String {
    match notice.member_count {
        0 | 1 if notice.resource.is_empty() => one_line(&notice.title),
        0 | 1 => one_line(&format!("{} on {}", notice.title, notice.resource)),
        count => one_line(&format!("{} on {count} resources", notice.title)),
    }
}

/// The text of notifications and of clients without blocks.
pub fn text(notice: &Notice, wanted: Wanted) -> String {
    let start = match wanted {
        Wanted::Open => spoken_risk(&notice.risk),
        Wanted::Resolved => "Resolved".to_owned(),
    };
    let place = place(notice);
    let place = if place.is_empty() { place } else { format!(" ({place})") };
    escaped(&format!("{start}: {}{place}", subject(notice)), 500)
}

fn colour(notice: &Notice, wanted: Wanted) -> &'static str {
    match (wanted, notice.risk_rank) {
        (Wanted::Resolved, _) => "#2EB67D",
        (_, 4..) => "#D40E0D",
        (_, 3) => "#E8912D",
        (_, 2) => "#ECB22E",
        _ => "#36C5F0",
    }
}

/// A group or a person of Slack by id; anything else is no mention.
pub fn mention(id: &str) -> Option<String> {
    let well = id.len() <= 20 && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    match id.chars().next() {
        Some('S') if well => Some(format!("<!subteam^{id}>")),
        Some('U' | 'W') if well => Some(format!("<@{id}>")),
        _ => None,
    }
}

/// How long it took, for the reply and the resolved message.
pub fn resolved_after(notice: &Notice) -> String {
    let span = match (notice.failing_since_ms, notice.resolved_at_ms) {
        (Some(from), Some(to)) => format!(" after {}", spoken_span(to - from)),
        _ => String::new(),
    };
    let by = notice.resolved_by.as_deref().filter(|by| *by != "SYSTEM");
    let by = by.map_or_else(String::new, |by| format!(" by {}", one_line(by)));
    match &notice.ended {
        Some(why) => format!("{}{span}.", one_line(why)),
        None => format!("Resolved{span}{by}."),
    }
}

/// The whole message: `text`, `attachments` and `metadata`, to which the caller adds channel and ts.
pub fn message(delivery: &Delivery, notice: &Notice) -> Value {
    let wanted = delivery.wanted;
    let mut blocks = Vec::new();
    let title = match notice.fix_url.as_deref().and_then(safe_link) {
        Some(url) => format!("*<{}|{}>*", url.replace('&', "&amp;"), escaped(&one_line(&notice.title), 300)),
        None => format!("*{}*", escaped(&one_line(&notice.title), 300)),
    };
    let start = match wanted {
        Wanted::Open => spoken_risk(&notice.risk),
        Wanted::Resolved => resolved_after(notice),
    };
    let mut head = format!("{}  {title}\n{}", escaped(&start, 200), escaped(&notice.message, 1_500));
    if wanted == Wanted::Open {
        for said in [&notice.note, &notice.delta].into_iter().flatten() {
            head.push_str(&format!("\n{}", escaped(said, 500)));
        }
        if let Some(mention) = delivery.options.mention.as_deref().and_then(mention) {
            head.push_str(&format!("\n{mention}"));
        }
    }
    blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "verbatim": true, "text": head } }));
    blocks.push(json!({ "type": "section", "fields": fields(notice) }));
    if notice.member_count > 1 {
        let lines: Vec<String> = notice.members.iter().take(SHOWN).map(|member| one_line(&member.line())).collect();
        let more = notice.member_count.saturating_sub(lines.len());
        let mut list = lines.join("\n");
        if more > 0 {
            list.push_str(&format!("\nand {more} more"));
        }
        blocks.push(json!({ "type": "section", "text": plain(&list, 2_500) }));
    }
    blocks.push(json!({ "type": "context", "elements": [plain(&context(delivery, notice), 500)] }));
    let buttons = buttons(notice);
    if !buttons.is_empty() && wanted == Wanted::Open {
        blocks.push(json!({ "type": "actions", "elements": buttons }));
    }
    let state = match wanted {
        Wanted::Open => "open",
        Wanted::Resolved => "resolved",
    };
    let mut message = json!({
        "text": text(notice, wanted),
        "unfurl_links": false,
        "unfurl_media": false,
        "parse": "none",
        "link_names": false,
        "attachments": [{ "color": colour(notice, wanted), "fallback": text(notice, wanted), "blocks": blocks }],
        "metadata": { "event_type": "conformity_finding",
            "event_payload": { "fingerprint": delivery.fingerprint, "state": state } },
    });
    if text_size(&message["attachments"]) > BUDGET {
        message["attachments"] = json!([]);
    }
    message
}

fn fields(notice: &Notice) -> Vec<Value> {
    let owner = notice.owner.as_ref().map(|(owner, source)| format!("{owner} ({source})"));
    let since = notice.failing_since_ms.map(day);
    let account = match notice.cloud_account.as_str() {
        "" => notice.account_name.clone(),
        number => format!("{} ({number})", notice.account_name),
    };
    [
        ("Resource", Some(notice.resource.clone())),
        ("Type", Some(notice.resource_type.clone())),
        ("Account", Some(account)),
        ("Environment", Some(notice.environment.clone())),
        ("Region", Some(notice.region.clone())),
        ("Owner", owner),
        ("Failing since", since),
        ("Ticket", notice.ticket.clone()),
    ]
    .into_iter()
    .filter_map(|(label, value)| value.filter(|value| !value.trim().is_empty()).map(|value| (label, value)))
    .map(|(label, value)| plain(&format!("{label}: {}", one_line(&value)), 300))
    .collect()
}

fn context(delivery: &Delivery, notice: &Notice) -> String {
    let routed = notice.routed_by.join(", ");
    let why = notice.explain.as_deref().filter(|explain| safe_link(explain).is_none());
    let why = why.map_or_else(String::new, |explain| format!(", why: {explain}"));
    one_line(&format!("rule {}, score {}, {routed}, fr-{}{why}", notice.rule_id, notice.score, delivery.fingerprint))
}

fn buttons(notice: &Notice) -> Vec<Value> {
    let all = [
        ("How to fix", &notice.fix_url),
        ("Open in console", &notice.console_url),
        ("All events in Splunk", &notice.search_url),
        ("Why this alert", &notice.explain),
    ];
    all.into_iter()
        .filter_map(|(label, url)| {
            let url = url.as_deref().and_then(safe_link)?;
            Some(json!({ "type": "button", "text": plain(label, 75), "url": url }))
        })
        .collect()
}

fn text_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(text_size).sum(),
        Value::Object(map) => map.values().map(text_size).sum(),
        _ => 0,
    }
}

/// The message as text alone, for when Slack does not take its blocks.
pub fn text_only(delivery: &Delivery, notice: &Notice) -> Value {
    let mut message = message(delivery, notice);
    let fix = notice.fix_url.as_deref().and_then(safe_link).unwrap_or_default();
    let text = format!("{}\n{}\n{fix}", text(notice, delivery.wanted), escaped(&notice.message, 2_000));
    message["text"] = text.into();
    message["attachments"] = json!([]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, SendOptions};

    fn delivery(notice: &Notice) -> Delivery {
        Delivery {
            key: "k".into(),
            fingerprint: "f".repeat(32),
            event_id: "e".into(),
            wanted: Wanted::Open,
            priority: 80,
            options: SendOptions::default(),
            content: Content::Notice(Box::new(notice.clone())),
            ledger: None,
            now_ms: 0,
            attempt: 0,
            in_doubt: false,
            sending_since_ms: None,
        }
    }

    #[test]
    fn l15_hostile_text_is_literal_bounded_and_mentions_nobody() {
        let hostile = "<!channel> <@U1> &lt; \u{202e} <https://evil|Login>".repeat(400);
        let notice = Notice {
            title: hostile.clone(),
            message: hostile.clone(),
            resource: hostile.clone(),
            account_name: hostile.clone(),
            owner: Some((hostile.clone(), "tag Owner".into())),
            note: Some(hostile.clone()),
            fix_url: Some("https://kb|<!channel>".into()),
            ..Notice::default()
        };
        let message = message(&delivery(&notice), &notice).to_string();
        for bad in ["<!", "<@", "<https://evil", "\u{202e}"] {
            assert!(!message.contains(bad), "{bad} in {message}");
        }
    }

    #[test]
    fn l9_a_message_never_holds_more_text_than_slack_takes() {
        let long = "x&".repeat(100_000);
        let notice = Notice {
            title: long.clone(),
            message: long.clone(),
            note: Some(long.clone()),
            resource: long.clone(),
            members: vec![crate::Member { resource: long, ..Default::default() }; 50],
            member_count: 5000,
            ..Notice::default()
        };
        let message = message(&delivery(&notice), &notice);
        assert!(text_size(&message["attachments"]) <= BUDGET);
        for block in message["attachments"][0]["blocks"].as_array().into_iter().flatten() {
            assert!(block["text"]["text"].as_str().unwrap_or_default().chars().count() <= 3_000);
        }
    }

    #[test]
    fn an_alert_names_the_ticket_that_stands_for_the_same_finding() {
        let notice = Notice { ticket: Some("SOC-24".into()), ..Notice::default() };
        let message = message(&delivery(&notice), &notice).to_string();
        assert!(message.contains("Ticket: SOC-24"), "{message}");
    }

    #[test]
    fn only_ids_of_slack_become_mentions() {
        assert_eq!(mention("S0123ABC").as_deref(), Some("<!subteam^S0123ABC>"));
        assert_eq!(mention("U0123ABC").as_deref(), Some("<@U0123ABC>"));
        for bad in ["channel", "!here", "S1>x", "", "C1"] {
            assert_eq!(mention(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_resolved_message_says_how_long_it_took() {
        let notice = Notice {
            failing_since_ms: Some(0),
            resolved_at_ms: Some(273_600_000),
            resolved_by: Some("SYSTEM".into()),
            ..Notice::default()
        };
        assert_eq!(resolved_after(&notice), "Resolved after 3 d 4 h.");
    }
}
