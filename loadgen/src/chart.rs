//! Charts as SVG text: small enough to be kept beside the tables they show, or set into a page. Lines are named at their
//! right end, so that neither a legend nor colour is needed to tell them apart.

mod axis;
mod bars;
mod names;
mod svg;

pub use axis::{Axis, Scale, number};
pub use bars::{Bar, bars};
pub use svg::escape;

use axis::Range;
use svg::Svg;

/// Dark enough to be read in print, told apart by the colour-blind (after Okabe and Ito), and by dashes without colour.
pub const COLOURS: [&str; 16] = [
    "#0b6fb8", "#c8511b", "#12805c", "#8a5a00", "#a0457f", "#4b5563", "#0e7c86", "#7c2d12",
    "#5b3fc4", "#c11f5d", "#4d7c0f", "#b07b00", "#1e3a8a", "#9333a8", "#00939c", "#d0342c",
];
/// After so many lines they are dashed, and dashed otherwise after twice as many.
const UNDASHED: usize = 8;
/// What guides and axes are drawn in.
pub const GREY: &str = "#6b7280";
const DASHES: [&str; 4] = ["none", "6 3", "2 2", "8 3 2 3"];

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Left of titles.
const MARGIN: f64 = 5.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 46.0;
/// More points than these are drawn without dots.
const DOTS_MAX: usize = 24;

/// The colour of the line of that number.
#[must_use]
pub fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// A named line through points.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What stands at its end.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// One thing drawn on a chart; later ones lie above earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A line, broken where a value is not a number.
    Line {
        /// Where it goes.
        curve: Curve,
        /// Its colour.
        colour: &'static str,
        /// Its dashes as SVG has them.
        dash: &'static str,
        /// Whether its points are marked where they are few.
        dots: bool,
    },
    /// A thin grey line to compare with.
    Guide(Curve),
    /// Columns of parts that lie on each other.
    Stack {
        /// Names and colours of the parts, from below.
        parts: Vec<(String, &'static str)>,
        /// Where a column begins and ends, and the height of each of its parts.
        columns: Vec<(f64, f64, Vec<f64>)>,
    },
    /// Vertical bars from a lower to an upper value, such as intervals of confidence.
    Spans {
        /// Place, lower and upper value.
        spans: Vec<(f64, f64, f64)>,
        /// Their colour.
        colour: &'static str,
    },
    /// Rings around points that are not to be trusted.
    Rings(Vec<(f64, f64)>),
}

impl Layer {
    /// A line with the look of that number.
    #[must_use]
    pub fn line(index: usize, curve: Curve) -> Self {
        let dash = DASHES[index / UNDASHED % DASHES.len()];
        Self::Line { curve, colour: colour(index), dash, dots: true }
    }

    /// The same without marks on its points.
    #[must_use]
    pub fn without_dots(mut self) -> Self {
        if let Self::Line { dots, .. } = &mut self {
            *dots = false;
        }
        self
    }

    fn values(&self) -> Vec<(f64, f64)> {
        match self {
            Self::Line { curve, .. } | Self::Guide(curve) => curve.points.clone(),
            Self::Stack { columns, .. } => columns
                .iter()
                .flat_map(|(from, to, parts)| [(*from, 0.0), (*to, parts.iter().sum())])
                .collect(),
            Self::Spans { spans, .. } => {
                spans.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]).collect()
            }
            Self::Rings(points) => points.clone(),
        }
    }
}

/// A chart with two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis up; its label stands below the title.
    pub y: Axis,
    /// What is drawn.
    pub layers: Vec<Layer>,
}

impl Chart {
    /// The chart as SVG, which serves a file of its own as well as a page.
    #[must_use]
    pub fn svg(&self) -> String {
        let values: Vec<_> = self.layers.iter().flat_map(Layer::values).collect();
        let named = names::names(&self.layers);
        let height = HEIGHT.max(TOP + BOTTOM + names::height(named.len()));
        let mut svg = Svg::new(WIDTH, height, &self.title);
        let plot = Plot {
            right: WIDTH - names::width_of(&named),
            bottom: height - BOTTOM,
            x: Range::of(&self.x, values.iter().map(|value| value.0)),
            y: Range::of(&self.y, values.iter().map(|value| value.1)),
        };
        plot.frame(&mut svg, self);
        let mut lines = 0;
        for layer in &self.layers {
            let line = matches!(layer, Layer::Line { .. });
            if line {
                svg.open("line", lines);
                lines += 1;
            }
            plot.layer(&mut svg, layer);
            if line {
                svg.close();
            }
        }
        names::draw(&mut svg, &plot, &named);
        svg.end()
    }
}

/// Draws curves on axes that start at 0.
#[must_use]
pub fn plot(title: &str, x_label: &str, y_label: &str, curves: &[Curve]) -> String {
    lines([title, x_label, y_label], curves, None)
}

/// Draws curves over named places: the first name stands at 1, the second at 2, and so on.
#[must_use]
pub fn plot_over(names: &[String], labels: [&str; 3], curves: &[Curve]) -> String {
    let ticks = (1..).zip(names).map(|(place, name)| (f64::from(place), name.clone()));
    lines(labels, curves, Some(ticks.collect()))
}

