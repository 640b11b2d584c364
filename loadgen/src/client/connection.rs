//! The TCP connection below both protocols.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Error;

/// The longest text of an answer that is kept as an outcome, in characters.
const TEXT_MAX: usize = 120;

pub(super) async fn connect(address: &str) -> io::Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

pub(super) fn unreachable(address: &str, reason: impl ToString) -> Error {
    Error::Unreachable { address: address.to_owned(), reason: reason.to_string() }
}

/// An error's text, cut to what tells one kind of error from another.
pub(super) fn short(text: &str) -> Box<str> {
    text.chars().take(TEXT_MAX).collect::<String>().into()
}
