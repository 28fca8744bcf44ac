//! Tables without borders: columns set apart by two spaces, as wide as their content or as the
//! terminal allows. Widths are those of a terminal, so that CJK text stays in line.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};

use super::Style;
use super::escape;

/// How a cell stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Good,
    Pending,
    Bad,
    Faint,
    Strong,
}

/// Invisible characters stand for colours until the table is laid out: they have no width and
/// `escape` lets none of them in from outside.
const MARKS: [(Paint, char, &str); 5] = [
    (Paint::Good, '\u{2061}', "\u{1b}[32m"),
    (Paint::Pending, '\u{2062}', "\u{1b}[33m"),
    (Paint::Bad, '\u{2063}', "\u{1b}[31m"),
    (Paint::Faint, '\u{2064}', "\u{1b}[2m"),
    (Paint::Strong, '\u{206a}', "\u{1b}[1m"),
];
const END: char = '\u{206b}';
const RESET: &str = "\u{1b}[0m";

/// `text`, which may come from outside, to be painted by [`finish`].
pub(super) fn painted(paint: Paint, text: &str) -> String {
    let mark = MARKS.iter().find(|(of, ..)| *of == paint).map_or(END, |(_, mark, _)| *mark);
    format!("{mark}{}{END}", escape::line(text))
}

/// Makes the marks of [`painted`] colours, or nothing. No colour goes past the end of its line.
pub(super) fn finish(text: &str, color: bool) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut is_open = false;
    for c in text.chars() {
        let begin = MARKS.iter().find(|(_, mark, _)| *mark == c).map(|(.., code)| *code);
        match (c, begin) {
            (_, Some(code)) => {
                is_open = true;
                out.push_str(if color { code } else { "" });
            }
            (END, _) | ('\n', _) => {
                if is_open && color {
                    out.push_str(RESET);
                }
                is_open = false;
                out.extend((c == '\n').then_some(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Rows to be laid out. Cells are already escaped.
pub(super) struct Grid {
    table: Table,
    columns: usize,
    one_line_rows: bool,
}

impl Grid {
    /// With these headings; with none at all if they are empty.
    pub(super) fn new(style: Style, headings: &[String]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        match style.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(width);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.set_truncation_indicator("…");
        if !headings.is_empty() {
            let cells = headings.iter().map(|heading| Cell::new(painted(Paint::Strong, heading)));
            table.set_header(cells.collect::<Vec<_>>());
        }
        Self { table, columns: headings.len(), one_line_rows: false }
    }

    /// Cuts what does not fit, instead of wrapping it. Only on a terminal is anything cut.
    pub(super) fn one_line_rows(mut self) -> Self {
        self.one_line_rows = true;
        self
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.columns = self.columns.max(cells.len());
        let mut row = Row::from(cells.into_iter().map(Cell::new).collect::<Vec<_>>());
        if self.one_line_rows {
            row.max_height(1);
        }
        self.table.add_row(row);
    }

    /// Numbers stand at the right of their column.
    pub(super) fn right(mut self, columns: &[usize]) -> Self {
        self.table.discover_columns();
        for at in columns {
            if let Some(column) = self.table.column_mut(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// The laid-out lines, each ended by `\n`, with the marks of [`painted`] still in them.
    /// `rigid` columns keep the width of their content; the others share what is left.
    pub(super) fn render(self, rigid: &[usize]) -> String {
        self.render_with(rigid, &[])
    }

    /// The same with lines of their own `below` each row, that of the headings first. Only where
    /// rows have one line each.
    pub(super) fn render_with(mut self, rigid: &[usize], below: &[Vec<String>]) -> String {
        self.table.discover_columns();
        let last = self.columns.saturating_sub(1);
        for at in 0..self.columns {
            let Some(column) = self.table.column_mut(at) else { continue };
            column.set_padding((0, if at == last { 0 } else { 2 }));
            if rigid.contains(&at) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut out = String::new();
        for (at, line) in self.table.lines().enumerate() {
            // The end of the line ends its colour as well.
            out.push_str(line.trim_end_matches([' ', END]));
            out.push('\n');
            for line in below.get(at).into_iter().flatten() {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(width: Option<u16>) -> Grid {
        let style = Style { width, ..Style::default() };
        let headings = ["NAME", "STATE", "WHERE"].map(str::to_owned);
        let mut grid = Grid::new(style, &headings);
        grid.row(vec!["订单服务".into(), painted(Paint::Good, "running"), "x".repeat(30)]);
        grid.row(vec!["a".into(), painted(Paint::Bad, "failed"), "y".into()]);
        grid
    }

    #[test]
    fn columns_stand_in_line_by_the_width_a_terminal_shows() {
        let text = finish(&grid(None).render(&[0, 1]), false);
        let expected = format!(
            "NAME      STATE    WHERE\n订单服务  running  {}\na         failed   y\n",
            "x".repeat(30)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn colours_change_no_width_and_end_with_their_text() {
        let text = finish(&grid(None).render(&[0, 1]), true);
        assert!(text.contains("\u{1b}[32mrunning\u{1b}[0m  x"), "{text:?}");
        assert!(text.starts_with("\u{1b}[1mNAME\u{1b}[0m      \u{1b}[1mSTATE"), "{text:?}");
        let plain = text.replace(RESET, "");
        let plain = ["\u{1b}[32m", "\u{1b}[31m", "\u{1b}[1m"]
            .iter()
            .fold(plain, |text, code| text.replace(code, ""));
        assert_eq!(plain, finish(&grid(None).render(&[0, 1]), false));
    }

    #[test]
    fn on_a_narrow_terminal_the_flexible_column_gives_way() {
        let text = finish(&grid(Some(30)).render(&[0, 1]), false);
        assert!(text.lines().count() > 3, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        let mut one = grid(Some(30)).one_line_rows();
        one.row(vec!["b".into(), "s".into(), "z".repeat(50)]);
        let text = finish(&one.render(&[0, 1]), false);
        assert!(text.lines().last().is_some_and(|line| line.ends_with("z…")), "{text}");
    }
}
