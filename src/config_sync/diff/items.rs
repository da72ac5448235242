//! Notifications and reports: desired against actual.

use serde_json::{Value, json};

use super::{Context, NO_SECRETS, change, patch};
use crate::config_sync::{
    Platform,
    api::{fit_notification, fit_report, segment},
    items::{self as setting, Secrets, fields},
    plan::{Action, Kind, Section, Write},
    remembered::place,
    same::canonical,
    schema::{Notification, Report},
};

/// A live setting.
struct Known {
    identity: String,
    id: String,
    body: Value,
}

/// A wanted setting's name, the live one that it means, and why that is not certain.
struct Pair {
    name: String,
    live: Option<usize>,
    doubt: Option<String>,
}

/// Brings both sides together by identity. Equal ones are told apart by their order, which holds where all of them are written.
fn pairs(wanted: &[String], known: &[Known]) -> Vec<Pair> {
    let pair = |(at, identity): (usize, &String)| {
        let nth = wanted.iter().take(at).filter(|earlier| *earlier == identity).count();
        let written = wanted.iter().filter(|other| *other == identity).count();
        let alike = known.iter().enumerate().filter(|(_, live)| live.identity == *identity).map(|(at, _)| at);
        let alike: Vec<usize> = alike.collect();
        Pair {
            name: if nth == 0 { identity.clone() } else { format!("{identity} ({})", nth + 1) },
            live: alike.get(nth).copied(),
            doubt: (written.max(alike.len()) > 1 && written != alike.len()).then(|| doubt(written, alike.len())),
        }
    };
    wanted.iter().enumerate().map(pair).collect()
}

fn doubt(written: usize, live: usize) -> String {
    format!(
        "{written} of this name are written and {live} are live: which is meant is not known; give each a name of its own"
    )
}

