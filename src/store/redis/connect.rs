//! Connections to a single server, to the primary of sentinels, and to a cluster.

use super::cluster_connection::PrimariesConnection;
use super::error_message::{Passwords, message};
use super::link::{ServerConnection, is_unknown_script};
use super::reconnect::{PrimaryConnection, PrimarySource};
use super::script::{PROBE, ScriptCall};
use super::tls::{Authorities, is_tls, prepare, verify_scheme};
use crate::error::{ConnectError, ConnectErrorKind};
use redis::aio::ConnectionLike;
use redis::io::tcp::TcpSettings;
use redis::sentinel::SentinelNodeConnectionInfo;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsMode, Value,
};
use std::io;
use std::time::Duration;

/// The servers to connect to.
#[derive(Clone)]
pub(super) enum Topology {
    Single(String),
    Sentinels { urls: Vec<String>, service: String },
    Cluster(Vec<String>),
}

/// The options of a connection.
pub(super) struct Connector {
    pub(super) topology: Topology,
    pub(super) timeout: Duration,
    /// The user and the password of the primary that sentinels name.
    pub(super) credentials: Option<(String, String)>,
    /// A key of the store, under which no entry is ever stored.
    pub(super) probe: Vec<u8>,
    pub(super) authorities: Authorities,
}

/// The most commands in the queue of the connection. Further commands wait for a place in it.
const PIPELINE: usize = 1024;
/// The most commands without a reply.
const IN_FLIGHT: usize = 4096;
/// How often a command is repeated in a cluster whose slots move.
const CLUSTER_RETRIES: u32 = 3;
/// The shortest and the longest wait before a repetition, in milliseconds.
const CLUSTER_WAIT: (u64, u64) = (20, 200);
/// The least time after which the system ends a connection whose data is not acknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// The longest time after which the system ends such a connection. The system refuses times over 24
/// days.
#[cfg(target_os = "linux")]
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_secs(86_400);

