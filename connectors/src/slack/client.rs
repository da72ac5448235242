//! What Slack's answers mean. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Scope, Verdict,
    http::{Answer, default_verdict},
};

/// The answer of one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Ok(Value),
    /// The channel is gone, archived or closed to the bot.
    BadChannel(String),
    /// The blocks are refused: text alone may pass.
    BadBlocks(String),
    /// `chat.update` of a message that is not there.
    NoMessage,
    Verdict(Verdict),
}

/// The Web API says errors with status 200.
pub fn web_api(answer: &Answer, scope: &Scope, now_ms: i64) -> Said {
    if answer.status == 429 {
        return Said::Verdict(throttled(answer, scope, now_ms));
    }
    if answer.status == 413 {
        return Said::BadBlocks(answer.excerpt());
    }
    if answer.status != 200 {
        return Said::Verdict(default_verdict(answer, now_ms));
    }
    let body = answer.json();
    if body["ok"] == true {
        return Said::Ok(body);
    }
    let Some(code) = body["error"].as_str() else {
        let detail = format!("the answer is not Slack's: {}", answer.excerpt());
        return Said::Verdict(Verdict::PermanentTarget { detail });
    };
    let reason = body["response_metadata"]["messages"][0].as_str().unwrap_or_default();
    let detail = format!("{code} {reason}").trim().to_owned();
    match code {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => Said::Verdict(throttled(answer, scope, now_ms)),
        "invalid_blocks" | "invalid_blocks_format" | "msg_blocks_too_long" | "invalid_attachments" => {
            Said::BadBlocks(detail)
        }
        "message_not_found" => Said::NoMessage,
        "channel_not_found"
        | "not_in_channel"
        | "is_archived"
        | "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "restricted_action_non_threadable_channel"
        | "restricted_action_thread_locked"
        | "messages_tab_disabled"
        | "cannot_dm_bot"
        | "user_not_found" => Said::BadChannel(detail),
        "invalid_auth"
        | "not_authed"
        | "account_inactive"
        | "token_revoked"
        | "token_expired"
        | "not_allowed_token_type"
        | "missing_scope"
        | "no_permission"
        | "ekm_access_denied"
        | "team_access_not_granted"
        | "org_login_required"
        | "access_denied"
        | "enterprise_is_restricted"
        | "accesslimited"
        | "two_factor_setup_required" => Said::Verdict(Verdict::PermanentTarget { detail }),
        "service_unavailable" | "team_added_to_org" | "request_timeout" => {
            Said::Verdict(Verdict::Transient { detail, after: None })
        }
        "internal_error" | "fatal_error" => Said::Verdict(Verdict::Ambiguous { detail }),
        // Everything else is about this message; a code unknown today ends as a dead letter that names it.
        _ => Said::Verdict(Verdict::PermanentItem { detail }),
    }
}

/// The token may post and not read: nothing can be looked up with it.
pub fn may_not_read(detail: &str) -> bool {
    let code = detail.split_whitespace().next().unwrap_or_default();
    matches!(code, "missing_scope" | "not_allowed_token_type" | "no_permission")
}

/// Webhooks answer plain text; the text decides, then the status.
pub fn webhook(answer: &Answer, now_ms: i64) -> Said {
    let detail = answer.excerpt();
    match (answer.status, answer.body.trim()) {
        (200, "ok") => Said::Ok(Value::Null),
        (200, _) => Said::Verdict(Verdict::PermanentTarget { detail: format!("the answer is not Slack's: {detail}") }),
        (429, _) => Said::Verdict(throttled(answer, &Scope::target(), now_ms)),
        (413, _) | (_, "invalid_blocks" | "invalid_blocks_format" | "msg_blocks_too_long") => Said::BadBlocks(detail),
        (_, "invalid_payload" | "no_text" | "too_many_attachments") => Said::Verdict(Verdict::PermanentItem { detail }),
        (
            _,
            "action_prohibited"
            | "posting_to_general_channel_denied"
            | "invalid_token"
            | "channel_not_found"
            | "channel_is_archived"
            | "no_service"
            | "no_service_id"
            | "no_team"
            | "no_active_hooks"
            | "team_disabled"
            | "user_not_found",
        ) => Said::Verdict(Verdict::PermanentTarget { detail }),
        (_, "rollup_error") => Said::Verdict(Verdict::Ambiguous { detail }),
        _ => Said::Verdict(default_verdict(answer, now_ms)),
    }
}

fn throttled(answer: &Answer, scope: &Scope, now_ms: i64) -> Verdict {
    let after = answer.retry_after(now_ms).unwrap_or(Duration::from_secs(5));
    Verdict::Throttled { after, scope: scope.clone() }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn word(said: &Said) -> &'static str {
        match said {
            Said::Ok(_) => "ok",
            Said::BadChannel(_) => "channel",
            Said::BadBlocks(_) => "blocks",
            Said::NoMessage => "no_message",
            Said::Verdict(verdict) => verdict.class(),
        }
    }

    #[test]
    fn every_error_code_of_the_web_api_has_its_class() {
        for (code, class) in [
            ("ratelimited", "throttled"),
            ("rate_limited", "throttled"),
            ("message_limit_exceeded", "throttled"),
            ("invalid_auth", "permanent_target"),
            ("token_revoked", "permanent_target"),
            ("missing_scope", "permanent_target"),
            ("channel_not_found", "channel"),
            ("is_archived", "channel"),
            ("not_in_channel", "channel"),
            ("invalid_blocks", "blocks"),
            ("msg_blocks_too_long", "blocks"),
            ("msg_too_long", "permanent_item"),
            ("no_text", "permanent_item"),
            ("metadata_too_large", "permanent_item"),
            ("message_not_found", "no_message"),
            ("service_unavailable", "transient"),
            ("internal_error", "ambiguous"),
            ("fatal_error", "ambiguous"),
            ("something_new", "permanent_item"),
        ] {
            let said = web_api(&answer(200, &format!("{{\"ok\":false,\"error\":\"{code}\"}}")), &Scope::target(), 0);
            assert_eq!(word(&said), class, "{code}");
        }
    }

    #[test]
    fn l4_a_rate_limit_with_status_200_pauses_the_channel() {
        let scope = Scope("channel:C1".into());
        let said = web_api(&answer(200, "{\"ok\":false,\"error\":\"ratelimited\"}"), &scope, 0);
        assert!(matches!(said, Said::Verdict(Verdict::Throttled { scope: found, .. }) if found == scope));
    }

    #[test]
    fn every_text_of_a_webhook_has_its_class() {
        for (status, body, class) in [
            (200, "ok", "ok"),
            (200, "<html>", "permanent_target"),
            (400, "invalid_payload", "permanent_item"),
            (400, "user_not_found", "permanent_target"),
            (403, "action_prohibited", "permanent_target"),
            (404, "no_active_hooks", "permanent_target"),
            (410, "channel_is_archived", "permanent_target"),
            (429, "slow down", "throttled"),
            (500, "rollup_error", "ambiguous"),
            (503, "", "transient"),
        ] {
            assert_eq!(word(&webhook(&answer(status, body), 0)), class, "{status} {body}");
        }
    }
}
