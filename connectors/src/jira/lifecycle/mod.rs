//! The life of a ticket: created, updated, resolved, reopened; people's word counts more than ours.

mod moves;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    JiraConfig,
    client::{self, Client},
    later::{REOPENED, is_past_reopening, remarks},
    links, payload,
};
use crate::{Answer, Delivery, Ledger, LedgerState, Notice, Quota, Verdict, Wanted, config::millis, text::spoken_span};

type Step<T> = Result<T, Verdict>;

fn delivered(ledger: Ledger, warning: Option<String>) -> Verdict {
    Verdict::Delivered { ledger: Some(ledger), warning, slow_down: false }
}

/// Brings the ticket to what is wanted. `Err` is a verdict too: the first answer that ends the work.
pub async fn deliver(
    config: &JiraConfig,
    client: &Client,
    delivery: &Delivery,
    notice: &Notice,
    quota: &dyn Quota,
) -> Step<Verdict> {
    let work = Work { config, client, delivery, notice, quota, cloud: client.is_cloud(delivery.now_ms, quota).await? };
    match (&delivery.ledger, delivery.wanted) {
        (None, Wanted::Open) => work.create(None).await,
        (None, Wanted::Resolved) => Ok(Verdict::delivered()),
        (Some(ledger), wanted) => work.bring(ledger, wanted).await,
    }
}

struct Work<'a> {
    config: &'a JiraConfig,
    client: &'a Client,
    delivery: &'a Delivery,
    notice: &'a Notice,
    quota: &'a dyn Quota,
    cloud: bool,
}

/// Where a ticket stands.
struct Standing {
    done: bool,
    wont_fix: bool,
    /// The word that says no, else its status.
    word: String,
    /// Its status belongs to neither category that we move between.
    name: String,
}

