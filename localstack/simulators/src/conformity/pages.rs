//! Lists in pages, which count from 0.

use serde_json::{Map, Value, json};

use super::call::Cx;
use super::options::Totals;
use super::reply::Reply;

/// The page that the query asks for.
pub(super) fn reply(cx: &Cx, totals: Totals, found: &[Value], shown: impl Fn(&Value) -> Value) -> Reply {
    let number = |name: &str| cx.query(name).and_then(|text| text.parse::<usize>().ok());
    let size = number("page[size]").unwrap_or(100).clamp(1, 1_000);
    let page = number("page[number]").unwrap_or(0);
    let data: Vec<Value> = found.iter().skip(page.saturating_mul(size)).take(size).map(shown).collect();
    let total = match totals {
        Totals::Pages => json!({"total-pages": found.len().div_ceil(size)}),
        Totals::Entries => json!({"total": found.len()}),
    };
    let members = [("data".to_owned(), Value::Array(data)), ("meta".to_owned(), total)];
    Value::Object(Map::from_iter(members)).into()
}
