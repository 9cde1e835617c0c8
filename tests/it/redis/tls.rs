//! Connections over TLS, to servers with certificates of the test's own authority.

use crate::support::certificates::{Authority, tls_programs};
use crate::support::redis_sites::RedisSite;
use std::time::Duration;
use tower_response_cache::error::ConnectErrorKind;
use tower_response_cache::store::{RedisStore, RedisStoreBuilder};

async fn error_of(builder: RedisStoreBuilder) -> (ConnectErrorKind, String) {
    let error = builder.timeout(Duration::from_millis(500)).build().await.expect_err("refused");
    (error.kind(), format!("{error} {error:?}"))
}

#[tokio::test]
async fn pages_are_shared_over_tls() {
    for program in tls_programs() {
        let authority = Authority::new();
        let server = authority.start(&program, &["--requirepass", "right"]);
        let url = format!("rediss://:right@127.0.0.1:{}", server.port());
        let connect = || RedisStore::builder(&*url).ca_certificate(authority.pem()).build();
        let one = RedisSite::over(connect().await.expect("connected"));
        let other = RedisSite::over(connect().await.expect("connected"));
        one.send("/").await;
        assert!(other.is_hit("/").await);
        assert!(other.cache.invalidate("/").await.is_delivered());
        assert!(!one.is_hit("/").await);
    }
}

#[tokio::test]
async fn store_reconnects_over_tls() {
    for program in tls_programs() {
        let authority = Authority::new();
        let mut server = authority.start(&program, &[]);
        let url = format!("rediss://127.0.0.1:{}", server.port());
        let builder = RedisStore::builder(url).ca_certificate(authority.pem());
        let site = RedisSite::over(builder.build().await.expect("connected"));
        site.send("/").await;
        assert!(site.is_hit("/").await);
        server.restart_empty();
        assert!(site.recovers("/").await);
    }
}

#[tokio::test]
async fn certificate_of_an_unknown_authority_fails_as_tls() {
    for program in tls_programs() {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = authority.start(&program, &["--requirepass", "right"]);
        let url = format!("rediss://:s3cret@127.0.0.1:{}", server.port());
        for builder in [RedisStore::builder(&*url), RedisStore::builder(&*url).ca_certificate(other.pem())] {
            let (kind, text) = error_of(builder).await;
            assert_eq!(kind, ConnectErrorKind::Tls, "{text}");
            assert!(text.contains("certificate") && !text.contains("s3cret"), "{text}");
        }
        // A client trusts two authorities while one replaces the other.
        let both = RedisStore::builder(&*url).ca_certificate(other.pem()).ca_certificate(authority.pem());
        let (kind, text) = error_of(both).await;
        assert_eq!(kind, ConnectErrorKind::Refused, "{text}");
        assert!(text.contains("WRONGPASS") && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn certificate_for_another_host_fails_as_tls() {
    for program in tls_programs() {
        let authority = Authority::new();
        let server = authority.start(&program, &[]);
        // The certificate is for 127.0.0.1.
        let url = format!("rediss://localhost:{}", server.port());
        let (kind, text) = error_of(RedisStore::builder(url).ca_certificate(authority.pem())).await;
        assert_eq!(kind, ConnectErrorKind::Tls, "{text}");
        assert!(text.contains("certificate"), "{text}");
    }
}

#[tokio::test]
async fn plain_connection_to_a_tls_port_is_unreachable() {
    for program in tls_programs() {
        let authority = Authority::new();
        let server = authority.start(&program, &[]);
        let url = format!("redis://:s3cret@127.0.0.1:{}", server.port());
        let (kind, text) = error_of(RedisStore::builder(url)).await;
        assert_eq!(kind, ConnectErrorKind::Unreachable, "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn absent_server_is_unreachable_over_tls_too() {
    let (kind, text) = error_of(RedisStore::builder("rediss://127.0.0.1:1")).await;
    assert_eq!(kind, ConnectErrorKind::Unreachable, "{text}");
}

#[tokio::test]
async fn unusable_authorities_are_refused_before_connecting() {
    for _ in tls_programs() {
        let authority = Authority::new();
        let (pem, url) = (authority.pem(), "rediss://127.0.0.1:1");
        let secure = |pem: &[u8]| RedisStore::builder(url).ca_certificate(pem);
        let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for builder in [
            secure(b""),
            secure(b"text"),
            secure(&pem[..pem.len() / 2]),
            secure(no_certificate),
            secure(pem).ca_certificate(no_certificate),
            RedisStore::builder("redis://127.0.0.1:1").ca_certificate(pem),
            RedisStore::cluster([url, "redis://127.0.0.1:1"]).ca_certificate(pem),
            RedisStore::sentinel([url], "cache").ca_certificate(pem),
        ] {
            let (kind, text) = error_of(builder).await;
            assert_eq!(kind, ConnectErrorKind::InvalidOption, "{text}");
        }
    }
}
