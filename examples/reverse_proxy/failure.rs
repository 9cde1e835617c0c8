//! Failures of the upstream, with the status and the error type that clients get.

use http::StatusCode;
use std::error::Error;
use std::{fmt, io};

/// The reason why the proxy generates a response: an error type of RFC 9209 section 2.3, with its
/// status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    DnsError,
    ConnectionRefused,
    ConnectionTimeout,
    /// No permit for a request to the upstream became free in time.
    ConnectionLimitReached,
    DestinationUnavailable,
    ConnectionTerminated,
    ResponseTimeout,
    ResponseHeadersTooLarge,
    ResponseTransferCoding,
    Protocol,
    /// The client's request can't be forwarded.
    Request,
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::ConnectionTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Request => StatusCode::BAD_REQUEST,
            Self::ConnectionLimitReached => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::DnsError => "dns_error",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ResponseTimeout => "http_response_timeout",
            Self::ResponseHeadersTooLarge => "http_response_header_section_size",
            Self::ResponseTransferCoding => "http_response_transfer_coding",
            Self::Protocol => "http_protocol_error",
            Self::Request => "http_request_error",
        }
    }

    /// Classifies an error by its type, or by the type of one of its sources.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return *failure;
        }
        match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse_too_large() => Self::ResponseHeadersTooLarge,
            Some(error) if error.is_parse() => Self::Protocol,
            // A "user" error of hyper's client is an error of the request body.
            Some(error) if error.is_user() => Self::Request,
            Some(error) => {
                let http2 = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
                let http1 = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
                let is_invalid = http1
                    .or(http2.and_then(h2::Error::get_io))
                    .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
                // hyper has found a violation of the protocol. After any other error, the upstream
                // has ended the stream or the connection.
                if is_invalid || http2.is_some_and(h2::Error::is_library) {
                    Self::Protocol
                } else {
                    Self::ConnectionTerminated
                }
            }
            None => error.source().map_or(Self::ConnectionTerminated, Self::of),
        }
    }
}

impl From<io::Error> for Failure {
    /// Classifies the error of a connection attempt.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectionTimeout,
            _ => Self::DestinationUnavailable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Error for Failure {}
