//! A field with two axes, and names beside the ends of its lines.

use super::canvas::{Anchor, Canvas, Ink, Letters, Pen, Place, shortened, text_width};
use super::scale::Scale;

const LABEL_SIZE: f64 = 12.5;
const NAME_SIZE: f64 = 13.0;
const NAME_GAP: f64 = 17.0;
const NAME_LEN_MAX: usize = 30;
const GRID: Pen = Pen {
    ink: Ink::Grid,
    width: 1.0,
    is_dashed: false,
};

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Panel {
    pub bounds: Bounds,
    x: Scale,
    y: Scale,
}

/// What a line is called, and where it ends.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub ink: Ink,
    pub end: Place,
}

impl Panel {
    pub fn new(bounds: Bounds, x: Scale, y: Scale) -> Panel {
        Panel {
            bounds,
            x: x.between(bounds.left, bounds.right),
            y: y.between(bounds.bottom, bounds.top),
        }
    }

    pub fn place(&self, (x, y): (f64, f64)) -> Place {
        (self.x.place(x), self.y.place(y))
    }

    pub fn places(&self, figures: &[(f64, f64)]) -> Vec<Place> {
        figures.iter().map(|figure| self.place(*figure)).collect()
    }

    /// Lines across at round figures, each with its label to the left.
    pub fn draw_levels(&self, canvas: &mut Canvas, count: usize, label: fn(&f64) -> String) {
        let letters = Letters::new(Ink::Faint, LABEL_SIZE).anchored(Anchor::End);
        let Bounds { left, right, .. } = self.bounds;
        for tick in self.y.ticks(count) {
            let y = self.y.place(tick);
            canvas.rule((left, y), (right, y), GRID);
            canvas.text((left - 8.0, y + 4.0), &label(&tick), letters);
        }
    }

    /// Lines upward at these figures, each with its label below.
    pub fn draw_columns(&self, canvas: &mut Canvas, ticks: &[f64], label: fn(&f64) -> String) {
        let letters = Letters::new(Ink::Faint, LABEL_SIZE).anchored(Anchor::Middle);
        let Bounds { top, bottom, .. } = self.bounds;
        for tick in ticks {
            let x = self.x.place(*tick);
            canvas.rule((x, top), (x, bottom), GRID);
            canvas.text((x, bottom + 19.0), &label(tick), letters);
        }
    }

    pub fn columns(&self, count: usize) -> Vec<f64> {
        self.x.ticks(count)
    }

    /// Above the field: what is drawn in it.
    pub fn draw_caption(&self, canvas: &mut Canvas, caption: &str) {
        let letters = Letters::new(Ink::Faint, LABEL_SIZE).bold();
        let Bounds { left, top, .. } = self.bounds;
        canvas.text((left, top - 9.0), caption, letters);
    }

    /// Below the labels: what the axis counts.
    pub fn draw_axis_name(&self, canvas: &mut Canvas, name: &str) {
        let letters = Letters::new(Ink::Faint, LABEL_SIZE).anchored(Anchor::Middle);
        let Bounds {
            left,
            right,
            bottom,
            ..
        } = self.bounds;
        canvas.text((f64::midpoint(left, right), bottom + 41.0), name, letters);
    }

    /// To the right of their lines' ends, as near as there is room.
    pub fn draw_names(&self, canvas: &mut Canvas, mut names: Vec<Name>) {
        push_apart(&mut names, self.bounds.top, self.bounds.bottom);
        for name in names {
            let place = (name.end.0 + 10.0, name.end.1 + 4.5);
            let text = shortened(&name.text, NAME_LEN_MAX);
            canvas.text(place, &text, Letters::new(name.ink, NAME_SIZE).bold());
        }
    }
}

/// The room that names need beside a panel.
pub fn names_width<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    let width = |name| text_width(&shortened(name, NAME_LEN_MAX), NAME_SIZE) + 18.0;
    names.map(width).fold(44.0, f64::max)
}

fn push_apart(names: &mut [Name], top: f64, bottom: f64) {
    names.sort_by(|one, two| one.end.1.total_cmp(&two.end.1));
    let mut least = top;
    for name in names.iter_mut() {
        name.end.1 = name.end.1.max(least);
        least = name.end.1 + NAME_GAP;
    }
    let mut most = bottom;
    for name in names.iter_mut().rev() {
        name.end.1 = name.end.1.min(most);
        most = name.end.1 - NAME_GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_order_and_do_not_touch() {
        let name = |y| Name {
            text: String::new(),
            ink: Ink::Strong,
            end: (0.0, y),
        };
        let mut names = [name(199.0), name(198.0), name(100.0), name(200.0)];
        push_apart(&mut names, 0.0, 200.0);
        let places: Vec<f64> = names.iter().map(|name| name.end.1).collect();
        assert_eq!(places, [100.0, 166.0, 183.0, 200.0]);
    }
}
