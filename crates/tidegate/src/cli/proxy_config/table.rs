//! Columns as wide as what stands in them, as kubectl and istioctl print.

use std::fmt;

/// Blanks between columns.
const GAP: usize = 5;

/// Rows under a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    heading: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with as many cells in each row as the heading has.
    pub fn new(heading: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        Self { heading, rows }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(self.heading[column].len())
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|&cell| cell.to_owned()).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            vec![vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), String::new()]];
        let table = Table::new(&["NAME", "N"], rows);
        assert_eq!(table.to_string(), "NAME     N\na        1\nlong\n");
    }
}
