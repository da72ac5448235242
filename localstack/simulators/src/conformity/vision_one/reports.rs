//! Report configurations, kept as they are sent.

use serde_json::{Value, json};

use super::super::reply::Problem;
use super::{Ask, Done, Outcome};

const KEYS: [&str; 14] = [
    "accountId",
    "groupId",
    "reportTitle",
    "reportType",
    "appliedComplianceStandardId",
    "controlsType",
    "includeChecks",
    "includeAccountNames",
    "emailRecipients",
    "reportFormatsInEmail",
    "language",
    "checksFilter",
    "schedule",
    "id",
];

pub(super) fn serve(ask: &mut Ask<'_>, parts: &[&str]) -> Outcome {
    let missing = ask.missing();
    let sent = ask.body.clone();
    match (ask.call.method.as_str(), parts) {
        ("GET", []) => Ok(Done::Items(ask.state.vision_one_reports.iter().map(shown).collect())),
        ("GET", [id]) => {
            let found = ask.state.vision_one_reports.iter().find(|report| report["id"] == *id);
            found.map(|report| Done::One(shown(report))).ok_or(missing)
        }
        ("POST", []) => {
            check(&sent, true)?;
            let id = ask.state.short_id();
            let mut made = sent;
            made["id"] = json!(id);
            ask.state.vision_one_reports.push(made);
            Ok(Done::Made(format!("/beta/cloudPosture/reportConfigurations/{id}")))
        }
        ("PATCH", [id]) => {
            check(&sent, false)?;
            let found = ask.state.vision_one_reports.iter_mut().find(|report| report["id"] == *id).ok_or(missing)?;
            if let (Some(found), Some(sent)) = (found.as_object_mut(), sent.as_object()) {
                found.extend(sent.clone());
            }
            Ok(Done::Nothing)
        }
        ("DELETE", [id]) => {
            let before = ask.state.vision_one_reports.len();
            ask.state.vision_one_reports.retain(|report| report["id"] != *id);
            if ask.state.vision_one_reports.len() == before { Err(missing) } else { Ok(Done::Nothing) }
        }
        _ => Err(missing),
    }
}

fn check(sent: &Value, new: bool) -> Result<(), Problem> {
    let fields = sent.as_object().ok_or_else(|| Problem::invalid("", "An object is required"))?;
    if let Some(key) = fields.keys().find(|key| !KEYS.contains(&key.as_str()) || (!new && key.ends_with("Id"))) {
        // A standard may be changed, whose it is may not.
        if key != "appliedComplianceStandardId" {
            return Err(Problem::invalid(key, format!("{key} is not allowed")));
        }
    }
    if new && !sent["reportTitle"].is_string() {
        return Err(Problem::invalid("reportTitle", "reportTitle is required"));
    }
    let standard = sent["reportType"] == "COMPLIANCE-STANDARD" && !sent["appliedComplianceStandardId"].is_string();
    if standard {
        return Err(Problem::invalid("appliedComplianceStandardId", "appliedComplianceStandardId is required"));
    }
    Ok(())
}

/// Standards are answered as objects, and a whole choice of formats by one word or by both.
fn shown(report: &Value) -> Value {
    let mut out = report.clone();
    let Some(map) = out.as_object_mut() else { return out };
    let level = match (report["accountId"].is_string(), report["groupId"].is_string()) {
        (true, _) => "account",
        (false, true) => "group",
        (false, false) => "company",
    };
    map.insert("level".to_owned(), json!(level));
    if let Some(standard) = map.remove("appliedComplianceStandardId") {
        map.insert("appliedComplianceStandard".to_owned(), json!({"id": standard}));
    }
    if report["reportFormatsInEmail"] == json!(["all"]) {
        map.insert("reportFormatsInEmail".to_owned(), json!(["PDF", "CSV"]));
    }
    if let Some(filter) = map.get_mut("checksFilter").and_then(Value::as_object_mut)
        && let Some(ids) = filter.remove("complianceStandardIds")
    {
        let ids: Vec<Value> = ids.as_array().into_iter().flatten().map(|id| json!({"id": id})).collect();
        filter.insert("complianceStandards".to_owned(), json!(ids));
    }
    out
}
