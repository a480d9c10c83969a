//! Columns and rows, made of objects.

use super::super::json::Json;
use super::kinds::FIRST_COLUMNS;

/// Columns and rows. A field that is null has no text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// A table with these columns; with none, all that the objects have at this depth.
    ///
    /// A field of an object in an object is a column as in `queue_totals.messages`, unless its kind is among those that
    /// are shown as JSON.
    pub(super) fn new(objects: &[Json], columns: &[String], depth: usize, json: &[&str]) -> Self {
        let (columns, depth) = match columns {
            [] => (all_columns(objects, depth, json), depth),
            columns => (columns.to_vec(), usize::MAX),
        };
        let mut rows = Vec::new();
        for object in objects {
            let mut row = vec![Some(String::new()); columns.len()];
            walk("", 1, object, &Walk { depth, json }, &mut |column, text| {
                if let Some(index) = columns.iter().rposition(|known| *known == column) {
                    row[index] = text();
                }
            });
            rows.push(row);
        }
        Table { columns, rows }
    }
}

fn all_columns(objects: &[Json], depth: usize, json: &[&str]) -> Vec<String> {
    let mut columns = std::collections::BTreeSet::new();
    for object in objects {
        walk("", 1, object, &Walk { depth, json }, &mut |column, _| {
            let first = FIRST_COLUMNS.iter().position(|first| *first == column);
            columns.insert((first.unwrap_or(FIRST_COLUMNS.len()), column));
        });
    }
    columns.into_iter().map(|(_, column)| column).collect()
}

/// How far objects in objects are followed, and which are not.
struct Walk<'a> {
    depth: usize,
    json: &'a [&'a str],
}

type Visit<'a> = dyn FnMut(String, &dyn Fn() -> Option<String>) + 'a;

/// Visits the fields of an object, each with the name of its column and what makes its text.
fn walk(prefix: &str, depth: usize, object: &Json, walk_of: &Walk<'_>, visit: &mut Visit<'_>) {
    for (name, value) in object.fields() {
        let column = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        match value {
            Json::Object(_) if walk_of.json.contains(&name.as_str()) => {
                visit(column, &|| Some(value.to_line()));
            }
            Json::Object(_) if depth < walk_of.depth => {
                walk(&column, depth + 1, value, walk_of, visit);
            }
            Json::Object(_) => {}
            value => visit(column, &|| text(value)),
        }
    }
}

/// A field as it stands in a row.
fn text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::List(elements) => {
            let texts: Option<Vec<_>> = elements.iter().map(Json::as_text).collect();
            Some(texts.map_or_else(|| value.to_line(), |texts| texts.join(" ")))
        }
        other => Some(other.to_python()),
    }
}
