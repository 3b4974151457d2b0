//! What is drawn on, in the units of the screen: it knows colours and letters, but no figures.

use svg::Document;
use svg::node::Node;
use svg::node::element::path::Data;
use svg::node::element::{Circle, Line, Path, Rectangle, Style, Text, Title};

pub const WIDTH: f64 = 860.0;

/// Where the drawing proper begins, below title and subtitle.
pub const TOP: f64 = 84.0;

pub const MARGIN: f64 = 24.0;

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/// What something is drawn in. Each has two colours: on light paper and on dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Paper,
    Strong,
    Faint,
    Grid,
    Bad,
    /// Of the subject with this number.
    Subject(usize),
}

/// Name, on light paper, on dark. The subjects' are Okabe and Ito's, which people who see fewer
/// colours can tell apart, some a little darker or lighter than theirs so that they can be read
/// as letters.
const COLOURS: [(&str, &str, &str); 12] = [
    ("paper", "#ffffff", "#17181c"),
    ("strong", "#24262b", "#e8e8ec"),
    ("faint", "#6b6f78", "#9da0aa"),
    ("grid", "#e7e8ec", "#2e3037"),
    ("bad", "#c8102e", "#ff6b6b"),
    ("s0", "#0072b2", "#4fb0ee"),
    ("s1", "#d55e00", "#ff8c42"),
    ("s2", "#008f68", "#34c79b"),
    ("s3", "#b5508a", "#e694c6"),
    ("s4", "#a87900", "#e9b949"),
    ("s5", "#3f8fc4", "#9ad4f7"),
    ("s6", "#666a73", "#b4b7c0"),
];
const SUBJECT_FIRST: usize = 5;

