//! Plays a plan on one thread.

#[cfg(test)]
mod truth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::connection::Connector;
use super::ledger::{Ledger, Ticket, Watch};
use super::{Answer, Plan, Protocol, Stop, cpu_time, grpc, http, nanoseconds, now, pace, runtime};
use crate::workload::draw;
use crate::{Due, Error, Loop, Outcome, Record, Schedule};

/// A server that is gone would be asked as fast as the system can refuse.
const AFTER_LOSS: Duration = Duration::from_millis(10);

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Played {
    /// From when the records' times count: the end of the warm-up.
    pub start: Instant,
    /// Every request that counts once, in the order of their ends.
    pub records: Vec<Record>,
    /// The requests of the warm-up.
    pub warm_up: Vec<Record>,
    /// How long requests were due that count: less than planned if the run was stopped.
    pub duration: Duration,
    /// The part of the run's time that the client kept its core busy; near 1 the client is what limits the run.
    pub client_busy: f64,
    /// Whether the run was cancelled.
    pub interrupted: bool,
}

impl Plan {
    /// Plays the run on this thread.
    ///
    /// # Errors
    /// The server cannot be reached, does not know a model, or does not answer one first request of each model.
    pub fn run(&self) -> Result<Played, Error> {
        self.run_watched(&Stop::default(), |_| {})
    }

    /// Plays the run on this thread until it ends or is stopped, and tells of each request that counts when it ends.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_watched(
        &self,
        stop: &Stop,
        watch: impl FnMut(&Record) + Send + 'static,
    ) -> Result<Played, Error> {
        self.play(stop, Box::new(watch), false)
    }

    /// As [`Self::run_watched`], and an interrupt of the process, as by Ctrl-C, cancels the run.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_interruptible(
        &self,
        stop: &Stop,
        watch: impl FnMut(&Record) + Send + 'static,
    ) -> Result<Played, Error> {
        self.play(stop, Box::new(watch), true)
    }

    fn play(&self, stop: &Stop, watch: Watch, interruptible: bool) -> Result<Played, Error> {
        let runtime = runtime()?;
        let schedule = self.schedule();
        let wire = runtime.block_on(async {
            if interruptible {
                tokio::spawn(stop.clone().cancel_on_interrupt());
            }
            tokio::select! {
                wire = Wire::open(self) => wire,
                () = stop.cancelled() => Err(Error::Start("it was interrupted".into())),
            }
        })?;
        let (start, cpu) = (now(), cpu_time());
        let ledger = Arc::new(Ledger::new(start, nanoseconds(self.warm_up), watch));
        let player = self.player(wire, &ledger, stop);
        let sent = runtime.block_on(player.play(&schedule, self.seed));
        let wall = now().saturating_duration_since(start).as_secs_f64();
        let busy = (cpu_time() - cpu).as_secs_f64() / wall.max(1e-9);
        // Requests still under way are dropped with their tasks, and so counted as cancelled.
        drop(runtime);
        let (warm_up, records) = ledger.close();
        let (sent, most) = (sent?, self.warm_up + self.duration);
        let duration = sent.min(most).saturating_sub(self.warm_up);
        Ok(Played {
            start: start + self.warm_up,
            records,
            warm_up,
            duration,
            client_busy: busy,
            interrupted: stop.is_cancelled(),
        })
    }
}

impl Plan {
    fn player(&self, wire: Wire, ledger: &Arc<Ledger>, stop: &Stop) -> Arc<Player> {
        Arc::new(Player {
            wire,
            ledger: Arc::clone(ledger),
            patience: self.patience,
            deadlines_ns: self.deadlines_ns(),
            end_ns: nanoseconds(self.warm_up + self.duration),
            stop: stop.clone(),
        })
    }
}

/// What all requests of a run share.
struct Player {
    wire: Wire,
    ledger: Arc<Ledger>,
    patience: Duration,
    deadlines_ns: Vec<u64>,
    end_ns: u64,
    stop: Stop,
}

impl Player {
    /// Returns when all is sent and has ended, or the run is stopped, with how long requests were due.
    async fn play(self: &Arc<Self>, schedule: &Schedule, seed: u64) -> Result<Duration, Error> {
        let sending = self.send(schedule, seed);
        let sent = tokio::select! {
            sent = sending => sent.map(|()| Duration::from_nanos(self.end_ns)),
            () = self.stop.finishing() => Ok(Duration::from_nanos(self.ledger.elapsed_ns())),
        };
        tokio::select! {
            () = self.ledger.settled() => {}
            () = self.stop.cancelled() => {}
        }
        sent
    }

