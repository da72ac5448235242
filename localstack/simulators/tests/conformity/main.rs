//! The simulated Cloud Conformity over HTTP.

mod access;
mod examples;
mod resources;
mod rules;
mod scans;
mod switches;
mod vision_one;

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use simulators::conformity::ConformityOptions;
use simulators::{Options, Seed, Simulators};

const KEY: &str = "conformity-key";

/// The simulators and a client with a key.
struct Api {
    sims: Simulators,
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// With some accounts: eight of ten are of AWS, the fifth is of Azure and the tenth of GCP.
    async fn seeded(accounts: usize) -> Self {
        Self::with(ConformityOptions { seed: Some(Seed { accounts, ..Seed::default() }), ..quick() }).await
    }

    async fn with(conformity: ConformityOptions) -> Self {
        let sims = Simulators::start(Options { conformity, ..Options::default() }).await.unwrap();
        let base = format!("{}/api", sims.conformity.url());
        Self { sims, client: Client::new(), base, key: KEY.to_owned() }
    }

    /// The same service under the base path of the legacy platform.
    fn legacy(mut self) -> Self {
        self.base = format!("{}/v1", self.sims.conformity.url());
        self
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("authorization", format!("ApiKey {}", self.key));
        request = request.header("content-type", "application/vnd.api+json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    /// The ids of the accounts.
    fn accounts(&self) -> Vec<String> {
        self.sims.conformity.accounts().iter().map(|account| account["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Until everything that happens later has happened.
    async fn settled(&self) {
        until(|| self.sims.conformity.pending() == 0).await;
    }
}

/// Options under which nothing takes long.
fn quick() -> ConformityOptions {
    let delay = Duration::from_millis(10);
    ConformityOptions { apply_delay: delay, scan_delay: delay, delete_delay: delay, ..ConformityOptions::default() }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the condition never held");
}
