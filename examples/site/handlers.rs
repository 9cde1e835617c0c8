//! The handlers of the shop.

use crate::Site;
use crate::db::{self, Flavour, Size};
use crate::forms::{FlavourForm, FlavourUpdate, LoginForm, NoticeForm, SizeForm};
use crate::pages;
use crate::visitor::{self, Language, Visitor};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form, Json};
use std::error::Error;
use std::time::{Duration, Instant};
use tower_response_cache::invalidation::{Delivery, Dependents};
use tower_response_cache::{CacheHints, Ttl};
use tower_sessions::Session;

type Result<T> = std::result::Result<T, Failure>;

/// The reason for an error page.
pub(crate) enum Failure {
    NotFound,
    Internal(Box<dyn Error + Send + Sync>),
}

/// The key of the notice on the front page.
const NOTICE: &str = "notice";

/// Returns hints to store a page for a year. The stored page stays correct, because every write
/// invalidates the pages that it changes. Browsers revalidate their copies on each use.
fn until_saved() -> CacheHints {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    CacheHints::new().ttl(YEAR).client_max_age(Duration::ZERO)
}

pub(crate) async fn list(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
) -> Result<impl IntoResponse> {
    // The handler reads the notice, so the page depends on it: a new notice invalidates the page.
    let notice = match &site.cache {
        Some(cache) => cache.get::<String>(NOTICE).await?,
        None => None,
    };
    let page = pages::list(&visitor, &site.db.flavours().await?, notice.as_deref());
    Ok((until_saved().tags(["flavours"]), page))
}

pub(crate) async fn api(State(site): State<Site>) -> Result<impl IntoResponse> {
    Ok((CacheHints::new().tags(["flavours"]), Json(site.db.flavours().await?)))
}

pub(crate) async fn notice_form(Extension(visitor): Extension<Visitor>) -> impl IntoResponse {
    pages::notice(&visitor)
}

/// Puts a notice on the front page. Writing the value invalidates every page that has read the old
/// notice.
pub(crate) async fn notice(State(site): State<Site>, Form(form): Form<NoticeForm>) -> Result<Redirect> {
    if let Some(cache) = &site.cache {
        cache.set(NOTICE, form.text.trim(), Ttl::Forever).await?;
    }
    Ok(Redirect::to("/"))
}

pub(crate) async fn sizes(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
) -> Result<impl IntoResponse> {
    Ok(pages::sizes(&visitor, &site.db.sizes().await?))
}

/// Changes a size. This invalidates the pages of the flavors in this size, and no others.
pub(crate) async fn save_size(
    State(site): State<Site>,
    Path(id): Path<u32>,
    Form(form): Form<SizeForm>,
) -> Result<Response> {
    let Some(extra) = form.extra_cents() else {
        return Ok(
            (StatusCode::UNPROCESSABLE_ENTITY, pages::error("A price looks like this: 3.50")).into_response()
        );
    };
    let db = site.db.clone();
    save(site, async move { db.update_size(id, extra).await }).await?.ok_or(Failure::NotFound)?;
    Ok(Redirect::to("/sizes").into_response())
}

/// Returns one flavor with a strong `ETag`, which `If-Match` needs.
pub(crate) async fn api_one(State(site): State<Site>, Path(slug): Path<String>) -> Result<impl IntoResponse> {
    let flavour = site.db.flavour(slug).await?.ok_or(Failure::NotFound)?;
    Ok(([(header::ETAG, flavour.version().to_string())], Json(flavour)))
}

