//! The bars that measurements are held against.

/// What a measurement must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// No more than that.
    AtMost(f64),
    /// No less than that.
    AtLeast(f64),
}

/// One line that says whether a measurement reached its bar, and whether it did.
#[must_use]
pub fn verdict(what: &str, found: f64, bar: Bar) -> (String, bool) {
    let (reached, bar) = match bar {
        Bar::AtMost(bar) => (found <= bar, format!("<= {bar}")),
        Bar::AtLeast(bar) => (found >= bar, format!(">= {bar}")),
    };
    (format!("{} {what}: {found:.3} ({bar})", if reached { "PASS " } else { "short" }), reached)
}

/// The median; of an even number the upper one. 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_reached_on_its_own_side() {
        assert!(verdict("cost", 1.6, Bar::AtMost(1.6)).1);
        assert!(!verdict("cost", 1.7, Bar::AtMost(1.6)).1);
        assert!(verdict("efficiency", 0.95, Bar::AtLeast(0.92)).1);
        assert!(!verdict("efficiency", f64::NAN, Bar::AtLeast(0.92)).1);
    }

    #[test]
    fn the_median_ignores_the_order() {
        assert!((median(&[9.0, 1.0, 3.0]) - 3.0).abs() < f64::EPSILON);
    }
}
