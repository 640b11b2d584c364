//! Brings outcomes to the tasks that wait for them.
//!
//! An executor's thread that wakes an IO task for each request of a batch is preempted by each of them where they share
//! a core: 64 answers, 64 changes of thread. So a batch's outcomes travel in one bag, with one wake-up, to a task on
//! the IO threads that hands them out.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::outcome::Outcome;

/// An outcome and who waits for it.
pub type Letter = (oneshot::Sender<Outcome>, Outcome);

/// The way of outcomes from the executors' threads to the IO threads.
///
/// Bags need no bound of their own: each request is in at most one, and the requests are bounded.
#[derive(Debug)]
pub struct Post {
    bags: mpsc::UnboundedSender<Vec<Letter>>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Vec<Letter>>>>,
    delivers: AtomicBool,
}

impl Default for Post {
    fn default() -> Self {
        let (bags, inbox) = mpsc::unbounded_channel();
        Self { bags, inbox: Mutex::new(Some(inbox)), delivers: AtomicBool::new(false) }
    }
}

impl Post {
    /// Sends a batch's outcomes; hands them out here and now while no task delivers.
    pub fn send(&self, letters: Vec<Letter>) {
        let refused = if self.delivers.load(Ordering::Acquire) {
            self.bags.send(letters).err()
        } else {
            Some(mpsc::error::SendError(letters))
        };
        if let Some(mpsc::error::SendError(letters)) = refused {
            hand_out(letters);
        }
    }

    /// Delivers for ever; for one task on the IO threads. Further calls do nothing.
    pub async fn deliver(&self) {
        let Some(inbox) = self.inbox.lock().take() else { return };
        let mut office = Office { post: self, inbox };
        self.delivers.store(true, Ordering::Release);
        while let Some(letters) = office.inbox.recv().await {
            hand_out(letters);
        }
    }
}

/// Whoever delivers. When it goes, what lies in the inbox is handed out.
struct Office<'a> {
    post: &'a Post,
    inbox: mpsc::UnboundedReceiver<Vec<Letter>>,
}

impl Drop for Office<'_> {
    fn drop(&mut self) {
        self.post.delivers.store(false, Ordering::Release);
        self.inbox.close();
        while let Ok(letters) = self.inbox.try_recv() {
            hand_out(letters);
        }
    }
}

fn hand_out(letters: Vec<Letter>) {
    for (receiver, outcome) in letters {
        // The client may have gone.
        drop(receiver.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    use router::Rejection;

    use super::*;

    fn letter() -> (Letter, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        ((sender, Outcome::Refused(Rejection::QueueFull)), receiver)
    }

    #[tokio::test]
    async fn letters_arrive_whether_or_not_a_task_delivers_and_when_it_goes() {
        let post = std::sync::Arc::new(Post::default());
        let (first, receiver) = letter();
        post.send(vec![first]);
        receiver.await.unwrap();
        let office = std::sync::Arc::clone(&post);
        let task = tokio::spawn(async move { office.deliver().await });
        let (second, receiver) = letter();
        post.send(vec![second]);
        receiver.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let (third, receiver) = letter();
        post.send(vec![third]);
        receiver.await.unwrap();
    }
}
