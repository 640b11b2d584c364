//! A connection from its first bytes to its end, for HTTP and gRPC alike: the bytes that tell the protocol, and whom the
//! end of the server waits for.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::owed::Owed;

/// The HTTP/2 preface and the head of the frame that must follow it.
const OPENING_BYTES_MAX: usize = 24 + 9;

/// How often an ending connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at an HTTP/2 connection that owes no answer, and writes next to nothing, before it is closed: its last bytes
/// may wait for the client to make room, which the client says within a round trip.
pub(crate) const LOOKS_OF_MANY: usize = 100;
/// HTTP/1 hands its answers to the system before it is looked at.
pub(crate) const LOOKS_OF_ONE: usize = 0;

/// Looks in the time within which a client must take some of its answers.
const LOOKS_AT_SENDING: u32 = 4;

/// Less than this between two looks is no answer, but a client's pings.
const PROGRESS_BYTES: usize = 1024;

/// The first bytes of a connection.
#[derive(Debug)]
pub(crate) struct Opening {
    bytes: [u8; OPENING_BYTES_MAX],
    length: usize,
    given: usize,
}

impl Opening {
    /// Reads until the first bytes differ from `pattern`, or are it and `more` follow.
    pub(crate) async fn read(
        stream: &mut TcpStream,
        pattern: &[u8],
        more: usize,
    ) -> io::Result<Self> {
        let mut opening = Self { bytes: [0; OPENING_BYTES_MAX], length: 0, given: 0 };
        while opening.length < pattern.len() + more && opening.may_be(pattern) {
            let rest = &mut opening.bytes[opening.length..pattern.len() + more];
            let read = stream.read(rest).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            opening.length += read;
        }
        Ok(opening)
    }

    fn may_be(&self, pattern: &[u8]) -> bool {
        let known = self.length.min(pattern.len());
        self.bytes[..known] == pattern[..known]
    }

    /// Whether the connection began with that.
    pub(crate) fn is(&self, pattern: &[u8]) -> bool {
        self.length >= pattern.len() && self.may_be(pattern)
    }
}

/// A stream with its first bytes put back, which notes what its client takes.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) opening: Opening,
    pub(crate) stream: TcpStream,
    pub(crate) owed: Arc<Owed>,
}

impl Wire {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.owed.note_write(Some(*bytes)),
            // Nothing can be owed on a broken connection.
            Poll::Ready(Err(_)) => self.owed.note_write(Some(0)),
            Poll::Pending => self.owed.note_write(None),
        }
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Opening { bytes, length, given } = &mut self.opening;
        if given < length {
            let count = buffer.remaining().min(*length - *given);
            buffer.put_slice(&bytes[*given..*given + count]);
            *given += count;
            // What follows is most often there already: one read, one parse.
            let _ = Pin::new(&mut self.stream).poll_read(cx, buffer)?;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// When a connection is closed by us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// When the server ends: once it owes nothing at so many looks more.
    pub(crate) looks_at_end: usize,
    /// Until then: once its client takes next to nothing of its answers for so long, or up to a quarter longer, while memory
    /// is scarce.
    pub(crate) send_timeout: Duration,
}

/// Whether a client takes what it is sent.
#[derive(Debug, Default)]
struct Taking {
    /// Bytes written at the last look.
    written: usize,
    /// Looks since it last did.
    looks: u32,
}

impl Taking {
    /// One look; says whether it has been the last.
    fn look(&mut self, owed: &Owed) -> bool {
        let written = owed.written();
        let taken = written.wrapping_sub(std::mem::replace(&mut self.written, written));
        if owed.in_the_way() && taken < PROGRESS_BYTES {
            self.looks += 1;
        } else {
            self.looks = 0;
        }
        self.looks > LOOKS_AT_SENDING
    }
}

/// Drives a connection until its client leaves or is in the way or, once `stop` is true, until it owes nothing.
pub(crate) async fn see_through<C: GracefulConnection>(
    connection: C,
    owed: &Owed,
    mut stop: watch::Receiver<bool>,
    patience: Patience,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut taking = Taking::default();
    let mut look = interval((patience.send_timeout / LOOKS_AT_SENDING).max(LOOK_EVERY));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            _ = stop.wait_for(|stop| *stop) => break,
            _ = look.tick() => {}
        }
        if taking.look(owed) {
            let seconds = patience.send_timeout.as_secs_f64();
            tracing::debug!(
                seconds,
                "a client took next to nothing of its answers and is cut off (--send-timeout)"
            );
            return Ok(());
        }
    }
    connection.as_mut().graceful_shutdown();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut written, mut quiet) = (owed.written(), 0);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            _ = look.tick() => {}
        }
        let progress = owed.written().wrapping_sub(written) >= PROGRESS_BYTES;
        if owed.any() || progress {
            (written, quiet) = (owed.written(), 0);
        } else if quiet >= patience.looks_at_end {
            return Ok(());
        } else {
            quiet += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::budget::Budget;

    #[test]
    fn a_client_takes_its_answers_as_long_as_some_bytes_go() {
        let budget = Arc::new(Budget::new(100_000));
        let owed = Owed::new(&budget);
        let mut taking = Taking::default();
        let mut looks_until_last =
            |most: usize| (1..=most).find(|_| taking.look(&owed)).unwrap_or(usize::MAX);
        assert_eq!(looks_until_last(100), usize::MAX, "there is nothing to take");
        let answer = owed.counted(Bytes::from(vec![0; 50_000]));
        assert_eq!(looks_until_last(100), usize::MAX, "nobody needs the memory");
        budget.hold_answer(1);
        for _ in 0..20 {
            owed.note_write(Some(PROGRESS_BYTES));
            assert_eq!(looks_until_last(1), usize::MAX, "slow, but it takes some");
        }
        // Pings are written too.
        owed.note_write(Some(17));
        assert_eq!(looks_until_last(100), LOOKS_AT_SENDING as usize + 1);
        drop(answer);
        budget.hold_answer(50_000);
        assert_eq!(looks_until_last(100), usize::MAX, "others hold it");
        owed.note_write(None);
        assert_eq!(looks_until_last(100), LOOKS_AT_SENDING as usize + 1, "the last write waits");
    }
}
