//! Subjects side by side.

use super::axis::count_label;
use super::canvas::{Anchor, Canvas, Ink, Letters, MARGIN, Pen, TOP, WIDTH, shortened, text_width};
use super::scale::Scale;
use crate::statistics::Spread;

const ROW_HEIGHT: f64 = 40.0;
const BAR_HEIGHT: f64 = 24.0;
const NAME_SIZE: f64 = 13.5;
const NAME_LEN_MAX: usize = 34;
const FIGURE_WIDTH: f64 = 70.0;

/// One bar per subject, its median, with a line from the least to the most.
pub fn throughput_bars(title: &str, subjects: &[(String, Spread)]) -> String {
    let height = TOP + subjects.len().max(1) as f64 * ROW_HEIGHT + 12.0;
    let subtitle = "Median of the runs; the thin line goes from the least to the most.";
    let mut canvas = Canvas::new(title, subtitle, height);
    let names = subjects
        .iter()
        .map(|(name, _)| shortened(name, NAME_LEN_MAX));
    let names: Vec<String> = names.collect();
    let widths = names.iter().map(|name| text_width(name, NAME_SIZE));
    let left = MARGIN + widths.fold(40.0, f64::max) + 12.0;
    let scale = Scale::linear(
        0.0,
        subjects.iter().map(|(_, all)| all.max).fold(0.0, f64::max),
    );
    let scale = scale.between(left, WIDTH - MARGIN - FIGURE_WIDTH);
    for (index, ((_, spread), name)) in subjects.iter().zip(names).enumerate() {
        let middle = TOP + (index as f64 + 0.5) * ROW_HEIGHT;
        let letters = Letters::new(Ink::Strong, NAME_SIZE).anchored(Anchor::End);
        canvas.text((left - 12.0, middle + 5.0), &name, letters);
        draw_bar(&mut canvas, &scale, spread, (middle, Ink::Subject(index)));
    }
    canvas.finish()
}

fn draw_bar(canvas: &mut Canvas, scale: &Scale, spread: &Spread, (middle, ink): (f64, Ink)) {
    let [start, end, min, max] =
        [0.0, spread.median, spread.min, spread.max].map(|figure| scale.place(figure));
    let [median, least, most] =
        [spread.median, spread.min, spread.max].map(|figure| count_label(&figure));
    let corner = (start, middle - BAR_HEIGHT / 2.0);
    let hint = format!("median {median}, from {least} to {most}");
    canvas.rectangle(corner, (end - start, BAR_HEIGHT), ink, &hint);
    let pen = Pen {
        ink: Ink::Strong,
        width: 1.5,
        is_dashed: false,
    };
    if max - min > 1.0 {
        canvas.rule((min, middle), (max, middle), pen);
        for x in [min, max] {
            canvas.rule((x, middle - 5.0), (x, middle + 5.0), pen);
        }
    }
    let place = (end.max(max) + 9.0, middle + 5.0);
    canvas.text(place, &median, Letters::new(Ink::Strong, 14.0).bold());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_named_from_the_top_down_and_as_long_as_their_figures() {
        let spread = |median| Spread {
            median,
            min: median - 10.0,
            max: median + 10.0,
        };
        let both = [
            ("first".to_owned(), spread(100.0)),
            ("second".to_owned(), spread(200.0)),
        ];
        let svg = throughput_bars("calls/s", &both);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let number = |node: roxmltree::Node<'_, '_>, name| -> f64 {
            node.attribute(name).unwrap().parse().unwrap()
        };
        let nodes = |tag| {
            document
                .descendants()
                .filter(move |node| node.has_tag_name(tag))
        };
        let height_of = |name: &str| {
            let mut texts = nodes("text");
            let text = texts.find(|node| node.text().unwrap().trim() == name);
            number(text.unwrap(), "y")
        };
        assert!(height_of("first") < height_of("second"));
        let lens: Vec<f64> = nodes("rect")
            .skip(1)
            .map(|bar| number(bar, "width"))
            .collect();
        assert!((lens[1] / lens[0] - 2.0).abs() < 0.01, "{lens:?}");
        assert!(throughput_bars("none", &[]).contains("none"));
    }
}
