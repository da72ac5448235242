//! Notifications and reports: desired against actual.

use serde_json::{Value, json};

use super::{Context, NO_SECRETS, change, patch};
use crate::config_sync::{
    Platform,
    api::segment,
    items::{self as setting, Secrets, fields},
    plan::{Action, Kind, Section, Write},
    remembered::place,
    same::canonical,
    schema::{Notification, Report},
};

pub(super) fn notifications(
    context: &Context<'_>,
    section: &mut Section,
    wanted: &[Notification],
    live: &[Value],
    level: &Value,
    list: &str,
) {
    let known: Vec<(String, String, Value)> = live
        .iter()
        .map(|resource| {
            let (identity, body) = setting::live_notification(resource);
            (identity, resource["id"].as_str().unwrap_or_default().to_owned(), body)
        })
        .collect();
    let mut used = vec![false; known.len()];
    for one in wanted {
        section.managed += 1;
        let (identity, _) = setting::wanted_notification(one, None);
        let found = known.iter().position(|(live, ..)| *live == identity);
        let secrets = Secrets { is: &|key| setting::is_secret(&one.channel, key), salt: context.salt };
        match found {
            Some(at) => {
                used[at] = true;
                let (_, id, live) = &known[at];
                let (_, next) = setting::wanted_notification(one, Some(live));
                let mut compared = live.clone();
                let withheld = recognise(context, section, &identity, one, &next, &mut compared);
                let changes = fields("", &compared, &next, &secrets);
                if !changes.is_empty() {
                    if let Some(key) = withheld {
                        section.errors.push(format!(
                            "notification `{identity}` differs, and its secret `{key}` can't be read back: a change would drop it, so write it (or take the line out, if there is none)"
                        ));
                        continue;
                    }
                    let path = format!("/settings/communication/{}", segment(id));
                    let mut write = patch(path, notification_body(&next, level));
                    write.secrets = written_secrets(section, &identity, one, &next);
                    section.changes.push(change(Kind::Notification, &identity, Action::Update, changes, write));
                }
            }
            None => {
                let (_, next) = setting::wanted_notification(one, None);
                let kept: Vec<&String> =
                    one.configuration.iter().filter(|(_, value)| setting::keeps(value)).map(|(key, _)| key).collect();
                if !kept.is_empty() {
                    section.errors.push(format!(
                        "notification `{identity}` does not exist, so its secret {kept:?} can't be kept: write it"
                    ));
                    continue;
                }
                if setting::is_tickets(&one.channel) && context.platform == Platform::Conformity {
                    section.errors.push(format!(
                        "notification `{identity}` does not exist, and this platform makes {} channels in its web page only: make it there, with this label, and it is managed here",
                        one.channel
                    ));
                    continue;
                }
                let changes = fields("", &json!({}), &next, &secrets);
                let write = Write {
                    method: "POST",
                    path: "/settings/communication".to_owned(),
                    lookup: Some((list.to_owned(), json!({ "notification": identity }))),
                    body: notification_body(&next, level),
                    secrets: written_secrets(section, &identity, one, &next),
                };
                section.changes.push(change(Kind::Notification, &identity, Action::Create, changes, write));
            }
        }
    }
    prune(context, section, "notifications", Kind::Notification, &known, &used, |id| {
        format!("/settings/{}", segment(id))
    });
}

fn notification_body(attributes: &Value, level: &Value) -> Value {
    json!({ "data": { "type": "settings", "attributes": attributes, "relationships": level } })
}

/// Secrets that are not given back and are the ones written last count as the same. Answers one that is to be kept.
fn recognise(
    context: &Context<'_>,
    section: &Section,
    identity: &str,
    wanted: &Notification,
    next: &Value,
    live: &mut Value,
) -> Option<String> {
    let mut kept = None;
    for (key, value) in &wanted.configuration {
        let key = setting::camel(key);
        if !setting::is_secret(&wanted.channel, &key) || !setting::is_withheld(&live["configuration"][&key]) {
            continue;
        }
        let secret = canonical(&next["configuration"][&key]).to_string();
        if setting::keeps(value) {
            kept = Some(key);
        } else if context.remembered.is(&place(&section.account_id, identity, &key), &secret) {
            live["configuration"][&key] = next["configuration"][&key].clone();
        }
    }
    kept
}

fn written_secrets(section: &Section, identity: &str, wanted: &Notification, next: &Value) -> Vec<(String, String)> {
    let keys =
        wanted.configuration.iter().filter(|(_, value)| !setting::keeps(value)).map(|(key, _)| setting::camel(key));
    keys.filter(|key| setting::is_secret(&wanted.channel, key))
        .map(|key| {
            let secret = canonical(&next["configuration"][&key]).to_string();
            (place(&section.account_id, identity, &key), secret)
        })
        .collect()
}

/// Deletes what nothing here names, where settings.yaml asks for it; a kind that nothing here names at all is left alone.
fn prune(
    context: &Context<'_>,
    section: &mut Section,
    kind_name: &str,
    kind: Kind,
    known: &[(String, String, Value)],
    used: &[bool],
    path: impl Fn(&str) -> String,
) {
    if !context.prunes(kind_name) || !used.contains(&true) && section.managed == 0 {
        return;
    }
    for ((identity, id, body), _) in known.iter().zip(used).filter(|(_, used)| !**used) {
        let channel = body["channel"].as_str().unwrap_or_default().to_owned();
        let secrets = Secrets { is: &|key| setting::is_secret(&channel, key), salt: context.salt };
        let changes = fields("", body, &json!({}), &secrets);
        let write = Write { method: "DELETE", path: path(id), ..Write::default() };
        section.changes.push(change(kind, identity, Action::Delete, changes, write));
    }
}

pub(super) fn reports(
    context: &Context<'_>,
    section: &mut Section,
    wanted: &[Report],
    live: &[Value],
    owner: &Value,
    list: &str,
) {
    let known: Vec<(String, String, Value)> = live
        .iter()
        .map(|resource| {
            let configuration = resource["attributes"]["configuration"].clone();
            let title = configuration["title"].as_str().unwrap_or_default().to_owned();
            (title, resource["id"].as_str().unwrap_or_default().to_owned(), configuration)
        })
        .collect();
    let mut used = vec![false; known.len()];
    for one in wanted {
        section.managed += 1;
        let found = known.iter().position(|(title, ..)| *title == one.title);
        let live = found.map(|at| &known[at].2);
        let next = setting::wanted_report(one, live);
        let mut attributes = owner.clone();
        attributes["configuration"] = next.clone();
        let body = json!({ "data": { "type": "report-config", "attributes": attributes } });
        match found {
            Some(at) => {
                used[at] = true;
                let (_, id, live) = &known[at];
                let changes =
                    fields("", &setting::report_compared(live), &setting::report_compared(&next), &NO_SECRETS);
                if !changes.is_empty() {
                    let path = format!("/report-configs/{}", segment(id));
                    section.changes.push(change(Kind::Report, &one.title, Action::Update, changes, patch(path, body)));
                }
            }
            None => {
                let changes = fields("", &json!({}), &next, &NO_SECRETS);
                let write = Write {
                    method: "POST",
                    path: "/report-configs".to_owned(),
                    lookup: Some((list.to_owned(), json!({ "report": one.title }))),
                    body,
                    ..Write::default()
                };
                section.changes.push(change(Kind::Report, &one.title, Action::Create, changes, write));
            }
        }
    }
    prune(context, section, "reports", Kind::Report, &known, &used, |id| format!("/report-configs/{}", segment(id)));
}
