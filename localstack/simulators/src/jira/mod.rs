//! JIRA, REST v2 and v3, with a workflow and a search index that lags behind.

mod fields;
mod issues;
mod jql;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use fields::{labels_of, plain};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::front::{Answer, Call, Service, lock, now_ms};

/// Name, status category, transition id.
const STATUSES: [(&str, &str, &str); 4] = [
    ("To Do", "new", "11"),
    ("In Progress", "indeterminate", "21"),
    ("Done", "done", "31"),
    ("Risk accepted", "done", "41"),
];
const FIRST_ID: usize = 10_000;

/// An issue that was created.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    /// The numeric id, as text.
    pub id: String,
    /// The key, such as `SOC-1`.
    pub key: String,
    /// The labels.
    pub labels: Vec<String>,
    /// The name of the status.
    pub status: String,
    /// The fields as they were last written.
    pub fields: Value,
    /// The bodies of the comments.
    pub comments: Vec<Value>,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last written.
    pub updated_ms: u64,
}

impl Issue {
    /// The plain text of the description, whether it is a string or an Atlassian document.
    pub fn description_text(&self) -> String {
        plain(&self.fields["description"])
    }

    /// The plain text of every comment.
    pub fn comment_texts(&self) -> Vec<String> {
        self.comments.iter().map(plain).collect()
    }
}

/// What JIRA knows and accepts.
#[derive(Debug, Clone)]
pub struct JiraOptions {
    /// The token: of `Bearer`, or the part after the colon of `Basic`.
    pub token: String,
    /// The keys of the projects.
    pub projects: Vec<String>,
    /// The names of the issue types.
    pub issue_types: Vec<String>,
    /// How long search does not see a write.
    pub index_lag: Duration,
}

impl Default for JiraOptions {
    fn default() -> Self {
        Self {
            token: "jira-token".to_owned(),
            projects: vec!["SOC".to_owned()],
            issue_types: vec!["Task".to_owned()],
            index_lag: Duration::ZERO,
        }
    }
}

struct Stored {
    issue: Issue,
    /// What the index saw, when.
    versions: Vec<(Instant, Vec<String>, String)>,
}

#[derive(Default)]
struct State {
    issues: Vec<Stored>,
    per_project: BTreeMap<String, u64>,
    links: Vec<Value>,
    /// By issue id and global id.
    remote_links: BTreeMap<(String, String), Value>,
    comments: u64,
}

/// The state of the simulated JIRA.
pub(crate) struct Jira {
    base: String,
    options: Mutex<JiraOptions>,
    state: Mutex<State>,
}

impl Jira {
    pub(crate) fn new(base: &str, options: JiraOptions) -> Self {
        Self { base: base.to_owned(), options: Mutex::new(options), state: Mutex::default() }
    }

    pub(crate) fn issues(&self) -> Vec<Issue> {
        lock(&self.state).issues.iter().map(|stored| stored.issue.clone()).collect()
    }

    pub(crate) fn links(&self) -> Vec<Value> {
        lock(&self.state).links.clone()
    }

    pub(crate) fn set_index_lag(&self, lag: Duration) {
        lock(&self.options).index_lag = lag;
    }

    /// Moves an issue as a person would; false when there is no such issue or status.
    pub(crate) fn set_status(&self, id_or_key: &str, status: &str) -> bool {
        let mut state = lock(&self.state);
        let known = STATUSES.iter().find(|(name, _, _)| *name == status);
        match (state.find(id_or_key), known) {
            (Some(stored), Some((name, _, _))) => {
                stored.issue.status = (*name).to_owned();
                stored.touch();
                true
            }
            _ => false,
        }
    }

    /// Removes an issue; false when there is none.
    pub(crate) fn delete(&self, id_or_key: &str) -> bool {
        let mut state = lock(&self.state);
        match state.find(id_or_key) {
            // The place stays taken, since ids are positions.
            Some(stored) => {
                stored.issue.id = String::new();
                stored.issue.key = String::new();
                stored.versions.clear();
                true
            }
            None => false,
        }
    }