    /// Returns when everything has been sent; the last ones may still be under way.
    async fn send(self: &Arc<Self>, schedule: &Schedule, seed: u64) -> Result<(), Error> {
        let mut seeds = Pcg64Mcg::seed_from_u64(seed);
        let mut loops = Vec::new();
        for one in &schedule.loops {
            for _ in 0..one.concurrency {
                let rng = Pcg64Mcg::from_rng(&mut seeds);
                loops.push(tokio::spawn(Arc::clone(self).client(one.clone(), rng)));
            }
        }
        self.open(&schedule.due).await?;
        for client in loops {
            client.await.expect("a client neither panics nor is aborted");
        }
        Ok(())
    }

    async fn open(self: &Arc<Self>, due: &[Due]) -> Result<(), Error> {
        let mut pacer = pace::Pacer::new().map_err(|error| Error::Start(error.to_string()))?;
        let start = self.ledger.start();
        for due in due.iter().take_while(|due| due.at_ns < self.end_ns) {
            pacer.until(start + Duration::from_nanos(due.at_ns)).await;
            let (player, ticket) = (Arc::clone(self), self.ledger.open(due.share, due.at_ns));
            tokio::spawn(async move { player.request(ticket).await });
        }
        Ok(())
    }

    async fn client(self: Arc<Self>, one: Loop, mut rng: Pcg64Mcg) {
        loop {
            let intended_ns = self.ledger.elapsed_ns();
            if intended_ns >= self.end_ns || self.stop.is_asked() {
                return;
            }
            let ticket = self.ledger.open(draw(&one.shares, &mut rng), intended_ns);
            let lost = self.request(ticket).await;
            let pause = if lost { one.think_time.max(AFTER_LOSS) } else { one.think_time };
            if !pause.is_zero() {
                let left =
                    Duration::from_nanos(self.end_ns.saturating_sub(self.ledger.elapsed_ns()));
                tokio::time::sleep(pause.min(left)).await;
            }
        }
    }

    /// Sends one request and ends its ticket; whether its connection was lost.
    async fn request(&self, mut ticket: Ticket) -> bool {
        ticket.sends();
        let intended = Duration::from_nanos(ticket.intended_ns());
        let give_up = self.ledger.start() + intended + self.patience;
        let share = ticket.share();
        let answer = tokio::time::timeout_at(give_up.into(), self.wire.call(share)).await;
        let outcome = match answer {
            Ok(Answer::Done) if ticket.latency_ns() <= self.deadlines_ns[share] => Outcome::InTime,
            Ok(Answer::Done) => Outcome::Late,
            Ok(Answer::Refused(reason)) => Outcome::Refused(reason),
            Ok(Answer::Error(text)) => Outcome::Error(text),
            Ok(Answer::Cancelled) => Outcome::Cancelled,
            Ok(Answer::ConnectionLost) => Outcome::ConnectionLost,
            Err(_) => Outcome::Timeout,
        };
        let lost = outcome == Outcome::ConnectionLost;
        ticket.end(outcome);
        lost
    }
}

/// The connections of a run with its requests ready to send.
enum Wire {
    Http(http::Pool),
    Grpc(grpc::Channels),
    /// A server in the test's own time.
    #[cfg(test)]
    Scripted(truth::Script),
}

impl Wire {
    async fn open(plan: &Plan) -> Result<Self, Error> {
        let connector = Connector::new(&plan.target, &plan.tls)?;
        let wire = match plan.target.protocol {
            Protocol::Http => Self::Http(http::Pool::open(plan, connector).await?),
            Protocol::Grpc => Self::Grpc(grpc::Channels::open(plan, connector).await?),
        };
        for (index, share) in plan.mix.shares().iter().enumerate() {
            match wire.call(index).await {
                // A refusal is an answer of a server that works.
                Answer::Done | Answer::Refused(_) => {}
                Answer::Error(status) => {
                    let what = format!("the first request to '{}'", share.model);
                    return Err(Error::Refused { what, status: status.into() });
                }
                Answer::Cancelled | Answer::ConnectionLost => {
                    let address = plan.target.address.clone();
                    let reason = "it closed the connection on the first request".into();
                    return Err(Error::Unreachable { address, reason });
                }
            }
        }
        Ok(wire)
    }

    async fn call(&self, share: usize) -> Answer {
        match self {
            Self::Http(pool) => pool.call(share).await,
            Self::Grpc(channels) => channels.call(share).await,
            #[cfg(test)]
            Self::Scripted(script) => script(share).await,
        }
    }
}