impl Connector {
    /// Connects, and verifies that the server is suitable.
    pub(super) async fn connect(&self) -> Result<ServerConnection, ConnectError> {
        let passwords = self.passwords()?;
        let source = match &self.topology {
            Topology::Cluster(urls) => {
                return self.connect_cluster(urls, passwords).await.map(ServerConnection::Cluster);
            }
            Topology::Single(url) => {
                PrimarySource::Server(Client::open(self.info(url)?).map_err(|error| connect_error(&error))?)
            }
            Topology::Sentinels { urls, service } => {
                let (sentinels, service) = (self.infos(urls)?, service.clone());
                let primary = self.primary(sentinels.iter().any(is_tls));
                PrimarySource::Sentinels { sentinels, service, primary }
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            // The link limits each operation, including the wait for a connection.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE)
            .set_concurrency_limit(IN_FLIGHT);
        let is_tls = match &source {
            PrimarySource::Server(client) => is_tls(client.get_connection_info()),
            PrimarySource::Sentinels { sentinels, .. } => sentinels.iter().any(is_tls),
        };
        let connection = PrimaryConnection::new(source, config, self.timeout, passwords.clone());
        let first = connection.run(|first| std::future::ready(Ok(first)), |_| false).await;
        self.probe(first.map_err(|error| connect_error_of(&error, is_tls))?, &passwords).await?;
        Ok(ServerConnection::Primary(connection))
    }

    async fn connect_cluster(
        &self,
        urls: &[String],
        passwords: Passwords,
    ) -> Result<PrimariesConnection, ConnectError> {
        let infos = self.infos(urls)?;
        let is_tls = infos.iter().any(is_tls);
        let builder = redis::cluster::ClusterClient::builder(infos)
            // An attempt has two steps: to the servers of the URLs, and then to the servers that
            // they name.
            .connection_timeout(self.timeout / 2)
            .response_timeout(self.timeout)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(CLUSTER_WAIT.0)
            .max_retry_wait(CLUSTER_WAIT.1)
            .connection_concurrency_limit(IN_FLIGHT)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(self.tcp_settings());
        #[cfg(feature = "redis-rustls")]
        let builder = self.authorities.of_cluster(builder);
        let client = builder.build().map_err(|error| connect_error(&error))?;
        let connected = PrimariesConnection::connect(client, self.timeout, passwords.clone()).await;
        let connection = connected.map_err(|error| connect_error_of(&error, is_tls))?;
        self.probe(connection.current(), &passwords).await?;
        Ok(connection)
    }

    /// Verifies that the server has all needed commands, and that the user may run them on keys of
    /// the store.
    async fn probe(
        &self,
        mut connection: impl ConnectionLike,
        passwords: &Passwords,
    ) -> Result<(), ConnectError> {
        let call = ScriptCall { script: &PROBE, key: self.probe.clone(), arguments: Vec::new() };
        for command in [call.by_code(), call.by_digest()] {
            let reply = tokio::time::timeout(self.timeout, connection.req_packed_command(&command)).await;
            let reply = reply.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            match reply.and_then(Value::extract_error) {
                // Another program has removed all scripts meanwhile.
                Err(error) if is_unknown_script(&error) => {}
                reply => drop(reply.map_err(|error| connect_error(&passwords.hide(error)))?),
            }
        }
        Ok(())
    }

    fn passwords(&self) -> Result<Passwords, ConnectError> {
        let urls = match &self.topology {
            Topology::Single(url) => std::slice::from_ref(url),
            Topology::Sentinels { urls, .. } | Topology::Cluster(urls) => urls,
        };
        let other = self.credentials.as_ref().map(|(_, password)| password.as_str());
        Ok(Passwords::new(&self.infos(urls)?, other))
    }

    fn infos(&self, urls: &[String]) -> Result<Vec<ConnectionInfo>, ConnectError> {
        urls.iter().map(|url| self.info(url)).collect()
    }

    fn info(&self, url: &str) -> Result<ConnectionInfo, ConnectError> {
        // The client's message may quote the URL, which may contain the password.
        let invalid = |_| ConnectError::new(ConnectErrorKind::InvalidUrl, "expected redis://host:port");
        verify_scheme(url)?;
        let info = url.into_connection_info().map_err(invalid)?;
        let info = prepare(&self.authorities, info)?;
        // With this protocol, the client notices at once that the server closes the connection.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(info.set_redis_settings(settings).set_tcp_settings(self.tcp_settings()))
    }

    fn tcp_settings(&self) -> TcpSettings {
        let settings = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let settings = settings.set_user_timeout(self.timeout.clamp(UNACKNOWLEDGED, LONGEST_UNACKNOWLEDGED));
        settings
    }

    /// Returns the options of a connection to the primary that sentinels name.
    fn primary(&self, is_tls: bool) -> SentinelNodeConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if let Some((user, password)) = &self.credentials {
            settings = settings.set_password(password);
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
        }
        let primary = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(settings)
            .set_tcp_settings(self.tcp_settings());
        if is_tls { primary.set_tls_mode(TlsMode::Secure) } else { primary }
    }
}

/// Returns the error of a connection attempt. Over TLS, an unreachable server counts as a TLS
/// failure unless it refused the connection.
fn connect_error_of(error: &RedisError, is_tls: bool) -> ConnectError {
    match connect_error(error) {
        failed
            if is_tls && failed.kind() == ConnectErrorKind::Unreachable && !error.is_connection_refusal() =>
        {
            failed.with_kind(ConnectErrorKind::Tls)
        }
        other => other,
    }
}

/// Returns the error of a connection attempt, with the message of the server. The error contains no
/// password.
pub(super) fn connect_error(error: &RedisError) -> ConnectError {
    let kind = match error.kind() {
        ErrorKind::Io => ConnectErrorKind::Unreachable,
        ErrorKind::AuthenticationFailed => ConnectErrorKind::Refused,
        ErrorKind::InvalidClientConfig => ConnectErrorKind::InvalidUrl,
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => ConnectErrorKind::Refused,
        _ => ConnectErrorKind::Unsuitable,
    };
    ConnectError::new(kind, message(error))
}