    fn authorised(&self, header: &str) -> bool {
        let token = lock(&self.options).token.clone();
        if let Some(given) = header.strip_prefix("Bearer ") {
            return given == token;
        }
        header
            .strip_prefix("Basic ")
            .and_then(|given| base64::engine::general_purpose::STANDARD.decode(given).ok())
            .and_then(|given| String::from_utf8(given).ok())
            .is_some_and(|given| given.split_once(':').is_some_and(|(_, secret)| secret == token))
    }
}

impl State {
    fn find(&mut self, reference: &str) -> Option<&mut Stored> {
        if reference.is_empty() {
            return None;
        }
        if let Ok(id) = reference.parse::<usize>() {
            return self.issues.get_mut(id.checked_sub(FIRST_ID)?).filter(|stored| !stored.issue.id.is_empty());
        }
        self.issues.iter_mut().find(|stored| stored.issue.key == reference)
    }

    /// Made once for each global id, then replaced.
    fn remote_link(&mut self, reference: &str, input: Value) -> Answer {
        let Some(stored) = self.find(reference) else { return missing() };
        let issue = stored.issue.id.clone();
        if input["object"]["url"].as_str().is_none() || input["object"]["title"].as_str().is_none() {
            return refused(&Map::from_iter([("object".to_owned(), json!("url and title are required"))]));
        }
        let global_id = input["globalId"].as_str().unwrap_or_default().to_owned();
        let status = if self.remote_links.insert((issue, global_id), input).is_none() { 201 } else { 200 };
        Answer::json(status, &json!({"id": self.remote_links.len()}))
    }
}

impl Stored {
    fn touch(&mut self) {
        self.issue.updated_ms = now_ms();
        self.versions.push((Instant::now(), self.issue.labels.clone(), self.issue.status.clone()));
    }

    fn update_labels(&mut self, changes: &Value) {
        for change in changes.as_array().into_iter().flatten() {
            if let Some(label) = change["add"].as_str()
                && !self.issue.labels.iter().any(|known| known == label)
            {
                self.issue.labels.push(label.to_owned());
            }
            if let Some(label) = change["remove"].as_str() {
                self.issue.labels.retain(|known| known != label);
            }
            if !change["set"].is_null() {
                self.issue.labels = labels_of(&change["set"]);
            }
        }
    }

    fn comment_from(&mut self, changes: &Value) {
        for change in changes.as_array().into_iter().flatten() {
            if !change["add"]["body"].is_null() {
                self.issue.comments.push(change["add"]["body"].clone());
            }
        }
    }
}

