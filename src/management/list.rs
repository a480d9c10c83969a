//! Lists, and how a request wants them: which columns, in which order, which page.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::response::Response;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

use super::answer::{Failure, value};
use super::json_stream::{Envelope, JsonStream};

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
        value(&self.columns().pick(shown))
    }

    /// Shows a list of what the registry holds, by virtual host and name unless another order is requested.
    pub(super) fn list(&self, items: Vec<Value>) -> Result<Response, Failure> {
        self.list_by(items, &["vhost", "name"])
    }

    /// Shows a list that has its own order.
    pub(super) fn list_by(&self, items: Vec<Value>, order: &[&str]) -> Result<Response, Failure> {
        let page = self.page()?;
        let mut items = items;
        self.order(&mut items, order);
        let Some(page) = page else {
            return Ok(self.show(Value::Array(items)));
        };
        let total = items.len();
        items.retain(|item| {
            let name = item.get("name").and_then(Value::as_str);
            page.filter.matches(name.unwrap_or_default())
        });
        let envelope = page.envelope(total, items.len())?;
        let items = items.into_iter().skip(page.start()).take(page.size);
        let columns = self.columns();
        let items: Vec<_> = items.map(|item| columns.pick(item)).collect();
        Ok(JsonStream::new(items.into_iter(), envelope).answer(None))
    }

    fn order(&self, items: &mut [Value], order: &[&str]) {
        let keys: Vec<Vec<&str>> =
            self.sort().iter().chain(order).map(|key| key.split('.').collect()).collect();
        let at = |item: &Value, path: &[&str]| {
            let found = path.iter().try_fold(item, |item, key| item.get(key));
            found.cloned().map(SortKey::from).unwrap_or_default()
        };
        items.sort_by_cached_key(|item| keys.iter().map(|path| at(item, path)).collect::<Vec<_>>());
        if self.is_reverse() {
            items.reverse();
        }
    }

    /// The field that a list is sorted by, with dots in it for what is below.
    pub(super) fn sort(&self) -> Option<&str> {
        self.find("sort").filter(|key| !key.is_empty())
    }

    pub(super) fn is_reverse(&self) -> bool {
        self.is_true("sort_reverse")
    }

    /// The page that is requested, if it is one.
    pub(super) fn page(&self) -> Result<Option<Page>, Failure> {
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

    /// The columns that are requested.
    pub(super) fn columns(&self) -> Columns {
        let columns = self.find("columns").map(|columns| {
            columns.split(',').map(|it| it.split('.').map(str::to_owned).collect()).collect()
        });
        Columns(columns)
    }
}

/// The columns that are requested of objects, as paths; all of them where there is nothing.
#[derive(Clone, Debug)]
pub(super) struct Columns(Option<Vec<Vec<String>>>);

impl Columns {
    pub(super) fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// What is requested below a field, if it is requested at all.
    pub(super) fn below(&self, field: &str) -> Option<Columns> {
        let Some(columns) = &self.0 else { return Some(Columns(None)) };
        let of_field = columns.iter().filter_map(|column| column.split_first());
        let below: Vec<_> =
            of_field.filter(|(first, _)| *first == field).map(|(_, rest)| rest.to_vec()).collect();
        if below.is_empty() {
            return None;
        }
        Some(Columns((!below.iter().any(Vec::is_empty)).then_some(below)))
    }

    /// Leaves of a value, or of each in a list, what is requested.
    pub(super) fn pick(&self, shown: Value) -> Value {
        match shown {
            _ if self.are_all() => shown,
            Value::Array(items) => items.into_iter().map(|item| self.pick(item)).collect(),
            Value::Object(object) => {
                let picked = object.into_iter().filter_map(|(key, value)| {
                    let below = self.below(&key)?;
                    Some((key, below.pick(value)))
                });
                Value::Object(picked.collect())
            }
            other => other,
        }
    }
}

/// A page of a list.
pub(super) struct Page {
    number: usize,
    size: usize,
    pub(super) filter: Filter,
}

