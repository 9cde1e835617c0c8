//! Visitors, and an origin whose pages name the visitor for whom the origin made them.

use crate::support::*;
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tower::{ServiceExt, service_fn};
use tower_response_cache::Invalidation;
use tower_response_cache::key::RequestHead;

pub(crate) const USERS: [&str; 2] = ["alice", "bob"];
pub(crate) const TENANTS: [&str; 2] = ["a.example", "b.example"];
/// Cookie, `Accept-Language`, and the expected language of the page.
pub(crate) const LANGUAGES: [(&str, &str, &str); 6] = [
    ("", "", "en"),
    ("", "de-AT, en;q=0.5", "de"),
    ("", "en-GB", "en"),
    ("lang=de", "", "de"),
    ("lang=en", "", "en"),
    ("lang=en", "de", "en"),
];
/// The paths, and the `Cache-Control` of their pages.
pub(crate) const PAGES: [(&str, &[(&str, &str)]); 3] = [
    ("/", &[]),
    ("/public", &[("cache-control", "public, max-age=60")]),
    ("/p", &[("cache-control", "private, max-age=60")]),
];

/// The input that identifies a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentifiedBy {
    Nothing,
    Analytics,
    Cookie,
    Bearer,
    ApiKey,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) by: IdentifiedBy,
    pub(crate) user: usize,
    pub(crate) tenant: usize,
    pub(crate) language: usize,
    pub(crate) page: usize,
}

impl Visitor {
    pub(crate) fn user(&self) -> &'static str {
        if matches!(self.by, IdentifiedBy::Nothing | IdentifiedBy::Analytics) {
            "anybody"
        } else {
            USERS[self.user]
        }
    }

    pub(crate) fn request(&self) -> Request<Body> {
        let (cookie, language, _) = LANGUAGES[self.language];
        let user = USERS[self.user];
        let mut cookies = vec![cookie.to_owned()];
        let mut request = get_with(PAGES[self.page].0, &[("host", TENANTS[self.tenant])]);
        let mut add = |name: &'static str, value: &str| {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        };
        match self.by {
            IdentifiedBy::Nothing => {}
            IdentifiedBy::Analytics => cookies.insert(0, format!("_ga={user}")),
            IdentifiedBy::Cookie => cookies.push(format!("sid={user}")),
            IdentifiedBy::Bearer => add("authorization", &format!("Bearer {user}")),
            IdentifiedBy::ApiKey => add("x-api-key", user),
        }
        cookies.retain(|cookie| !cookie.is_empty());
        if !cookies.is_empty() {
            add("cookie", &cookies.join("; "));
        }
        if !language.is_empty() {
            add("accept-language", language);
        }
        request
    }
}

#[derive(Clone)]
pub(crate) struct User(pub(crate) String);

pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get("cookie")?.to_str().expect("text").split("; ");
    pairs.filter_map(|pair| pair.split_once('=')).find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// Returns the user who sent a request, from the same inputs that a handler or an authentication
/// layer reads.
pub(crate) fn sender(request: RequestHead<'_>) -> Option<String> {
    let headers = request.headers;
    let field = |name| Some(headers.get(name)?.to_str().expect("text"));
    let token = || field("authorization")?.strip_prefix("Bearer ");
    let known = request.extensions.get::<User>().map(|user| &*user.0);
    let user = known.or_else(|| cookie(headers, "sid")).or_else(token).or_else(|| field("x-api-key"));
    user.map(str::to_owned)
}

/// An origin whose pages change with each invalidation. It makes a page when the request arrives, and
/// may send the page later.
#[derive(Default)]
pub(crate) struct Origin {
    /// `true` if each response waits for a call of `answer`.
    pub(crate) by_hand: bool,
    pub(crate) waiting: Mutex<Vec<oneshot::Sender<()>>>,
    pub(crate) versions: Mutex<[usize; PAGES.len()]>,
}

impl Origin {
    pub(crate) fn service(self: &Arc<Self>) -> Inner {
        let origin = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let (page, gate) = (origin.page(&request), oneshot::channel());
            if origin.by_hand {
                origin.waiting.lock().expect("unpoisoned").push(gate.0);
            }
            async move {
                let _ = gate.1.await;
                Ok::<_, Infallible>(page)
            }
        });
        service.boxed_clone()
    }

    /// Makes a page that lists the inputs that the handler sees.
    fn page(&self, request: &Request<Body>) -> Response<Body> {
        let headers = request.headers();
        let user = sender(request.into()).unwrap_or_else(|| "anybody".to_owned());
        let tenant = headers["host"].to_str().expect("text");
        let accepted =
            headers.get("accept-language").map_or("en", |value| &value.to_str().expect("text")[..2]);
        let language = cookie(headers, "lang").unwrap_or(accepted);
        let analytics = cookie(headers, "_ga").unwrap_or("none");
        let page = PAGES.iter().position(|(path, _)| *path == request.uri().path()).expect("a page");
        let version = self.versions.lock().expect("unpoisoned")[page];
        let text = format!("{user} {tenant} {language} {page} {analytics} {version}");
        let mut response = with_lines(PAGES[page].1, text.clone());
        response.headers_mut().insert("x-seen", text.parse().expect("a value"));
        response
    }

    pub(crate) fn answer(&self, which: usize) -> bool {
        let mut waiting = self.waiting.lock().expect("unpoisoned");
        if waiting.is_empty() {
            return false;
        }
        let at = which % waiting.len();
        let _ = waiting.swap_remove(at).send(());
        true
    }

    /// Changes one page or all pages, and returns the invalidation to send.
    pub(crate) fn change(&self, page: Option<usize>) -> Invalidation {
        let mut versions = self.versions.lock().expect("unpoisoned");
        let changed = versions.iter_mut().enumerate().filter(|(at, _)| page.is_none_or(|page| page == *at));
        changed.for_each(|(_, version)| *version += 1);
        page.map_or(Invalidation::all(), |page| Invalidation::path(PAGES[page].0))
    }
}
