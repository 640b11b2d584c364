//! Line charts as SVG text: small enough to be kept beside the tables they show, or set into a page.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 60.0;
const TICKS: u32 = 5;
/// Lines of the legend, from the top.
const LEGEND_STEP: f64 = 17.0;
/// Dark enough to be read in print, and told apart by their dashes where there is no colour.
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c0392b", "#2e8b57", "#8e6c1f", "#7d3c98", "#d2691e", "#16798c", "#555555"];
const DASHES: [&str; 4] = ["none", "6 3", "2 2", "8 3 2 3"];

/// A named line through points.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves on axes that start at 0.
///
/// One chart serves a file of its own and a page: the namespace is there, the text takes the page's font.
#[must_use]
pub fn plot(title: &str, x_label: &str, y_label: &str, curves: &[Curve]) -> String {
    let x_max = round_up(largest(curves, |point| point.0));
    let parts = (0..=TICKS).map(|tick| f64::from(tick) / f64::from(TICKS) * x_max);
    let ticks = parts.map(|value| (value, number(value))).collect();
    draw([title, x_label, y_label], curves, (x_max, ticks))
}

/// Draws curves over named places: the first name stands at 1, the second at 2, and so on.
#[must_use]
pub fn plot_over(names: &[String], labels: [&str; 3], curves: &[Curve]) -> String {
    let ticks = (1..).zip(names).map(|(place, name)| (f64::from(place), name.clone()));
    draw(labels, curves, (names.len() as f64 + 0.5, ticks.collect()))
}

fn largest(curves: &[Curve], axis: fn(&(f64, f64)) -> f64) -> f64 {
    curves.iter().flat_map(|curve| &curve.points).map(axis).fold(0.0, f64::max)
}

/// The title and the names of both axes; how far the first axis goes, and its ticks.
fn draw(labels: [&str; 3], curves: &[Curve], (x_max, ticks): (f64, Vec<(f64, String)>)) -> String {
    let y_max = round_up(largest(curves, |point| point.1));
    let axes = Axes { x_max, y_max, ticks };
    let legend = curves.len() as f64 * LEGEND_STEP;
    let height = HEIGHT + legend;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
"#
    );
    axes.draw(&mut svg, labels);
    for (index, curve) in curves.iter().enumerate() {
        axes.draw_curve(&mut svg, index, curve);
    }
    svg + "</svg>\n"
}

struct Axes {
    x_max: f64,
    y_max: f64,
    ticks: Vec<(f64, String)>,
}

impl Axes {
    fn x(&self, value: f64) -> f64 {
        MARGIN + value / self.x_max * (WIDTH - 2.0 * MARGIN)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - MARGIN - value / self.y_max * (HEIGHT - 2.0 * MARGIN)
    }

    fn draw(&self, svg: &mut String, [title, x_label, y_label]: [&str; 3]) {
        text(svg, (WIDTH / 2.0, 24.0), r#"text-anchor="middle" font-size="15""#, title);
        text(svg, (WIDTH / 2.0, HEIGHT - 16.0), r#"text-anchor="middle""#, x_label);
        let middle = HEIGHT / 2.0;
        let turned = format!(r#"text-anchor="middle" transform="rotate(-90 16 {middle})""#);
        text(svg, (16.0, middle), &turned, y_label);
        let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
        for tick in 0..=TICKS {
            let part = f64::from(tick) / f64::from(TICKS);
            let y = self.y(part * self.y_max);
            let at = (left - 6.0, y + 4.0);
            text(svg, at, r#"text-anchor="end""#, &number(part * self.y_max));
            let grid = format!("M{left} {y:.1}H{right}");
            line(svg, &format!(r##"<path d="{grid}" fill="none" stroke="#e3e3e3"/>"##));
        }
        for (place, name) in &self.ticks {
            text(svg, (self.x(*place), bottom + 18.0), r#"text-anchor="middle""#, name);
        }
        let axes = format!("M{left} {MARGIN}V{bottom}H{right}");
        line(svg, &format!(r#"<path d="{axes}" fill="none" stroke="black"/>"#));
    }

    fn draw_curve(&self, svg: &mut String, index: usize, curve: &Curve) {
        let colour = COLOURS[index % COLOURS.len()];
        let dash = DASHES[index / COLOURS.len() % DASHES.len()];
        let look =
            format!(r#"fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}""#);
        let points: Vec<String> = curve
            .points
            .iter()
            .filter(|point| point.0.is_finite() && point.1.is_finite())
            .map(|point| format!("{:.1},{:.1}", self.x(point.0), self.y(point.1)))
            .collect();
        line(svg, &format!(r#"<polyline points="{}" {look}/>"#, points.join(" ")));
        let y = HEIGHT + index as f64 * LEGEND_STEP;
        let (from, to) = (MARGIN, MARGIN + 30.0);
        line(svg, &format!(r#"<path d="M{from} {y}H{to}" {look}/>"#));
        text(svg, (to + 8.0, y + 4.0), r#"text-anchor="start""#, &curve.name);
    }
}

fn line(svg: &mut String, text: &str) {
    svg.push_str(text);
    svg.push('\n');
}

fn text(svg: &mut String, (x, y): (f64, f64), look: &str, text: &str) {
    let text = escape(text);
    writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" {look}>{text}</text>"#)
        .expect("a string takes all");
}

/// Text as it stands in XML and HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The next of 1, 2, 2.5 and 5 times a power of ten, so that the ticks are short numbers.
fn round_up(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
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
    fn names_stand_at_their_places() {
        let curve = Curve { name: "a".into(), points: vec![(1.0, 1.0), (2.0, 1.0)] };
        let svg = plot_over(&["low".into(), "high".into()], ["t", "x", "y"], &[curve]);
        // 1 and 2 of 2.5 to the right.
        assert!(svg.contains(r#"points="268.0,60.0 476.0,60.0""#), "{svg}");
        assert!(svg.contains(r#"<text x="476.0" y="358.0" text-anchor="middle">high</text>"#));
    }

    #[test]
    fn each_curve_has_a_look_of_its_own_and_a_line_in_the_legend() {
        let curves: Vec<Curve> = (0..20)
            .map(|index| Curve { name: format!("<{index}>"), points: vec![(1.0, 1.0)] })
            .collect();
        let svg = plot("t", "x", "y", &curves);
        let looks: std::collections::BTreeSet<_> = svg
            .lines()
            .filter(|line| line.starts_with("<polyline"))
            .map(|line| line.split("stroke=").nth(1))
            .collect();
        assert_eq!(looks.len(), 20);
        assert!(svg.contains(">&lt;19&gt;</text>"), "{svg}");
    }

    #[test]
    fn axes_end_on_short_numbers() {
        for (value, rounded) in [(97.0, 100.0), (3.0, 5.0), (0.021, 0.025), (0.0, 1.0)] {
            assert!((round_up(value) - rounded).abs() < 1e-9, "{value}");
        }
        assert_eq!((number(2.50), number(100.0)), ("2.5".into(), "100".into()));
    }
}
