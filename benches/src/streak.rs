//! Streaks of batches with a late or refused request: how long a policy goes on losing requests before it reacts.

/// The most batches of a streak, from the first with a miss to the last. A miss belongs to the batch that was running when
/// it became known; so many batches in a row without one end a streak. Both lists are instants of one clock, that of
/// batches in order. Nothing is counted before the first miss: what slack swallows costs nobody anything.
#[must_use]
pub fn longest_streak(batches: &[u64], misses: &[u64], clean: usize) -> usize {
    let running = |miss: &u64| batches.partition_point(|end| end < miss);
    let mut places: Vec<usize> = misses.iter().map(running).collect();
    places.sort_unstable();
    let streaks = places.chunk_by(|one, next| next - one <= clean);
    streaks.map(|streak| streak[streak.len() - 1] - streak[0] + 1).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batch n ends at 10 n; a miss of batch n becomes known 5 before.
    fn streak(misses: &[usize]) -> usize {
        let batches: Vec<u64> = (1..=100).map(|batch| 10 * batch).collect();
        let misses: Vec<u64> = misses.iter().map(|&batch| 10 * batch as u64 - 5).collect();
        longest_streak(&batches, &misses, 10)
    }

    #[test]
    fn who_loses_nothing_has_no_streak() {
        assert_eq!(streak(&[]), 0);
    }

    #[test]
    fn a_streak_counts_whenever_it_begins() {
        assert_eq!(streak(&[1, 2, 3]), 3);
        // The slack lasts for 60 batches, in which ten times ten requests are in time.
        assert_eq!(streak(&[60, 61, 61, 63]), 4);
        assert_eq!(streak(&[100]), 1);
    }

    #[test]
    fn misses_now_and_then_are_one_streak_and_far_ones_are_two() {
        let often: Vec<usize> = (1..=100).step_by(6).collect();
        assert_eq!(streak(&often), 97);
        assert_eq!(streak(&[5, 6, 40, 41, 42, 80]), 3);
    }

    #[test]
    fn the_order_in_which_misses_are_given_is_of_no_matter() {
        assert_eq!(streak(&[42, 40, 41]), 3);
    }
}
