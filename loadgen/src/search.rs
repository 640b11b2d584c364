//! The highest load that is still good, by doubling and then bisection over a row of loads of equal ratio.

/// Where good loads end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Border {
    /// The highest load that was found good; none where even the first was bad.
    pub good: Option<f64>,
    /// The lowest load that was found bad; none where the highest allowed was good.
    pub bad: Option<f64>,
}

/// Doublings, upwards or downwards, after which a search gives up: a million times.
const DOUBLINGS_MAX: i32 = 20;

/// Searches from `first` until good and bad loads are within a part `step` of each other. Where good and bad loads
/// alternate, one border between them is found.
///
/// # Errors
/// Those of `good`.
pub fn highest_good<E>(
    first: f64,
    step: f64,
    mut good: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Border, E> {
    // Places on the row of loads: the first is 0.
    let at = |place: i32| first * (1.0 + step).powi(place);
    #[expect(clippy::cast_possible_truncation, reason = "at most some hundred steps")]
    let octave = (2f64.ln() / step.ln_1p()).ceil().max(1.0) as i32;
    let first_good = good(first)?;
    let (mut low, mut high) = (first_good.then_some(0), (!first_good).then_some(0));
    for doubling in 1..=DOUBLINGS_MAX {
        if low.is_some() && high.is_some() {
            break;
        }
        let place = if first_good { octave * doubling } else { -octave * doubling };
        let end = if good(at(place))? { &mut low } else { &mut high };
        *end = Some(place);
    }
    if let (Some(mut below), Some(mut above)) = (low, high) {
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if good(at(middle))? {
                below = middle;
            } else {
                above = middle;
            }
        }
        (low, high) = (Some(below), Some(above));
    }
    Ok(Border { good: low.map(at), bad: high.map(at) })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn search(first: f64, limit: f64) -> (Border, usize) {
        let mut asked = 0;
        let found = highest_good(first, 0.05, |load| {
            asked += 1;
            Ok::<_, Infallible>(load <= limit)
        });
        (found.unwrap(), asked)
    }

    #[test]
    fn the_border_is_found_from_below_and_from_above() {
        for first in [10.0, 700.0, 50_000.0] {
            let (Border { good, bad }, asked) = search(first, 1234.0);
            let (good, bad) = (good.unwrap(), bad.unwrap());
            assert!(good <= 1234.0 && bad > 1234.0 && bad / good < 1.0501, "{good} {bad}");
            assert!(asked < 20, "{asked}");
        }
    }

    #[test]
    fn a_server_that_is_never_or_always_good_ends_the_search() {
        let never = search(100.0, 0.0).0;
        assert!(never.good.is_none() && never.bad.is_some());
        let always = search(100.0, f64::INFINITY).0;
        assert!(always.good.is_some() && always.bad.is_none());
    }
}
