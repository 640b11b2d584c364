//! Bars from left to right, each of one or several parts, with their numbers beside them.

use super::svg::{Svg, width};
use super::{GREY, MARGIN, WIDTH, number};

const ROW: f64 = 26.0;
const TOP: f64 = 58.0;
const SHARE_SMALL: f64 = 0.05;
/// Longer names of bars are cut.
const NAME_MAX: usize = 44;

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What stands before it.
    pub name: String,
    /// What it is made of, one value for each part.
    pub values: Vec<f64>,
}

/// Draws bars whose parts have those names and colours; the unit stands below the title.
#[must_use]
pub fn bars(title: &str, unit: &str, parts: &[(&str, &'static str)], bars: &[Bar]) -> String {
    let legend = if parts.len() > 1 { 24.0 } else { 0.0 };
    let height = TOP + legend + bars.len() as f64 * ROW + 12.0;
    let mut svg = Svg::new(WIDTH, height, title);
    svg.text((MARGIN, 24.0), r#"font-size="16" font-weight="600""#, title);
    svg.text((MARGIN, 43.0), &format!(r#"fill="{GREY}""#), unit);
    if parts.len() > 1 {
        let mut x = MARGIN;
        for (name, colour) in parts {
            svg.shape(&format!("M{x:.1} {:.1}h10v10h-10Z", TOP + 2.0), colour, name);
            svg.text((x + 15.0, TOP + 11.0), "", name);
            x += 34.0 + width(name);
        }
    }
    let names: Vec<String> = bars.iter().map(|bar| cut(&bar.name)).collect();
    let total = |bar: &Bar| bar.values.iter().sum::<f64>();
    let largest = bars.iter().map(total).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let left = 16.0 + names.iter().map(|name| width(name)).fold(0.0, f64::max);
    let room = WIDTH - left - 84.0;
    for (index, (bar, name)) in bars.iter().zip(&names).enumerate() {
        let y = TOP + legend + index as f64 * ROW;
        svg.text((left - 8.0, y + 16.0), r#"text-anchor="end""#, name);
        let mut x = left;
        for ((part, colour), value) in parts.iter().zip(&bar.values) {
            let long = value / largest * room;
            let says = format!("{part}: {}", number(*value));
            svg.shape(&format!("M{x:.1} {:.1}h{long:.2}v18h-{long:.2}Z", y + 3.0), colour, &says);
            let inside = number(*value);
            let alone = *value >= total(bar);
            if !alone && value / largest > SHARE_SMALL && width(&inside) < long {
                let look = r#"text-anchor="middle" fill="white""#;
                svg.text((x + long / 2.0, y + 16.0), look, &inside);
            }
            x += long;
        }
        svg.text((x + 7.0, y + 16.0), r#"font-weight="600""#, &number(total(bar)));
    }
    svg.end()
}

fn cut(name: &str) -> String {
    let long = name.chars().count() > NAME_MAX;
    if long { name.chars().take(NAME_MAX - 1).chain(['…']).collect() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_say_them() {
        let bar = |name: &str, value| Bar { name: name.into(), values: vec![value] };
        let svg =
            bars("Refused", "requests", &[("", "#000000")], &[bar("a<b", 50.0), bar("b", 25.0)]);
        let long = |svg: &str, index: usize| -> f64 {
            let path = svg.lines().filter(|line| line.contains("v18")).nth(index).unwrap();
            path.split('h').nth(2).unwrap().split('v').next().unwrap().parse().unwrap()
        };
        assert!((long(&svg, 0) / long(&svg, 1) - 2.0).abs() < 0.01, "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains(">50</text>") && svg.contains(">25</text>"));
    }
}
