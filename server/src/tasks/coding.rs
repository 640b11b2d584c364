//! What is held of a coded task's requests: those that can still help each other, and their parity requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gpu::InputPart;
use metrics::Counter;
use parking_lot::Mutex;
use router::compose::coded::{CodedStep, Coder, GroupId, Own, Seat, Terms};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Member;
use crate::outcome::Answer;
use crate::parity::{self, Numbers};

/// The requests of a coded task that are under way, and what became of those that others may need.
#[derive(Debug)]
pub struct Coding {
    /// Who answers requests: a place among the members.
    pub model: usize,
    /// Who answers parity requests.
    pub parity: usize,
    /// How many requests share one.
    pub group: usize,
    /// Requests whose answer was reconstructed.
    pub reconstructed: Counter,
    /// The model's answer to a row of zeros.
    zero: Arc<Numbers>,
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    coder: Coder,
    next: u64,
    held: BTreeMap<Seat, Held>,
    parities: BTreeMap<GroupId, Parity>,
}

/// One request.
#[derive(Debug)]
pub struct Held {
    /// Its tensors.
    pub part: InputPart,
    /// Whether a parity request was made of it.
    pub shared: Arc<AtomicBool>,
    /// Who waits for its reconstruction.
    pub waits: oneshot::Sender<Answer>,
    /// Its own answer.
    pub answer: Option<Answer>,
}

#[derive(Debug)]
enum Parity {
    Asked(AbortHandle),
    Answered(Answer),
}

/// A parity request to be made.
#[derive(Debug)]
pub struct Wanted {
    /// For which group.
    pub group: GroupId,
    /// What is to be added up.
    pub parts: Vec<InputPart>,
    /// How urgent it is.
    pub terms: Terms,
    /// Told of each of them once it is made.
    pub shared: Vec<Arc<AtomicBool>>,
}

/// What a room's coder wants done outside.
#[derive(Default)]
struct Played {
    wanted: Vec<Wanted>,
    due: Vec<Due>,
}

/// An answer to be reconstructed.
struct Due {
    sum: Answer,
    others: Vec<Answer>,
    waits: oneshot::Sender<Answer>,
}

impl Coding {
    pub(super) fn new(
        [model, parity]: [usize; 2],
        group: usize,
        zero: Arc<Numbers>,
        reconstructed: Counter,
    ) -> Self {
        let coder = Coder::new(group);
        let room = Room { coder, next: 0, held: BTreeMap::new(), parities: BTreeMap::new() };
        Self { model, parity, group, reconstructed, zero, room: Mutex::new(room) }
    }

    /// A request is under way. `ask` begins a parity request.
    pub fn enter(&self, held: Held, terms: Terms, ask: &dyn Fn(Wanted) -> AbortHandle) -> Seat {
        let mut room = self.room.lock();
        let seat = Seat(room.next);
        room.next += 1;
        room.held.insert(seat, held);
        room.coder.enter(seat, terms);
        for wanted in room.play().wanted {
            let group = wanted.group;
            let asked = Parity::Asked(ask(wanted));
            room.parities.insert(group, asked);
        }
        seat
    }

    /// Something became of a request's own ask.
    pub fn heard(&self, seat: Seat, own: Result<Answer, Own>, members: &[Member]) {
        let mut room = self.room.lock();
        let own = match own {
            Err(own) => own,
            Ok(answer) => {
                if let Some(held) = room.held.get_mut(&seat) {
                    held.answer = Some(answer);
                }
                Own::Answered
            }
        };
        room.coder.heard(seat, own);
        let Played { due, .. } = room.play();
        drop(room);
        self.settle(due, members);
    }

    /// Something became of a parity request.
    pub fn parity(&self, group: GroupId, answer: Option<Answer>, members: &[Member]) {
        let mut room = self.room.lock();
        let answered = answer.is_some();
        if let (Some(parity), Some(answer)) = (room.parities.get_mut(&group), answer) {
            *parity = Parity::Answered(answer);
        }
        room.coder.parity(group, answered);
        let Played { due, .. } = room.play();
        drop(room);
        self.settle(due, members);
    }

    /// Hands out what can be reconstructed.
    fn settle(&self, due: Vec<Due>, members: &[Member]) {
        for Due { sum, others, waits } in due {
            let (model, parity) = (&members[self.model].served, &members[self.parity].served);
            let others: Option<Vec<Numbers>> =
                others.iter().map(|other| parity::numbers(other, model)).collect();
            let own = parity::numbers(&sum, parity).zip(others).and_then(|(of, others)| {
                let own = parity::missing(&of, &others, &self.zero, sum.rows)?;
                parity::instead(&sum, &own, parity)
            });
            if let Some(own) = own {
                // Its client may have gone.
                drop(waits.send(own));
            }
        }
    }
}

impl Room {
    fn play(&mut self) -> Played {
        let mut played = Played::default();
        while let Some(step) = self.coder.poll_step() {
            match step {
                CodedStep::AskParity { group, seats, terms } => {
                    played.wanted.push(self.wanted(group, &seats, terms));
                }
                CodedStep::Decode { missing, group, others } => {
                    played.due.extend(self.due(missing, group, &others));
                }
                CodedStep::ForgetParity(group) => match self.parities.remove(&group) {
                    Some(Parity::Asked(asked)) => asked.abort(),
                    Some(Parity::Answered(_)) | None => {}
                },
                CodedStep::Forget(seat) => drop(self.held.remove(&seat)),
            }
        }
        played
    }

    fn wanted(&self, group: GroupId, seats: &[Seat], terms: Terms) -> Wanted {
        let held: Vec<&Held> = seats.iter().filter_map(|seat| self.held.get(seat)).collect();
        let shared = held.iter().map(|held| Arc::clone(&held.shared)).collect();
        let parts = held.into_iter().map(|held| held.part.clone()).collect();
        Wanted { group, parts, terms, shared }
    }

    fn due(&mut self, missing: Seat, group: GroupId, others: &[Seat]) -> Option<Due> {
        let Some(Parity::Answered(sum)) = self.parities.get(&group) else { return None };
        let answer = |seat: &Seat| self.held.get(seat)?.answer.clone();
        let (sum, others) = (sum.clone(), others.iter().map(answer).collect::<Option<_>>()?);
        let waits = self.held.remove(&missing)?.waits;
        Some(Due { sum, others, waits })
    }
}
