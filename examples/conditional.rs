//! Conditional requests without a cache: 304 saves a transfer, 412 and 428 prevent a lost update.

use axum::http::{Request, StatusCode, header::ETAG};
use axum::{Router, body::Body, extract::State, routing::get};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use tower::ServiceExt;
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::{ConditionalGetLayer, PreconditionLayer};

type Note = Arc<Mutex<String>>;

fn read(note: &Note) -> String {
    note.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn show(State(note): State<Note>) -> String {
    read(&note)
}

async fn save(State(note): State<Note>, text: String) -> StatusCode {
    *note.lock().unwrap_or_else(PoisonError::into_inner) = text;
    StatusCode::NO_CONTENT
}

/// Sends a request, prints the result and returns the `ETag`.
async fn send(app: &Router, line: &str, (name, value): (&str, &str)) -> Result<String, Box<dyn Error>> {
    let (method, path) = line.split_once(' ').ok_or("a method and a path")?;
    let request = Request::builder().method(method).uri(path).header(name, value);
    let response = app.clone().oneshot(request.body(Body::from("Buy lemons"))?).await?;
    let tag =
        response.headers().get(ETAG).map_or("none", |tag| tag.to_str().unwrap_or("unreadable")).to_owned();
    println!("{line}, {name}: {value}\n  {}, etag: {tag}", response.status());
    Ok(tag)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let note = Note::new(Mutex::new("Buy mint".to_owned()));
    let current = note.clone();
    // The closure runs before the handler and returns the current tag. The tag is strong, because
    // `If-Match` never matches a weak tag.
    let preconditions = PreconditionLayer::new()
        .etag(move |_| std::future::ready(Some(EntityTag::strong(read(&current)))))
        .require_precondition();
    let app = Router::new()
        .route("/note", get(show).put(save).layer(preconditions))
        .route("/about", get(async || "A notebook"))
        .layer(ConditionalGetLayer::new()) // hashes the body of a response that has no tag
        .with_state(note);

    let about = send(&app, "GET /about", ("accept", "*/*")).await?;
    send(&app, "GET /about", ("if-none-match", &about)).await?;
    let first = send(&app, "GET /note", ("accept", "*/*")).await?;
    send(&app, "PUT /note", ("accept", "*/*")).await?;
    send(&app, "PUT /note", ("if-match", &first)).await?;
    send(&app, "PUT /note", ("if-match", &first)).await?;
    Ok(())
}
