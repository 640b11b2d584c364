//! Axes: how far they go, where their ticks stand and how numbers are written.

/// Ticks that an axis has at most, about.
const TICKS: f64 = 5.0;
/// Decades beyond which only powers of ten are ticks.
const DECADES_FINE: f64 = 1.8;
/// A logarithmic axis reaches down at most so far below its largest value: ten decades.
const DECADES_MAX: f64 = 1e10;

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly from 0.
    Zero,
    /// By their logarithm; what is not above 0 lies at the lower end.
    Log,
}

/// What an axis shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its quantity and unit.
    pub label: String,
    /// How values lie on it.
    pub scale: Scale,
    /// Places and names in place of numbers.
    pub ticks: Option<Vec<(f64, String)>>,
    /// It ends there or, without one, where the values do.
    pub end: Option<f64>,
}

impl Axis {
    /// An even axis from 0.
    #[must_use]
    pub fn from_zero(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Zero, ticks: None, end: None }
    }

    /// A logarithmic axis.
    #[must_use]
    pub fn log(label: &str) -> Self {
        Self { scale: Scale::Log, ..Self::from_zero(label) }
    }
}

/// An axis whose ends are known.
#[derive(Clone, Debug)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Range {
    pub(super) fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let largest = axis.end.unwrap_or_else(|| values.iter().copied().fold(0.0, f64::max));
        let numbers = |places: Vec<f64>| places.into_iter().map(|at| (at, number(at))).collect();
        match (axis.scale, &axis.ticks) {
            (Scale::Zero, Some(ticks)) => {
                let last = ticks.iter().map(|tick| tick.0).fold(0.0, f64::max);
                let high = axis.end.unwrap_or(if last > 0.0 { last + 0.5 } else { 1.0 });
                Self { scale: Scale::Zero, low: 0.0, high, ticks: ticks.clone() }
            }
            (Scale::Zero, None) => {
                let (high, places) = even(largest, axis.end);
                Self { scale: Scale::Zero, low: 0.0, high, ticks: numbers(places) }
            }
            (Scale::Log, ticks) => {
                let largest = if largest > 0.0 { largest } else { 1.0 };
                let floor = largest / DECADES_MAX;
                let positive = values.iter().copied().filter(|value| *value > floor);
                let smallest = positive.fold(largest, f64::min);
                let (low, high) = match (ticks, axis.end) {
                    (Some(_), _) | (None, Some(_)) => (smallest, largest),
                    (None, None) => (step_below(smallest), step_above(largest)),
                };
                let high = if high > low { high } else { low * 10.0 };
                let places = || numbers(decades(low, high));
                let ticks = ticks.clone().unwrap_or_else(places);
                let ticks = ticks.into_iter().filter(|tick| tick.0 <= high * 1.0001).collect();
                Self { scale: Scale::Log, low, high, ticks }
            }
        }
    }

    /// From 0 at the lower to 1 at the upper end.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Zero => value / self.high,
            Scale::Log => ((value.max(self.low)) / self.low).ln() / (self.high / self.low).ln(),
        }
    }
}

/// Steps of 1, 2, 2.5 or 5 times a power of ten: where an even axis ends and its ticks.
fn even(largest: f64, end: Option<f64>) -> (f64, Vec<f64>) {
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let rough = largest / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(steps[4]);
    let high = end.unwrap_or_else(|| (largest / step - 1e-9).ceil() * step);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few ticks")]
    let count = (high / step + 1e-9).floor() as u32;
    (high, (0..=count).map(|tick| f64::from(tick) * step).collect())
}

fn step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0].map(|step| step * power).into_iter().find(|step| *step <= value).unwrap_or(power)
}

fn step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value * 0.9999).unwrap_or(10.0 * power)
}

fn decades(low: f64, high: f64) -> Vec<f64> {
    let fine = (high / low).log10() <= DECADES_FINE;
    let steps: &[f64] = if fine { &[1.0, 2.0, 5.0] } else { &[1.0] };
    #[expect(clippy::cast_possible_truncation, reason = "exponents of ten")]
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let places = (from..=to).flat_map(|power| steps.iter().map(move |s| s * 10f64.powi(power)));
    places.filter(|at| *at >= low * 0.9999 && *at <= high * 1.0001).collect()
}

/// A number with as many digits as say something, and commas between thousands.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let digits = match value.abs() {
        size if size >= 1000.0 || size == 0.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 3,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, part) = text.split_once('.').map_or((text, None), |(w, p)| (w, Some(p)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    part.map_or_else(|| format!("{sign}{grouped}"), |part| format!("{sign}{grouped}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_axis_ends_at_the_next_short_step() {
        for (largest, high, ticks) in
            [(97.0, 100.0, 6), (3.0, 3.0, 4), (0.021, 0.025, 6), (0.0, 1.0, 6)]
        {
            let (found, places) = even(largest, None);
            assert!((found - high).abs() < 1e-9, "{largest}: {found}");
            assert_eq!(places.len(), ticks, "{largest}: {places:?}");
        }
    }

    #[test]
    fn a_logarithmic_axis_holds_its_values_between_short_numbers() {
        let range = Range::of(&Axis::log("ms"), [0.0, 3.0, 45.0].into_iter());
        assert_eq!((range.low, range.high), (2.0, 50.0));
        let names: Vec<_> = range.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(names, ["2", "5", "10", "20", "50"]);
        assert!((range.place(10.0) - 0.5).abs() < 1e-9 && range.place(0.0) == 0.0);
        let wide = Range::of(&Axis::log("ms"), [0.2, 4000.0].into_iter());
        let names: Vec<_> = wide.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(names, ["1", "10", "100", "1,000"]);
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [(2.5, "2.5"), (100.0, "100"), (1234567.8, "1,234,568"), (-0.125, "-0.125")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!((number(0.0), number(f64::NAN)), ("0".into(), "–".into()));
    }
}
