//! Where the server is: parsed once, from the URL on the command line.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use crate::Error;

/// Which of the two protocols is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with binary tensors.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// A server's address, protocol and base path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// HTTP or gRPC.
    pub protocol: Protocol,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Host and port, as `connect` takes it.
    pub address: String,
    /// What stands before `/v2`, without a slash at its end; empty over gRPC.
    pub base: String,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (protocol, tls) = match uri.scheme_str() {
            Some("http") => (Protocol::Http, false),
            Some("https") => (Protocol::Http, true),
            Some("grpc") => (Protocol::Grpc, false),
            Some("grpcs") => (Protocol::Grpc, true),
            Some(_) | None => return Err(wrong()),
        };
        let usual = match (protocol, tls) {
            (Protocol::Http, false) => Some(80),
            (Protocol::Http | Protocol::Grpc, true) => Some(443),
            (Protocol::Grpc, false) => None,
        };
        let port = uri.port_u16().or(usual);
        let (Some(host), Some(port)) = (uri.host(), port) else { return Err(wrong()) };
        let base = uri.path().trim_end_matches('/').to_owned();
        if uri.query().is_some() || (protocol == Protocol::Grpc && !base.is_empty()) {
            return Err(wrong());
        }
        Ok(Self { protocol, tls, address: format!("{host}:{port}"), base })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.protocol, self.tls) {
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Grpc, false) => "grpc",
            (Protocol::Grpc, true) => "grpcs",
        };
        write!(f, "{scheme}://{}{}", self.address, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_protocol_address_and_base() {
        let target = |protocol, address: &str, base: &str| {
            Ok(Target { protocol, tls: false, address: address.into(), base: base.into() })
        };
        let encrypted = "https://example.org/x".parse::<Target>().unwrap();
        assert_eq!((encrypted.tls, encrypted.address.as_str()), (true, "example.org:443"));
        assert_eq!("http://localhost:8000".parse(), target(Protocol::Http, "localhost:8000", ""));
        assert_eq!(
            "http://[::1]:80/proxy/a/".parse(),
            target(Protocol::Http, "[::1]:80", "/proxy/a")
        );
        assert_eq!("grpc://10.0.0.1:8001".parse(), target(Protocol::Grpc, "10.0.0.1:8001", ""));
    }

    #[test]
    fn other_urls_are_refused() {
        for wrong in
            ["", "localhost:8000", "ftp://a:1", "grpc://a", "grpc://a:1/b", "http://a:1/?q=1"]
        {
            assert_eq!(wrong.parse::<Target>(), Err(Error::Url(wrong.into())), "{wrong}");
        }
    }
}
