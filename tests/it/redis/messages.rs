//! Errors of servers that repeat the arguments of a command.

use crate::support::servers::{Server, programs};
use std::error::Error;
use std::time::Duration;
use tower_response_cache::Store;
use tower_response_cache::store::{KeyRef, RedisStore};

const PASSWORD: &str = "s3cret";

/// Returns the texts of an error and of its sources.
fn texts(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| (*error).source());
    sources.map(|error| format!("{error} {error:?} {error:#?}\n")).collect()
}

fn url(server: &Server) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port())
}

/// The client authenticates by `HELLO`. The server repeats the arguments of an unknown command.
#[tokio::test]
async fn server_without_hello_reveals_no_password_when_connecting() {
    for program in programs() {
        let server = Server::start(&program, &["--rename-command", "HELLO", ""]);
        for builder in [
            RedisStore::builder(url(&server)),
            RedisStore::sentinel([url(&server)], "cache"),
            RedisStore::sentinel([url(&server)], "cache").credentials("", PASSWORD),
            RedisStore::cluster([url(&server)]),
        ] {
            let error = builder.timeout(Duration::from_secs(3)).build().await.expect_err("refused");
            let texts = texts(&error);
            assert!(texts.contains("unknown command") && !texts.contains(PASSWORD), "{texts}");
        }
    }
}

#[tokio::test]
async fn server_without_hello_reveals_no_password_later() {
    for program in programs() {
        let mut server = Server::start(&program, &[]);
        let store = RedisStore::connect(url(&server)).await.expect("connected");
        server.restart_with(&["--rename-command", "HELLO", ""]);
        let mut all = String::new();
        for _ in 0..20 {
            all += &texts(&store.get(KeyRef::new(b"k")).await.expect_err("refused"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(all.contains("unknown command") && !all.contains(PASSWORD), "{all}");
    }
}

#[tokio::test]
async fn server_that_lacks_a_command_later_reveals_no_key() {
    for program in programs() {
        let mut server = Server::start(&program, &[]);
        let store = RedisStore::builder(server.url()).prefix("t0p").build().await.expect("connected");
        server.restart_with(&["--rename-command", "GETRANGE", ""]);
        let mut all = String::new();
        for _ in 0..20 {
            all += &texts(&store.get(KeyRef::new(b"k")).await.expect_err("refused"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(all.contains("unknown command") && !all.contains("t0p"), "{all}");
    }
}
