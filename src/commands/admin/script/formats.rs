//! The forms in which lists are printed.

use std::fmt::Write as _;

use super::super::super::Console;
use super::super::json::Json;
use super::Ended;
use super::listing::Table;
use super::settings::Settings;

/// Prints a list of objects as the settings ask for.
pub(super) fn print(
    list: &str,
    columns: &[String],
    json: &[&str],
    settings: &Settings,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let write = match settings.format.as_str() {
        "raw_json" => {
            console.print(format!("{list}\n"));
            return Ok(());
        }
        "pretty_json" => {
            console.print(format!("{}\n", parsed(list)?.to_lines()));
            return Ok(());
        }
        "table" => write_table,
        "tsv" => write_tsv,
        "long" => write_long,
        "kvp" => write_pairs,
        "bash" => write_names,
        other => return Err(Ended::usage(format!("Format {other} not recognised"))),
    };
    let depth = match settings.depth.as_deref() {
        None => 1,
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Ended::usage(format!("depth must be a number, not '{text}'")))?,
    };
    let table = Table::new(parsed(list)?.elements(), columns, depth, json);
    if table.rows.is_empty() {
        if settings.verbose {
            console.print("No items\n");
        }
        return Ok(());
    }
    let mut text = String::new();
    write(&table, settings, &mut text);
    console.print(text);
    Ok(())
}

fn parsed(list: &str) -> Result<Json, Ended> {
    Json::parse(list).ok_or_else(|| Ended::Failed(format!("The answer is no JSON: {list}")))
}

/// What stands for a field that is null: nothing.
///
/// rabbitmq: the script fails there.
fn cell(field: Option<&str>) -> &str {
    field.unwrap_or_default()
}

/// The same where there is room for more.
fn named(field: Option<&str>) -> &str {
    field.unwrap_or("None")
}

fn write_table(table: &Table, _: &Settings, text: &mut String) {
    let length = |field: &str| field.chars().count();
    let widths: Vec<_> = (0..table.columns.len())
        .map(|index| {
            let fields = table.rows.iter().map(|row| length(cell(row[index].as_deref())));
            fields.chain([length(&table.columns[index])]).max().unwrap_or(0)
        })
        .collect();
    let bar = |text: &mut String| {
        text.push('+');
        for width in &widths {
            let _ = write!(text, "{}+", "-".repeat(width + 2));
        }
        text.push('\n');
    };
    bar(text);
    text.push('|');
    for (column, width) in table.columns.iter().zip(&widths) {
        let _ = write!(text, " {column:^width$} |");
    }
    text.push('\n');
    bar(text);
    for row in &table.rows {
        text.push('|');
        for (field, width) in row.iter().zip(&widths) {
            let _ = write!(text, " {:<width$} |", cell(field.as_deref()));
        }
        text.push('\n');
    }
    bar(text);
}

fn write_tsv(table: &Table, settings: &Settings, text: &mut String) {
    if settings.verbose {
        let _ = writeln!(text, "{}", table.columns.join("\t"));
    }
    for row in &table.rows {
        let fields: Vec<_> = row.iter().map(|field| cell(field.as_deref())).collect();
        let _ = writeln!(text, "{}", fields.join("\t"));
    }
}

fn write_long(table: &Table, _: &Settings, text: &mut String) {
    let line = format!("\n{}\n\n", "-".repeat(80));
    let width = table.columns.iter().map(|column| column.chars().count()).max().unwrap_or(0);
    text.push_str(&line);
    for row in &table.rows {
        for (column, field) in table.columns.iter().zip(row) {
            let _ = writeln!(text, "{column:>width$}: {}", named(field.as_deref()));
        }
        text.push_str(&line);
    }
}

fn write_pairs(table: &Table, _: &Settings, text: &mut String) {
    for row in &table.rows {
        let pairs: Vec<_> = table
            .columns
            .iter()
            .zip(row)
            .map(|(column, field)| format!("{column}=\"{}\"", named(field.as_deref())))
            .collect();
        let _ = writeln!(text, "{}", pairs.join(" "));
    }
}

/// The names alone, in one line.
fn write_names(table: &Table, _: &Settings, text: &mut String) {
    if let Some(index) = table.columns.iter().rposition(|column| column == "name") {
        let names: Vec<_> = table.rows.iter().map(|row| cell(row[index].as_deref())).collect();
        let _ = writeln!(text, "{}", names.join(" "));
    }
}
