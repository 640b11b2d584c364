//! How a task's request is answered by more than one variant: which are asked, and when they are sure enough.

use std::sync::Arc;

use batcher::Instant;
use models::{Accuracy, AnswerMode, Confidence, Cost, EnsembleRules, Goals, VariantClaim};
use router::compose::cascade::{Cascade, Stage};
use router::compose::ensemble::{Ballots, Ensemble, Voter};
use router::compose::hedge::Hedge;
use router::compose::{Claim, Compose, Limits};

use super::{Coding, Member, Task};
use crate::votes::Ballot;

/// What is asked for one request.
#[derive(Clone, Debug)]
pub struct Composition {
    form: Form,
    /// What it is held to, but for its end.
    limits: Limits,
    /// How the members' answers say how sure they are; `None` where that is of no matter.
    pub ballot: Option<Ballot>,
    /// How often its answers are right, where nobody was left out.
    pub accuracy: Option<Accuracy>,
}

#[derive(Clone, Debug)]
enum Form {
    Cascade(Vec<Stage>),
    Ensemble(Ballots),
    /// The goals of the first request and of the second.
    Hedge([Goals; 2], f64),
}

impl Composition {
    /// Begins to answer a request of so many rows, for which an answer at hand must be given at `until`.
    #[must_use]
    pub fn begin(&self, rows: u32, until: Instant) -> Box<dyn Compose> {
        let limits = || Limits { until, ..self.limits.clone() };
        match &self.form {
            Form::Cascade(stages) => Box::new(Cascade::new(stages.clone(), rows, limits())),
            Form::Ensemble(ballots) => Box::new(Ensemble::new(ballots.clone(), rows, limits())),
            Form::Hedge(goals, patience) => {
                Box::new(Hedge::new((0..goals.len()).collect(), rows, *patience))
            }
        }
    }

    /// Each answer is one variant's, whoever else was asked.
    #[must_use]
    pub fn of_one(&self) -> bool {
        match self.form {
            Form::Cascade(_) | Form::Ensemble(_) => false,
            Form::Hedge(..) => true,
        }
    }

    /// The members that it may ask, in that order; none where the scheduler chooses them.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        match &self.form {
            Form::Cascade(stages) => stages.iter().map(|stage| stage.member).collect(),
            Form::Ensemble(ballots) => ballots.voters.iter().map(|voter| voter.member).collect(),
            Form::Hedge(..) => Vec::new(),
        }
    }

    /// The goals by which the scheduler chooses whom to ask; `None` where it is the member at that place.
    #[must_use]
    pub fn goals_of(&self, place: usize) -> Option<Goals> {
        match &self.form {
            Form::Cascade(_) | Form::Ensemble(_) => None,
            Form::Hedge(goals, _) => goals.get(place).copied(),
        }
    }
}

impl Task {
    /// How a request with these goals is answered; `None` where one variant does. Those that state an objective are
    /// answered by no cascade and no ensemble.
    #[must_use]
    pub fn composition(&self, asked: Goals) -> Option<Composition> {
        let goals = self.settings.goals(asked);
        match self.settings.task.answer {
            AnswerMode::One | AnswerMode::Coded => None,
            AnswerMode::Hedged => self.hedged(goals),
            AnswerMode::Cascade | AnswerMode::Ensemble if asked.objective.is_some() => None,
            AnswerMode::Cascade => self.cascade(goals),
            AnswerMode::Ensemble => self.ensemble(goals),
        }
    }

    /// The requests among which one with these goals is coded, if it may be answered by the model that they ask and
    /// states no objective.
    #[must_use]
    pub fn coded(&self, asked: Goals) -> Option<Arc<Coding>> {
        let coding = self.coding.as_ref().filter(|_| asked.objective.is_none())?;
        let goals = self.bounded(self.settings.goals(asked));
        let [claim, parity] =
            [coding.model, coding.parity].map(|place| self.claim(&self.members[place]));
        // A request pays for its part of the sum as well.
        let cost = f64::from(claim.cost) + f64::from(parity.cost) / coding.group as f64;
        let cost = Cost::try_from(cost).ok()?;
        goals.allow(claim.accuracy, cost).then(|| Arc::clone(coding))
    }

