use std::collections::BTreeSet;

use super::*;

fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
    Curve { name: name.into(), points: points.to_vec() }
}

/// The ends of all lines with that look, from the left.
fn path<'a>(svg: &'a str, look: &str) -> &'a str {
    let line = svg.lines().find(|line| line.contains(look)).unwrap();
    line.split('"').nth(1).unwrap()
}

#[test]
fn the_largest_value_lies_on_the_plot() {
    let svg = plot("Goodput", "offered", "answers/s", &[curve("g", &[(0.0, 0.0), (3.0, 100.0)])]);
    // From the corner of the axes to the upper right end: 24 and 7.5 pixels are left for the name.
    assert_eq!(path(&svg, "stroke-width=\"2.2\""), "M58.0 314.0L608.5 62.0", "{svg}");
}

#[test]
fn names_stand_at_their_places() {
    let svg = plot_over(
        &["low".into(), "high".into()],
        ["t", "x", "y"],
        &[curve("", &[(1.0, 1.0), (2.0, 1.0)])],
    );
    // 1 and 2 of 2.5 to the right, of 558 pixels.
    assert_eq!(path(&svg, "stroke-width=\"2.2\""), "M281.2 62.0L504.4 62.0", "{svg}");
    assert!(svg.contains(r#"<text x="504.4" y="332.0" text-anchor="middle" font-size="12">high<"#));
}

#[test]
fn each_curve_has_a_look_of_its_own_and_a_name_that_no_other_covers() {
    let curves: Vec<Curve> =
        (0..20).map(|index| curve(&format!("<{index}>"), &[(1.0, 1.0)])).collect();
    let svg = plot("t", "x", "y", &curves);
    let drawn = svg.lines().filter(|line| line.contains("stroke-width=\"2.2\""));
    let looks: BTreeSet<_> = drawn.map(|line| line.split("stroke=").nth(1)).collect();
    assert_eq!(looks.len(), 20);
    let names = svg.lines().filter(|line| line.contains("&gt;</text>"));
    let mut places: Vec<f64> =
        names.map(|line| line.split('"').nth(3).unwrap().parse().unwrap()).collect();
    places.sort_by(f64::total_cmp);
    assert_eq!(places.len(), 20);
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 13.0), "{places:?}");
    assert!(places[0] > TOP - 14.0, "{places:?}");
}

#[test]
fn a_line_is_broken_where_a_value_is_missing() {
    let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0)];
    let svg = plot("t", "x", "y", &[curve("", &points)]);
    assert_eq!(path(&svg, "stroke-width=\"2.2\"").matches('M').count(), 2);
    assert!(!svg.contains("NaN"));
}

#[test]
fn parts_of_a_column_lie_on_each_other() {
    let stack = Layer::Stack {
        parts: vec![("one".into(), "#111111"), ("two".into(), "#222222")],
        columns: vec![(0.0, 1.0, vec![3.0, 1.0])],
    };
    let (x, y) = (Axis::from_zero("s"), Axis::from_zero("requests"));
    let svg = Chart { title: "t".into(), x, y, layers: vec![stack] }.svg();
    // 252 pixels for 4: the first from the base up to 3, the second from there to the top.
    assert!(path(&svg, "#111111").contains(" 314.0V125.0"), "{svg}");
    assert!(path(&svg, "#222222").contains(" 125.0V62.0"), "{svg}");
}
