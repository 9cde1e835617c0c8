//! Who is asking, and in which language.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_response_cache::Identified;
use tower_sessions::Session;

/// The session cookie.
pub(crate) const SESSION: &str = "sid";
/// The cookie that a visitor's choice of a language is kept in.
pub(crate) const LANGUAGE: &str = "lang";
/// Where a session has the visitor's name.
pub(crate) const NAME: &str = "name";

/// What pages depend on besides what they are about.
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

    /// Returns what the visitor has chosen, else what the browser asks for. Of requests that fill the
    /// cache, that is one of the site's own languages: the key's part for it has seen to that.
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = text(header::COOKIE).flat_map(|line| line.split(';'));
        let chosen = cookies
            .find_map(|cookie| cookie.trim().strip_prefix(LANGUAGE)?.strip_prefix('=').map(str::to_owned));
        let asked = text(header::ACCEPT_LANGUAGE).find_map(|line| line.get(..2).map(str::to_ascii_lowercase));
        chosen.as_deref().and_then(Self::of_code).or_else(|| Self::of_code(&asked?)).unwrap_or_default()
    }
}

/// Looks the session up and tells handlers who is asking. What it finds is nobody else's: no cache keeps
/// a response that is marked as made for somebody, whatever the session was found by.
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
