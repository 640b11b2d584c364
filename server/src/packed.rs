//! Packs the frames of many calls on one connection into few reads and writes.
//!
//! The HTTP/2 library hands each frame of data to the system by itself, and reads no further than a frame needs, so
//! that a batch of 64 tensors of 4 KB would cost 64 writes and 64 reads, and wake the client as often. Here frames
//! collect until their connection's turn is over (see [`crate::gather`]) or a pack is full; a frame that is no smaller
//! than a pack goes straight through.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Bytes that are written at once: the answers of a batch go out in several packs, so that their client can begin with
/// the first while the last are made.
const WRITE_BYTES: usize = 16 << 10;
/// Bytes that are read at once, which each connection holds.
const READ_BYTES: usize = 32 << 10;

/// A stream that is read and written in packs. Clones are the same stream: one belongs to the connection, one to who
/// ends its turns.
#[derive(Debug)]
pub(crate) struct Packed<S>(Arc<Mutex<Packing<S>>>);

#[derive(Debug)]
struct Packing<S> {
    stream: BufReader<S>,
    /// Accepted, but not sent yet.
    pack: BytesMut,
    /// Why what was accepted could not be sent: the connection learns it when it writes or flushes next.
    broken: Option<io::Error>,
}

impl<S> Clone for Packed<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packed<S> {
    pub(crate) fn new(stream: S) -> Self {
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        Self(Arc::new(Mutex::new(Packing { stream, pack: BytesMut::new(), broken: None })))
    }

    /// Sends what was written since the last turn. What the client does not take yet stays, and `cx` is woken when there is
    /// room for more.
    pub(crate) fn end_turn(&self, cx: &mut Context<'_>) {
        let mut packing = self.0.lock();
        if let Poll::Ready(Err(error)) = packing.send(cx) {
            packing.broken = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + AsyncRead + Unpin> Packing<S> {
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pack.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pack)) {
                Ok(bytes) if bytes > 0 => self.pack.advance(bytes),
                nothing => {
                    self.pack.clear();
                    return Poll::Ready(nothing.and(Err(io::ErrorKind::WriteZero.into())));
                }
            }
        }
        // Quiet connections hold no memory for it.
        self.pack = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.pack.len() + bytes > WRITE_BYTES {
            ready!(self.send(cx))?;
        }
        if bytes >= WRITE_BYTES {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        if self.pack.capacity() == 0 {
            self.pack.reserve(WRITE_BYTES);
        }
        slices.iter().for_each(|slice| self.pack.extend_from_slice(slice));
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Packed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Packed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().write(cx, &[IoSlice::new(bytes)])
    }

    /// Sends nothing: the end of the turn does.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().broken.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut packing = self.0.lock();
        ready!(packing.send(cx))?;
        Pin::new(&mut packing.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes before it blocks, and tells what was written at once.
    #[derive(Default)]
    struct Socket {
        written: Vec<Vec<u8>>,
        room: usize,
        broken: bool,
        shut: bool,
    }

    impl AsyncRead for Socket {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.written.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    fn packed(room: usize) -> Packed<Socket> {
        Packed::new(Socket { room, ..Socket::default() })
    }

    fn write(stream: &mut Packed<Socket>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let cx = &mut Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *stream).poll_write(cx, bytes);
        assert!(Pin::new(stream).poll_flush(cx).is_ready());
        written
    }

    fn end_turn(stream: &Packed<Socket>) {
        stream.end_turn(&mut Context::from_waker(Waker::noop()));
    }

    fn sizes(stream: &Packed<Socket>) -> Vec<usize> {
        stream.0.lock().stream.get_ref().written.iter().map(Vec::len).collect()
    }

    #[test]
    fn the_frames_of_a_turn_are_one_write_and_those_beyond_a_pack_another() {
        let mut stream = packed(usize::MAX);
        for frame in 0..10_u8 {
            assert!(matches!(write(&mut stream, &[frame; 4000]), Poll::Ready(Ok(4000))));
        }
        assert_eq!(sizes(&stream), [16_000; 2]);
        end_turn(&stream);
        end_turn(&stream);
        assert_eq!(sizes(&stream), [16_000, 16_000, 8000]);
        let packing = stream.0.lock();
        let frames = (0..10_u8).flat_map(|frame| [frame; 4000]);
        assert!(packing.stream.get_ref().written.concat().into_iter().eq(frames));
        assert_eq!(packing.pack.capacity(), 0);
    }

    #[test]
    fn a_frame_as_large_as_a_pack_goes_straight_through_behind_what_came_before() {
        let mut stream = packed(usize::MAX);
        assert!(matches!(write(&mut stream, &[1; 9]), Poll::Ready(Ok(9))));
        let large = vec![2; WRITE_BYTES];
        assert!(matches!(write(&mut stream, &large), Poll::Ready(Ok(WRITE_BYTES))));
        assert_eq!(sizes(&stream), [9, WRITE_BYTES]);
    }

    #[test]
    fn what_the_client_does_not_take_waits_and_holds_the_connection_back() {
        let mut stream = packed(100);
        assert!(write(&mut stream, &[1; WRITE_BYTES - 1]).is_ready());
        assert!(write(&mut stream, &[2; 2]).is_pending());
        assert_eq!(sizes(&stream), [100]);
        stream.0.lock().stream.get_mut().room = usize::MAX;
        assert!(write(&mut stream, &[2; 2]).is_ready());
        end_turn(&stream);
        assert_eq!(sizes(&stream), [100, WRITE_BYTES - 99]);
    }

    #[test]
    fn an_ending_connection_sends_what_is_left_first() {
        let mut stream = packed(0);
        assert!(write(&mut stream, &[1; 9]).is_ready());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_shutdown(cx).is_pending());
        stream.0.lock().stream.get_mut().room = 9;
        assert!(Pin::new(&mut stream).poll_shutdown(cx).is_ready());
        assert!(sizes(&stream) == [9] && stream.0.lock().stream.get_ref().shut);
    }

    #[test]
    fn a_connection_learns_that_its_stream_broke_when_it_writes_or_flushes_next() {
        type Way = fn(Pin<&mut Packed<Socket>>, &mut Context<'_>) -> Poll<io::Result<()>>;

        let cx = &mut Context::from_waker(Waker::noop());
        let ways: [Way; 2] = [
            |stream, cx| stream.poll_write(cx, &[1]).map_ok(|_| ()),
            |stream, cx| stream.poll_flush(cx),
        ];
        for way in ways {
            let mut stream = packed(0);
            assert!(write(&mut stream, &[1; 9]).is_ready());
            stream.0.lock().stream.get_mut().broken = true;
            end_turn(&stream);
            let Poll::Ready(Err(error)) = way(Pin::new(&mut stream), cx) else {
                panic!("no error")
            };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
