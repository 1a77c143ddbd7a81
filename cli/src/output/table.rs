//! A table as kubectl prints it: columns three spaces apart, cut to the terminal, never when piped.

use std::io::{self, IsTerminal, Write};

const GAP: usize = 3;
/// A column is not cut below this.
const NARROWEST: usize = 8;

/// Rows below a header.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![header.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row; an empty cell is shown as it is.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Leaves the header out (`--no-headers`).
    pub(crate) fn without_header(mut self) -> Self {
        self.rows.remove(0);
        self
    }

    /// Prints it, as wide as standard output's terminal.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_within(out, terminal_width())
    }

    /// Prints it, at most this wide; `None`: as wide as it is.
    pub(crate) fn write_within(&self, out: &mut dyn Write, width: Option<usize>) -> io::Result<()> {
        let widths = fit(self.widths(), width);
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = cut(cell, *width);
                let pad = width - cell.chars().count() + GAP;
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', pad));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// Takes from the widest column until all fit, or none can give more.
fn fit(mut widths: Vec<usize>, width: Option<usize>) -> Vec<usize> {
    let Some(width) = width else { return widths };
    loop {
        let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let widest = widths.iter_mut().max();
        match widest {
            Some(widest) if total > width && *widest > NARROWEST => {
                *widest -= (total - width).min(*widest - NARROWEST).min((*widest / 4).max(1));
            }
            _ => return widths,
        }
    }
}

fn cut(cell: &str, width: usize) -> String {
    // A line break or another control character would break the table, or the terminal.
    let clean = cell.chars().map(|c| if c.is_control() { ' ' } else { c });
    if cell.chars().count() <= width {
        return clean.collect();
    }
    clean.take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// `None`: not a terminal, so nothing is cut.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    Some(width.max(80))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(table: &Table, width: Option<usize>) -> Vec<String> {
        let mut out = Vec::new();
        table.write_within(&mut out, width).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn table() -> Table {
        let mut table = Table::new(["NAME", "MESSAGE", "AGE"]);
        table.row(["a", &"x".repeat(100), "1s"]);
        table.row(["backend-1", "fine", "10m"]);
        table
    }

    #[test]
    fn columns_stand_below_each_other_without_trailing_blanks() {
        let lines = shown(&table(), None);
        assert_eq!(lines[0], format!("NAME        MESSAGE{}AGE", " ".repeat(96)));
        assert_eq!(lines[2], format!("backend-1   fine{}10m", " ".repeat(99)));
    }

    #[test]
    fn a_piped_table_is_not_cut() {
        assert!(shown(&table(), None)[1].contains(&"x".repeat(100)));
    }

    #[test]
    fn a_table_fits_the_terminal_by_cutting_its_widest_column() {
        let lines = shown(&table(), Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[1].contains('…') && lines[2].contains("backend-1"), "{lines:?}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["a\u{1b}[31m\nb"]);
        assert_eq!(shown(&table, None), ["A", "a [31m b"]);
    }

    #[test]
    fn the_header_can_be_left_out() {
        assert_eq!(shown(&table().without_header(), None).len(), 2);
    }
}
