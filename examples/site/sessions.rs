//! Who is logged in: a random cookie value, and a map that knows the name behind it.

use axum::http::{HeaderMap, header};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions, gone when the process ends. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<String, String>>>);

impl Sessions {
    /// Starts a session, and returns the cookie to set.
    pub(crate) fn start(&self, id: String, name: &str) -> String {
        let cookie = format!("sid={id}; Path=/; HttpOnly; SameSite=Lax");
        self.map().insert(id, name.to_owned());
        cookie
    }

    /// Ends the session, and returns the cookie that removes it.
    pub(crate) fn end(&self, headers: &HeaderMap) -> &'static str {
        if let Some(id) = session_id(headers) {
            self.map().remove(id);
        }
        "sid=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    }

    /// Returns the visitor's name.
    pub(crate) fn name(&self, headers: &HeaderMap) -> Option<String> {
        self.map().get(session_id(headers)?).cloned()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("sid="))
}
