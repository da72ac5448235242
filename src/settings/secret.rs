//! `${aws-secret:ARN#key}`: a secret of AWS Secrets Manager, whole or one key of its JSON.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aws_sdk_secretsmanager::{
    Client,
    config::Region,
    error::{ProvideErrorMetadata, SdkError},
};

/// Long enough for the slowest way to credentials, short enough for a start that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The text of a secret.
///
/// # Errors
/// It can't be read, or has no such key.
pub fn get(reference: &str) -> Result<String, String> {
    let (name, key) = match reference.split_once('#') {
        Some((name, key)) => (name, Some(key)),
        None => (reference, None),
    };
    let text = whole(name)?;
    let Some(key) = key else { return Ok(text) };
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|_| format!("secret {name} is no JSON, so it has no key `{key}`"))?;
    match &value[key] {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Null => Err(format!("secret {name} has no key `{key}`")),
        other => Ok(other.to_string()),
    }
}

/// Several keys of one secret cost one call.
fn whole(name: &str) -> Result<String, String> {
    static KNOWN: OnceLock<Mutex<HashMap<String, String>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    if let Some(text) = known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Ok(text.clone());
    }
    let owned = name.to_owned();
    // A thread of its own: settings are read within a runtime and without one.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("start a runtime: {error}"))?;
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, fetch(&owned))
                .await
                .unwrap_or_else(|_| Err(format!("secret {owned}: no answer within {} s", PATIENCE.as_secs())))
        })
    });
    let text = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), text.clone());
    Ok(text)
}

/// An error of AWS: what the service said, else every cause. The library's own long form repeats them in Rust's notation.
pub fn in_words<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    if let (Some(code), Some(message)) = (error.code(), error.message()) {
        return format!("{code}: {message}");
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn fetch(name: &str) -> Result<String, String> {
    let mut config = aws_config::defaults(aws_config::BehaviorVersion::latest());
    // An ARN says where it is; a plain name is in the region of the environment.
    if let Some(region) = name.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).filter(|it| !it.is_empty())
    {
        config = config.region(Region::new(region.to_owned()));
    }
    let client = Client::new(&config.load().await);
    let answer = client
        .get_secret_value()
        .secret_id(name)
        .send()
        .await
        .map_err(|error| format!("secret {name}: {}", in_words(&error)))?;
    match (answer.secret_string, answer.secret_binary) {
        (Some(text), _) => Ok(text.trim_end().to_owned()),
        (None, Some(bytes)) => {
            String::from_utf8(bytes.into_inner()).map_err(|_| format!("secret {name} is binary and no text"))
        }
        (None, None) => Err(format!("secret {name} is empty")),
    }
}
