//! Requests to a linear model that share parity requests, decided by the server's own coder (`router::compose::coded`).
//!
//! Adding inputs up and taking answers apart is exact and takes no time.

use std::collections::BTreeMap;

use batcher::{Deadline, Instant, Request, RequestId};
use models::TaskId;
use router::compose::coded::{CodedStep, Coder, GroupId, Own, Seat, Terms};
use router::{Event, Rejection};

use super::arrivals::Wanted;
use super::part::{Part, Told};
use super::{Happening, World, variant};
use crate::Violation;

/// Requests of coded tasks are of this shape: only those of one shape can be added up.
const SHAPE: u32 = 1;

/// The requests of a coded task that are under way.
pub(super) struct Coded {
    coder: Coder,
    /// Who answers requests, and who parity requests.
    model: usize,
    parity: usize,
    next: u64,
    seats: BTreeMap<Seat, Seated>,
    /// Parity requests that may still be needed.
    parities: BTreeMap<GroupId, RequestId>,
}

struct Seated {
    /// Its own ask.
    id: RequestId,
    arrived: Instant,
    deadline: Deadline,
    /// The share of its rows that the model is right about.
    right: f64,
    /// The coder has it: its answer may be reconstructed.
    coded: bool,
    lost: Option<Loss>,
}

/// Why a request's own ask has no answer; a batch that failed has no reason.
#[derive(Clone, Copy)]
struct Loss(Option<Rejection>);

impl Coded {
    pub(super) fn new([model, parity]: [usize; 2], group: usize) -> Self {
        let coder = Coder::new(group);
        Self { coder, model, parity, next: 0, seats: BTreeMap::new(), parities: BTreeMap::new() }
    }

    /// How many requests have no end.
    pub(super) fn open(&self) -> usize {
        self.seats.len()
    }
}

impl World {
    /// A request comes whose rows are so hard.
    pub(super) fn ask_coded(
        &mut self,
        task: TaskId,
        wanted: &Wanted,
        difficulties: &[f64],
    ) -> Result<(), Violation> {
        let Wanted { rows, priority, slo, .. } = *wanted;
        let deadline = slo.map_or(Deadline::NONE, |slo| Deadline(self.now + slo));
        let (id, arrived) = (RequestId(self.request_next), self.now);
        let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
        let (seat, model) = (Seat(coded.next), coded.model);
        coded.next += 1;
        let limit = self.models[model].accuracy();
        let right = difficulties.iter().filter(|difficulty| **difficulty < limit).count();
        let right = right as f64 / difficulties.len() as f64;
        let seated = Seated { id, arrived, deadline, right, coded: false, lost: None };
        coded.seats.insert(seat, seated);
        let request = Request { id, rows, priority, arrived, deadline };
        self.ask_member(task, (model, Part::Seat { task, seat }), request)?;
        // Refused at the door: nobody can count on it.
        if self.asked.get(id.0).is_none() {
            return Ok(());
        }
        let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
        if let Some(seated) = coded.seats.get_mut(&seat) {
            seated.coded = true;
        }
        coded.coder.enter(seat, Terms { rows, priority, deadline });
        self.play_coded(task)
    }

    fn ask_member(
        &mut self,
        task: TaskId,
        (model, part): (usize, Part),
        request: Request,
    ) -> Result<(), Violation> {
        let row = self.compositions.row(task);
        self.report.models[row].asked += u64::from(self.now >= self.counted_from);
        self.ask_variant((model, part), request, SHAPE, |request, shape| Event::RequestArrived {
            request,
            variant: variant(model),
            shape,
        })
    }

    /// Something became of a request's own ask.
    pub(super) fn told_seat(
        &mut self,
        task: TaskId,
        seat: Seat,
        told: Told,
    ) -> Result<(), Violation> {
        let loss = match told {
            Told::Entered(_) => return Ok(()),
            Told::Answered => None,
            Told::Refused(rejection) => Some(Loss(Some(rejection))),
            Told::Failed => Some(Loss(None)),
        };
        let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
        coded.coder.heard(seat, if loss.is_some() { Own::Lost } else { Own::Answered });
        if loss.is_none() {
            self.answer_seat(task, seat);
        } else if let Some(seated) = coded.seats.get_mut(&seat) {
            seated.lost = loss;
            let (alone, deadline) = (!seated.coded, seated.deadline);
            if alone {
                self.lose_seat(task, seat);
            } else if deadline < Deadline::NONE {
                let at = deadline.0.max(self.now);
                self.push(at, Happening::LastMoment { task, seat });
            }
        }
        self.play_coded(task)
    }

    /// Something became of a parity request.
    pub(super) fn told_parity(
        &mut self,
        task: TaskId,
        group: GroupId,
        told: Told,
    ) -> Result<(), Violation> {
        let answered = match told {
            Told::Entered(_) => return Ok(()),
            Told::Answered => true,
            Told::Refused(_) | Told::Failed => false,
        };
        let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
        coded.coder.parity(group, answered);
        self.play_coded(task)
    }

    /// A request whose own ask was lost is of no use from now on.
    pub(super) fn last_moment(&mut self, task: TaskId, seat: Seat) -> Result<(), Violation> {
        self.lose_seat(task, seat);
        let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
        coded.coder.heard(seat, Own::Left);
        self.play_coded(task)
    }

    fn play_coded(&mut self, task: TaskId) -> Result<(), Violation> {
        loop {
            let Some(coded) = self.compositions.coded(task) else { return Ok(()) };
            match coded.coder.poll_step() {
                None => return Ok(()),
                Some(CodedStep::AskParity { group, terms, .. }) => {
                    let (id, model) = (RequestId(self.request_next), coded.parity);
                    coded.parities.insert(group, id);
                    let Terms { rows, priority, deadline } = terms;
                    let request = Request { id, rows, priority, arrived: self.now, deadline };
                    self.ask_member(task, (model, Part::Parity { task, group }), request)?;
                }
                Some(CodedStep::ForgetParity(group)) => {
                    if let Some(id) = coded.parities.remove(&group) {
                        self.cancel_part(id)?;
                    }
                }
                Some(CodedStep::Decode { missing, .. }) => {
                    let own = coded.seats.get(&missing).map(|seated| seated.id);
                    let own = own.expect("who is reconstructed has no end");
                    let (counted, row) =
                        (self.answer_seat(task, missing), self.compositions.row(task));
                    self.report.models[row].reconstructed += u64::from(counted);
                    self.cancel_part(own)?;
                }
                Some(CodedStep::Forget(seat)) => {
                    if let Some(seated) = coded.seats.get_mut(&seat) {
                        seated.coded = false;
                        if seated.lost.is_some() {
                            self.lose_seat(task, seat);
                        }
                    }
                }
            }
        }
    }

    /// A request has its answer; says whether it is counted.
    fn answer_seat(&mut self, task: TaskId, seat: Seat) -> bool {
        let seated = self.compositions.coded(task).and_then(|coded| coded.seats.remove(&seat));
        let Some(Seated { arrived, deadline, right, .. }) = seated else { return false };
        let row = self.compositions.row(task);
        self.count_answer(row, (arrived, deadline), right);
        arrived >= self.counted_from
    }

    /// A request will have no answer.
    fn lose_seat(&mut self, task: TaskId, seat: Seat) {
        let seated = self.compositions.coded(task).and_then(|coded| coded.seats.remove(&seat));
        let Some(Seated { arrived, lost: Some(Loss(why)), .. }) = seated else { return };
        let row = self.compositions.row(task);
        self.count_loss(row, arrived, why);
    }
}
