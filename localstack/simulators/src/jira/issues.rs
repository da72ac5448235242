//! Issues: made, edited, moved, found.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::{
    FIRST_ID, Issue, Jira, STATUSES, Stored,
    fields::{check_fields, check_labels, check_text, labels_of},
    jql::Jql,
    missing, refused, status_json,
};
use crate::front::{Answer, iso, lock, now_ms};

impl Jira {
    pub(super) fn create(&self, input: &Value, v3: bool) -> Answer {
        let options = lock(&self.options).clone();
        let fields = &input["fields"];
        let mut errors = Map::new();
        let project = fields["project"]["key"].as_str().unwrap_or_default();
        if !options.projects.iter().any(|known| known == project) {
            errors.insert("project".to_owned(), json!("valid project is required"));
        }
        let kind = fields["issuetype"]["name"].as_str().unwrap_or_default();
        if !options.issue_types.iter().any(|known| known == kind) {
            errors.insert("issuetype".to_owned(), json!("Specify a valid issue type"));
        }
        if fields["summary"].as_str().is_none_or(|summary| summary.trim().is_empty()) {
            errors.insert("summary".to_owned(), json!("You must specify a summary of the issue."));
        }
        check_fields(fields, v3, &mut errors);
        if !errors.is_empty() {
            return refused(&errors);
        }
        let mut state = lock(&self.state);
        let id = (FIRST_ID + state.issues.len()).to_string();
        let number = state.per_project.entry(project.to_owned()).or_default();
        *number += 1;
        let key = format!("{project}-{number}");
        let now = now_ms();
        let issue = Issue {
            id: id.clone(),
            key: key.clone(),
            labels: labels_of(&fields["labels"]),
            status: STATUSES[0].0.to_owned(),
            fields: fields.clone(),
            comments: Vec::new(),
            created_ms: now,
            updated_ms: now,
        };
        let mut stored = Stored { issue, versions: Vec::new() };
        stored.touch();
        state.issues.push(stored);
        let link = format!("{}/rest/api/{}/issue/{id}", self.base, if v3 { 3 } else { 2 });
        Answer::json(201, &json!({"id": id, "key": key, "self": link}))
    }

    pub(super) fn edit(&self, reference: &str, input: &Value, v3: bool) -> Answer {
        let mut errors = Map::new();
        check_fields(&input["fields"], v3, &mut errors);
        for change in input["update"]["labels"].as_array().into_iter().flatten() {
            check_labels(&json!([change["add"].as_str().unwrap_or_default()]), &mut errors);
        }
        if !input["update"]["labels"].is_null() && !input["fields"]["labels"].is_null() {
            errors.insert("labels".to_owned(), json!("Field 'labels' cannot be in both update and fields."));
        }
        let mut state = lock(&self.state);
        let Some(stored) = state.find(reference) else { return missing() };
        if !errors.is_empty() {
            return refused(&errors);
        }
        if let (Some(new), Some(old)) = (input["fields"].as_object(), stored.issue.fields.as_object_mut()) {
            for (name, value) in new {
                old.insert(name.clone(), value.clone());
            }
        }
        if !input["fields"]["labels"].is_null() {
            stored.issue.labels = labels_of(&input["fields"]["labels"]);
        }
        stored.update_labels(&input["update"]["labels"]);
        stored.comment_from(&input["update"]["comment"]);
        stored.touch();
        Answer::empty(204)
    }

    pub(super) fn comment(&self, reference: &str, input: &Value, v3: bool) -> Answer {
        let mut state = lock(&self.state);
        state.comments += 1;
        let id = (20_000 + state.comments).to_string();
        let Some(stored) = state.find(reference) else { return missing() };
        let mut errors = Map::new();
        check_text("comment", &input["body"], v3, &mut errors);
        if input["body"].is_null() {
            errors.insert("comment".to_owned(), json!("Comment body can not be empty!"));
        }
        if !errors.is_empty() {
            return refused(&errors);
        }
        stored.issue.comments.push(input["body"].clone());
        stored.touch();
        Answer::json(201, &json!({"id": id, "body": input["body"]}))
    }

    pub(super) fn transitions(&self, reference: &str) -> Answer {
        let mut state = lock(&self.state);
        let Some(stored) = state.find(reference) else { return missing() };
        let open: Vec<_> = STATUSES
            .iter()
            .enumerate()
            .filter(|(_, (name, _, _))| *name != stored.issue.status)
            .map(
                |(index, (name, _, id))| json!({"id": id, "name": name, "isAvailable": true, "to": status_json(index)}),
            )
            .collect();
        Answer::json(200, &json!({"expand": "transitions", "transitions": open}))
    }

