//! Lists, and how a request wants them: which columns, in which order, which page.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::response::Response;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Map, Value, json};

use super::answer::{Failure, value};

/// rabbitmq: a page has this many items unless the request says otherwise, and at most that many.
const PAGE_SIZE: usize = 100;
const LARGEST_PAGE_SIZE: usize = 500;

/// What stands behind the question mark of a path.
pub(super) struct ListQuery(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for ListQuery {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = Query::<BTreeMap<String, String>>::try_from_uri(&parts.uri);
        Ok(ListQuery(query.map(|Query(query)| query).unwrap_or_default()))
    }
}

impl ListQuery {
    /// Whether the request says so.
    pub(super) fn is_true(&self, key: &str) -> bool {
        self.find(key) == Some("true")
    }

    fn find(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Shows one thing.
    pub(super) fn show(&self, shown: Value) -> Response {
        value(&self.pick(shown))
    }

    /// Shows a list, by virtual host and name unless another order is requested.
    pub(super) fn list(&self, items: Vec<Value>) -> Result<Response, Failure> {
        self.list_by(items, &["vhost", "name"])
    }

    /// Shows a list that has its own order.
    pub(super) fn list_by(&self, items: Vec<Value>, order: &[&str]) -> Result<Response, Failure> {
        let page = self.page()?;
        let mut items = items;
        self.sort(&mut items, order);
        let Some(page) = page else {
            return Ok(self.show(Value::Array(items)));
        };
        let total = items.len();
        items.retain(|item| page.filter.matches(item));
        let filtered = items.len();
        let start = (page.number - 1).saturating_mul(page.size);
        if start > filtered {
            let (number, size) = (page.number, page.size);
            let reason =
                format!("Page out of range, page: {number} page size: {size}, len: {filtered}");
            return Err(Failure::bad("page_out_of_range", reason));
        }
        let items: Vec<_> =
            items.into_iter().skip(start).take(page.size).map(|item| self.pick(item)).collect();
        Ok(value(&json!({
            "filtered_count": filtered,
            "item_count": items.len(),
            "items": items,
            "page": page.number,
            "page_count": filtered.div_ceil(page.size),
            "page_size": page.size,
            "total_count": total,
        })))
    }

    fn sort(&self, items: &mut [Value], order: &[&str]) {
        let first = self.find("sort").filter(|key| !key.is_empty());
        let keys: Vec<_> = first.iter().chain(order).map(|key| key.split('.')).collect();
        let at = |item: &Value, keys: &std::str::Split<'_, char>| -> Value {
            let found = keys.clone().try_fold(item, |item, key| item.get(key));
            found.cloned().unwrap_or(json!(0))
        };
        items.sort_by_cached_key(|item| {
            SortKey(keys.iter().map(|keys| at(item, keys)).collect::<Vec<_>>())
        });
        if self.is_true("sort_reverse") {
            items.reverse();
        }
    }

    fn page(&self) -> Result<Option<Page>, Failure> {
        let number = |key| match self.find(key).map(str::parse::<i64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Failure::bad_request("Pagination parameters are invalid")),
        };
        let (page, size) = (number("page")?, number("page_size")?);
        let Some(page) = page else { return Ok(None) };
        let in_range = |number: i64| usize::try_from(number).ok().filter(|number| *number > 0);
        let requested_size = size.map_or(Some(PAGE_SIZE), in_range);
        match (in_range(page), requested_size.filter(|size| *size <= LARGEST_PAGE_SIZE)) {
            (Some(number), Some(size)) => Ok(Some(Page { number, size, filter: self.filter()? })),
            _ => {
                let size = size.map_or("undefined".to_owned(), |size| size.to_string());
                let text = "Invalid pagination parameters";
                let reason = format!("{text}: page number {page}, page size {size}");
                Err(Failure::bad("invalid_pagination_parameters", reason))
            }
        }
    }

    fn filter(&self) -> Result<Filter, Failure> {
        match self.find("name").filter(|name| !name.is_empty()) {
            None => Ok(Filter::All),
            Some(name) if self.is_true("use_regex") => {
                let regex = RegexBuilder::new(name).unicode(false).case_insensitive(true).build();
                regex
                    .map(Filter::Regex)
                    .map_err(|_| Failure::bad_request("Pagination parameters are invalid"))
            }
            Some(name) => Ok(Filter::Part(name.to_lowercase())),
        }
    }

    /// Leaves the columns that are requested.
    fn pick(&self, shown: Value) -> Value {
        let Some(columns) = self.find("columns") else { return shown };
        let columns: Vec<Vec<&str>> =
            columns.split(',').map(|column| column.split('.').collect()).collect();
        let columns: Vec<&[&str]> = columns.iter().map(Vec::as_slice).collect();
        picked(shown, &columns)
    }
}

