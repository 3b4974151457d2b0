//! Where everything is on the dashboard.

use crate::report::{format_count, format_latency};
use crate::runtime::glance::Glance;
use hdrhistogram::Histogram;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, LineGauge, Paragraph, Row, Sparkline, Table};
use std::collections::VecDeque;

const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];
const RATE: Color = Color::Blue;
const LATENCY: Color = Color::Yellow;

/// A generator thread this busy may be what is measured.
const BUSY: f64 = 0.95;

pub fn draw(frame: &mut Frame<'_>, glance: &Glance) {
    let [head, rate, tail, tables, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, glance);
    let rate_title = format!(" {} calls/s ", format_count(glance.rate as u64));
    draw_history(frame, rate, &glance.rates, (rate_title, RATE));
    let p99 = latency(&glance.latency, 0.99);
    let title = format!(" p99 {p99} in the last second ");
    draw_history(frame, tail, &glance.p99s_us, (title, LATENCY));
    let [latencies, books] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(tables);
    draw_latencies(frame, latencies, glance);
    draw_books(frame, books, glance);
    frame.render_widget(Line::from(" q or Ctrl-C ends the run").dim(), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, glance: &Glance) {
    let [title, done] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Line::from(format!(" {}", glance.title)).bold(), title);
    let label = format!(" {:>4.0} s", glance.elapsed.as_secs_f64());
    let gauge = LineGauge::default()
        .ratio(glance.share_done)
        .label(label)
        .filled_style(Style::new().fg(RATE))
        .unfilled_style(Style::new().dim());
    frame.render_widget(gauge, done);
}

fn draw_history(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &VecDeque<u64>,
    (title, color): (String, Color),
) {
    let block = framed(title);
    let room = block.inner(area).width as usize;
    let seconds = history.iter().skip(history.len().saturating_sub(room));
    let sparkline = Sparkline::default()
        .block(block)
        .data(seconds.copied().collect::<Vec<u64>>())
        .style(Style::new().fg(color));
    frame.render_widget(sparkline, area);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, glance: &Glance) {
    let row = |(name, quantile): (&'static str, f64)| {
        Row::new([
            Line::from(name),
            Line::from(latency(&glance.latency, quantile)).right_aligned(),
            Line::from(latency(&glance.look.books.latency, quantile)).right_aligned(),
        ])
    };
    let widths = [
        Constraint::Length(7),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let head = Row::new([
        Line::from(""),
        Line::from("last second").right_aligned(),
        Line::from("whole run").right_aligned(),
    ]);
    let table = Table::new(QUANTILES.map(row), widths)
        .header(head.dim())
        .block(framed(" latency ".to_owned()));
    frame.render_widget(table, area);
}

fn draw_books(frame: &mut Frame<'_>, area: Rect, glance: &Glance) {
    let books = &glance.look.books;
    let audit = &books.audit;
    let count = |name: &str, count: u64, is_bad: bool| {
        let line = Line::from(format!("{name:<15}{:>14}", format_count(count)));
        if is_bad && count > 0 {
            line.red().bold()
        } else {
            line
        }
    };
    let wrong = audit.duplicated + audit.foreign + audit.corrupted;
    let explained = audit.explained();
    let mut lines = vec![
        count("issued", audit.issued, false),
        count("returned once", audit.returned_once, false),
        count("in flight", books.in_flight, false),
        count("lost or late", audit.lost + audit.late, true),
        count("failed", audit.failed, true),
        count("wrong replies", wrong, true),
    ];
    if explained > 0 {
        lines.push(count("explained", explained, false));
    } else {
        lines.push(count("errors", glance.look.error_count, true));
    }
    lines.push(health_line(glance));
    let title = " audit, generator ".to_owned();
    frame.render_widget(Paragraph::new(lines).block(framed(title)), area);
}

fn health_line(glance: &Glance) -> Line<'static> {
    let busy = glance.busiest_thread.unwrap_or(0.0);
    let mut text = format!("generator busy {:.0} %", busy * 100.0);
    if glance.is_open_loop {
        let lag = latency(&glance.look.books.lag, 0.99);
        text += &format!(", lag p99 {lag}");
    }
    // With a rate a thread spins for the next call; how late it is tells more.
    match busy >= BUSY && !glance.is_open_loop {
        true => Line::from(text).yellow(),
        false => Line::from(text),
    }
}

fn framed(title: String) -> Block<'static> {
    let dim = Style::new().fg(Color::DarkGray);
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(dim)
        .title(Line::from(title).bold())
}

fn latency(histogram: &Histogram<u64>, quantile: f64) -> String {
    match histogram.is_empty() {
        true => "-".to_owned(),
        false => format_latency(histogram.value_at_quantile(quantile)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::glance::{Books, Look};
    use broker::engine::time::Timestamp;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::Duration;

    fn glance() -> Glance {
        let look = |second: u64| {
            let mut books = Books::new();
            books.latency.record_n(21_000, second * 1000).unwrap();
            books.audit.issued = second * 1000 + 3;
            books.audit.lost = 2;
            Look {
                at: Timestamp(second * 1_000_000_000),
                returned_count: second * 1000,
                error_count: 0,
                books,
                busy: vec![Duration::from_millis(second * 400)],
            }
        };
        let mut glance = Glance::titled("a title".to_owned(), true, look(1));
        glance.advance(look(2), Timestamp(0));
        glance
    }

    fn drawn(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &glance())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_usual_terminal_shows_all_there_is() {
        let screen = drawn(80, 24);
        let expected = [
            "a title",
            "1,000 calls/s",
            "p99 21.0 µs in the last second",
            "returned once",
            "2,003",
            "lost or late",
            "generator busy 40 %, lag p99 -",
            "q or Ctrl-C",
        ];
        for text in expected {
            assert!(screen.contains(text), "{text} in\n{screen}");
        }
    }

    #[test]
    fn no_terminal_is_too_small_to_be_drawn_on() {
        for (width, height) in [(1, 1), (20, 3), (300, 2), (5, 60)] {
            drawn(width, height);
        }
    }
}
