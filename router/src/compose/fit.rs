//! Fits the thresholds of a cascade on labelled rows, so that it loses no more accuracy than allowed, with 95 % confidence.
//!
//! Orders of variants, from the cheapest to the dearest, are tried each along one path: first nearly all rows go on at
//! each stage, then fewer and fewer, for as long as the bound of the loss holds. On such a path no test is spent on
//! thresholds beyond the first that fails (fixed-sequence testing); the risk is shared out among the orders. The bound
//! comes from a bootstrap: of these rows, and of as many fresh ones.

use models::Confidence;

use super::cascade::Stage;

/// What a cascade may lose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Of the best member's right answers, the share that may be lost.
    pub loss: f64,
    /// Probability that the loss on as many fresh rows is within its bound.
    pub confidence: f64,
}

impl Limit {
    /// On fewer rows a cascade that loses nothing there may still lose more elsewhere: `(1 - loss) ^ rows` is the chance.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a saturated count"
    )]
    pub fn rows_min(self) -> usize {
        // Where nothing may be lost the quotient is without bound, whatever the sign of its zero.
        ((1.0 - self.confidence).ln() / (1.0 - self.loss).ln()).abs().ceil() as usize
    }
}

/// The confidence that is usual.
pub const CONFIDENCE: f64 = 0.95;

/// The highest confidence that the resamples of a bootstrap can tell, shared out among all orders.
pub const CONFIDENCE_MAX: f64 = 0.99;

/// Resamples of a bootstrap: the bound of 20 orders is then the 10th largest of them.
const RESAMPLES: usize = 4000;

/// Stages of a cascade: more save next to nothing and wait longer.
const STAGES_MAX: usize = 4;

/// Orders tried: with more, each one's share of the risk is so small that none can pass.
const ORDERS_MAX: usize = 32;

/// Shares of rows that go on at each stage, along a path.
const PATH: [f64; 20] = [
    0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15,
    0.1, 0.05, 0.02,
];

/// What a member says of a labelled row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// How sure it is.
    pub confidence: Confidence,
    /// Whether that is right.
    pub right: bool,
}

/// A member and what it says of all rows.
#[derive(Clone, Debug)]
pub struct Member {
    /// What an answer costs.
    pub cost: f64,
    /// Of each row.
    pub said: Vec<Said>,
}

/// A cascade on labelled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Who is asked.
    pub stages: Vec<Stage>,
    /// The share of rows that reach each stage.
    pub asked: Vec<f64>,
    /// What an answer costs, on average.
    pub cost: f64,
    /// The share of answers that are right.
    pub accuracy: f64,
    /// Of the best member's right answers, the share that is lost.
    pub loss: f64,
    /// What the loss on as many fresh rows is below, with the confidence.
    pub bound: f64,
}

/// The cheapest cascade that loses at most the limit of the accuracy of member `best`; that member alone where there is
/// none. `draw` gives random numbers from 0 to 1.
///
/// # Panics
/// When members said nothing, or not of the same rows.
#[must_use]
pub fn fit(members: &[Member], best: usize, limit: Limit, draw: &mut dyn FnMut() -> f64) -> Fitted {
    let alone = Stage { member: best, threshold: Confidence::NONE };
    let mut cheapest = Measured::of(vec![alone], members, best).fitted(0.0);
    let orders = orders(members, best);
    let risk = (1.0 - limit.confidence) / orders.len().max(1) as f64;
    for order in orders {
        let path: &[f64] = if order.len() > 1 { &PATH } else { &PATH[..1] };
        for &share in path {
            let measured = Measured::of(stages(&order, members, share), members, best);
            let bound = measured.bound(risk, draw);
            if bound > limit.loss {
                break;
            }
            if measured.cost < cheapest.cost {
                cheapest = measured.fitted(bound);
            }
        }
    }
    cheapest
}

/// A given cascade on labelled rows, with the bound of its loss at the confidence.
#[must_use]
pub fn check(
    stages: &[Stage],
    members: &[Member],
    best: usize,
    draw: &mut dyn FnMut() -> f64,
) -> Fitted {
    let measured = Measured::of(stages.to_vec(), members, best);
    let bound = measured.bound(1.0 - CONFIDENCE, draw);
    measured.fitted(bound)
}

fn stages(order: &[usize], members: &[Member], share: f64) -> Vec<Stage> {
    let last = order.len() - 1;
    let stage = |(place, &member): (usize, &usize)| {
        let threshold = match place == last {
            true => Confidence::NONE,
            false => quantile(&members[member].said, share),
        };
        Stage { member, threshold }
    };
    order.iter().enumerate().map(stage).collect()
}