impl Ink {
    fn colour(self) -> (&'static str, &'static str, &'static str) {
        COLOURS[match self {
            Ink::Paper => 0,
            Ink::Strong => 1,
            Ink::Faint => 2,
            Ink::Grid => 3,
            Ink::Bad => 4,
            Ink::Subject(number) => SUBJECT_FIRST + number % (COLOURS.len() - SUBJECT_FIRST),
        }]
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Pen {
    pub ink: Ink,
    pub width: f64,
    pub is_dashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Letters {
    pub ink: Ink,
    pub size: f64,
    pub is_bold: bool,
    pub anchor: Anchor,
}

impl Letters {
    pub fn new(ink: Ink, size: f64) -> Letters {
        Letters {
            ink,
            size,
            is_bold: false,
            anchor: Anchor::Start,
        }
    }

    pub fn bold(self) -> Letters {
        Letters {
            is_bold: true,
            ..self
        }
    }

    pub fn anchored(self, anchor: Anchor) -> Letters {
        Letters { anchor, ..self }
    }
}

pub type Place = (f64, f64);

pub struct Canvas {
    document: Document,
}

impl Canvas {
    pub fn new(title: &str, subtitle: &str, height: f64) -> Canvas {
        let document = Document::new()
            .set("viewBox", format!("0 0 {WIDTH} {height}"))
            .set("width", WIDTH)
            .set("height", height)
            .set("class", "plot")
            .set("role", "img")
            .set("font-family", FONT)
            .add(Title::new(title))
            .add(Style::new(dark_style()));
        let mut canvas = Canvas { document };
        canvas.rectangle((0.0, 0.0), (WIDTH, height), Ink::Paper, "");
        canvas.text(
            (MARGIN, 36.0),
            title,
            Letters::new(Ink::Strong, 20.0).bold(),
        );
        canvas.text((MARGIN, 58.0), subtitle, Letters::new(Ink::Faint, 13.5));
        canvas
    }

    pub fn finish(self) -> String {
        self.document.to_string() + "\n"
    }

    pub fn line(&mut self, places: &[Place], pen: Pen) {
        let Some(data) = joined(places) else { return };
        let mut path = inked(Path::new(), pen.ink)
            .set("d", data)
            .set("fill", "none")
            .set("stroke", "currentColor")
            .set("stroke-width", pen.width)
            .set("stroke-linejoin", "round")
            .set("stroke-linecap", "round");
        if pen.is_dashed {
            path = path.set("stroke-dasharray", "2 5");
        }
        self.document.append(path);
    }

    /// From the line down, or up, to `base`.
    pub fn area(&mut self, places: &[Place], base: f64, ink: Ink) {
        let (Some(data), Some(first), Some(last)) = (joined(places), places.first(), places.last())
        else {
            return;
        };
        let data = data
            .line_to((rounded(last.0), rounded(base)))
            .line_to((rounded(first.0), rounded(base)))
            .close();
        let area = inked(Path::new(), ink).set("d", data);
        self.document
            .append(area.set("fill", "currentColor").set("fill-opacity", 0.12));
    }

    pub fn rule(&mut self, from: Place, to: Place, pen: Pen) {
        let line = inked(Line::new(), pen.ink)
            .set("x1", rounded(from.0))
            .set("y1", rounded(from.1))
            .set("x2", rounded(to.0))
            .set("y2", rounded(to.1))
            .set("stroke", "currentColor")
            .set("stroke-width", pen.width);
        self.document.append(line);
    }

    /// `hint` is shown by a browser when it is pointed at.
    pub fn dot(&mut self, (x, y): Place, ink: Ink, hint: &str) {
        let dot = inked(Circle::new(), ink)
            .set("cx", rounded(x))
            .set("cy", rounded(y))
            .set("r", 4)
            .set("fill", "currentColor");
        self.document.append(dot.add(Title::new(hint)));
    }

    pub fn rectangle(&mut self, corner: Place, size: (f64, f64), ink: Ink, hint: &str) {
        let mut rectangle = inked(Rectangle::new(), ink)
            .set("x", rounded(corner.0))
            .set("y", rounded(corner.1))
            .set("width", rounded(size.0.max(0.0)))
            .set("height", rounded(size.1.max(0.0)))
            .set("rx", 2)
            .set("fill", "currentColor");
        if !hint.is_empty() {
            rectangle = rectangle.add(Title::new(hint));
        }
        self.document.append(rectangle);
    }

    pub fn text(&mut self, (x, y): Place, text: &str, letters: Letters) {
        let anchor = match letters.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let mut node = inked(Text::new(text), letters.ink)
            .set("x", rounded(x))
            .set("y", rounded(y))
            .set("font-size", letters.size)
            .set("text-anchor", anchor)
            .set("fill", "currentColor");
        if letters.is_bold {
            node = node.set("font-weight", 600);
        }
        self.document.append(node);
    }
}

/// About how wide a text is: no font is at hand that could tell.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

/// A text of at most so many letters.
pub fn shortened(text: &str, count_max: usize) -> String {
    if text.chars().count() <= count_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(count_max - 1).collect();
    kept.trim_end().to_owned() + "…"
}

/// The light colour as a property that every viewer knows; the class lets dark paper change it.
fn inked<N: Node>(mut node: N, ink: Ink) -> N {
    let (name, light, _) = ink.colour();
    node.assign("class", name);
    node.assign("color", light);
    node
}

fn dark_style() -> String {
    let rule = |(name, _, dark): &(&str, &str, &str)| format!(".plot .{name}{{color:{dark}}}");
    let rules: String = COLOURS.iter().map(rule).collect();
    format!("@media(prefers-color-scheme:dark){{{rules}}}")
}

fn joined(places: &[Place]) -> Option<Data> {
    let (first, rest) = places.split_first()?;
    let start = Data::new().move_to((rounded(first.0), rounded(first.1)));
    Some(rest.iter().fold(start, |data, place| {
        data.line_to((rounded(place.0), rounded(place.1)))
    }))
}

/// Tenths of a unit are finer than any screen.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_drawn_as_it_is() {
        let mut canvas = Canvas::new("a < b & \"c\"", "'d' > e", 100.0);
        canvas.dot((1.0, 2.0), Ink::Bad, "<hint>");
        let svg = canvas.finish();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .map(str::trim)
            .collect();
        assert_eq!(texts, ["a < b & \"c\"", "'d' > e"]);
        assert!(!svg.contains("href") && !svg.contains("url("));
    }

    #[test]
    fn every_ink_has_a_colour_on_both_papers() {
        let inks = [Ink::Paper, Ink::Strong, Ink::Faint, Ink::Grid, Ink::Bad];
        for ink in inks.into_iter().chain((0..20).map(Ink::Subject)) {
            let (name, light, _) = ink.colour();
            assert!(light.starts_with('#') && dark_style().contains(&format!(".{name}{{")));
        }
        assert_eq!(Ink::Subject(7).colour(), Ink::Subject(0).colour());
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!(shortened("short", 8), "short");
        assert_eq!(shortened("a very long name", 8), "a very…");
    }
}