impl Service for Jira {
    async fn answer(&self, call: Call) -> Answer {
        if !self.authorised(call.header("authorization")) {
            return Answer::json(
                401,
                &json!({"errorMessages": ["Client must be authenticated to access this resource."], "errors": {}}),
            );
        }
        let (v3, rest) = if let Some(rest) = call.path.strip_prefix("/rest/api/3/") {
            (true, rest)
        } else if let Some(rest) =
            call.path.strip_prefix("/rest/api/2/").or_else(|| call.path.strip_prefix("/rest/api/latest/"))
        {
            (false, rest)
        } else {
            return Answer::json(404, &json!({"errorMessages": ["Not found"], "errors": {}}));
        };
        let has_body = matches!(call.method.as_str(), "POST" | "PUT");
        let input: Value = match serde_json::from_slice(&call.body) {
            Ok(input) => input,
            Err(_) if !has_body => Value::Null,
            Err(_) => {
                return Answer::json(
                    400,
                    &json!({"errorMessages": ["There was an error parsing JSON. Check that your request body is valid."]}),
                );
            }
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["myself"]) => Answer::json(
                200,
                &json!({"accountId": "5b10ac8d82e05b22cc7d4ef5", "name": "router", "displayName": "Findings router", "active": true}),
            ),
            ("GET", ["serverInfo"]) => {
                let deployment = if v3 { "Cloud" } else { "Server" };
                Answer::json(200, &json!({"baseUrl": self.base, "version": "1001.0.0", "deploymentType": deployment}))
            }
            ("GET", ["project", key]) => {
                let options = lock(&self.options).clone();
                if !options.projects.iter().any(|known| known == key) {
                    let text = format!("No project could be found with key '{key}'.");
                    return Answer::json(404, &json!({"errorMessages": [text], "errors": {}}));
                }
                let types: Vec<_> = options
                    .issue_types
                    .iter()
                    .enumerate()
                    .map(|(index, name)| json!({"id": (10_001 + index).to_string(), "name": name, "subtask": false}))
                    .collect();
                Answer::json(200, &json!({"id": "10000", "key": key, "name": key, "issueTypes": types}))
            }
            ("POST", ["issue"]) => self.create(&input, v3),
            ("GET", ["issue", reference]) => {
                let wanted = call.query("fields").map_or(Value::Null, Value::String);
                let mut state = lock(&self.state);
                match state.find(reference) {
                    Some(stored) => Answer::json(200, &self.shown(&stored.issue, &wanted, v3)),
                    None => missing(),
                }
            }
            ("PUT", ["issue", reference]) => self.edit(reference, &input, v3),
            ("POST", ["issue", reference, "comment"]) => self.comment(reference, &input, v3),
            ("GET", ["issue", reference, "comment"]) => {
                let mut state = lock(&self.state);
                match state.find(reference) {
                    Some(stored) => {
                        let comments: Vec<_> =
                            stored.issue.comments.iter().map(|body| json!({ "body": body })).collect();
                        Answer::json(200, &json!({"total": comments.len(), "comments": comments}))
                    }
                    None => missing(),
                }
            }
            ("GET", ["issue", reference, "transitions"]) => self.transitions(reference),
            ("POST", ["issue", reference, "transitions"]) => self.transition(reference, &input),
            ("POST", ["issueLink"]) => {
                let mut state = lock(&self.state);
                for side in ["inwardIssue", "outwardIssue"] {
                    let reference = input[side]["key"].as_str().or(input[side]["id"].as_str()).unwrap_or_default();
                    if state.find(reference).is_none() {
                        return missing();
                    }
                }
                state.links.push(input);
                Answer::empty(201)
            }
            ("POST", ["issue", reference, "remotelink"]) => lock(&self.state).remote_link(reference, input),
            ("POST", ["search", "jql"]) if v3 => self.search(&input, true),
            ("POST", ["search"]) if !v3 => self.search(&input, false),
            ("POST", ["search"]) => Answer::json(
                410,
                &json!({"errorMessages": ["The requested API has been removed. Please migrate to the /rest/api/3/search/jql API."], "errors": {}}),
            ),
            _ => Answer::json(404, &json!({"errorMessages": ["Not found"], "errors": {}})),
        }
    }

    fn stats(&self) -> Value {
        let state = lock(&self.state);
        let mut by_label: BTreeMap<&str, u64> = BTreeMap::new();
        let mut by_status: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut issues, mut comments) = (0_u64, 0);
        for stored in state.issues.iter().filter(|stored| !stored.issue.id.is_empty()) {
            issues += 1;
            comments += stored.issue.comments.len();
            *by_status.entry(stored.issue.status.as_str()).or_default() += 1;
            for label in stored.issue.labels.iter().filter(|label| label.starts_with("fr-")) {
                *by_label.entry(label).or_default() += 1;
            }
        }
        let duplicates = by_label.values().filter(|count| **count > 1).count();
        json!({
            "issues": issues,
            "issues_by_label": by_label,
            "labels_with_duplicates": duplicates,
            "issues_by_status": by_status,
            "comments": comments,
            "links": state.links.len(),
            "remote_links": state.remote_links.len(),
        })
    }
}

fn missing() -> Answer {
    Answer::json(
        404,
        &json!({"errorMessages": ["Issue does not exist or you do not have permission to see it."], "errors": {}}),
    )
}

fn refused(errors: &Map<String, Value>) -> Answer {
    Answer::json(400, &json!({"errorMessages": [], "errors": errors}))
}

fn status_json(index: usize) -> Value {
    let (name, category, _) = STATUSES[index];
    json!({"id": (10_000 + index).to_string(), "name": name, "statusCategory": {"key": category}})
}
