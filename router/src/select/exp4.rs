//! Draws among the variants that other policies advise, those policies the more often whose advice clients found good.
//!
//! Clipper (NSDI'17) weighs the members of an ensemble by Exp4 (Auer et al. 2002). Here one variant answers, and the
//! experts are the other policies: which of them suits a task depends on its load and on how wrong the claimed accuracies
//! are, and no operator knows both. Weights are learnt as in `exp3`; an answer's loss is that of all who advised it.

use rand_pcg::Pcg64Mcg;

use super::hedge::{self, Stake};
use super::{Ask, Because, Draw, Prospect, Run, Select, SelectEntry, Verdict};
use super::{cheapest, expected_accuracy, fastest, fixed, most_accurate_in_time, slack_buckets};

pub(super) const ENTRY: SelectEntry = SelectEntry {
    name: "exp4",
    summary: "one drawn among those that the other policies would choose, policies weighed by the loss clients report of what they advised",
    source: "Exp4 (Auer et al. 2002) in Clipper (NSDI'17), with policies as its experts",
    because: Because::Drawn,
    build: || Box::new(Exp4::new()),
};

/// Whose advice is weighed.
const EXPERTS: [SelectEntry; 6] = [
    most_accurate_in_time::ENTRY,
    slack_buckets::ENTRY,
    expected_accuracy::ENTRY,
    cheapest::ENTRY,
    fastest::ENTRY,
    fixed::ENTRY,
];

struct Exp4 {
    random: Pcg64Mcg,
    experts: [Box<dyn Select>; EXPERTS.len()],
    stakes: [Stake; EXPERTS.len()],
    /// The variants that may answer, those advised, each with who did, and their weights: memory that is used again.
    prospects: Vec<Prospect>,
    advised: Vec<(Prospect, u32)>,
    weights: Vec<f64>,
    drawn: Option<Draw>,
}

impl Exp4 {
    fn new() -> Self {
        let even = 1.0 / EXPERTS.len() as f64;
        Self {
            random: hedge::generator(0),
            experts: EXPERTS.map(|entry| (entry.build)()),
            stakes: [Stake::new(even, 0.0); EXPERTS.len()],
            prospects: Vec::new(),
            advised: Vec::new(),
            weights: Vec::new(),
            drawn: None,
        }
    }

    fn note(&mut self, advice: Prospect, expert: usize) {
        let weight = self.stakes[expert].weight;
        let same = |(known, _): &(Prospect, u32)| known.variant == advice.variant;
        match self.advised.iter().position(same) {
            Some(place) => {
                self.advised[place].1 |= 1 << expert;
                self.weights[place] += weight;
            }
            None => {
                self.advised.push((advice, 1 << expert));
                self.weights.push(weight);
            }
        }
    }
}

impl Exp4 {
    fn draw(
        &mut self,
        ask: &mut Ask<'_>,
        advice: fn(&mut dyn Select, &mut Ask<'_>) -> Option<Prospect>,
    ) -> Option<Prospect> {
        self.prospects.clear();
        self.prospects.extend(&mut *ask.prospects);
        self.advised.clear();
        self.weights.clear();
        for expert in 0..EXPERTS.len() {
            let mut prospects = self.prospects.iter().copied();
            let mut ask = Ask { budget: ask.budget, prospects: &mut prospects };
            if let Some(advice) = advice(&mut *self.experts[expert], &mut ask) {
                self.note(advice, expert);
            }
        }
        let drawn = hedge::draw(&self.weights, &mut self.random);
        let chosen = drawn.map(|(place, chance)| (self.advised[place], chance));
        self.drawn = chosen.map(|((_, advised), chance)| Draw { chance, advised });
        chosen.map(|((prospect, _), _)| prospect)
    }
}

impl Select for Exp4 {
    fn choose(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        self.draw(ask, |expert, ask| expert.choose(ask))
    }

    fn peek(&mut self, ask: &mut Ask<'_>) -> Option<Prospect> {
        let before = (self.random.clone(), self.drawn);
        let found = self.draw(ask, |expert, ask| expert.peek(ask));
        (self.random, self.drawn) = before;
        found
    }

    fn ran(&mut self, run: Run) {
        self.experts.iter_mut().for_each(|expert| expert.ran(run));
    }

    fn seed(&mut self, seed: u64) {
        self.random = hedge::generator(seed);
    }

    fn drawn(&self) -> Option<Draw> {
        self.drawn
    }

    fn told(&mut self, verdict: &Verdict) {
        let Some(Draw { chance, advised }) = verdict.draw else { return };
        hedge::learn(&mut self.stakes, |expert| advised & (1 << expert) != 0, chance, verdict.loss);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use models::VariantId;

    use super::*;
    use crate::select::cases::prospects;

    #[test]
    fn the_policy_whose_advice_turns_out_well_is_followed() {
        let mut policy = Exp4::new();
        // The most accurate by its claim is wrong half of the time, the one that the operator lists first is not.
        let loss = |variant: VariantId| if variant == VariantId(1) { 0.1 } else { 0.5 };
        let mut last = 0;
        for round in 0..2000 {
            let mut all = prospects(0).into_iter();
            let mut ask = Ask { budget: Duration::from_millis(40), prospects: &mut all };
            let variant = policy.choose(&mut ask).unwrap().variant;
            let loss = loss(variant).try_into().unwrap();
            policy.told(&Verdict { variant, draw: policy.drawn(), loss });
            last += u32::from(round >= 1000 && variant == VariantId(1));
        }
        assert!(last > 900, "{last}");
    }
}
