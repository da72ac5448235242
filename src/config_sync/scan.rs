//! Starts the bot on accounts; the results arrive through the router.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use super::{
    ActualAccount, ApiError, Conformity, Platform, ReadConformity, Writer,
    api::{first, list, segment},
};

/// The platform asks not to start many at once.
const AT_ONCE: usize = 5;
/// Longer than the slowest bot run that was seen.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What became of one account's scan.
#[derive(Clone, Debug, Serialize)]
pub struct Scanned {
    pub account: String,
    pub account_id: String,
    /// started, finished or failed.
    pub state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Starts a scan of each account, a few at a time; waits for their ends where that is asked.
pub async fn scan(
    conformity: &Conformity,
    accounts: &[ActualAccount],
    wait: bool,
    poll: Duration,
    done: &(dyn Fn() + Sync),
) -> Vec<Scanned> {
    let scanning = accounts.iter().map(|account| async move {
        let result = one(conformity, account, wait, poll).await;
        done();
        let (state, detail) = match result {
            Ok(state) => (state, String::new()),
            Err(error) => ("failed", error),
        };
        Scanned { account: account.name.clone(), account_id: account.id.clone(), state, detail }
    });
    stream::iter(scanning).buffered(AT_ONCE).collect().await
}

async fn one(
    conformity: &Conformity,
    account: &ActualAccount,
    wait: bool,
    poll: Duration,
) -> Result<&'static str, String> {
    let path = format!("/accounts/{}", segment(&account.id));
    let told = |error: ApiError| error.to_string();
    let (_, before) = if wait { bot(conformity, &path).await.map_err(told)? } else { (false, 0) };
    let answer = Writer(conformity).send(Method::POST, &format!("{path}/scan"), &Value::Null).await.map_err(told)?;
    let status = list(&answer).first().map(|scan| scan["status"].clone()).unwrap_or_default();
    // Vision One has no word for it.
    if conformity.platform() == Platform::Conformity && status != "STARTED" {
        return Err(format!("it was not started: the platform answered {status}"));
    }
    if !wait {
        return Ok("started");
    }
    let ended = async {
        loop {
            tokio::time::sleep(poll).await;
            let (idle, checked) = bot(conformity, &path).await.map_err(told)?;
            // It is idle before it begins, too.
            if idle && checked > before {
                return Ok("finished");
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| Err("it runs for more than an hour".to_owned()))
}

/// Whether the bot rests, and when it checked the account last, in milliseconds since the epoch.
async fn bot(conformity: &Conformity, path: &str) -> Result<(bool, i64), ApiError> {
    let answer = conformity.get(path).await?;
    let account = first(&answer).cloned().unwrap_or_default();
    let attributes = &account["attributes"];
    Ok((attributes["bot-status"].is_null(), attributes["last-checked-date"].as_i64().unwrap_or_default()))
}