/// The confidence below which that share of the rows is. It looks at no label.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn quantile(said: &[Said], share: f64) -> Confidence {
    let mut all: Vec<_> = said.iter().map(|said| said.confidence).collect();
    all.sort();
    all[((all.len() as f64 * share) as usize).min(all.len() - 1)]
}

/// The ways to ask some of the members that are worth asking, each time the cheapest first; short ones first.
fn orders(members: &[Member], best: usize) -> Vec<Vec<usize>> {
    let front = front(members, best);
    let mut orders: Vec<Vec<usize>> = (1..1_usize << front.len().min(16))
        .map(|set| {
            let chosen = front.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1);
            chosen.map(|(_, &member)| member).collect()
        })
        .filter(|order: &Vec<usize>| order.len() <= STAGES_MAX && *order != [best])
        .collect();
    orders.sort_by_key(Vec::len);
    orders.truncate(ORDERS_MAX);
    orders
}

/// Those that no cheaper one is as accurate as, up to the best one: the cheapest first.
fn front(members: &[Member], best: usize) -> Vec<usize> {
    let mut by_cost: Vec<usize> = (0..members.len()).collect();
    by_cost.sort_by(|&one, &other| members[one].cost.total_cmp(&members[other].cost));
    let right = |member: usize| members[member].said.iter().filter(|said| said.right).count();
    let mut most = None;
    by_cost.retain(|&member| {
        let (own, dearer) = (Some(right(member)), members[member].cost > members[best].cost);
        let worth = member == best || (own > most && !dearer);
        most = most.max(own);
        worth
    });
    by_cost
}

/// What a cascade makes of labelled rows.
struct Measured {
    stages: Vec<Stage>,
    /// Rows that reach each stage.
    asked: Vec<usize>,
    cost: f64,
    rows: usize,
    /// Right by the best member and wrong by the cascade.
    lost: usize,
    /// The other way round.
    won: usize,
    /// Wrong by both.
    wrong: usize,
}

impl Measured {
    fn of(stages: Vec<Stage>, members: &[Member], best: usize) -> Self {
        let rows = members[best].said.len();
        assert!(
            rows > 0 && members.iter().all(|member| member.said.len() == rows),
            "all say the same rows"
        );
        let asked = vec![0; stages.len()];
        let mut measured = Self { stages, asked, cost: 0.0, rows, lost: 0, won: 0, wrong: 0 };
        for (row, best) in members[best].said.iter().enumerate() {
            let mut own = false;
            for (stage, asked) in measured.stages.iter().zip(&mut measured.asked) {
                let Member { cost, said } = &members[stage.member];
                *asked += 1;
                measured.cost += cost / rows as f64;
                own = said[row].right;
                if said[row].confidence >= stage.threshold {
                    break;
                }
            }
            measured.lost += usize::from(best.right && !own);
            measured.won += usize::from(!best.right && own);
            measured.wrong += usize::from(!best.right && !own);
        }
        measured
    }

    fn loss(&self) -> f64 {
        let base = self.rows - self.won - self.wrong;
        relative(self.lost, self.won, base)
    }

    fn fitted(self, bound: f64) -> Fitted {
        let (cost, loss) = (self.cost, self.loss());
        let accuracy = 1.0 - (self.lost + self.wrong) as f64 / self.rows as f64;
        let asked = self.asked.iter().map(|&asked| asked as f64 / self.rows as f64).collect();
        Fitted { stages: self.stages, asked, cost, accuracy, loss, bound }
    }

    /// What the loss on as many fresh rows exceeds only with that probability.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    fn bound(&self, risk: f64, draw: &mut dyn FnMut() -> f64) -> f64 {
        let counts = [self.lost, self.won, self.wrong];
        let mut losses: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let seen = resample(counts, self.rows, draw);
                let [lost, won, wrong] = resample(seen, self.rows, draw);
                relative(lost, won, self.rows - won - wrong)
            })
            .collect();
        losses.sort_by(f64::total_cmp);
        let above = (RESAMPLES as f64 * risk) as usize;
        losses[RESAMPLES - 1 - above.min(RESAMPLES - 1)]
    }
}

fn relative(lost: usize, won: usize, base: usize) -> f64 {
    (lost as f64 - won as f64) / base.max(1) as f64
}

/// As many rows drawn from these with replacement; the counts are of three kinds, the rest is right by both.
fn resample(counts: [usize; 3], rows: usize, draw: &mut dyn FnMut() -> f64) -> [usize; 3] {
    let (mut left, mut of) = (rows, rows);
    counts.map(|count| {
        let drawn = binomial(left, count as f64 / of.max(1) as f64, draw);
        (left, of) = (left - drawn, of - count);
        drawn
    })
}

