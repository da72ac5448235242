//! What one part of the settings needs of another.

use secrecy::ExposeSecret;

use super::{Located, Service, Settings, TelemetrySettings, read::Reader};
use crate::deliver::LinkHosts;

/// A token that can't be guessed.
const SHORTEST_TOKEN: usize = 16;

impl Reader<'_> {
    /// What `admin:` and `telemetry:` may not say.
    pub(super) fn ways_in_and_out(&self, settings: &Settings) -> Vec<Located> {
        let mut problems = Vec::new();
        if let Some(admin) = &settings.service.admin {
            let token = admin.token.expose_secret();
            if token.len() < SHORTEST_TOKEN || token.contains(char::is_whitespace) {
                let problem = format!("a token has {SHORTEST_TOKEN} characters at least and no white space");
                problems.push(self.located("admin.token", problem));
            }
            if Some(admin.listen) == settings.listen {
                let problem = "the admin API has an address of its own, not that of `listen`";
                problems.push(self.located("admin.listen", problem));
            }
        }
        if let Some((key, problem)) = settings.service.telemetry.as_ref().and_then(TelemetrySettings::problem) {
            problems.push(self.located(&key, problem));
        }
        problems
    }

    /// Values of the service itself that can't be meant.
    pub(super) fn service(&self, service: &Service) -> Vec<Located> {
        let mut problems = Vec::new();
        let kept = [
            ("keep_decisions", service.keep_decisions),
            ("keep_dead_letters", service.keep_dead_letters),
            ("keep_resolved", service.keep_resolved),
        ];
        for (key, _) in kept.into_iter().filter(|(_, kept)| kept.is_zero()) {
            problems.push(self.located(key, format!("{key} must be above 0s, or nothing is kept; write e.g. 30d")));
        }
        if service.max_batch == 0 {
            problems.push(self.located("max_batch", "max_batch is at least 1; leave it out for 512"));
        }
        if let Some(url) = &service.explain_url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            let problem = "explain_url is an address, e.g. https://router.acme.example/findings?check={check_id}";
            problems.push(self.located("explain_url", problem));
        }
        problems
    }

    /// What storms and budgets need of the rest.
    pub(super) fn restraints(&self, settings: &Settings) -> Vec<Located> {
        let mut problems = Vec::new();
        if let Some(link) = &settings.service.search_link
            && !(link.starts_with("https://") && link.contains(crate::deliver::QUERY))
        {
            let problem = "search_link is an https address with {query} where the search goes, e.g. \
                           https://splunk.acme.example/en-GB/app/search/search?q=search%20{query}";
            problems.push(self.located("search_link", problem));
        }
        for problem in settings.service.link_hosts.iter().filter_map(|host| LinkHosts::problem(host)) {
            problems.push(self.located("link_hosts", problem));
        }
        if let Some(storms) = &settings.service.storms {
            let kind = settings.targets.get(&storms.target).map(|target| connectors::content_kind(&target.kind));
            match kind {
                Some(connectors::ContentKind::Notice) => {}
                Some(connectors::ContentKind::Record) => {
                    let problem =
                        format!("`{}` takes records; a storm is told to a target that people read", storms.target);
                    problems.push(self.located("storms.target", problem));
                }
                None => {
                    let problem = format!("there is no target `{}`", storms.target);
                    problems.push(self.located("storms.target", problem));
                }
            }
            if storms.accounts < 2 || storms.findings < 2 {
                let problem = "a storm takes at least 2 accounts and 2 findings; less would hold every single failure";
                problems.push(self.located("storms", problem));
            }
        }
        if let Some(budget) = &settings.service.budget
            && let Err(problem) = crate::restraint::Budget::new(budget.clone(), Vec::new())
        {
            problems.push(self.located("budget", problem));
        }
        problems
    }
}