    fn cascade(&self, goals: Goals) -> Option<Composition> {
        let ballot = self.ballot()?;
        let tier = self.settings.tier(&goals)?;
        let stage = |stage: &models::StageClaim| {
            let threshold = stage.threshold.as_ref().map(|threshold| *threshold.get_ref());
            let threshold = threshold.unwrap_or(Confidence::NONE);
            Some(Stage { member: self.served(stage.model.get_ref())?, threshold })
        };
        let stages: Vec<Stage> = tier.stages.iter().filter_map(stage).collect();
        let limits = self.limits(goals);
        let affordable = limits.affordable(stages.iter().map(|stage| stage.member));
        // Without some of them it is not known what the others' answers are worth.
        let whole = stages.len() == tier.stages.len();
        let promised = goals.min_accuracy.is_none() || (whole && affordable == stages.len());
        (promised && affordable > 0).then_some(Composition {
            form: Form::Cascade(stages),
            limits,
            ballot: Some(ballot),
            accuracy: whole.then_some(tier.accuracy),
        })
    }

    fn ensemble(&self, goals: Goals) -> Option<Composition> {
        let ballot = self.ballot()?;
        let rules = self.settings.ensemble.as_ref()?;
        let EnsembleRules { members, at_once, agreement, accuracy, .. } = rules;
        let voter = |voter: &models::VoterClaim| {
            let member = self.served(voter.model.get_ref())?;
            Some(Voter { member, weight: self.settings.weight(voter) })
        };
        let voters: Vec<Voter> = members.iter().filter_map(voter).collect();
        let limits = self.limits(goals);
        let affordable = limits.affordable(voters.iter().map(|voter| voter.member));
        let whole = voters.len() == members.len();
        let promised = self
            .bounded(goals)
            .min_accuracy
            .is_none_or(|least| whole && affordable == voters.len() && *accuracy >= least);
        let at_once = at_once.map_or(voters.len(), |at_once| at_once.get() as usize);
        (promised && affordable > 1).then_some(Composition {
            form: Form::Ensemble(Ballots { voters, at_once, agreement: *agreement }),
            limits,
            ballot: Some(ballot),
            accuracy: whole.then_some(*accuracy),
        })
    }

    fn hedged(&self, goals: Goals) -> Option<Composition> {
        let patience = *self.settings.hedge.as_ref()?.patience.get_ref();
        let goals = self.bounded(goals);
        let form = Form::Hedge([goals, goals.at_once()], patience);
        Some(Composition { form, limits: self.limits(goals), ballot: None, accuracy: None })
    }

    /// The member that runs fastest, of those beside one that the goals allow.
    #[must_use]
    pub fn fastest_but(&self, one: usize, goals: Goals) -> Option<usize> {
        let members = self.members.iter().enumerate().filter(|(place, member)| {
            let claim = self.claim(member);
            *place != one && goals.allow(claim.accuracy, claim.cost)
        });
        let fastest = members.min_by_key(|(_, member)| member.served.measured.profile.median(1));
        fastest.map(|(place, _)| place)
    }

    /// The same goals, with the accuracy that may be lost as a floor of accuracy: for answers of one variant.
    #[must_use]
    pub fn bounded(&self, mut goals: Goals) -> Goals {
        if let Some(loss) = goals.max_accuracy_loss {
            goals.min_accuracy = goals.min_accuracy.max(Some(self.settings.least_accurate(loss)));
        }
        goals
    }

    fn ballot(&self) -> Option<Ballot> {
        let rules = self.settings.confidence.as_ref()?;
        // Checked as the task was taken into service; its models may have changed since.
        let output = self.settings.check_confidence(self.signature()).ok()??;
        Some(Ballot { output, scores: rules.scores, measure: rules.measure })
    }

    /// What a composition for these goals is held to.
    fn limits(&self, goals: Goals) -> Limits {
        let claim = |member: &Member| {
            let VariantClaim { accuracy, cost, .. } = *self.claim(member);
            Claim { accuracy, cost }
        };
        let claims = self.members.iter().map(claim).collect();
        Limits { until: Instant::NEVER, goals, claims }
    }

    /// The member of that model, if it is served.
    fn served(&self, model: &str) -> Option<usize> {
        let place = self.settings.place_of(model)?;
        self.members.iter().position(|member| member.place == place)
    }
}
