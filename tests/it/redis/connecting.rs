//! Errors of a store that cannot connect.

use crate::support::servers::{Server, programs};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tower_response_cache::error::ConnectErrorKind;
use tower_response_cache::store::RedisStore;

async fn error_of(url: String) -> (ConnectErrorKind, String) {
    let builder = RedisStore::builder(url).timeout(Duration::from_millis(300));
    let error = builder.build().await.expect_err("refused");
    (error.kind(), format!("{error} {error:?}"))
}

#[tokio::test]
async fn invalid_url_is_named_without_its_password() {
    for url in [
        "",
        "localhost",
        "http://:s3cret@localhost",
        "redis//:s3cret@localhost",
        "redis://:s3cret@localhost:port",
    ] {
        let (kind, text) = error_of(url.to_owned()).await;
        assert_eq!(kind, ConnectErrorKind::InvalidUrl, "{url}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn absent_server_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let (kind, text) = error_of(format!("redis://:s3cret@127.0.0.1:{port}")).await;
    assert_eq!(kind, ConnectErrorKind::Unreachable, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

/// The socket accepts the connection, and no reply ever comes.
#[tokio::test]
async fn silent_server_is_unreachable_within_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let begun = Instant::now();
    let (kind, text) = error_of(format!("redis://127.0.0.1:{port}")).await;
    assert_eq!(kind, ConnectErrorKind::Unreachable, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn wrong_password_is_refused_with_the_message_of_the_server() {
    for program in programs() {
        let server = Server::start(&program, &["--requirepass", "right"]);
        let port = server.port();
        let (kind, text) = error_of(format!("redis://:s3cret@127.0.0.1:{port}")).await;
        assert_eq!(kind, ConnectErrorKind::Refused, "{text}");
        assert!(text.contains("WRONGPASS") && !text.contains("s3cret"), "{text}");
        let (kind, text) = error_of(format!("redis://127.0.0.1:{port}")).await;
        assert_eq!(kind, ConnectErrorKind::Refused, "{text}");
        assert!(text.contains("NOAUTH"), "{text}");
        RedisStore::connect(format!("redis://:right@127.0.0.1:{port}")).await.expect("connected");
    }
}

#[tokio::test]
async fn tls_to_a_plain_server_fails_as_tls() {
    for program in programs() {
        let server = Server::start(&program, &[]);
        for scheme in ["rediss", "valkeys", "Rediss"] {
            let (kind, text) = error_of(format!("{scheme}://:s3cret@127.0.0.1:{}", server.port())).await;
            assert_eq!(kind, ConnectErrorKind::Tls, "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            // Without the feature `redis-rustls`, the store sends nothing.
            assert_eq!(text.contains("redis-rustls"), cfg!(not(feature = "redis-rustls")), "{text}");
        }
    }
}

#[tokio::test]
async fn server_without_scripts_is_unsuitable() {
    for program in programs() {
        let server = Server::start(&program, &["--rename-command", "EVAL", ""]);
        let (kind, text) = error_of(server.url()).await;
        assert_eq!(kind, ConnectErrorKind::Unsuitable, "{text}");
        assert!(text.contains("unknown command"), "{text}");
    }
}

#[tokio::test]
async fn invalid_options_are_refused_before_connecting() {
    let builder = || RedisStore::builder("redis://127.0.0.1:1");
    let all = [
        builder().timeout(Duration::ZERO),
        builder().max_ttl(Duration::ZERO),
        builder().max_ttl(Duration::MAX),
        builder().largest_entry(0),
        builder().largest_entry(u64::MAX),
        builder().authenticate("short"),
    ];
    for builder in all {
        let error = builder.build().await.expect_err("refused");
        assert_eq!(error.kind(), ConnectErrorKind::InvalidOption, "{error}");
    }
}

#[test]
fn debug_output_hides_url_and_secrets() {
    let builder = RedisStore::builder("redis://:s3cret@host").authenticate("a s3cret of 16 bytes");
    assert!(!format!("{builder:?}").contains("s3cret"));
}
