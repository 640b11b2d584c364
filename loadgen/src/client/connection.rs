//! The connection below both protocols: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Protocol, Target, Tls};
use crate::Error;

/// The longest text of an answer that is kept as an outcome, in characters.
const TEXT_MAX: usize = 120;

/// Makes connections to one server.
pub(super) struct Connector {
    pub(super) target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    pub(super) fn new(target: &Target, tls: &Tls) -> Result<Self, Error> {
        let mut encrypted = None;
        if target.tls {
            let host = target.address.rsplit_once(':').map_or("", |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name =
                ServerName::try_from(host).map_err(|_| Error::Url(target.address.clone()))?;
            let protocol: &[u8] = match target.protocol {
                Protocol::Http => b"http/1.1",
                Protocol::Grpc => b"h2",
            };
            encrypted = Some((TlsConnector::from(Arc::new(tls.config(protocol)?)), name));
        }
        Ok(Self { target: target.clone(), tls: encrypted })
    }

    pub(super) async fn connect(&self) -> Result<TokioIo<Stream>, Error> {
        let stream = self.stream().await.map_err(|error| self.unreachable(error))?;
        Ok(TokioIo::new(stream))
    }

    async fn stream(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&self.target.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(not_tls)?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    pub(super) fn unreachable(&self, reason: impl ToString) -> Error {
        Error::Unreachable { address: self.target.address.clone(), reason: reason.to_string() }
    }

    pub(super) fn not_oip(&self, reason: impl ToString) -> Error {
        Error::NotOip { address: self.target.address.clone(), reason: reason.to_string() }
    }
}

/// Says so where somebody answers in plain text.
fn not_tls(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => io::Error::other("it does not speak TLS"),
        Some(_) | None => error,
    }
}

/// Bytes to and from the server.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// An error's text, cut to what tells one kind of error from another.
pub(super) fn short(text: &str) -> Box<str> {
    text.chars().take(TEXT_MAX).collect::<String>().into()
}
