//! Calls that change something.

use reqwest::Method;
use serde_json::{Value, json};

use super::{VisionOne, channels, reports, resources, rules};
use crate::config_sync::api::{ApiError, http::Http};

impl VisionOne {
    /// Does what a call of the older platform asks for.
    pub(in crate::config_sync::api) async fn send(
        &self,
        http: &Http,
        method: &Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (data, attributes) = (&body["data"], &body["data"]["attributes"]);
        let write =
            |path: String, body: Value, repeatable: bool| self.write(http, Method::POST, path, body, repeatable);
        match (method.as_str(), parts.as_slice()) {
            ("PATCH", ["accounts", id, "settings", "bot"]) => {
                let setting = resources::bot_written(&attributes["settings"]["bot"]);
                self.write(http, Method::PATCH, format!("accounts/{id}/scanSetting"), setting, true).await
            }
            ("PATCH", ["accounts", id, "settings", "rules", rule]) => {
                let mut setting = rules::written(rule, &attributes["ruleSetting"]);
                setting["note"] = attributes["note"].clone();
                // Twice the same is the same.
                write(format!("accounts/{id}/scanRules/update"), json!([setting]), true).await
            }
            ("POST", ["accounts", id, "scan"]) => write(format!("accounts/{id}/scan"), Value::Null, false).await,
            ("POST", ["profiles"]) => self.profile(http, body).await,
            ("POST", ["profiles", id, "apply"]) => {
                let meta = &body["meta"];
                let mut sent = json!({ "accountIds": meta["accountIds"], "types": "rule", "mode": meta["mode"],
                    "note": meta["notes"] });
                if meta["include"].is_object() {
                    sent["include"] = meta["include"].clone();
                }
                write(format!("profiles/{id}/apply"), sent, true).await
            }
            ("POST", ["groups"]) => write("groups".to_owned(), attributes.clone(), false).await,
            ("PATCH", ["groups", id]) => {
                self.write(http, Method::PATCH, format!("groups/{id}"), attributes.clone(), true).await
            }
            ("DELETE", [kind @ ("groups" | "profiles"), id]) => self.delete(http, format!("{kind}/{id}")).await,
            ("POST", ["settings", "communication"]) => {
                self.channel(http, Method::POST, String::new(), json!([channels::written(data, true)])).await
            }
            ("PATCH", ["settings", "communication", id]) => {
                self.channel(http, Method::PATCH, format!("/{id}"), channels::written(data, false)).await
            }
            ("DELETE", ["settings", id]) => self.channel(http, Method::DELETE, format!("/{id}"), Value::Null).await,
            ("POST", ["report-configs"]) => {
                self.report(http, Method::POST, String::new(), reports::written(data, true)).await
            }
            ("PATCH", ["report-configs", id]) => {
                self.report(http, Method::PATCH, format!("/{id}"), reports::written(data, false)).await
            }
            ("DELETE", ["report-configs", id]) => {
                self.report(http, Method::DELETE, format!("/{id}"), Value::Null).await
            }
            _ => Err(ApiError::Setup(format!("Vision One has nothing like {method} {path}"))),
        }
    }

    /// The answer of a write, with the id of what was made.
    async fn write(
        &self,
        http: &Http,
        method: Method,
        path: String,
        body: Value,
        repeatable: bool,
    ) -> Result<Value, ApiError> {
        let path = format!("{}/{path}", self.path);
        let body = (!body.is_null()).then_some(&body);
        let answer = self.call(http, method, &path, body, repeatable).await?;
        let own = answer.header("location").to_owned();
        let of_item = answer.body[0]["headers"].as_array().into_iter().flatten().find_map(|header| {
            let is = header["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("location"));
            header["value"].as_str().filter(|_| is).map(str::to_owned)
        });
        let location = of_item.unwrap_or(own);
        match location.rsplit('/').next().filter(|id| answer.status != 204 && !id.is_empty()) {
            Some(id) => Ok(json!({ "data": { "id": id } })),
            None => Ok(answer.body),
        }
    }

    async fn delete(&self, http: &Http, path: String) -> Result<Value, ApiError> {
        self.write(http, Method::DELETE, path, Value::Null, true).await
    }

    /// What is read after it, and after one that failed, is read anew.
    async fn channel(&self, http: &Http, method: Method, path: String, body: Value) -> Result<Value, ApiError> {
        let repeatable = method != Method::POST;
        let path = format!("communicationConfigurations{path}");
        let answer = self.write(http, method, path, body, repeatable).await;
        *self.channels.lock().await = None;
        answer
    }

    async fn report(&self, http: &Http, method: Method, path: String, body: Value) -> Result<Value, ApiError> {
        let repeatable = method != Method::POST;
        let answer = self.write(http, method, format!("reportConfigurations{path}"), body, repeatable).await;
        *self.reports.lock().await = None;
        answer
    }

    /// Makes one, or makes one exactly this.
    async fn profile(&self, http: &Http, body: &Value) -> Result<Value, ApiError> {
        let attributes = &body["data"]["attributes"];
        let written: Vec<Value> = body["included"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| rules::written(rule["id"].as_str().unwrap_or_default(), &rule["attributes"]))
            .collect();
        let sent =
            json!({ "name": attributes["name"], "description": attributes["description"], "scanRules": written });
        match body["data"]["id"].as_str() {
            None => self.write(http, Method::POST, "profiles".to_owned(), sent, false).await,
            Some(id) => {
                let path = format!("profiles/{}", crate::config_sync::api::segment(id));
                self.write(http, Method::PATCH, path, sent, true).await
            }
        }
    }
}
