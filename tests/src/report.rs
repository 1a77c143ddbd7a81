//! Reports: a list of checked statements, printed as they come and written as JSON, on failure too.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One statement, and whether it held.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// What was measured, where something was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<f64>,
    /// Its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// A sentence.
    pub note: String,
}

/// All rows so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Prints and keeps a row.
    pub fn push(&mut self, row: Row) {
        let figure = match (row.figure, row.unit) {
            (Some(figure), Some(unit)) => format!(" [{figure:.3} {unit}]"),
            _ => String::new(),
        };
        println!("  {} {}{figure}: {}", if row.ok { "ok  " } else { "FAIL" }, row.name, row.note);
        self.rows.push(row);
    }

    /// A plain statement.
    pub fn check(&mut self, name: &'static str, ok: bool, note: impl Into<String>) {
        self.push(Row { name, ok, figure: None, unit: None, note: note.into() });
    }

    /// A statement with a figure.
    pub fn figure(
        &mut self,
        name: &'static str,
        ok: bool,
        (figure, unit): (f64, &'static str),
        note: impl Into<String>,
    ) {
        self.push(Row { name, ok, figure: Some(figure), unit: Some(unit), note: note.into() });
    }

    /// Rows that failed.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| !row.ok).count()
    }

    /// All rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.rows)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}
