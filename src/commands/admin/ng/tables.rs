//! Tables, drawn in one of several styles.

use std::fmt::Write as _;

/// The styles, by their names.
pub(super) const STYLES: &[&str] =
    &["modern", "borderless", "markdown", "sharp", "ascii", "psql", "dots"];

/// How a table is drawn.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// With this frame.
    Framed(&'static Frame),
    /// For scripts: without frame and heading, each row in one line.
    Bare,
}

/// A line: its left end, what it is made of, where columns meet, its right end.
type Line = [&'static str; 4];

/// What stands around cells.
pub(super) struct Frame {
    top: Option<Line>,
    below_heading: Option<Line>,
    between_rows: Option<Line>,
    bottom: Option<Line>,
    /// Left of a row, between cells, right of it.
    row: [&'static str; 3],
}

const fn lines(top: Line, below_heading: Line, bottom: Line, upright: &'static str) -> Frame {
    Frame {
        top: Some(top),
        below_heading: Some(below_heading),
        between_rows: None,
        bottom: Some(bottom),
        row: [upright; 3],
    }
}

const MODERN: Frame = lines(["╭", "─", "┬", "╮"], ["├", "─", "┼", "┤"], ["╰", "─", "┴", "╯"], "│");
const SHARP: Frame = lines(["┌", "─", "┬", "┐"], ["├", "─", "┼", "┤"], ["└", "─", "┴", "┘"], "│");
const ASCII: Frame = Frame {
    between_rows: Some(["+", "-", "+", "+"]),
    ..lines(["+", "-", "+", "+"], ["+", "-", "+", "+"], ["+", "-", "+", "+"], "|")
};
const DOTS: Frame = Frame {
    between_rows: Some([":", ".", ":", ":"]),
    ..lines([".", ".", ".", "."], [":", ".", ":", ":"], [":", ".", ":", ":"], ":")
};
const MARKDOWN: Frame = Frame {
    top: None,
    below_heading: Some(["|", "-", "|", "|"]),
    between_rows: None,
    bottom: None,
    row: ["|"; 3],
};
const PSQL: Frame =
    Frame { below_heading: Some(["", "-", "+", ""]), row: ["", "|", ""], ..MARKDOWN };
const BORDERLESS: Frame = Frame { below_heading: None, row: ["", " ", ""], ..MARKDOWN };

impl Style {
    pub(super) fn named(name: &str) -> Self {
        Style::Framed(match name {
            "borderless" => &BORDERLESS,
            "markdown" => &MARKDOWN,
            "sharp" => &SHARP,
            "ascii" => &ASCII,
            "psql" => &PSQL,
            "dots" => &DOTS,
            _ => &MODERN,
        })
    }
}

/// Draws a table: its headings, its rows, and a title above all columns if it has one. A cell may have several lines.
pub(super) fn draw(
    title: Option<&str>,
    headings: &[&str],
    rows: &[Vec<String>],
    style: Style,
) -> String {
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
    let mut all: Vec<&Vec<String>> = vec![&headings];
    all.extend(rows);
    let Style::Framed(frame) = style else { return bare(title, &all) };
    let widths = widths(&all, |cell| cell.split('\n').map(length).max().unwrap_or(0));
    let mut text = String::new();
    let line = |text: &mut String, line: &Option<Line>| {
        if let Some([left, fill, middle, right]) = line {
            let parts: Vec<_> = widths.iter().map(|width| fill.repeat(width + 2)).collect();
            let _ = writeln!(text, "{left}{}{right}", parts.join(middle));
        }
    };
    line(&mut text, &frame.top);
    let [left, middle, right] = frame.row;
    if let Some(title) = title {
        // As wide as all columns, and what is between them.
        let width = widths.iter().map(|width| width + 3).sum::<usize>() - 3;
        let _ = writeln!(text, "{left} {title:<width$} {right}");
        line(&mut text, &frame.below_heading);
    }
    let first_line = usize::from(title.is_none());
    for (index, row) in all.iter().enumerate() {
        if index > 0 {
            line(
                &mut text,
                if index == first_line { &frame.below_heading } else { &frame.between_rows },
            );
        }
        let height = row.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(1);
        for at in 0..height {
            let cell = |(cell, width): (&String, &usize)| {
                format!(" {:<width$} ", cell.split('\n').nth(at).unwrap_or_default())
            };
            let cells: Vec<_> = row.iter().zip(&widths).map(cell).collect();
            let _ = writeln!(text, "{left}{}{right}", cells.join(middle));
        }
    }
    // A heading alone has its own line below it.
    let is_alone = all.len() == 1;
    line(&mut text, if is_alone { &frame.below_heading } else { &frame.bottom });
    text
}

/// Rows for scripts. The first line of what would be drawn is left out, which is the title where there is one.
fn bare(title: Option<&str>, all: &[&Vec<String>]) -> String {
    let flat: Vec<Vec<String>> = all
        .iter()
        .skip(usize::from(title.is_none()))
        .map(|row| row.iter().map(|cell| cell.replace('\n', ",")).collect())
        .collect();
    let flat: Vec<&Vec<String>> = flat.iter().collect();
    let widths = widths(&flat, length);
    let mut text = String::new();
    for row in &flat {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$} ")).collect();
        let _ = writeln!(text, "{}", cells.join(" "));
    }
    if flat.is_empty() {
        text.push('\n');
    }
    text
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn widths(rows: &[&Vec<String>], of: impl Fn(&str) -> usize) -> Vec<usize> {
    let columns = rows.first().map_or(0, |row| row.len());
    let width = |column: usize| rows.iter().map(|row| of(&row[column])).max().unwrap_or(0);
    (0..columns).map(width).collect()
}
