//! `config apply`: asks, writes, tells.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Tool, bar, new_salt, router};
use crate::{
    cli::{DONE, FAILED, Failure, Format, Outcome, print, run::next_signal},
    clock::now_ms,
    config_sync::{self, Checked, Conformity, Plan, actual, apply, history::History, show},
};

/// A plan that is older is not applied: too much may have happened that it does not show.
const PLAN_AGE_MS: i64 = 24 * 3600 * 1000;

impl Tool<'_> {
    pub(super) async fn apply(
        &self,
        file: Option<PathBuf>,
        approved: bool,
        only: Vec<String>,
        force_large: bool,
        router_file: Option<&PathBuf>,
    ) -> Outcome {
        let checked = self.check()?;
        let (conformity, parallelism) = self.conformity(Some(&checked.directory))?;
        let saved = file.as_deref().map(|path| read_plan(path, conformity.base())).transpose()?;
        let (only, salt) = match &saved {
            Some(saved) => (saved.only.clone(), saved.salt.clone()),
            None => (only, new_salt()),
        };
        let user = actual::key_user(&conformity).await;
        let history = self.history_file(&checked.directory).of_user(user);
        let _lock = apply::Lock::take(&self.dir, history.who()).map_err(Failure::failed)?;
        let mut plan = self.make_plan(&checked, (&conformity, conformity.base()), parallelism, &only, salt).await?;
        let mut stale = Vec::new();
        if let Some(saved) = &saved {
            if saved.organisation != plan.organisation {
                return Err(Failure::failed(format!(
                    "the plan is for organisation {}, the key is of {}",
                    saved.organisation, plan.organisation
                )));
            }
            stale = apply::stale(saved, &plan);
            // Exactly what the plan showed, where it still holds.
            plan.sections.retain(|section| {
                saved.sections.iter().any(|other| {
                    other.account_id == section.account_id
                        && other.account == section.account
                        && !other.changes.is_empty()
                }) && !stale.iter().any(|(label, _)| label == section.label())
            });
            plan.count(parallelism);
        }
        for (label, reason) in &stale {
            eprintln!("refused: {label}: {reason}; make a new plan");
        }
        if let Some(limit) = &checked.directory.settings.max_change
            && let Ok(limit) = limit.trim_end_matches('%').trim().parse::<f64>()
            && plan.share() > limit
            && !force_large
        {
            return Err(Failure::failed(format!(
                "the plan changes {:.1} % of what is managed, settings.yaml allows {limit} %; look at it, then --force-large",
                plan.share()
            )));
        }
        if saved.is_none() && self.common.format != Format::Json {
            print::out!("{}", show::text(&plan, std::io::stdout().is_terminal()));
        }
        let tickets = self.tickets(router_file, &checked.directory, &plan)?;
        if self.common.format != Format::Json && !tickets.is_empty() {
            print::outln!("{} open tickets will be closed by this:", tickets.len());
            for (_, text) in &tickets {
                print::outln!("  {}", print::plain(text));
            }
        }
        if plan.calls > 0 && !approved && !ask()? {
            return Err(Failure::failed("nothing was applied"));
        }
        let before = history.read().map_err(Failure::failed)?.len();
        if plan.calls > 0 {
            history.open().map_err(|error| {
                Failure::failed(format!("nothing was applied: the history can't be written: {error}"))
            })?;
        }
        let mut outcomes = self.run(&plan, &checked, &conformity, &history, parallelism).await;
        router::add_tickets(&mut outcomes, &tickets);
        let written = history.read().map_err(Failure::failed)?.split_off(before);
        self.send_history(router_file, &checked.directory, &written).await;
        self.tell(&plan, &outcomes);
        let refused = plan.sections.iter().flat_map(|section| &section.changes).any(|change| change.refused.is_some());
        let good = outcomes.iter().all(apply::Outcome::is_good) && stale.is_empty() && plan.is_whole() && !refused;
        Ok(if good { DONE } else { FAILED })
    }

    async fn run(
        &self,
        plan: &Plan,
        checked: &Checked,
        conformity: &Conformity,
        history: &History,
        parallelism: usize,
    ) -> Vec<apply::Outcome> {
        let stop = Arc::new(AtomicBool::new(false));
        let signal = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                next_signal().await;
                eprintln!("stopping: the calls in flight end, nothing new begins; once more ends at once");
                stop.store(true, Ordering::Relaxed);
                next_signal().await;
                eprintln!("ended at once: the history has what was answered, the calls in flight are not known");
                std::process::exit(130);
            }
        });
        let bar = bar("applying");
        bar.set_length(u64::try_from(plan.calls).unwrap_or(u64::MAX));
        let changes = self.dir.join(checked.directory.settings.changes.as_deref().unwrap_or("changes.jsonl"));
        if let Err(error) = crate::changes::prune(&changes, now_ms()) {
            eprintln!("warning: {}: {error}", changes.display());
        }
        let apply = apply::Apply { conformity, checked, history, parallelism, stop, now_ms: now_ms(), changes };
        let outcomes = apply.run(plan, &|| bar.inc(1)).await;
        bar.finish_and_clear();
        signal.abort();
        outcomes
    }

    fn tell(&self, plan: &Plan, outcomes: &[apply::Outcome]) {
        if self.common.format == Format::Json {
            print::json(&outcomes);
            return;
        }
        let applied: usize = outcomes.iter().map(|outcome| outcome.applied).sum();
        for outcome in outcomes {
            for warning in &outcome.warnings {
                eprintln!("warning: {}: {}", print::plain(&outcome.account), print::plain(warning));
            }
            for trouble in outcome.failures.iter().chain(&outcome.differences) {
                eprintln!("failed: {}: {}", print::plain(&outcome.account), print::plain(trouble));
            }
            if outcome.left > 0 {
                eprintln!("left: {}: {} calls were not made", print::plain(&outcome.account), outcome.left);
            }
        }
        for section in &plan.sections {
            for trouble in section.unknown.iter().chain(&section.errors) {
                eprintln!("not applied: {}: {}", print::plain(section.label()), print::plain(trouble));
            }
            for change in section.changes.iter().filter(|change| change.refused.is_some()) {
                let reason = change.refused.as_deref().unwrap_or_default();
                eprintln!(
                    "refused: {}: {} {}: {reason}",
                    print::plain(section.label()),
                    change.kind.as_str(),
                    change.name
                );
            }
        }
        let good = outcomes.iter().filter(|outcome| outcome.is_good()).count();
        print::outln!("{applied} of {} changes applied; {good} of {} accounts done", plan.calls, outcomes.len());
    }
}

/// A plan file that can be used at all.
fn read_plan(path: &Path, tenant: &str) -> Result<Plan, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("read {name}: {error}")))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!("{name} is no whole plan ({error}); make it again with `config plan --out`"))
    })?;
    if plan.version != config_sync::plan::VERSION {
        return Err(Failure::failed(format!("{name} is of another version of findings-router; make it again")));
    }
    if plan.tenant != tenant {
        return Err(Failure::failed(format!("{name} is a plan for {}, this is {tenant}", plan.tenant)));
    }
    if now_ms() - plan.created_at > PLAN_AGE_MS {
        let age = print::ago(plan.created_at, now_ms());
        return Err(Failure::failed(format!("{name} is {age} old; a plan is good for 24 h, make it again")));
    }
    Ok(plan)
}

fn ask() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::failed("nobody can be asked here: look at `config plan`, then apply with --auto-approve"));
    }
    eprint!("Apply? Only `yes` is taken: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(answer.trim() == "yes")
}
