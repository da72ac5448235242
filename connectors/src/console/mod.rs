//! Prints what would be sent, one JSON object a line: for trying things out.

use std::io::Write;

use async_trait::async_trait;
use serde::Deserialize;

use crate::{Connector, Delivery, Found, Health, Limits, Quota, UnknownPolicy, Verdict, file};

/// It takes no settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {}

/// Standard output as a target.
pub struct Console;

impl ConsoleConfig {
    pub fn connect(self) -> Console {
        Console
    }
}

#[async_trait]
impl Connector for Console {
    fn limits(&self) -> Limits {
        file::LIMITS
    }

    async fn deliver(&self, batch: &[Delivery], _quota: &dyn Quota) -> Vec<Verdict> {
        let text = file::lines(batch);
        let mut out = std::io::stdout().lock();
        let verdict = match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Verdict::delivered(),
            Err(error) => Verdict::PermanentTarget { detail: format!("write to the console: {error}") },
        };
        vec![verdict; batch.len()]
    }

    fn when_unknown(&self) -> UnknownPolicy {
        UnknownPolicy::Resend
    }

    async fn find(&self, _delivery: &Delivery, _quota: &dyn Quota) -> Found {
        Found::No
    }

    async fn probe(&self, _quota: &dyn Quota) -> Health {
        Health::Ok { detail: "standard output".to_owned() }
    }
}