    pub(super) fn transition(&self, reference: &str, input: &Value) -> Answer {
        let mut state = lock(&self.state);
        let Some(stored) = state.find(reference) else { return missing() };
        let id = input["transition"]["id"].as_str().unwrap_or_default();
        let Some((name, _, _)) = STATUSES.iter().find(|(name, _, known)| *known == id && *name != stored.issue.status)
        else {
            let text = format!("It seems that you have tried to perform an illegal workflow operation ({id}).");
            return Answer::json(400, &json!({"errorMessages": [text], "errors": {}}));
        };
        stored.issue.status = (*name).to_owned();
        stored.comment_from(&input["update"]["comment"]);
        stored.touch();
        Answer::empty(204)
    }

    pub(super) fn search(&self, input: &Value, v3: bool) -> Answer {
        let jql = input["jql"].as_str().unwrap_or_default();
        let query = match Jql::parse(jql) {
            Ok(query) => query,
            Err(message) => return Answer::json(400, &json!({"errorMessages": [message], "errors": {}})),
        };
        if v3 && query.clauses.is_empty() {
            let message = "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.";
            return Answer::json(400, &json!({"errorMessages": [message], "errors": {}}));
        }
        let lag = lock(&self.options).index_lag;
        let now = Instant::now();
        let reconciled: Vec<String> =
            input["reconcileIssues"].as_array().into_iter().flatten().map(ToString::to_string).collect();
        let state = lock(&self.state);
        let mut found: Vec<Value> = state
            .issues
            .iter()
            .filter(|stored| {
                let fresh = reconciled.contains(&stored.issue.id);
                let seen = stored.versions.iter().rev().find(|(at, _, _)| fresh || now.duration_since(*at) >= lag);
                seen.is_some_and(|(_, labels, status)| query.matches(&stored.issue, labels, status))
            })
            .map(|stored| self.shown(&stored.issue, &input["fields"], v3))
            .collect();
        if query.descending {
            found.reverse();
        }
        let max = input["maxResults"].as_u64().and_then(|max| usize::try_from(max).ok()).unwrap_or(50);
        let start_at = input["startAt"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let token = input["nextPageToken"].as_str().and_then(|token| token.strip_prefix("p")?.parse().ok());
        let from = if v3 { token.unwrap_or(0) } else { start_at };
        let total = found.len();
        let page: Vec<_> = found.into_iter().skip(from).take(max).collect();
        if !v3 {
            return Answer::json(200, &json!({"startAt": from, "maxResults": max, "total": total, "issues": page}));
        }
        let last = from + page.len() >= total || page.is_empty();
        let mut answer = json!({"isLast": last});
        if !last {
            answer["nextPageToken"] = json!(format!("p{}", from + page.len()));
        }
        answer["issues"] = Value::Array(page);
        Answer::json(200, &answer)
    }

    pub(super) fn shown(&self, issue: &Issue, wanted: &Value, v3: bool) -> Value {
        let index = STATUSES.iter().position(|(name, _, _)| *name == issue.status).unwrap_or(0);
        let mut fields = issue.fields.as_object().cloned().unwrap_or_default();
        fields.insert("labels".to_owned(), json!(issue.labels));
        fields.insert("status".to_owned(), status_json(index));
        let resolution = if STATUSES[index].1 == "done" { json!({"id": "1", "name": "Done"}) } else { Value::Null };
        fields.insert("resolution".to_owned(), resolution);
        fields.insert("created".to_owned(), json!(format!("{}+0000", iso(issue.created_ms))));
        fields.insert("updated".to_owned(), json!(format!("{}+0000", iso(issue.updated_ms))));
        let comments: Vec<_> = issue.comments.iter().map(|body| json!({ "body": body })).collect();
        fields.insert("comment".to_owned(), json!({"total": comments.len(), "comments": comments}));
        let names: Option<Vec<&str>> = match wanted {
            Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
            Value::String(names) => Some(names.split(',').map(str::trim).collect()),
            _ => None,
        };
        if let Some(names) = names.filter(|names| !names.iter().any(|name| name.starts_with('*'))) {
            fields.retain(|name, _| names.contains(&name.as_str()));
        }
        let link = format!("{}/rest/api/{}/issue/{}", self.base, if v3 { 3 } else { 2 }, issue.id);
        json!({"id": issue.id, "key": issue.key, "self": link, "fields": fields})
    }
}
