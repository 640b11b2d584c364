//! Numbers measured in pairs or in rows: ratios and slopes with their intervals of 95 % confidence.

use crate::Interval;

/// Student's t for 95 % on both sides, by degrees of freedom from 1 (NIST/SEMATECH handbook, table 1.3.6.7.2).
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// For more: that of the normal distribution, within 2 %.
const T_95_MANY: f64 = 2.0;

fn t_95(freedom: usize) -> Option<f64> {
    let index = freedom.checked_sub(1)?;
    Some(T_95.get(index).copied().unwrap_or(T_95_MANY))
}

/// A number and how well it is known; no interval where there are too few measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Where the true one lies.
    pub interval: Option<Interval>,
}

/// How many times the first of each pair is the second: the geometric mean, which treats both alike. None where a
/// number is not above 0.
#[must_use]
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Estimate> {
    if pairs.is_empty() || pairs.iter().any(|(one, other)| !(*one > 0.0 && *other > 0.0)) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(one, other)| (one / other).ln()).collect();
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let interval = t_95(logs.len() - 1).map(|t| {
        let half = t * (squares / (count - 1.0) / count).sqrt();
        Interval { low: (mean - half).exp(), high: (mean + half).exp() }
    });
    Some(Estimate { value: mean.exp(), interval })
}

/// How much the second number of points rises with the first: least squares. None where all have the same place.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<Estimate> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if points.len() < 2 || spread <= 0.0 {
        return None;
    }
    let together: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let value = together / spread;
    let rest: f64 = points.iter().map(|(x, y)| (y - y_mean - value * (x - x_mean)).powi(2)).sum();
    let interval = t_95(points.len().saturating_sub(2)).map(|t| {
        let half = t * (rest / (count - 2.0) / spread).sqrt();
        Interval { low: value - half, high: value + half }
    });
    Some(Estimate { value, interval })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn a_ratio_is_the_same_whichever_side_is_named_first() {
        let pairs = [(2.0, 1.0), (8.0, 1.0)];
        let turned = pairs.map(|(one, other)| (other, one));
        let (there, back) = (ratio(&pairs).unwrap(), ratio(&turned).unwrap());
        assert!((there.value - 4.0).abs() < 1e-9 && (there.value * back.value - 1.0).abs() < 1e-9);
        let (one, other) = (there.interval.unwrap(), back.interval.unwrap());
        assert!((one.low * other.high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn intervals_hold_the_truth_in_about_95_of_100_cases() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        // The sum of twelve uniform numbers less 6 is nearly normal.
        let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let holds = |estimate: Estimate, truth: f64| {
            let Interval { low, high } = estimate.interval.unwrap();
            u32::from(low <= truth && truth <= high)
        };
        let (mut ratios, mut slopes) = (0, 0);
        for _ in 0..2000 {
            let pairs: Vec<_> =
                (0..5).map(|_| ((0.2 * noise()).exp() * 3.0, (0.1 * noise()).exp())).collect();
            ratios += holds(ratio(&pairs).unwrap(), 3.0);
            let points: Vec<_> =
                (0..8).map(|x| (f64::from(x), 7.0 - 2.0 * f64::from(x) + noise())).collect();
            slopes += holds(slope(&points).unwrap(), -2.0);
        }
        for held in [ratios, slopes] {
            assert!((1860..=1940).contains(&held), "{ratios} {slopes}");
        }
    }

    #[test]
    fn too_little_gives_no_interval_or_nothing() {
        assert_eq!(ratio(&[(3.0, 1.0)]).unwrap().interval, None);
        assert_eq!(ratio(&[(3.0, 1.0), (0.0, 1.0)]), None);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0)]), Some(Estimate { value: 2.0, interval: None }));
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 3.0)]), None);
    }
}
