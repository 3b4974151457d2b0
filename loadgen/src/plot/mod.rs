//! Pictures of runs, as SVG text: the same octets for the same figures.
//!
//! A picture is legible by itself, on light and on dark paper, without a font, a script or
//! anything else from outside.

mod axis;
mod bars;
mod canvas;
mod load;
mod panel;
mod percentiles;
mod scale;
mod time_series;

pub use bars::throughput_bars;
pub use load::{LoadPoint, latency_versus_load};
pub use percentiles::percentiles;
pub use time_series::time_series;