fn lines(
    [title, x_label, y_label]: [&str; 3],
    curves: &[Curve],
    ticks: Option<Vec<(f64, String)>>,
) -> String {
    let layers = curves.iter().cloned().enumerate().map(|(index, curve)| Layer::line(index, curve));
    let x = Axis { ticks, ..Axis::from_zero(x_label) };
    let y = Axis::from_zero(y_label);
    Chart { title: title.to_owned(), x, y, layers: layers.collect() }.svg()
}

/// Where values lie on the paper.
struct Plot {
    right: f64,
    bottom: f64,
    x: Range,
    y: Range,
}

impl Plot {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.right - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.place(value) * (self.bottom - TOP)
    }

    fn frame(&self, svg: &mut Svg, chart: &Chart) {
        svg.text((MARGIN, 24.0), r#"font-size="16" font-weight="600""#, &chart.title);
        svg.text((MARGIN, 43.0), &format!(r#"fill="{GREY}""#), &chart.y.label);
        let look = format!(r#"text-anchor="middle" fill="{GREY}""#);
        let middle = f64::midpoint(LEFT, self.right);
        svg.text((middle, self.bottom + 36.0), &look, &chart.x.label);
        for (value, name) in &self.y.ticks {
            let y = self.y(*value);
            svg.path(&format!("M{LEFT} {y:.1}H{:.1}", self.right), r##"stroke="#e5e7eb""##);
            svg.text((LEFT - 7.0, y + 4.0), r#"text-anchor="end""#, name);
        }
        let width = (self.right - LEFT) / self.x.ticks.len().max(1) as f64;
        for (value, name) in &self.x.ticks {
            let x = self.x(*value);
            svg.path(&format!("M{x:.1} {:.1}v4", self.bottom), &format!(r#"stroke="{GREY}""#));
            // Names that would run into each other stand in a smaller size.
            let small = if svg::width(name) > width { 9.0 } else { 12.0 };
            let look = format!(r#"text-anchor="middle" font-size="{small}""#);
            svg.text((x, self.bottom + 18.0), &look, name);
        }
        let base = format!("M{LEFT} {:.1}H{:.1}", self.bottom, self.right);
        svg.path(&base, &format!(r#"stroke="{GREY}""#));
    }

    fn layer(&self, svg: &mut Svg, layer: &Layer) {
        match layer {
            Layer::Line { curve, colour, dash, dots } => {
                self.line(svg, curve, (colour, dash));
                if *dots && curve.points.len() <= DOTS_MAX {
                    self.dots(svg, curve, colour);
                }
            }
            Layer::Guide(curve) => {
                let look = format!(r#"stroke="{GREY}" stroke-dasharray="3 3""#);
                svg.path(&self.through(&curve.points), &look);
            }
            Layer::Stack { parts, columns } => self.stack(svg, parts, columns),
            Layer::Spans { spans, colour } => {
                for (x, low, high) in spans {
                    let (x, low, high) = (self.x(*x), self.y(*low), self.y(*high));
                    let bar = format!(
                        "M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h6m-6 {:.1}h6",
                        x - 3.0,
                        high - low
                    );
                    svg.path(&bar, &format!(r#"stroke="{colour}" stroke-width="1.2""#));
                }
            }
            Layer::Rings(points) => {
                for (x, y) in points {
                    let look = r##"r="7" fill="none" stroke="#b91c1c" stroke-width="1.5""##;
                    svg.dot((self.x(*x), self.y(*y)), look, "not trusted: the client was late");
                }
            }
        }
    }

    fn line(&self, svg: &mut Svg, curve: &Curve, (colour, dash): (&str, &str)) {
        let look = format!(
            r#"stroke="{colour}" stroke-width="2.2" stroke-linejoin="round" stroke-dasharray="{dash}""#
        );
        svg.path(&self.through(&curve.points), &look);
    }

    fn dots(&self, svg: &mut Svg, curve: &Curve, colour: &str) {
        for (x, y) in curve.points.iter().filter(|point| point.1.is_finite()) {
            let says = format!("{}: {} at {}", curve.name, number(*y), number(*x));
            let look = format!(r#"r="3" fill="{colour}""#);
            svg.dot((self.x(*x), self.y(*y)), &look, &says);
        }
    }

    /// A path through points, broken where one is not a number.
    fn through(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut step = 'M';
        for (x, y) in points {
            if x.is_finite() && y.is_finite() {
                path.push_str(&format!("{step}{:.1} {:.1}", self.x(*x), self.y(*y)));
                step = 'L';
            } else {
                step = 'M';
            }
        }
        path
    }

    fn stack(
        &self,
        svg: &mut Svg,
        parts: &[(String, &'static str)],
        columns: &[(f64, f64, Vec<f64>)],
    ) {
        for (index, (name, colour)) in parts.iter().enumerate() {
            let mut path = String::new();
            for (from, to, heights) in columns {
                let below: f64 = heights[..index].iter().sum();
                let (low, high) = (self.y(below), self.y(below + heights[index]));
                if low - high > 0.05 {
                    let (from, to) = (self.x(*from), self.x(*to));
                    path.push_str(&format!("M{from:.1} {low:.1}V{high:.1}H{to:.1}V{low:.1}Z"));
                }
            }
            if !path.is_empty() {
                svg.shape(&path, colour, name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
