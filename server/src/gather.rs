//! Lets the answers that are ready go out together.
//!
//! The answers of a batch wake the calls that wait for them, and each call wakes its connection to send. Tokio runs what
//! a task has just woken right after that task, so that a connection of many calls would write to its socket once
//! for each of them: the system's share in a call was then two fifths of the whole. A connection that is woken
//! therefore lets all tasks that can run go first, and then sends what all of them have left (see `packed.rs`).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::task::yield_now;

/// Drives a connection of many calls to its end; `end_turn` sends what one turn of it has written.
pub async fn gathered<F: Future>(connection: F, end_turn: impl Fn(&mut Context<'_>)) -> F::Output {
    let mut connection = pin!(connection);
    let bell = Arc::new(Bell::default());
    let rings = Waker::from(Arc::clone(&bell));
    loop {
        bell.rung.store(false, Ordering::Release);
        let ended = poll_fn(|cx| {
            bell.listen(cx.waker());
            let cx = &mut Context::from_waker(&rings);
            let ended = connection.as_mut().poll(cx);
            end_turn(cx);
            match ended {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => Poll::Ready(None),
            }
        });
        if let Some(ended) = ended.await {
            return ended;
        }
        poll_fn(
            |_| if bell.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
        yield_now().await;
    }
}

/// Wakes a task the first time that it is rung; until the task has looked, further calls need not.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Bell {
    fn listen(&self, waker: &Waker) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(task) = self.task.lock().as_ref()
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const CALLS: usize = 16;

    #[derive(Default)]
    struct Connection {
        waker: Option<Waker>,
        answers: usize,
        polls: usize,
    }

    /// How often a connection is polled until all calls have left their answers.
    fn polls_for_all_calls() -> usize {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let connection = Arc::new(Mutex::new(Connection::default()));
        let (begun, begins) = oneshot::channel();
        let mut begun = Some(begun);
        let sent = Arc::clone(&connection);
        let turns = poll_fn(move |cx| {
            let mut sent = sent.lock();
            sent.polls += 1;
            sent.waker = Some(cx.waker().clone());
            if let Some(begun) = begun.take() {
                begun.send(()).unwrap();
            }
            if sent.answers == CALLS { Poll::Ready(()) } else { Poll::Pending }
        });
        let sends = io.spawn(gathered(turns, |_| {}));
        let calls = Arc::clone(&connection);
        io.spawn(async move {
            begins.await.unwrap();
            for _ in 0..CALLS {
                let call = Arc::clone(&calls);
                tokio::spawn(async move {
                    let mut call = call.lock();
                    call.answers += 1;
                    call.waker.as_ref().unwrap().wake_by_ref();
                });
            }
        });
        io.block_on(sends).unwrap();
        connection.lock().polls
    }

    #[test]
    fn a_connection_sends_the_answers_of_many_calls_at_once() {
        // Once at first and once for all; tokio looks after its own things now and then, which may split them.
        let polls = polls_for_all_calls();
        assert!(polls <= 4, "polled {polls} times for {CALLS} answers");
    }
}