impl Work<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Step<Answer> {
        self.client.call(method, path, body, self.delivery.now_ms, self.quota).await
    }

    async fn write(&self, method: Method, path: &str, body: &Value) -> Step<Answer> {
        let answer = self.call(method.clone(), path, Some(body)).await?;
        match answer.status {
            200 | 201 | 204 => Ok(answer),
            _ => Err(self.refused(&answer, &method, path)),
        }
    }

    async fn read(&self, path: &str) -> Step<Value> {
        let answer = self.call(Method::GET, path, None).await?;
        match answer.status {
            200 => Ok(answer.json()),
            _ => Err(self.refused(&answer, &Method::GET, path)),
        }
    }

    /// What is said of a ticket that could be read a moment ago: a refusal is about this one (moved to where the bot may only
    /// look), and must not stop the others.
    fn refused(&self, answer: &Answer, method: &Method, path: &str) -> Verdict {
        match self.client.refused(answer, method, path, self.delivery.now_ms) {
            Verdict::PermanentTarget { detail }
                if matches!(answer.status, 403 | 404 | 410) && !client::denied_login(answer) =>
            {
                Verdict::PermanentItem { detail }
            }
            verdict => verdict,
        }
    }

    async fn create(&self, replaces: Option<&Ledger>) -> Step<Verdict> {
        let mut fields = payload::create_fields(self.config, self.delivery, self.notice, self.cloud);
        let mut warning = None;
        let mut shortened = false;
        // Each retry takes something away, so it ends.
        loop {
            let answer = self.call(Method::POST, "/issue", Some(&json!({ "fields": fields }))).await?;
            match answer.status {
                201 => return self.created(&answer, warning, replaces).await,
                413 if !shortened => warning = Some(self.shorten(&mut fields, &mut shortened)),
                400 => match self.degrade(&answer, &mut fields, &mut shortened) {
                    Some(note) => warning = Some(note),
                    None => return Err(self.bad_create(&answer)),
                },
                _ => return Err(self.client.refused(&answer, &Method::POST, "/issue", self.delivery.now_ms)),
            }
        }
    }

    async fn created(&self, answer: &Answer, warning: Option<String>, replaces: Option<&Ledger>) -> Step<Verdict> {
        let issue = answer.json();
        if issue["id"].as_str().is_none_or(str::is_empty) || issue["key"].as_str().is_none() {
            let detail = format!("JIRA says created and names no issue: {}", answer.excerpt());
            return Err(Verdict::Ambiguous { detail });
        }
        let hash = payload::content_hash(self.config, self.delivery, self.notice);
        let mut ledger = self.client.ledger(&issue, hash, self.delivery.now_ms);
        ledger.memory["risk"] = self.notice.risk.as_str().into();
        if let Some(old) = replaces {
            let link = links::successor(&old.receipt.name, &ledger.receipt.name);
            // The new ticket stands either way.
            let _ = self.write(Method::POST, "/issueLink", &link).await;
        }
        self.link_finding(&mut ledger).await;
        Ok(delivered(ledger, warning))
    }

    /// Shows the page of the finding among the ticket's links, once. The ticket stands without it.
    async fn link_finding(&self, ledger: &mut Ledger) {
        let Some(link) = links::finding(self.delivery, self.notice).filter(|_| !ledger.noted(links::LINKED)) else {
            return;
        };
        match self.write(Method::POST, &format!("/issue/{}/remotelink", ledger.receipt.id), &link).await {
            // With the next version: its global id makes a second call harmless.
            Err(
                Verdict::Throttled { .. }
                | Verdict::Limited { .. }
                | Verdict::Transient { .. }
                | Verdict::Ambiguous { .. },
            ) => {}
            // A site that does not allow links is not asked for each version.
            Ok(_) | Err(_) => ledger.note(links::LINKED),
        }
    }

    /// Takes away what JIRA refuses, where it is optional; what was done, or nothing when there is no way.
    fn degrade(&self, answer: &Answer, fields: &mut Map<String, Value>, shortened: &mut bool) -> Option<String> {
        let body = answer.json();
        let errors = body["errors"].as_object()?;
        let mut notes = Vec::new();
        for (field, problem) in errors {
            let problem = problem.as_str().unwrap_or_default();
            match field.as_str() {
                "project" | "issuetype" | "summary" | "labels" => return None,
                "description" if !*shortened => notes.push(self.shorten(fields, shortened)),
                "description" => return None,
                _ => {
                    fields.remove(field)?;
                    if field == "assignee"
                        && let Some(Value::Array(labels)) = fields.get_mut("labels")
                    {
                        labels.push("needs-owner".into());
                    }
                    notes.push(format!("sent without field {field}: {problem}"));
                }
            }
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// The description at its shortest.
    fn shorten(&self, fields: &mut Map<String, Value>, shortened: &mut bool) -> String {
        *shortened = true;
        let short = payload::description(self.config, self.delivery, self.notice, self.cloud, true);
        fields.insert("description".to_owned(), short);
        "the description was shortened".to_owned()
    }

    fn bad_create(&self, answer: &Answer) -> Verdict {
        let errors = &answer.json()["errors"];
        let detail = answer.excerpt();
        if errors.get("project").is_some() || errors.get("issuetype").is_some() {
            return Verdict::PermanentTarget { detail: format!("project or issue type is unknown to JIRA: {detail}") };
        }
        Verdict::PermanentItem { detail }
    }

    async fn standing(&self, id: &str) -> Step<Option<Standing>> {
        let path = format!("/issue/{id}?fields=status,resolution");
        let answer = self.call(Method::GET, &path, None).await?;
        match answer.status {
            200 => {}
            403 | 404 => {
                // Of a bot that sees nothing at all no ticket is gone.
                self.client.sees(&self.config.project, &answer, self.delivery.now_ms, self.quota).await?;
                return Ok(None);
            }
            _ => return Err(self.client.refused(&answer, &Method::GET, &path, self.delivery.now_ms)),
        }
        let issue = answer.json();
        let status = &issue["fields"]["status"];
        let name = status["name"].as_str().unwrap_or_default().to_owned();
        let resolution = issue["fields"]["resolution"]["name"].as_str().unwrap_or_default();
        Ok(Some(Standing {
            done: status["statusCategory"]["key"] == "done",
            wont_fix: self.says_no(&name) || self.says_no(resolution),
            word: if self.says_no(resolution) { resolution.to_owned() } else { name.clone() },
            name,
        }))
    }

    fn says_no(&self, word: &str) -> bool {
        self.config.wont_fix.iter().any(|no| no.eq_ignore_ascii_case(word))
    }

    async fn bring(&self, ledger: &Ledger, wanted: Wanted) -> Step<Verdict> {
        let id = &ledger.receipt.id;
        let Some(standing) = self.standing(id).await? else {
            // Gone or hidden: a second ticket would be worse than none.
            let warning = format!("{} is gone or hidden from the bot; no new ticket is made", ledger.receipt.name);
            return Ok(delivered(ledger.clone(), Some(warning)));
        };
        match wanted {
            Wanted::Resolved => self.resolve(ledger, &standing).await,
            Wanted::Open if !standing.done => self.update(ledger, id).await,
            Wanted::Open => self.reopen(ledger, &standing).await,
        }
    }

    async fn resolve(&self, ledger: &Ledger, standing: &Standing) -> Step<Verdict> {
        let resolved = Ledger {
            state: LedgerState::Resolved,
            written_ms: self.delivery.now_ms,
            closed_by_person_ms: None,
            ..ledger.without_acceptance()
        };
        if standing.done {
            return Ok(delivered(resolved, None));
        }
        let span = match (self.notice.failing_since_ms, self.notice.resolved_at_ms) {
            (Some(from), Some(to)) => format!(" after {}", spoken_span(to - from)),
            _ => String::new(),
        };
        let text = format!("{}{span}.", self.notice.ended.as_deref().unwrap_or("The check passes"));
        if standing.wont_fix {
            self.comment(ledger, &text).await?;
            return Ok(delivered(resolved, None));
        }
        if self.transition(ledger, &self.config.resolve_transition, "done", &text, true).await? {
            return Ok(delivered(resolved, None));
        }
        self.comment(ledger, &text).await?;
        let warning =
            format!("no transition to done from {} for {}; only commented", standing.name, ledger.receipt.name);
        Ok(delivered(resolved, Some(warning)))
    }

    async fn update(&self, ledger: &Ledger, id: &str) -> Step<Verdict> {
        let hash = payload::content_hash(self.config, self.delivery, self.notice);
        // Open again after a reopening whose answer got lost: that one counts.
        let was_due = ledger.closed_by_person_ms.is_some_and(|since| self.is_to_reopen(since));
        let reopened = self.delivery.in_doubt && was_due && !ledger.noted(REOPENED);
        let base = if reopened { self.reopened(ledger, false) } else { ledger.without_acceptance() };
        let mut open = Ledger { state: LedgerState::Open, closed_by_person_ms: None, ..base };
        if self.delivery.options.update == Some(false) {
            return Ok(delivered(open, None));
        }
        let mut warning = None;
        if ledger.content_hash != hash {
            warning = self.rewrite(id).await?;
            (open.content_hash, open.written_ms) = (hash, self.delivery.now_ms);
        }
        self.link_finding(&mut open).await;
        // In one comment: of two, the first would be there twice where the second is put off.
        let remarks = remarks(self.config, self.delivery, self.notice, &mut open);
        if !remarks.is_empty() {
            self.comment(ledger, &remarks.join(" ")).await?;
        }
        Ok(delivered(open, warning))
    }

    async fn rewrite(&self, id: &str) -> Step<Option<String>> {
        let mut fields = payload::changing_fields(self.config, self.delivery, self.notice, self.cloud);
        let path = format!("/issue/{id}");
        let mut shortened = false;
        let mut warning = None;
        loop {
            let answer = self.call(Method::PUT, &path, Some(&json!({ "fields": fields }))).await?;
            match answer.status {
                200 | 204 => return Ok(warning),
                413 if !shortened => warning = Some(self.shorten(&mut fields, &mut shortened)),
                400 => match self.degrade(&answer, &mut fields, &mut shortened) {
                    Some(note) => warning = Some(note),
                    None => return Err(Verdict::PermanentItem { detail: answer.excerpt() }),
                },
                _ => return Err(self.refused(&answer, &Method::PUT, &path)),
            }
        }
    }

    /// The ticket is closed and the problem exists.
    async fn reopen(&self, ledger: &Ledger, standing: &Standing) -> Step<Verdict> {
        let now = self.delivery.now_ms;
        if standing.wont_fix {
            return self.respect(ledger, standing).await;
        }
        let ours = ledger.state == LedgerState::Resolved;
        if ours && is_past_reopening(self.config, self.delivery, ledger) {
            return self.create(Some(ledger)).await;
        }
        if !ours {
            // A person closed it while the problem exists: it is reopened once, after a while. Of whoever closes it again it is
            // only told, once, that it still fails.
            let since = ledger.closed_by_person_ms.unwrap_or(now);
            let seen = Ledger { closed_by_person_ms: Some(since), ..ledger.clone() };
            if ledger.noted(REOPENED) {
                if ledger.closed_by_person_ms.is_none() {
                    self.comment(ledger, "The check still fails.").await?;
                }
                return Ok(delivered(seen, None));
            }
            if !self.is_to_reopen(since) {
                return Ok(delivered(seen, None));
            }
        }
        let text = if ours { "The check fails again." } else { "The check still fails: reopened." };
        self.reopen_with(ledger, text, ours).await
    }

    /// Whether what a person closed at that time is to be opened again by now.
    fn is_to_reopen(&self, since: i64) -> bool {
        self.delivery.now_ms - since >= millis(self.config.reopen_after)
    }

    /// A person said no: that counts for a while.
    async fn respect(&self, ledger: &Ledger, standing: &Standing) -> Step<Verdict> {
        let now = self.delivery.now_ms;
        match ledger.accepted() {
            Some(accepted) if accepted.until_ms <= now => {
                let text = format!("\"{}\" is over, and the check still fails: reopened.", accepted.word);
                self.reopen_with(ledger, &text, true).await
            }
            Some(_) => Ok(delivered(ledger.clone(), None)),
            None => {
                let until_ms = now.saturating_add(millis(self.config.accept_for));
                let mut seen = Ledger { state: LedgerState::Open, ..ledger.clone() };
                seen.keep("accepted", json!({ "until_ms": until_ms, "word": standing.word }));
                Ok(delivered(seen, None))
            }
        }
    }

    /// Reopens the ticket; where there is no way back, links a new one to it if that is `ours` to do, else comments.
    async fn reopen_with(&self, ledger: &Ledger, text: &str, ours: bool) -> Step<Verdict> {
        let open = self.reopened(ledger, ours);
        if self.transition(ledger, &self.config.reopen_transition, "", text, false).await? {
            if let Some(due) = payload::due(self.config, self.notice, self.delivery.now_ms) {
                // A screen without the field has no due date: the ticket is reopened either way.
                let body = json!({ "fields": { "duedate": due } });
                let _ = self.write(Method::PUT, &format!("/issue/{}", ledger.receipt.id), &body).await;
            }
            return Ok(delivered(open, None));
        }
        if ours {
            return self.create(Some(ledger)).await;
        }
        self.comment(ledger, text).await?;
        Ok(delivered(open, Some(format!("no way to reopen {}; only commented", ledger.receipt.name))))
    }

    /// What is known of a ticket from its reopening on.
    fn reopened(&self, ledger: &Ledger, ours: bool) -> Ledger {
        // Rewritten with the next version: its content is the old one.
        let mut open = Ledger::new(ledger.receipt.clone(), String::new(), self.delivery.now_ms);
        open.memory["risk"] = self.notice.risk.as_str().into();
        if ledger.noted(links::LINKED) {
            open.note(links::LINKED);
        }
        if !ours || ledger.noted(REOPENED) {
            open.note(REOPENED);
        }
        open
    }
}
