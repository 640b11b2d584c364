//! How a task's request is answered by more than one variant: which are asked, and when they are sure enough.

use std::sync::Arc;

use batcher::Instant;
use models::{Accuracy, AnswerMode, Confidence, EnsembleRules, Goals};
use router::compose::Compose;
use router::compose::cascade::{Cascade, Stage};
use router::compose::ensemble::{Ballots, Ensemble, Voter};
use router::compose::hedge::Hedge;

use super::{Coding, Task};
use crate::votes::Ballot;

/// What is asked for one request.
#[derive(Clone, Debug)]
pub struct Composition {
    form: Form,
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
        match &self.form {
            Form::Cascade(stages) => Box::new(Cascade::new(stages.clone(), rows, until)),
            Form::Ensemble(ballots) => Box::new(Ensemble::new(ballots.clone(), rows, until)),
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
        let claim = self.claim(&self.members[coding.model]);
        goals.allow(claim.accuracy, claim.cost).then(|| Arc::clone(coding))
    }

    fn cascade(&self, goals: Goals) -> Option<Composition> {
        let ballot = self.ballot()?;
        let tier = self.settings.tier(&goals)?;
        let stage = |stage: &models::StageClaim| {
            let threshold = stage.threshold.as_ref().map(|threshold| *threshold.get_ref());
            let threshold = threshold.unwrap_or(Confidence::NONE);
            Some(Stage { member: self.affordable(stage.model.get_ref(), goals)?, threshold })
        };
        let stages: Vec<Stage> = tier.stages.iter().filter_map(stage).collect();
        let whole = stages.len() == tier.stages.len();
        // Without some of them it is not known what the others' answers are worth.
        let accuracy = whole.then_some(tier.accuracy);
        let promised = whole || goals.min_accuracy.is_none();
        let form = Form::Cascade(stages.clone());
        (promised && !stages.is_empty()).then_some(Composition {
            form,
            ballot: Some(ballot),
            accuracy,
        })
    }

    fn ensemble(&self, goals: Goals) -> Option<Composition> {
        let ballot = self.ballot()?;
        let rules = self.settings.ensemble.as_ref()?;
        let EnsembleRules { members, at_once, agreement, accuracy, .. } = rules;
        let voter = |voter: &models::VoterClaim| {
            let member = self.affordable(voter.model.get_ref(), goals)?;
            Some(Voter { member, weight: self.settings.weight(voter) })
        };
        let voters: Vec<Voter> = members.iter().filter_map(voter).collect();
        let whole = voters.len() == members.len();
        let accuracy = Some(*accuracy).filter(|_| whole);
        let promised = goals.min_accuracy.is_none_or(|min| accuracy >= Some(min));
        let at_once = at_once.map_or(voters.len(), |at_once| at_once.get() as usize);
        let several = voters.len() > 1;
        let form = Form::Ensemble(Ballots { voters, at_once, agreement: *agreement });
        (promised && several).then_some(Composition { form, ballot: Some(ballot), accuracy })
    }

    fn hedged(&self, goals: Goals) -> Option<Composition> {
        let patience = *self.settings.hedge.as_ref()?.patience.get_ref();
        let goals = self.bounded(goals);
        let form = Form::Hedge([goals, goals.at_once()], patience);
        Some(Composition { form, ballot: None, accuracy: None })
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

    /// The member of that model, if it is served and cheap enough.
    fn affordable(&self, model: &str, goals: Goals) -> Option<usize> {
        let place = self.settings.place_of(model)?;
        let member = self.members.iter().position(|member| member.place == place)?;
        let claim = self.claim(&self.members[member]);
        goals.max_cost.is_none_or(|most| claim.cost <= most).then_some(member)
    }
}
