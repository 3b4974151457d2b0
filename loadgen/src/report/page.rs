//! A report as one HTML page: pictures and tables, nothing from elsewhere, no script.

use super::{Report, decode_histogram};
use crate::plot;
use std::fmt::Write;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #222; --faint: #667; --line: #dde; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6ea; --faint: #9a9aa8; --line: #3a3a44; --paper: #17171c; } }
body { font: 16px/1.5 Helvetica, Arial, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 860px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
p.about { color: var(--faint); margin: .2rem 0 1.5rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: right; padding: .25rem .8rem; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; border-radius: 6px; }
pre { overflow-x: auto; font-size: .85rem; }
";

/// A page that is being written.
pub struct Page {
    html: String,
}

impl Page {
    pub fn new(title: &str, about: &str) -> Page {
        let (title, about) = (escaped(title), escaped(about));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n<h1>{title}</h1>\n<p class=\"about\">{about}</p>\n"
        );
        Page { html }
    }

    /// `svg` is one of `plot`'s.
    pub fn add_plot(&mut self, svg: &str) {
        let _ = writeln!(self.html, "<figure>{svg}</figure>");
    }

    pub fn add_table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>]) {
        let _ = write!(self.html, "<h2>{}</h2>\n<table>\n<tr>", escaped(title));
        for cell in head {
            let _ = write!(self.html, "<th>{}</th>", escaped(cell));
        }
        for row in rows {
            self.html.push_str("</tr>\n<tr>");
            for cell in row {
                let _ = write!(self.html, "<td>{}</td>", escaped(cell));
            }
        }
        self.html.push_str("</tr>\n</table>\n");
    }

    pub fn add_text(&mut self, title: &str, text: &str) {
        let (title, text) = (escaped(title), escaped(text));
        let _ = writeln!(self.html, "<h2>{title}</h2>\n<pre>{text}</pre>");
    }

    pub fn finish(self) -> String {
        self.html + "</html>\n"
    }
}

/// The page of one run. Errors: the report's histogram cannot be read.
pub fn page(report: &Report) -> Result<String, String> {
    let headline = report.headline();
    let (title, about) = headline.split_once(": ").unwrap_or((&headline, ""));
    let mut page = Page::new(title, &format!("{about}. {}.", report.machine_line()));
    for (_, svg) in plots(report)? {
        page.add_plot(&svg);
    }
    page.add_text("Report", &report.to_string());
    Ok(page.finish())
}

/// The plots of one run by name. Errors: as `page`.
pub fn plots(report: &Report) -> Result<Vec<(&'static str, String)>, String> {
    let histogram = decode_histogram(&report.histogram)?;
    let curves = [(report.label.clone(), histogram)];
    let title = format!("{}: latency by percentile", report.label);
    let series = format!("{}: over time", report.label);
    Ok(vec![
        ("percentiles", plot::percentiles(&title, &curves)),
        ("time_series", plot::time_series(&series, &report.series)),
    ])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_takes_any_text() {
        let mut page = Page::new("a < b", "\"quoted\"");
        page.add_table("T", &["x & y"], &[vec!["1".to_owned()]]);
        page.add_plot("<svg></svg>");
        page.add_text("Text", "<script>");
        let html = page.finish();
        assert!(html.contains("a &lt; b") && html.contains("x &amp; y"));
        assert!(html.contains("<figure><svg></svg></figure>"));
        assert!(!html.contains("<script") && !html.contains("http"));
        assert_eq!(html.matches("<tr>").count(), html.matches("</tr>").count());
    }
}
