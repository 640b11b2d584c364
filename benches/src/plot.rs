//! Line plots as SVG text, small enough to be kept beside the tables they show.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 60.0;
const TICKS: u32 = 5;
const COLOURS: [&str; 4] = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e6c1f"];

/// A named line through points.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves on axes that start at 0.
#[must_use]
pub fn plot(title: &str, x_label: &str, y_label: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x_max = round_up(points().map(|point| point.0).fold(0.0, f64::max));
    let y_max = round_up(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |value: f64| MARGIN + value / x_max * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / y_max * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
"#
    );
    let mut text = |x: f64, y: f64, more: &str, text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle"{more}>{text}</text>"#)
            .expect("a string takes all");
    };
    text(WIDTH / 2.0, 24.0, r#" font-size="15""#, title);
    text(WIDTH / 2.0, HEIGHT - 16.0, "", x_label);
    let middle = HEIGHT / 2.0;
    text(16.0, middle, &format!(r#" transform="rotate(-90 16 {middle})""#), y_label);
    for tick in 0..=TICKS {
        let part = f64::from(tick) / f64::from(TICKS);
        text(x(part * x_max), HEIGHT - MARGIN + 18.0, "", &number(part * x_max));
        text(MARGIN - 22.0, y(part * y_max) + 4.0, "", &number(part * y_max));
    }
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        if let Some(last) = curve.points.last() {
            let more = format!(r#" fill="{colour}""#);
            text(x(last.0) - 10.0, y(last.1) - 10.0, &more, &curve.name);
        }
    }
    let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
    let axes = format!("M{left} {MARGIN}V{bottom}H{right}");
    writeln!(svg, r#"<path d="{axes}" fill="none" stroke="black"/>"#).expect("a string takes all");
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line: Vec<String> = curve
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let line = line.join(" ");
        writeln!(
            svg,
            r#"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>"#
        )
        .expect("a string takes all");
    }
    svg + "</svg>\n"
}

/// The next of 1, 2, 2.5 and 5 times a power of ten, so that the ticks are short numbers.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_lies_on_the_plot() {
        let curve = Curve { name: "goodput".into(), points: vec![(0.5, 50.0), (3.0, 97.0)] };
        let svg = plot("Goodput", "offered", "answers/s", &[curve]);
        // 3 of 5 to the right, 97 of 100 up.
        assert!(svg.contains(r#"points="112.0,200.0 372.0,68.4""#), "{svg}");
    }

    #[test]
    fn axes_end_on_short_numbers() {
        for (value, rounded) in [(97.0, 100.0), (3.0, 5.0), (0.021, 0.025), (0.0, 1.0)] {
            assert!((round_up(value) - rounded).abs() < 1e-9, "{value}");
        }
        assert_eq!((number(2.50), number(100.0)), ("2.5".into(), "100".into()));
    }
}
