//! Names at the right end of what they name, moved apart where they would lie on each other.

use super::svg::{Svg, width};
use super::{GREY, Layer, Plot};

/// Height of a line of text.
const STEP: f64 = 14.0;
/// Longer names are cut, so that the plot keeps at least half of the width.
const NAME_MAX: usize = 34;

/// A name, its colour and the point it stands for.
pub(super) struct Name {
    text: String,
    colour: &'static str,
    end: (f64, f64),
    /// Which line it names, if one.
    line: Option<usize>,
}

pub(super) fn names(layers: &[Layer]) -> Vec<Name> {
    let mut names = Vec::new();
    let mut lines = 0..;
    for layer in layers {
        match layer {
            Layer::Line { curve, colour, .. } => {
                let name = Name::new(&curve.name, colour, last(&curve.points));
                names.push(Name { line: lines.next(), ..name });
            }
            Layer::Guide(curve) => names.push(Name::new(&curve.name, GREY, last(&curve.points))),
            Layer::Stack { parts, columns } => {
                for (index, (name, colour)) in parts.iter().enumerate() {
                    if !columns.iter().any(|column| column.2[index] > 0.0) {
                        continue;
                    }
                    let end = columns.last().map(|(_, to, heights)| {
                        let below: f64 = heights[..index].iter().sum();
                        (*to, below + heights[index] / 2.0)
                    });
                    names.push(Name::new(name, colour, end));
                }
            }
            Layer::Spans { .. } | Layer::Rings(_) => {}
        }
    }
    names.retain(|name| !name.text.is_empty());
    names
}

fn last(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    points.iter().rev().find(|point| point.1.is_finite()).copied()
}

/// The room that so many names need.
pub(super) fn height(names: usize) -> f64 {
    names as f64 * STEP
}

/// The room that names need beside the plot.
pub(super) fn width_of(names: &[Name]) -> f64 {
    24.0 + names.iter().map(|name| width(&name.text)).fold(0.0, f64::max)
}

pub(super) fn draw(svg: &mut Svg, plot: &Plot, names: &[Name]) {
    let wanted = |name: &Name| plot.y(name.end.1);
    let mut order: Vec<&Name> = names.iter().collect();
    order.sort_by(|one, other| wanted(one).total_cmp(&wanted(other)));
    let mut places: Vec<f64> = Vec::new();
    for name in &order {
        let above = places.last().map_or(f64::MIN, |above| above + STEP);
        places.push(wanted(name).max(above));
    }
    // What was pushed out below is pushed back up.
    let mut lowest = plot.bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(lowest);
        lowest = *place - STEP;
    }
    for (name, y) in order.into_iter().zip(places) {
        let (x, end) = (plot.right, plot.x(name.end.0));
        if let Some(line) = name.line {
            svg.open("name", line);
        }
        let leader = format!("M{end:.1} {:.1}L{:.1} {y:.1}", wanted(name), x + 8.0);
        svg.path(&leader, &format!(r#"stroke="{}" stroke-width="0.6" opacity="0.6""#, name.colour));
        svg.text((x + 11.0, y + 4.0), &format!(r#"fill="{}""#, name.colour), &name.text);
        if name.line.is_some() {
            svg.close();
        }
    }
}

impl Name {
    fn new(text: &str, colour: &'static str, end: Option<(f64, f64)>) -> Self {
        let cut = text.chars().count() > NAME_MAX;
        let text = if cut {
            text.chars().take(NAME_MAX - 1).chain(['…']).collect()
        } else {
            text.to_owned()
        };
        Self { text, colour, end: end.unwrap_or_default(), line: None }
    }
}