impl Page {
    /// How many items are before it.
    pub(super) fn start(&self) -> usize {
        (self.number - 1).saturating_mul(self.size)
    }

    /// How many items are before its end.
    pub(super) fn end(&self) -> usize {
        self.start().saturating_add(self.size)
    }

    /// What is around its items, when there are so many in the list and so many of them pass the filter.
    pub(super) fn envelope(&self, total: usize, filtered: usize) -> Result<Envelope, Failure> {
        let (number, size) = (self.number, self.size);
        if self.start() > filtered {
            let reason =
                format!("Page out of range, page: {number} page size: {size}, len: {filtered}");
            return Err(Failure::bad("page_out_of_range", reason));
        }
        Ok(Envelope::Page { number, size, total, filtered })
    }
}

/// Which names are on the pages.
pub(super) enum Filter {
    All,
    /// In small letters.
    Part(String),
    Regex(Regex),
}

impl Filter {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Filter::All => true,
            Filter::Part(part) => name.to_lowercase().contains(part),
            Filter::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

/// What a list is sorted by: in Erlang's order of terms.
///
/// rabbitmq: numbers before names, where what is not there is zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SortKey {
    Number(f64),
    /// false, null or true.
    Atom(u8),
    Object,
    Array,
    Text(Box<str>),
}

/// How much of a text counts when a list is sorted, in bytes.
///
/// why: keys of all rows are in memory at once, and an argument may be long.
const SORTED_BYTES: usize = 256;

impl Default for SortKey {
    fn default() -> Self {
        SortKey::Number(0.0)
    }
}

impl From<Value> for SortKey {
    fn from(value: Value) -> Self {
        match value {
            Value::Number(number) => SortKey::Number(number.as_f64().unwrap_or(0.0)),
            Value::Bool(is_true) => SortKey::Atom(2 * u8::from(is_true)),
            Value::Null => SortKey::Atom(1),
            Value::Object(_) => SortKey::Object,
            Value::Array(_) => SortKey::Array,
            Value::String(mut text) => {
                text.truncate(text.floor_char_boundary(SORTED_BYTES));
                SortKey::Text(text.into())
            }
        }
    }
}

impl SortKey {
    fn rank(&self) -> u8 {
        match self {
            SortKey::Number(_) => 0,
            SortKey::Atom(_) => 1,
            SortKey::Object => 2,
            SortKey::Array => 3,
            SortKey::Text(_) => 4,
        }
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (SortKey::Number(a), SortKey::Number(b)) => a.total_cmp(b),
            (SortKey::Atom(a), SortKey::Atom(b)) => a.cmp(b),
            (SortKey::Text(a), SortKey::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for SortKey {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list_query(query: &str) -> ListQuery {
        let uri = format!("/?{query}").parse().unwrap();
        ListQuery(Query::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn columns_go_as_deep_as_their_dots() {
        let shown = json!({"name": "q", "stats": {"in": 1, "out": 2}, "list": [{"in": 3, "x": 4}]});
        let picked = list_query("columns=name,stats.in,list.x").columns().pick(shown);
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
        list_query("").order(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "abcd");
        list_query("sort=n.m").order(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "cbda");
        list_query("sort=n.m&sort_reverse=true").order(&mut items, &["vhost", "name"]);
        assert_eq!(names(&items), "adbc");
    }

    #[test]
    fn keys_are_in_the_order_of_erlang() {
        let sorted = [
            json!(-1),
            json!(0),
            json!(0.5),
            json!(1_u64 << 40),
            json!(false),
            json!(null),
            json!(true),
            json!({"a": 1}),
            json!([0]),
            json!(""),
            json!("B"),
            json!("a"),
            json!("é"),
        ];
        let keys: Vec<_> = sorted.into_iter().map(SortKey::from).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[1], SortKey::default());
        let long = |end: &str| SortKey::from(json!("é".repeat(200) + end));
        assert_eq!(long("a"), long("b"));
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
