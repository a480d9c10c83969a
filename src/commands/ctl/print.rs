//! What a command says, as text, tables, JSON or CSV.

use serde_json::{Map, Value};

use super::line::Line;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Formatter {
    /// Tables with tabs, and text for people: what each command has.
    Usual,
    Json,
    Csv,
    PrettyTable,
    Erlang,
}

impl Formatter {
    /// The one that a line asks for, if it is one.
    pub(super) fn of(line: &Line) -> Option<Formatter> {
        Some(match line.value("formatter") {
            None | Some("table" | "string" | "report" | "inspect" | "plugins") => Formatter::Usual,
            Some("json" | "json_stream") => Formatter::Json,
            Some("csv") => Formatter::Csv,
            Some("pretty_table") => Formatter::PrettyTable,
            Some("erlang") => Formatter::Erlang,
            Some(_) => return None,
        })
    }

    /// Whether other programs read it: nothing else is printed then.
    pub(super) fn is_for_programs(self) -> bool {
        matches!(self, Formatter::Json | Formatter::Csv)
    }
}

/// What a command says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Printed {
    /// Nothing.
    Nothing,
    /// These lines; with the formatter json an object if there is one.
    Text(String, Option<Value>),
    /// A line that is left out with `--silent`.
    Success(String),
    /// Rows.
    Table(Table),
}

impl Printed {
    /// A line.
    pub(super) fn line(text: impl Into<String>) -> Printed {
        Printed::Text(format!("{}\n", text.into()), None)
    }
}

/// Rows with the names of their columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// rabbitmq: lists that it makes at once end with an empty line when they are empty.
    pub(super) is_made_at_once: bool,
    /// rabbitmq: a list has no header line.
    pub(super) is_bare: bool,
}

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Text, a number, true or false; nothing for null.
    Plain(Value),
    /// Names without quotes, as tags are.
    Names(Vec<String>),
    /// Arguments of a queue and the like.
    Arguments(Map<String, Value>),
    /// A text in JSON, as definitions of policies are.
    Json(Value),
}

impl Cell {
    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Plain(Value::String(text.into()))
    }

    fn to_text(&self) -> String {
        match self {
            Cell::Plain(value) => plain(value),
            Cell::Names(names) => format!("[{}]", names.join(", ")),
            Cell::Arguments(arguments) => proplist(arguments),
            Cell::Json(value) => value.to_string(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Cell::Plain(Value::Null) => "".into(),
            Cell::Plain(value) => value.clone(),
            Cell::Names(names) => names.clone().into(),
            Cell::Arguments(arguments) => Value::Object(arguments.clone()),
            Cell::Json(value) => value.to_string().into(),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

/// rabbitmq: what would break a line is written like this.
fn escaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => whole.push_str("\\\\"),
            letter if letter.is_control() => whole.push_str(&format!("\\{:03o}", letter as u32)),
            letter => whole.push(letter),
        }
    }
    whole
}

/// As Erlang writes a list of pairs.
fn proplist(arguments: &Map<String, Value>) -> String {
    let pairs = arguments.iter().map(|(name, value)| format!("{{{name:?},{}}}", term(value)));
    format!("[{}]", pairs.collect::<Vec<_>>().join(","))
}

fn term(value: &Value) -> String {
    match value {
        Value::Null => "undefined".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(term).collect::<Vec<_>>().join(","))
        }
        Value::Object(pairs) => proplist(pairs),
        other => other.to_string(),
    }
}