/// How many of so many succeed, by the gaps between successes: quick where they are rare.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a saturated count")]
fn binomial(trials: usize, share: f64, draw: &mut dyn FnMut() -> f64) -> usize {
    if share <= 0.0 {
        return 0;
    }
    if share >= 1.0 {
        return trials;
    }
    let (mut at, mut successes) = (0, 0);
    loop {
        let gap = (1.0 - draw()).ln() / (1.0 - share).ln();
        at += gap.min(1e15) as usize + 1;
        if at > trials {
            return successes;
        }
        successes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random: a multiplicative generator's upper bits.
    fn draws(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// A cheap member that is right 0.9 of the time and less sure where it is wrong, and a dear one that is right 0.98.
    fn members(rows: usize, seed: u64) -> Vec<Member> {
        let mut draw = draws(seed);
        let mut cheap = Vec::new();
        let mut dear = Vec::new();
        for _ in 0..rows {
            let right = draw() < 0.9;
            let sure = if right { 0.6 + 0.4 * draw() } else { 0.8 * draw() };
            cheap.push(Said { confidence: sure.try_into().unwrap(), right });
            dear.push(Said { confidence: Confidence::FULL, right: draw() < 0.98 });
        }
        vec![Member { cost: 1.0, said: cheap }, Member { cost: 100.0, said: dear }]
    }

    fn limit(loss: f64) -> Limit {
        Limit { loss, confidence: CONFIDENCE }
    }

    #[test]
    fn each_stage_is_asked_for_what_the_one_before_leaves() {
        let members = members(400, 5);
        let threshold = 0.7_f64.try_into().unwrap();
        let last = Stage { member: 1, threshold: Confidence::NONE };
        let stages = [Stage { member: 0, threshold }, last];
        let checked = check(&stages, &members, 1, &mut draws(1));
        let unsure = members[0].said.iter().filter(|said| said.confidence < threshold).count();
        assert_eq!(checked.asked, [1.0, unsure as f64 / 400.0]);
        assert!((checked.cost - (1.0 + 100.0 * checked.asked[1])).abs() < 1e-9, "{checked:?}");
    }

    #[test]
    fn a_smaller_loss_and_a_higher_confidence_take_more_rows() {
        let rows = |loss, confidence| Limit { loss, confidence }.rows_min();
        assert_eq!((rows(0.01, 0.95), rows(0.05, 0.95), rows(0.01, 0.99)), (299, 59, 459));
        assert_eq!(rows(0.0, 0.95), usize::MAX);
    }

    #[test]
    fn what_is_fitted_keeps_its_bound_on_fresh_rows_and_costs_less() {
        let (mut within, mut cost) = (0, 0.0);
        const WORLDS: u64 = 20;
        for seed in 0..WORLDS {
            let fitted = fit(&members(800, seed), 1, limit(0.02), &mut draws(seed));
            assert!(fitted.loss <= fitted.bound && fitted.bound <= 0.02, "{fitted:?}");
            let fresh = check(&fitted.stages, &members(800, 1000 + seed), 1, &mut draws(seed));
            within += u64::from(fresh.loss <= 0.02);
            cost += fitted.cost / WORLDS as f64;
        }
        assert!(within * 100 >= 95 * WORLDS, "{within} of {WORLDS}");
        assert!(cost < 70.0, "{cost}");
    }

    #[test]
    fn where_nothing_may_be_lost_the_best_member_answers_alone() {
        let fitted = fit(&members(100, 1), 1, limit(0.0), &mut draws(1));
        assert!(fitted.cost <= 100.0 && fitted.loss <= 0.0, "{fitted:?}");
    }

    #[test]
    fn members_that_cost_more_and_know_less_are_asked_by_no_cascade() {
        let mut members = members(200, 3);
        let worse = Member { cost: 5.0, said: members[0].said.clone() };
        members.push(worse);
        assert_eq!(front(&members, 1), [0, 1]);
        assert_eq!(orders(&members, 1), [vec![0], vec![0, 1]]);
    }

    #[test]
    fn a_binomial_draw_has_the_mean_it_should() {
        let mut draw = draws(7);
        let mean = (0..2000).map(|_| binomial(50, 0.1, &mut draw)).sum::<usize>() as f64 / 2000.0;
        assert!((mean - 5.0).abs() < 0.2, "{mean}");
        assert_eq!((binomial(9, 0.0, &mut draw), binomial(9, 1.0, &mut draw)), (0, 9));
    }
}