pub(super) fn notifications(
    context: &Context<'_>,
    section: &mut Section,
    wanted: &[Notification],
    live: &[Value],
    level: &Value,
    list: &str,
) {
    let known: Vec<Known> = live
        .iter()
        .map(|resource| {
            let (identity, body) = setting::live_notification(resource);
            Known { identity, id: resource["id"].as_str().unwrap_or_default().to_owned(), body }
        })
        .collect();
    let wanted = fitting(context, wanted, fit_notification);
    let identities: Vec<String> = wanted.iter().map(|one| setting::wanted_notification(one, None).0).collect();
    let mut used = vec![false; known.len()];
    for (one, pair) in wanted.iter().zip(pairs(&identities, &known)) {
        section.managed += 1;
        let identity = pair.name;
        let secrets = Secrets { is: &|key| setting::is_secret(&one.channel, key), salt: context.salt };
        match pair.live {
            Some(at) => {
                used[at] = true;
                let Known { id, body: live, .. } = &known[at];
                let (_, next) = setting::wanted_notification(one, Some(live));
                let mut compared = live.clone();
                let lost = recognise(context, section, &identity, one, &next, &mut compared);
                let changes = fields("", &compared, &next, &secrets);
                if !changes.is_empty() {
                    if let Some(key) = lost {
                        section.errors.push(format!(
                            "notification `{identity}` differs, and its secret `{key}` can't be read back: a change would drop it, so write it (or take the line out, if there is none)"
                        ));
                        continue;
                    }
                    let path = format!("/settings/communication/{}", segment(id));
                    let mut write = patch(path, notification_body(&next, level));
                    write.secrets = written_secrets(section, &identity, one, &next);
                    let mut one = change(Kind::Notification, &identity, Action::Update, changes, write);
                    one.refused = pair.doubt;
                    section.changes.push(one);
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
                let mut one = change(Kind::Notification, &identity, Action::Create, changes, write);
                one.refused = pair.doubt;
                section.changes.push(one);
            }
        }
    }
    prune(context, section, (Kind::Notification, "notifications", "/settings"), &identities, &known, &used);
}

/// What is wanted, as the platform can hold it.
fn fitting<T: Clone>(context: &Context<'_>, wanted: &[T], fit: fn(&mut T)) -> Vec<T> {
    let mut wanted = wanted.to_vec();
    if context.platform == Platform::VisionOne {
        wanted.iter_mut().for_each(fit);
    }
    wanted
}

fn notification_body(attributes: &Value, level: &Value) -> Value {
    json!({ "data": { "type": "settings", "attributes": attributes, "relationships": level } })
}

/// Secrets that are not given back and are the ones written last count as the same. Answers one that a write would lose,
/// since it replaces all of them: it is to be kept, or no file names it.
fn recognise(
    context: &Context<'_>,
    section: &Section,
    identity: &str,
    wanted: &Notification,
    next: &Value,
    live: &mut Value,
) -> Option<String> {
    let mut lost = None;
    let named: Vec<(String, &Value)> =
        wanted.configuration.iter().map(|(key, value)| (setting::camel(key), value)).collect();
    for (key, value) in &named {
        if !setting::is_secret(&wanted.channel, key) || !setting::is_withheld(&live["configuration"][key]) {
            continue;
        }
        let secret = canonical(&next["configuration"][key]).to_string();
        if setting::keeps(value) {
            lost = Some(key.clone());
        } else if context.remembered.is(&place(&section.account_id, identity, key), &secret) {
            live["configuration"][key] = next["configuration"][key].clone();
        }
    }
    let masked = live["configuration"].as_object().into_iter().flatten().find(|(key, value)| {
        let unnamed = named.iter().all(|(name, _)| name != *key);
        unnamed && setting::is_secret(&wanted.channel, key) && value.is_string() && setting::is_withheld(value)
    });
    masked.map(|(key, _)| key.clone()).or(lost)
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
    (kind, kind_name, path): (Kind, &str, &str),
    wanted: &[String],
    known: &[Known],
    used: &[bool],
) {
    if !context.prunes(kind_name) || wanted.is_empty() {
        return;
    }
    for (live, _) in known.iter().zip(used).filter(|(_, used)| !**used) {
        let channel = live.body["channel"].as_str().unwrap_or_default().to_owned();
        let secrets = Secrets { is: &|key| setting::is_secret(&channel, key), salt: context.salt };
        let changes = fields("", &live.body, &json!({}), &secrets);
        let write = Write { method: "DELETE", path: format!("{path}/{}", segment(&live.id)), ..Write::default() };
        let mut one = change(kind, &live.identity, Action::Delete, changes, write);
        let written = wanted.iter().filter(|other| **other == live.identity).count();
        let alike = known.iter().filter(|other| other.identity == live.identity).count();
        one.refused = (written > 0).then(|| doubt(written, alike));
        section.changes.push(one);
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
    let known: Vec<Known> = live
        .iter()
        .map(|resource| {
            let body = resource["attributes"]["configuration"].clone();
            let identity = body["title"].as_str().unwrap_or_default().to_owned();
            Known { identity, id: resource["id"].as_str().unwrap_or_default().to_owned(), body }
        })
        .collect();
    let wanted = fitting(context, wanted, fit_report);
    let titles: Vec<String> = wanted.iter().map(|one| one.title.clone()).collect();
    let mut used = vec![false; known.len()];
    for (one, pair) in wanted.iter().zip(pairs(&titles, &known)) {
        section.managed += 1;
        let live = pair.live.map(|at| &known[at].body);
        let next = setting::wanted_report(one, live);
        let mut attributes = owner.clone();
        attributes["configuration"] = next.clone();
        let body = json!({ "data": { "type": "report-config", "attributes": attributes } });
        match pair.live {
            Some(at) => {
                used[at] = true;
                let Known { id, body: live, .. } = &known[at];
                let changes =
                    fields("", &setting::report_compared(live), &setting::report_compared(&next), &NO_SECRETS);
                if !changes.is_empty() {
                    let path = format!("/report-configs/{}", segment(id));
                    let mut one = change(Kind::Report, &pair.name, Action::Update, changes, patch(path, body));
                    one.refused = pair.doubt;
                    section.changes.push(one);
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
                let mut one = change(Kind::Report, &pair.name, Action::Create, changes, write);
                one.refused = pair.doubt;
                section.changes.push(one);
            }
        }
    }
    prune(context, section, (Kind::Report, "reports", "/report-configs"), &titles, &known, &used);
}