/// Writes what a command says, as the line asks for it.
pub(super) fn write(printed: Printed, line: &Line, formatter: Formatter) -> String {
    match (printed, formatter) {
        (Printed::Nothing, _) => String::new(),
        (Printed::Success(_), _) if line.has("silent") => String::new(),
        (Printed::Success(text), Formatter::Json) => {
            format!("{}\n", serde_json::json!({ "message": text }))
        }
        (Printed::Success(text), _) => format!("{text}\n"),
        (Printed::Text(_, Some(object)), Formatter::Json) => format!("{object}\n"),
        (Printed::Text(text, _), _) => text,
        (Printed::Table(table), Formatter::Json) => table.to_json(),
        (Printed::Table(table), Formatter::Csv) => table.to_csv(),
        (Printed::Table(table), Formatter::PrettyTable) => table.to_pretty(),
        (Printed::Table(table), Formatter::Erlang) => table.to_erlang(),
        (Printed::Table(table), Formatter::Usual) => {
            let has_header = !line.has("silent") && !line.has("no-table-headers");
            table.to_text(has_header)
        }
    }
}

impl Table {
    fn to_text(&self, has_header: bool) -> String {
        if self.rows.is_empty() {
            return if self.is_made_at_once { "\n".to_owned() } else { String::new() };
        }
        let mut text = String::new();
        if has_header && !self.is_bare {
            text.push_str(&self.columns.join("\t"));
            text.push('\n');
        }
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(Cell::to_text).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        text
    }

    /// rabbitmq: a line for each row, with the comma at its beginning; columns in the order that was asked for.
    fn to_json(&self) -> String {
        let mut text = "[\n".to_owned();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let name = |column: &String| Value::String(column.clone());
            let pairs = self.columns.iter().zip(row);
            let pairs = pairs.map(|(column, cell)| format!("{}:{}", name(column), cell.to_json()));
            text.push_str(&format!("{{{}}}\n", pairs.collect::<Vec<_>>().join(",")));
        }
        text + "]\n"
    }

    fn to_csv(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let line = |cells: Vec<String>| format!("{}\n", cells.join(","));
        let mut text = line(self.columns.iter().map(|name| quoted(name)).collect());
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| quoted(&cell.to_text())).collect()));
        }
        text
    }

    /// A table with a frame.
    ///
    /// rabbitmq: drawn with the line drawing set of terminals.
    fn to_pretty(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let cell = |cell: &Cell| match cell {
            Cell::Names(names) => names.join(", "),
            cell => cell.to_text(),
        };
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let drawn = |text: &str| format!("\x1b(0{text}\x1b(B");
        let frame = |[left, middle, right]: [&str; 3]| {
            let dashes = widths.iter().map(|width| "q".repeat(width + 2));
            drawn(&format!("{left}{}{right}", dashes.collect::<Vec<_>>().join(middle))) + "\n"
        };
        let line = |cells: &[String], [begin, end]: [&str; 2]| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| {
                let blanks = " ".repeat(width - cell.chars().count());
                format!(" {begin}{cell}{end}{blanks} ")
            });
            let side = drawn("x");
            format!("{side}{}{side}\n", cells.collect::<Vec<_>>().join(&side))
        };
        let lines: Vec<String> = rows.iter().map(|row| line(row, ["", ""])).collect();
        let between = frame(["t", "n", "u"]);
        let header = line(&self.columns, ["\x1b[1m", "\x1b[0m"]);
        let top = frame(["l", "w", "k"]) + &header + &between;
        top + &lines.join(&between) + &frame(["m", "v", "j"])
    }

    fn to_erlang(&self) -> String {
        let term_of = |cell: &Cell| match cell {
            Cell::Names(names) => format!("[{}]", names.join(",")),
            cell => binary(&cell.to_json()),
        };
        let row = |row: &Vec<Cell>| {
            let pairs = self.columns.iter().zip(row);
            let pairs = pairs.map(|(name, cell)| format!("{{{name},{}}}", term_of(cell)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        };
        format!("[{}]\n", self.rows.iter().map(row).collect::<Vec<_>>().join(",\n "))
    }
}

/// A term with texts as Erlang has them in a broker.
fn binary(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<<{text:?}>>"),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(binary).collect::<Vec<_>>().join(","))
        }
        other => term(other),
    }
}
