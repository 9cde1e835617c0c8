//! What the shop does for a request.

use crate::Site;
use crate::db::{self, Flavour};
use crate::forms::{FlavourForm, FlavourUpdate, LoginForm};
use crate::pages;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use std::error::Error;
use std::time::Instant;
use tower_response_cache::Invalidation;

type Result<T> = std::result::Result<T, Failure>;

/// Why there is no page.
pub(crate) enum Failure {
    NotFound,
    Internal(Box<dyn Error + Send + Sync>),
}

pub(crate) async fn list(State(site): State<Site>) -> Result<Response> {
    Ok(pages::list(&site.db.flavours().await?).into_response())
}

pub(crate) async fn api(State(site): State<Site>) -> Result<Json<Vec<Flavour>>> {
    Ok(Json(site.db.flavours().await?))
}

pub(crate) async fn api_one(State(site): State<Site>, Path(slug): Path<String>) -> Result<Json<Flavour>> {
    Ok(Json(site.db.flavour(slug).await?.ok_or(Failure::NotFound)?))
}

/// Replaces a flavour. `ConditionLayer` has seen to it that its version is the one the editor knows.
pub(crate) async fn api_replace(
    State(site): State<Site>,
    Path(slug): Path<String>,
    Json(new): Json<FlavourUpdate>,
) -> Result<StatusCode> {
    let FlavourUpdate { name, description, price_cents } = new;
    let flavour = Flavour { slug: slug.clone(), name, description, price_cents };
    let db = site.db.clone();
    if !save(site, &slug, async move { db.update(flavour).await }).await? {
        return Err(Failure::NotFound);
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn detail(State(site): State<Site>, Path(slug): Path<String>) -> Result<Response> {
    let found = site.db.flavour_with_sizes(slug).await?;
    let (flavour, sizes) = found.ok_or(Failure::NotFound)?;
    Ok(pages::detail(&flavour, &sizes).into_response())
}

pub(crate) async fn report(State(site): State<Site>) -> Result<Response> {
    let start = Instant::now();
    let sales = site.db.sales().await?;
    Ok(pages::report(&sales, start.elapsed()).into_response())
}

pub(crate) async fn new_form() -> Response {
    pages::flavour_form("New flavour", &FlavourForm::default(), None).into_response()
}

pub(crate) async fn add(State(site): State<Site>, Form(form): Form<FlavourForm>) -> Result<Response> {
    let refuse = |problem| {
        let page = pages::flavour_form("New flavour", &form, Some(problem));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    let flavour = match form.new_flavour() {
        Ok(flavour) => flavour,
        Err(problem) => return refuse(problem),
    };
    let slug = flavour.slug.clone();
    let db = site.db.clone();
    if !save(site, &slug, async move { db.add(flavour).await }).await? {
        return refuse("That name is taken.");
    }
    Ok(to_detail(&slug))
}

pub(crate) async fn edit_form(State(site): State<Site>, Path(slug): Path<String>) -> Result<Response> {
    let flavour = site.db.flavour(slug).await?.ok_or(Failure::NotFound)?;
    Ok(pages::flavour_form("Edit flavour", &flavour.into(), None).into_response())
}

pub(crate) async fn edit(
    State(site): State<Site>,
    Path(slug): Path<String>,
    Form(form): Form<FlavourForm>,
) -> Result<Response> {
    let flavour = match form.flavour(&slug) {
        Ok(flavour) => flavour,
        Err(problem) => {
            let page = pages::flavour_form("Edit flavour", &form, Some(problem));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let db = site.db.clone();
    if !save(site, &slug, async move { db.update(flavour).await }).await? {
        return Err(Failure::NotFound);
    }
    Ok(to_detail(&slug))
}

/// Writes, and makes the cache forget every page that shows the flavour once that is committed.
///
/// This is a task of its own: a visitor who hangs up drops the handler, and must not get it to
/// write without invalidating.
async fn save(
    site: Site,
    slug: &str,
    write: impl Future<Output = db::Result<bool>> + Send + 'static,
) -> Result<bool> {
    let (page, one) = (path(slug), format!("/api/flavours/{slug}"));
    let task = tokio::spawn(async move {
        let written = write.await?;
        if written && let Some(cache) = &site.cache {
            let stale = Invalidation::paths([page.as_str(), &one, "/", "/api/flavours", "/report"]);
            if let Err(error) = cache.invalidate(stale).await {
                eprintln!("{page} is saved, but its old version may still be shown: {error}");
            }
        }
        Ok(written)
    });
    task.await?
}

fn to_detail(slug: &str) -> Response {
    Redirect::to(&path(slug)).into_response()
}

fn path(slug: &str) -> String {
    format!("/flavours/{slug}")
}

pub(crate) async fn login_form() -> Response {
    pages::login(None).into_response()
}

/// `Policy::app` never stores a response with `Set-Cookie`, and what the visitor asks for from here
/// on, with a `Cookie`, passes the cache by: nobody gets a page that was made for somebody else.
pub(crate) async fn login(State(site): State<Site>, Form(form): Form<LoginForm>) -> Result<Response> {
    let name = match form.valid_name() {
        Ok(name) => name,
        Err(problem) => {
            let page = pages::login(Some(problem));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let cookie = site.sessions.start(site.db.random_id().await?, name);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/account")).into_response())
}

pub(crate) async fn account(State(site): State<Site>, headers: HeaderMap) -> Response {
    match site.sessions.name(&headers) {
        Some(name) => pages::account(&name).into_response(),
        None => Redirect::to("/login").into_response(),
    }
}

pub(crate) async fn logout(State(site): State<Site>, headers: HeaderMap) -> Response {
    let cookie = site.sessions.end(&headers);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

pub(crate) async fn not_found() -> Failure {
    Failure::NotFound
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, title) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "There is no such page"),
            Self::Internal(error) => {
                eprintln!("a request failed: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong")
            }
        };
        (status, pages::error(title)).into_response()
    }
}
