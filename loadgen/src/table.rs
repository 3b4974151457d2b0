//! Columns for people: the first to the left, numbers to the right.

use std::fmt::{self, Display, Formatter};

/// Invariant: every row has as many cells as the head.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Table {
        Table {
            rows: vec![head.into_iter().map(Into::into).collect()],
        }
    }

    /// Asserts that there is a cell for each column.
    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.rows[0].len(), "{row:?}");
        self.rows.push(row);
    }

    pub fn head(&self) -> Vec<&str> {
        self.rows[0].iter().map(String::as_str).collect()
    }

    pub fn body(&self) -> &[Vec<String>] {
        &self.rows[1..]
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        (0..self.rows[0].len()).map(width).collect()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = format!("  {:<width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line.push_str(&format!("  {cell:>width$}"));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let mut table = Table::new(["", "p50"]);
        table.push(vec!["Rondo".to_owned(), "21.3 µs".to_owned()]);
        table.push(vec!["a relay".to_owned(), "9 µs".to_owned()]);
        let expected = "               p50\n  Rondo    21.3 µs\n  a relay     9 µs\n";
        assert_eq!(table.to_string(), expected);
    }
}
