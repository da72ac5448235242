//! Which path is served by what.

use super::call::Cx;
use super::reply::{Problem, Reply};
use super::state::State;
use super::{
    accounts, bot, checks, custom_rules, events, groups, history, profiles, reports, rules, services, settings, users,
};

/// Serves a call.
pub(super) type Handler = fn(&mut State, &Cx) -> Result<Reply, Problem>;

/// A method, a pattern and its handler.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) pattern: &'static str,
    pub(super) handler: Handler,
    /// Whether it needs no key.
    pub(super) public: bool,
}

const fn route(method: &'static str, pattern: &'static str, handler: Handler) -> Route {
    Route { method, pattern, handler, public: false }
}

const fn public(method: &'static str, pattern: &'static str, handler: Handler) -> Route {
    Route { method, pattern, handler, public: true }
}

/// The first that matches serves.
static ROUTES: &[Route] = &[
    route("GET", "/accounts", accounts::list),
    route("POST", "/accounts", accounts::add_aws),
    route("POST", "/accounts/azure", accounts::add_azure),
    route("POST", "/accounts/gcp", accounts::add_gcp),
    route("GET", "/accounts/{id}", accounts::get),
    route("PATCH", "/accounts/{id}", accounts::patch),
    route("DELETE", "/accounts/{id}", accounts::delete),
    route("GET", "/accounts/{id}/access", accounts::access),
    route("PATCH", "/accounts/{id}/subscription", accounts::patch_subscription),
    route("POST", "/accounts/{id}/scan", accounts::scan),
    route("GET", "/accounts/{id}/settings/bot", bot::get),
    route("PATCH", "/accounts/{id}/settings/bot", bot::patch),
    route("GET", "/accounts/{id}/settings/rules", rules::list),
    route("PATCH", "/accounts/{id}/settings/rules", rules::patch_all),
    route("GET", "/accounts/{id}/settings/rules/{ruleId}", rules::get),
    route("PATCH", "/accounts/{id}/settings/rules/{ruleId}", rules::patch),
    route("GET", "/organisation/external-id", accounts::external_id),
    route("POST", "/azure/active-directories", accounts::connect),
    route("POST", "/gcp/organisations", accounts::connect),
    route("GET", "/profiles", profiles::list),
    route("POST", "/profiles", profiles::post),
    route("GET", "/profiles/{id}", profiles::get),
    route("PATCH", "/profiles/{id}", profiles::patch),
    route("DELETE", "/profiles/{id}", profiles::delete),
    route("POST", "/profiles/{id}/apply", profiles::apply),
    route("GET", "/settings/communication", settings::list),
    route("POST", "/settings/communication", settings::post),
    route("PATCH", "/settings/communication/{id}", settings::patch),
    route("GET", "/settings/{id}", settings::get),
    route("DELETE", "/settings/{id}", settings::delete),
    route("GET", "/report-configs", reports::list),
    route("POST", "/report-configs", reports::post),
    route("GET", "/report-configs/{id}", reports::get),
    route("PATCH", "/report-configs/{id}", reports::patch),
    route("DELETE", "/report-configs/{id}", reports::delete),
    route("GET", "/groups", groups::list),
    route("POST", "/groups", groups::post),
    route("GET", "/groups/{id}", groups::get),
    route("PATCH", "/groups/{id}", groups::patch),
    route("DELETE", "/groups/{id}", groups::delete),
    route("GET", "/checks", checks::list),
    route("POST", "/checks", checks::post),
    route("GET", "/checks/{id}", checks::get),
    route("PATCH", "/checks/{id}", checks::patch),
    route("DELETE", "/checks/{id}", checks::delete),
    route("GET", "/custom-rules", custom_rules::list),
    route("POST", "/custom-rules", custom_rules::post),
    route("GET", "/custom-rules/{id}", custom_rules::get),
    route("PUT", "/custom-rules/{id}", custom_rules::put),
    route("DELETE", "/custom-rules/{id}", custom_rules::delete),
    route("GET", "/reports", history::list),
    route("GET", "/reports/{id}/{entity}/{format}", history::download),
    route("GET", "/events", events::list),
    route("GET", "/users/whoami", users::whoami),
    route("GET", "/users", users::list),
    route("POST", "/users", users::post),
    route("POST", "/users/sso", users::post),
    route("GET", "/users/{id}", users::get),
    route("PATCH", "/users/{id}", users::patch),
    route("DELETE", "/users/{id}", users::delete),
    route("GET", "/api-keys", users::keys),
    public("GET", "/services", services::services),
    public("GET", "/providers", services::providers),
    public("GET", "/regions", services::regions),
    public("GET", "/resource-types", services::resource_types),
];

/// The route of a call, with the parts of the path in its braces.
pub(super) fn find(method: &str, parts: &[String]) -> Option<(&'static Route, Vec<String>)> {
    ROUTES.iter().filter(|route| route.method == method).find_map(|route| {
        let pattern: Vec<&str> = route.pattern.split('/').skip(1).collect();
        let fits = |(part, wanted): (&String, &&str)| wanted.starts_with('{') || part == wanted;
        (pattern.len() == parts.len() && parts.iter().zip(&pattern).all(fits)).then(|| {
            let braces = |(part, wanted): (&String, &str)| wanted.starts_with('{').then(|| part.clone());
            (route, parts.iter().zip(pattern.iter().copied()).filter_map(braces).collect())
        })
    })
}

/// The parts of a path, decoded; empty ones do not count, since clients write `//` and a trailing `/`.
pub(super) fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(decoded).collect()
}

fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
