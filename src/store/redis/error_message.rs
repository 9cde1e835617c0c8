//! The messages of errors: without passwords, and without the arguments of commands.

use redis::{ConnectionInfo, RedisError};
use std::sync::Arc;

/// The text after which a server repeats the arguments of an unknown command. They may be a
/// password, keys or entries.
const REPEATED: &str = ", with args beginning";

/// The passwords of the connections. No error contains one.
#[derive(Clone)]
pub(super) struct Passwords(Arc<[String]>);

impl Passwords {
    /// Collects the passwords in the URLs of the servers, and the password `other`.
    pub(super) fn new(servers: &[ConnectionInfo], other: Option<&str>) -> Self {
        let in_urls = servers.iter().filter_map(|server| server.redis_settings().password());
        let all = in_urls.chain(other).filter(|password| !password.is_empty());
        Self(all.map(str::to_owned).collect())
    }

    /// Returns an error of the same kind whose text contains no password.
    pub(super) fn hide(&self, error: RedisError) -> RedisError {
        if error.is_timeout() || !self.is_in(&error.to_string()) {
            return error;
        }
        let message = message(&error);
        let is_safe = !self.is_in(&message);
        let text = if is_safe { message } else { "its message contains the password".to_owned() };
        RedisError::from((error.kind(), "the server refused the connection", text))
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|password| text.contains(password.as_str()))
    }
}

/// Returns the text of an error, without the arguments of a command.
pub(super) fn message(error: &RedisError) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.find(REPEATED) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{ErrorKind, IntoConnectionInfo};

    fn error(text: &str) -> RedisError {
        RedisError::from((ErrorKind::Extension, "refused", text.to_owned()))
    }

    #[test]
    fn arguments_of_a_command_are_in_no_message() {
        for quote in ["'", "`", "\""] {
            let error = error(&format!("unknown command, with args beginning with: {quote}k1{quote}"));
            assert!(!message(&error).contains("k1"));
            assert!(message(&error).contains("unknown command"));
        }
    }

    #[test]
    fn passwords_are_in_no_error_however_the_server_repeats_them() {
        let server = "redis://user:s3%20cret@localhost".into_connection_info().expect("valid");
        let passwords = Passwords::new(&[server], Some("0ther"));
        for text in ["s3 cret", "no 's3 cret' here", "x, with args beginning with: 's3 cret'", "<0ther>"] {
            let hidden = passwords.hide(error(text));
            assert_eq!(hidden.kind(), ErrorKind::Extension);
            let text = format!("{hidden} {hidden:?}");
            assert!(!text.contains("s3 cret") && !text.contains("0ther"), "{text}");
        }
        assert!(passwords.hide(error("no such key")).to_string().contains("no such key"));
    }

    #[test]
    fn empty_password_hides_nothing() {
        let passwords = Passwords::new(&[], Some(""));
        assert!(passwords.hide(error("no such key")).to_string().contains("no such key"));
    }
}
