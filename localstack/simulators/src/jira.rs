//! JIRA, REST v2 and v3, with a workflow and a search index that lags behind.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::front::{Answer, Call, Service, iso, lock, now_ms};

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

    fn create(&self, input: &Value, v3: bool) -> Answer {
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

    fn edit(&self, reference: &str, input: &Value, v3: bool) -> Answer {
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

    fn comment(&self, reference: &str, input: &Value, v3: bool) -> Answer {
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

    fn transitions(&self, reference: &str) -> Answer {
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

    fn transition(&self, reference: &str, input: &Value) -> Answer {
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

    fn search(&self, input: &Value, v3: bool) -> Answer {
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

    fn shown(&self, issue: &Issue, wanted: &Value, v3: bool) -> Value {
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

fn labels_of(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

fn check_labels(value: &Value, errors: &mut Map<String, Value>) {
    for label in labels_of(value) {
        if label.contains(char::is_whitespace) {
            errors.insert("labels".to_owned(), json!(format!("The label '{label}' contains spaces which is invalid.")));
        } else if label.chars().count() > 255 {
            errors.insert("labels".to_owned(), json!("The label is too long; at most 255 characters are allowed."));
        }
    }
}

fn check_fields(fields: &Value, v3: bool, errors: &mut Map<String, Value>) {
    check_labels(&fields["labels"], errors);
    if let Some(summary) = fields["summary"].as_str() {
        if summary.contains(['\n', '\r']) {
            errors
                .insert("summary".to_owned(), json!("The summary is invalid because it contains newline characters."));
        } else if summary.chars().count() > 255 {
            errors.insert("summary".to_owned(), json!("Summary must be less than 255 characters."));
        }
    }
    check_text("description", &fields["description"], v3, errors);
    if fields["components"].as_array().into_iter().flatten().any(Value::is_string) {
        errors.insert("components".to_owned(), json!("expected Object"));
    }
}

fn check_text(name: &str, value: &Value, v3: bool, errors: &mut Map<String, Value>) {
    if value.is_null() {
        return;
    }
    if v3 && (value["type"] != "doc" || value["version"] != 1 || !value["content"].is_array()) {
        errors.insert(
            name.to_owned(),
            json!("Operation value must be an Atlassian Document (see the Atlassian Document Format)"),
        );
    } else if !v3 && !value.is_string() {
        errors.insert(name.to_owned(), json!("Operation value must be a string"));
    } else if value.as_str().map_or_else(|| value.to_string().chars().count(), |text| text.chars().count()) > 32_767 {
        errors.insert(
            name.to_owned(),
            json!("The entered text is too long. It exceeds the allowed limit of 32,767 characters."),
        );
    }
}

fn plain(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(text) = value["text"].as_str() {
        return text.to_owned();
    }
    let block = !matches!(value["type"].as_str(), Some("doc" | "bulletList" | "orderedList" | "table"));
    let mut text: String = value["content"].as_array().into_iter().flatten().map(plain).collect();
    if value["type"] == "hardBreak" || (block && value["content"].is_array()) {
        text.push('\n');
    }
    text
}

/// The part of JQL that is understood: clauses joined with AND, and ORDER BY.
struct Jql {
    clauses: Vec<(String, bool, Vec<String>)>,
    descending: bool,
}

impl Jql {
    fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut rest = tokens.iter().map(String::as_str).peekable();
        let mut query = Self { clauses: Vec::new(), descending: false };
        while let Some(field) = rest.next() {
            if field.eq_ignore_ascii_case("order") {
                query.descending = rest.any(|token| token.eq_ignore_ascii_case("desc"));
                break;
            }
            let fail = || format!("Error in the JQL Query: the clause of '{field}' is not supported by the simulator.");
            let field_name = field.to_ascii_lowercase();
            let operator = rest.next().ok_or_else(fail)?.to_ascii_lowercase();
            let (positive, list) = match operator.as_str() {
                "=" => (true, false),
                "!=" => (false, false),
                "in" => (true, true),
                "not" => {
                    rest.next().filter(|token| token.eq_ignore_ascii_case("in")).ok_or_else(fail)?;
                    (false, true)
                }
                "is" => (rest.next_if(|token| token.eq_ignore_ascii_case("not")).is_none(), false),
                _ => return Err(fail()),
            };
            let mut values = Vec::new();
            if list {
                rest.next().filter(|token| *token == "(").ok_or_else(fail)?;
                loop {
                    match rest.next().ok_or_else(fail)? {
                        ")" => break,
                        "," => {}
                        value => values.push(unquoted(value)),
                    }
                }
            } else {
                values.push(unquoted(rest.next().ok_or_else(fail)?));
            }
            let known = [
                "project",
                "labels",
                "statuscategory",
                "status",
                "key",
                "id",
                "issuekey",
                "issue",
                "resolution",
                "issuetype",
                "type",
            ];
            if !known.contains(&field_name.as_str()) {
                return Err(format!("Field '{field}' does not exist or you do not have permission to view it."));
            }
            query.clauses.push((field_name, positive, values));
            match rest.peek() {
                Some(token) if token.eq_ignore_ascii_case("and") => {
                    rest.next();
                }
                Some(token) if token.eq_ignore_ascii_case("order") => {}
                None => {}
                Some(token) => {
                    return Err(format!("Error in the JQL Query: '{token}' is not supported by the simulator."));
                }
            }
        }
        Ok(query)
    }

    fn matches(&self, issue: &Issue, labels: &[String], status: &str) -> bool {
        self.clauses.iter().all(|(field, positive, values)| {
            let same = |text: &str| values.iter().any(|value| value.eq_ignore_ascii_case(text));
            let category =
                STATUSES.iter().find(|(name, _, _)| *name == status).map_or("", |(_, category, _)| *category);
            let hit = match field.as_str() {
                "project" => same(issue.key.rsplit_once('-').map_or("", |(project, _)| project)),
                "labels" => labels.iter().any(|label| values.contains(label)),
                "status" => same(status),
                "statuscategory" => {
                    same(category)
                        || same(match category {
                            "new" => "To Do",
                            "indeterminate" => "In Progress",
                            _ => "Done",
                        })
                }
                "resolution" => match category {
                    "done" => same("Done"),
                    _ => same("EMPTY") || same("Unresolved"),
                },
                "issuetype" | "type" => same(issue.fields["issuetype"]["name"].as_str().unwrap_or_default()),
                _ => same(&issue.key) || same(&issue.id),
            };
            hit == *positive
        })
    }
}

fn unquoted(token: &str) -> String {
    token.strip_prefix('"').unwrap_or(token).to_owned()
}

/// Quoted words keep a leading `"`, so that they are never taken for keywords.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' | '\'' => {
                let mut word = "\"".to_owned();
                loop {
                    match chars.next() {
                        Some('\\') => word.extend(chars.next()),
                        Some(next) if next == c => break,
                        Some(next) => word.push(next),
                        None => {
                            return Err("Error in the JQL Query: The quoted string has not been completed.".to_owned());
                        }
                    }
                }
                tokens.push(word);
            }
            '(' | ')' | ',' | '=' | '~' => tokens.push(c.to_string()),
            '!' | '<' | '>' => {
                let mut operator = c.to_string();
                operator.extend(chars.next_if_eq(&'='));
                tokens.push(operator);
            }
            c => {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|next| !next.is_whitespace() && !"()=,!<>~\"'".contains(*next)) {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    Ok(tokens)
}
