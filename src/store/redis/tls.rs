//! Connections over TLS, and the certificate authorities that they trust.

use crate::error::{ConnectError, ConnectErrorKind};
#[cfg(feature = "redis-rustls")]
use redis::{Client, TlsCertificates, cluster::ClusterClientBuilder};
use redis::{ConnectionAddr, ConnectionInfo};
#[cfg(feature = "redis-rustls")]
use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

/// The certificate authorities that connections trust, in PEM format.
#[derive(Clone, Default)]
pub(super) struct Authorities {
    /// `None` stands for the authorities of the system.
    #[cfg(feature = "redis-rustls")]
    pem: Option<Vec<u8>>,
}

/// Fails for a URL over TLS if the crate was built without TLS. The error names the feature.
pub(super) fn verify_scheme(url: &str) -> Result<(), ConnectError> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let needs_tls = ["rediss", "valkeys"].iter().any(|secure| scheme.eq_ignore_ascii_case(secure));
    if needs_tls && cfg!(not(feature = "redis-rustls")) {
        let message = "enable the feature redis-rustls of tower-response-cache";
        return Err(ConnectError::new(ConnectErrorKind::Tls, message));
    }
    Ok(())
}

pub(super) fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

#[cfg(feature = "redis-rustls")]
impl Authorities {
    pub(super) fn add(&mut self, pem: &[u8]) {
        let all = self.pem.get_or_insert_default();
        all.extend_from_slice(pem);
        all.push(b'\n');
    }

    pub(super) fn is_of_the_system(&self) -> bool {
        self.pem.is_none()
    }

    /// Verifies that there are certificates, and that each can be an authority.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        let Some(pem) = &self.pem else { return Ok(()) };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| "the certificate authority is not in PEM format")?;
            roots.add(certificate).map_err(|_| "the certificate authority is no valid certificate")?;
        }
        if roots.is_empty() { Err("the certificate authority contains no certificate") } else { Ok(()) }
    }

    /// Adds the authorities to the options of a cluster.
    pub(super) fn of_cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        match self.certificates() {
            Some(certificates) => builder.certs(certificates),
            None => builder,
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        self.pem.clone().map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) })
    }
}

/// Prepares TLS, and adds the authorities to the options of a connection.
#[cfg(feature = "redis-rustls")]
pub(super) fn prepare(
    authorities: &Authorities,
    info: ConnectionInfo,
) -> Result<ConnectionInfo, ConnectError> {
    // Selects the implementation of cryptography, unless the application has selected one.
    if is_tls(&info) && rustls::crypto::CryptoProvider::get_default().is_none() {
        // The call fails if another thread has just selected an implementation.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let Some(certificates) = authorities.certificates() else { return Ok(info) };
    // Without this error, a user who forgets the `s` of `rediss` would send everything in plain
    // text.
    let needs_tls = |_| {
        let message = "a certificate authority needs a URL with the scheme rediss";
        ConnectError::new(ConnectErrorKind::InvalidOption, message)
    };
    let client = Client::build_with_tls(info, certificates).map_err(needs_tls)?;
    Ok(client.get_connection_info().clone())
}

#[cfg(not(feature = "redis-rustls"))]
pub(super) fn prepare(_: &Authorities, info: ConnectionInfo) -> Result<ConnectionInfo, ConnectError> {
    Ok(info)
}
