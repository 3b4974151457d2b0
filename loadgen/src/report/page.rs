//! An HTML page of figures, pictures and tables: nothing from elsewhere, no script.

use std::fmt::Write;

// The colours are those of the plots, on light paper and on dark.
const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #24262b; --faint: #6b6f78; --line: #e7e8ec;
  --paper: #fff; --desk: #f4f5f7; --good: #00704f; --doubt: #8a5a00; --bad: #c8102e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ec; --faint: #9da0aa; --line: #2e3037; --paper: #17181c; --desk: #0d0e10;
    --good: #34c79b; --doubt: #e9b949; --bad: #ff6b6b; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif;
  color: var(--ink); background: var(--desk); max-width: 940px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
p.about { color: var(--faint); margin: .3rem 0 1rem; }
p.badge { display: inline-block; margin: 0 .4rem .4rem 0; padding: .15rem .7rem;
  border: 1px solid currentColor; border-radius: 1rem; font-size: .85rem; font-weight: 600; }
.good { color: var(--good); } .doubt { color: var(--doubt); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: .7rem;
  margin: .8rem 0 1rem; }
dl div, figure, section { background: var(--paper); border: 1px solid var(--line);
  border-radius: 10px; }
dl div { padding: .6rem .9rem; }
dt { color: var(--faint); font-size: .8rem; }
dd { margin: 0; font-size: 1.35rem; font-weight: 600; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
figure, section { margin: 1rem 0; overflow: hidden; }
section { padding: 1.1rem 1.4rem; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { color: var(--faint); font-size: .8rem; font-weight: 600; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
pre { overflow-x: auto; font-size: .8rem; margin: 0; }
@media (max-width: 600px) { body { margin: 1rem auto; } section { padding: .8rem; }
  figure { overflow-x: auto; } svg { min-width: 560px; } }
";

/// How something is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Doubt,
    Bad,
}

/// A page that is being written.
pub struct Page {
    html: String,
}

impl Page {
    pub fn new(title: &str, about: &str) -> Page {
        let (title, about) = (escaped(title), escaped(about));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n\
             <style>\n{STYLE}</style>\n<h1>{title}</h1>\n<p class=\"about\">{about}</p>\n"
        );
        Page { html }
    }

    /// `svg` is one of `plot`'s.
    pub fn add_plot(&mut self, svg: &str) {
        let _ = writeln!(self.html, "<figure>{svg}</figure>");
    }

    /// A judgement in a few words.
    pub fn add_badge(&mut self, tone: Tone, text: &str) {
        let class = match tone {
            Tone::Good => "good",
            Tone::Doubt => "doubt",
            Tone::Bad => "bad",
        };
        let text = escaped(text);
        let _ = writeln!(self.html, "<p class=\"badge {class}\">{text}</p>");
    }

    /// The figures that matter, each with its name.
    pub fn add_figures(&mut self, figures: &[(&str, String)]) {
        self.html.push_str("<dl>\n");
        for (name, figure) in figures {
            let (name, figure) = (escaped(name), escaped(figure));
            let _ = writeln!(self.html, "<div><dt>{name}</dt><dd>{figure}</dd></div>");
        }
        self.html.push_str("</dl>\n");
    }

    pub fn add_table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>]) {
        self.begin_section(title);
        self.html.push_str("<div class=\"wide\"><table>\n<tr>");
        for cell in head {
            let _ = write!(self.html, "<th>{}</th>", escaped(cell));
        }
        for row in rows {
            self.html.push_str("</tr>\n<tr>");
            for cell in row {
                let _ = write!(self.html, "<td>{}</td>", escaped(cell));
            }
        }
        self.html.push_str("</tr>\n</table></div>\n</section>\n");
    }

    /// Nothing, if there is no text.
    pub fn add_text(&mut self, title: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.begin_section(title);
        let _ = writeln!(self.html, "<pre>{}</pre>\n</section>", escaped(text));
    }

    fn begin_section(&mut self, title: &str) {
        let _ = writeln!(self.html, "<section>\n<h2>{}</h2>", escaped(title));
    }

    pub fn finish(self) -> String {
        self.html + "</html>\n"
    }
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
        page.add_badge(Tone::Doubt, "<doubt>");
        page.add_figures(&[("<name>", "1 µs".to_owned())]);
        let html = page.finish();
        assert!(html.contains("a &lt; b") && html.contains("x &amp; y"));
        assert!(html.contains("<figure><svg></svg></figure>"));
        assert!(!html.contains("<script") && !html.contains("http"));
        assert_eq!(html.matches("<tr>").count(), html.matches("</tr>").count());
    }
}
