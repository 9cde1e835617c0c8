//! The visitor of a request, and the language.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_response_cache::Identified;
use tower_sessions::Session;

/// The session cookie.
pub(crate) const SESSION: &str = "sid";
/// The cookie with the visitor's language.
pub(crate) const LANGUAGE: &str = "lang";
/// The key of the visitor's name in a session.
pub(crate) const NAME: &str = "name";

/// The inputs of a page that depend on its visitor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visitor {
    pub(crate) name: Option<String>,
    pub(crate) language: Language,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    German,
}

impl Language {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        [Self::English, Self::German].into_iter().find(|language| language.code() == code)
    }

    /// Returns the language in the cookie, or else the language that begins `Accept-Language`. If
    /// the response may be stored, the cache has replaced `Accept-Language` by the language in the
    /// key.
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = text(header::COOKIE).flat_map(|line| line.split(';'));
        let chosen = cookies
            .find_map(|cookie| cookie.trim().strip_prefix(LANGUAGE)?.strip_prefix('=').map(str::to_owned));
        let preferred =
            text(header::ACCEPT_LANGUAGE).find_map(|line| line.get(..2).map(str::to_ascii_lowercase));
        chosen.as_deref().and_then(Self::of_code).or_else(|| Self::of_code(&preferred?)).unwrap_or_default()
    }
}

/// Loads the session and passes the visitor to the handlers. Marks the responses to identified
/// visitors, so that no cache layer stores them.
pub(crate) async fn recognise(session: Session, mut request: Request, next: Next) -> Response {
    let name = match session.get::<String>(NAME).await {
        Ok(name) => name,
        Err(error) => return crate::handlers::Failure::from(error).into_response(),
    };
    let (is_known, language) = (name.is_some(), Language::of(request.headers()));
    request.extensions_mut().insert(Visitor { name, language });
    let mut response = next.run(request).await;
    if is_known {
        response.extensions_mut().insert(Identified);
    }
    response
}
