//! From a figure to its place along an axis, and the round figures between.

/// An axis: figures from `low` to `high` lie between `start` and `end` on the canvas.
///
/// Invariant: low < high, and both are positive if `is_log`.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    start: f64,
    end: f64,
}

impl Scale {
    pub fn linear(low: f64, high: f64) -> Scale {
        let high = if high > low { high } else { low + 1.0 };
        Scale {
            low,
            high,
            is_log: false,
            start: 0.0,
            end: 1.0,
        }
    }

    /// From zero to a little above the largest.
    pub fn from_zero(figures: impl Iterator<Item = f64>) -> Scale {
        let finite = figures.filter(|figure| figure.is_finite());
        Scale::linear(0.0, finite.fold(0.0, f64::max) * 1.08)
    }

    /// By factors, from one of 1, 2, 5, 10, … to another; figures that are not positive are left
    /// out.
    pub fn log(figures: impl Iterator<Item = f64>) -> Scale {
        let positive = figures.filter(|figure| figure.is_finite() && *figure > 0.0);
        let (min, max) = positive.fold((f64::INFINITY, 0.0f64), |(min, max), figure| {
            (min.min(figure), max.max(figure))
        });
        let (low, high) = match max > 0.0 {
            true => (round_below(min), round_above(max)),
            false => (1.0, 10.0),
        };
        Scale {
            low,
            high: high.max(low * 10.0),
            is_log: true,
            start: 0.0,
            end: 1.0,
        }
    }

    pub fn between(self, start: f64, end: f64) -> Scale {
        Scale { start, end, ..self }
    }

    /// Figures beyond the ends lie on them.
    pub fn place(&self, figure: f64) -> f64 {
        let figure = figure.clamp(self.low, self.high);
        let share = match self.is_log {
            true => (figure / self.low).ln() / (self.high / self.low).ln(),
            false => (figure - self.low) / (self.high - self.low),
        };
        self.start + share * (self.end - self.start)
    }

    /// Round figures, about as many as `wanted`.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        if self.is_log {
            return self.log_ticks();
        }
        let span = self.high - self.low;
        let step = round_above(span / wanted.max(1) as f64);
        self.multiples_of(step)
    }

    pub fn multiples_of(&self, step: f64) -> Vec<f64> {
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decade_count = (self.high / self.low).log10();
        let multiples: &[f64] = if decade_count > 3.4 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        (first..=last)
            .flat_map(|power| multiples.iter().map(move |by| by * 10f64.powi(power)))
            .filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick))
            .collect()
    }
}

fn round_below(figure: f64) -> f64 {
    let decade = 10f64.powf(figure.log10().floor());
    let least = [5.0, 2.0, 1.0]
        .into_iter()
        .find(|by| by * decade <= figure * 1.000_001);
    least.unwrap_or(1.0) * decade
}

fn round_above(figure: f64) -> f64 {
    let decade = 10f64.powf(figure.log10().floor());
    let most = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|by| by * decade >= figure * 0.999_999);
    most.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: &[f64], two: &[f64]) -> bool {
        one.len() == two.len() && one.iter().zip(two).all(|(a, b)| (a / b - 1.0).abs() < 1e-9)
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(
            Scale::linear(0.0, 5.4).ticks(6),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
        assert_eq!(Scale::linear(1.0, 2.9).ticks(4), [1.0, 1.5, 2.0, 2.5]);
        let narrow = Scale::log([25.0, 340.0].into_iter());
        assert!(near(&narrow.ticks(0), &[20.0, 50.0, 100.0, 200.0, 500.0]));
        let wide = Scale::log([1.0, 90_000.0].into_iter());
        assert!(near(&wide.ticks(0), &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5]));
    }

    #[test]
    fn places_run_from_end_to_end_and_nothing_breaks_them() {
        let scale = Scale::log([10.0, 1000.0].into_iter()).between(300.0, 100.0);
        assert_eq!((scale.place(10.0), scale.place(1000.0)), (300.0, 100.0));
        assert!((scale.place(100.0) - 200.0).abs() < 1e-9);
        assert_eq!(
            (scale.place(0.0), scale.place(f64::INFINITY)),
            (300.0, 100.0)
        );
        let none = Scale::log([f64::NAN, 0.0].into_iter());
        assert!((0.0..=1.0).contains(&none.place(5.0)));
        assert_eq!(Scale::from_zero([].into_iter()).place(0.0), 0.0);
    }
}