fn picked(shown: Value, columns: &[&[&str]]) -> Value {
    match shown {
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| picked(item, columns)).collect())
        }
        Value::Object(object) => {
            let mut kept = Map::new();
            for (key, value) in object {
                let below: Vec<&[&str]> = columns
                    .iter()
                    .filter_map(|column| column.split_first())
                    .filter(|(first, _)| **first == key)
                    .map(|(_, rest)| rest)
                    .collect();
                if below.iter().any(|rest| rest.is_empty()) {
                    kept.insert(key, value);
                } else if !below.is_empty() {
                    kept.insert(key, picked(value, &below));
                }
            }
            Value::Object(kept)
        }
        other => other,
    }
}

struct Page {
    number: usize,
    size: usize,
    filter: Filter,
}

/// Which names are on the pages.
enum Filter {
    All,
    /// In small letters.
    Part(String),
    Regex(Regex),
}

impl Filter {
    fn matches(&self, item: &Value) -> bool {
        let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
        match self {
            Filter::All => true,
            Filter::Part(part) => name.to_lowercase().contains(part),
            Filter::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

/// What a list is sorted by.
///
/// rabbitmq: in Erlang's order of terms, numbers before names, where what is not there is zero.
struct SortKey(Vec<Value>);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| compared(a, b)).find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey {}

fn compared(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::Null | Value::Bool(_) => 1,
        Value::Object(_) => 2,
        Value::Array(_) => 3,
        Value::String(_) => 4,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let float = |number: &serde_json::Number| number.as_f64().unwrap_or(0.0);
            a.as_i64()
                .zip(b.as_i64())
                .map_or_else(|| float(a).total_cmp(&float(b)), |(a, b)| a.cmp(&b))
        }
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_query(query: &str) -> ListQuery {
        let uri = format!("/?{query}").parse().unwrap();
        ListQuery(Query::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn columns_go_as_deep_as_their_dots() {
        let shown = json!({"name": "q", "stats": {"in": 1, "out": 2}, "list": [{"in": 3, "x": 4}]});
        let picked = list_query("columns=name,stats.in,list.x").pick(shown);
        assert_eq!(picked, json!({"name": "q", "stats": {"in": 1}, "list": [{"x": 4}]}));
    }

    #[test]
    fn a_list_is_sorted_by_any_field_then_by_name() {
        let mut items = vec![
            json!({"name": "b", "n": {"m": 1}}),
            json!({"name": "c"}),
            json!({"name": "a", "n": {"m": 10}}),
            json!({"name": "d", "n": {"m": 1}}),
        ];
        let names = |items: &[Value]| {
            items.iter().map(|item| item["name"].as_str().unwrap()).collect::<String>()
        };
        list_query("").sort(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "abcd");
        list_query("sort=n.m").sort(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "cbda");
        list_query("sort=n.m&sort_reverse=true").sort(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "adbc");
    }

    #[test]
    fn pages_have_bounds() {
        for wrong in ["page=0", "page=1&page_size=0", "page=1&page_size=501", "page=-1"] {
            assert!(list_query(wrong).page().is_err(), "{wrong}");
        }
        for wrong in ["page=x", "page=1&page_size=y", "page=1&name=(&use_regex=true"] {
            let failure = Failure::bad_request("Pagination parameters are invalid");
            assert_eq!(list_query(wrong).page().err(), Some(failure), "{wrong}");
        }
        assert!(list_query("page_size=5").page().unwrap().is_none());
        let items = vec![json!({"name": "a"}); 3];
        assert!(list_query("page=2&page_size=3").list(items.clone()).is_ok());
        assert!(list_query("page=3&page_size=3").list(items).is_err());
    }
}
