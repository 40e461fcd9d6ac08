//! What commands print: a table, or with `--json` JSON.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{Failure, Outcome};

/// Prints results in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `data`: as JSON, or as the table that is made of it.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written to.
    pub fn data<T: Serialize>(&self, data: &T, table: impl FnOnce(&T) -> Table) -> Outcome {
        self.data_or_text(data, |data| table(data).to_string())
    }

    /// Prints `data`: as JSON, or as the sentence that is made of it.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written to.
    pub fn data_or_text<T: Serialize>(&self, data: &T, text: impl FnOnce(&T) -> String) -> Outcome {
        let text = match self.json {
            true => serde_json::to_string_pretty(data).map_err(|error| Failure::Failed(error.to_string()))?,
            false => text(data),
        };
        self.text(&text)
    }

    /// Prints a text that is the same in either form.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written to.
    pub fn text(&self, text: &str) -> Outcome {
        let mut stdout = io::stdout().lock();
        let line_end = if text.ends_with('\n') { "" } else { "\n" };
        match write!(stdout, "{text}{line_end}").and_then(|()| stdout.flush()) {
            // Whoever read, such as `head`, has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::Failed(format!("cannot write to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

/// Rows under headings, in columns as wide as their widest cell.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no row.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_uppercase).to_vec()] }
    }

    /// Adds a row, with a cell for each heading.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }

    /// A row for each item.
    #[must_use]
    pub fn rows<T, const N: usize>(
        mut self,
        items: impl IntoIterator<Item = T>,
        cells: impl Fn(T) -> [String; N],
    ) -> Self {
        for item in items {
            self.row(cells(item));
        }
        self
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// What a person typed elsewhere must not steer this terminal.
fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = Table::new(["name", "state", "note"])
            .rows([("a", "ok"), ("größer", "running")], |(name, state)| {
                [name.into(), state.into(), String::new()]
            });
        assert_eq!(table.to_string(), "NAME    STATE    NOTE\na       ok\ngrößer  running\n");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let table = Table::new(["x"]).rows(["\u{1b}[2J\n"], |cell| [cell.into()]);
        assert_eq!(table.to_string(), "X\n\u{fffd}[2J\u{fffd}\n");
    }
}