/// Replaces a flavor. `PreconditionLayer` has checked that the editor knows the current version.
pub(crate) async fn api_replace(
    State(site): State<Site>,
    Path(slug): Path<String>,
    Json(new): Json<FlavourUpdate>,
) -> Result<StatusCode> {
    let FlavourUpdate { name, description, price_cents } = new;
    let flavour = Flavour { slug, name, description, price_cents };
    let db = site.db.clone();
    save(site, async move { db.update(flavour).await }).await?.ok_or(Failure::NotFound)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn detail(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
) -> Result<impl IntoResponse> {
    let found = site.db.flavour_with_sizes(slug).await?;
    let (flavour, sizes) = found.ok_or(Failure::NotFound)?;
    let hints = until_saved().tags(sizes.iter().map(Size::tag));
    Ok((hints, pages::detail(&visitor, &flavour, &sizes)))
}

pub(crate) async fn report(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
) -> Result<impl IntoResponse> {
    let start = Instant::now();
    let sales = site.db.sales().await?;
    let hints = CacheHints::new().tags(["flavours", "sales"]);
    Ok((hints, pages::report(&visitor, &sales, start.elapsed())))
}

pub(crate) async fn new_form(Extension(visitor): Extension<Visitor>) -> impl IntoResponse {
    pages::flavour_form(&visitor, "New flavour", &FlavourForm::default(), None)
}

pub(crate) async fn add(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<FlavourForm>,
) -> Result<Response> {
    let refuse = |problem| {
        let page = pages::flavour_form(&visitor, "New flavour", &form, Some(problem));
        Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
    };
    let flavour = match form.new_flavour() {
        Ok(flavour) => flavour,
        Err(problem) => return refuse(problem),
    };
    let slug = flavour.slug.clone();
    let db = site.db.clone();
    if save(site, async move { db.add(flavour).await }).await?.is_none() {
        return refuse("That name is taken.");
    }
    Ok(to_detail(&slug))
}

pub(crate) async fn edit_form(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
) -> Result<impl IntoResponse> {
    let flavour = site.db.flavour(slug).await?.ok_or(Failure::NotFound)?;
    Ok(pages::flavour_form(&visitor, "Edit flavour", &flavour.into(), None))
}

pub(crate) async fn edit(
    State(site): State<Site>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
    Form(form): Form<FlavourForm>,
) -> Result<Response> {
    let flavour = match form.flavour(&slug) {
        Ok(flavour) => flavour,
        Err(problem) => {
            let page = pages::flavour_form(&visitor, "Edit flavour", &form, Some(problem));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let db = site.db.clone();
    save(site, async move { db.update(flavour).await }).await?.ok_or(Failure::NotFound)?;
    Ok(to_detail(&slug))
}

/// Runs a write. After its commit, invalidates every page that depends on the changed model.
///
/// The write and the invalidation run in one separate task. If the visitor disconnects, the handler
/// is dropped, but the task still invalidates after the commit.
async fn save<D: Dependents + Send + 'static>(
    site: Site,
    write: impl Future<Output = db::Result<Option<D>>> + Send + 'static,
) -> Result<Option<D>> {
    let task = tokio::spawn(async move {
        let written = write.await?;
        if let (Some(changed), Some(cache)) = (&written, &site.cache)
            && cache.invalidate(changed).await == Delivery::Queued
        {
            eprintln!("a change is saved, but other processes may still serve old pages");
        }
        Ok(written)
    });
    task.await?
}

fn to_detail(slug: &str) -> Response {
    Redirect::to(&format!("/flavours/{slug}")).into_response()
}

pub(crate) async fn login_form(Extension(visitor): Extension<Visitor>) -> impl IntoResponse {
    pages::login(&visitor, None)
}

/// Starts a session. From now on the visitor's requests have the session cookie and bypass the
/// cache.
pub(crate) async fn login(
    session: Session,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<LoginForm>,
) -> Result<Response> {
    let name = match form.valid_name() {
        Ok(name) => name,
        Err(problem) => {
            let page = pages::login(&visitor, Some(problem));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    // The session gets a new ID, since an attacker may have planted the old ID in the visitor's
    // browser.
    session.cycle_id().await?;
    session.insert(visitor::NAME, name).await?;
    Ok(Redirect::to("/account").into_response())
}

pub(crate) async fn account(Extension(visitor): Extension<Visitor>) -> Response {
    match &visitor.name {
        Some(name) => pages::account(&visitor, name).into_response(),
        None => Redirect::to("/login").into_response(),
    }
}

pub(crate) async fn logout(session: Session) -> Result<Redirect> {
    session.flush().await?;
    Ok(Redirect::to("/"))
}

/// Sets the visitor's language in a cookie that is part of the key.
pub(crate) async fn language(Path(code): Path<String>) -> Result<impl IntoResponse> {
    let language = Language::of_code(&code).ok_or(Failure::NotFound)?;
    let cookie = format!("{}={}; Path=/; SameSite=Lax; Max-Age=31536000", visitor::LANGUAGE, language.code());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")))
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
