//! Pictures of runs, as SVG text: the same octets for the same figures.

mod axis;
mod latency;
mod load;

pub use latency::{percentiles, time_series};
pub use load::{LoadPoint, latency_versus_load, throughput_bars};

use plotters::style::RGBColor;

/// Okabe and Ito's colours, which people who see fewer colours can tell apart.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x66, 0x66, 0x66),
];
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
const FAINT_GRID: RGBColor = RGBColor(0xf3, 0xf3, 0xf3);
const FONT: &str = "Helvetica, Arial, sans-serif";
const SIZE: (u32, u32) = (820, 440);

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// The drawing library writes into memory here, which takes everything.
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn drawn(draw: impl FnOnce(&mut String) -> Drawn) -> String {
    let mut svg = String::new();
    draw(&mut svg).expect("memory takes every octet, and the ranges are checked");
    svg
}
