//! The pages, as HTML.

use crate::db::{Flavour, Sales, Size};
use crate::forms::FlavourForm;
use axum::response::Html;
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) fn list(flavours: &[Flavour]) -> Html<String> {
    let mut items = String::new();
    for flavour in flavours {
        let (slug, name) = (&flavour.slug, escape(&flavour.name));
        let price = price(flavour.price_cents);
        let link = format!(r#"<a href="/flavours/{slug}">{name}</a>"#);
        let _ = writeln!(items, "<li>{link}, from {price}</li>");
    }
    page("Flavours", &format!(r#"<ul>{items}</ul><p><a href="/flavours/new">Add a flavour</a></p>"#))
}

pub(crate) fn detail(flavour: &Flavour, sizes: &[Size]) -> Html<String> {
    let mut items = String::new();
    for size in sizes {
        let (name, price) = (escape(&size.name), price(size.price_cents));
        let _ = writeln!(items, "<li>{name}: {price}</li>");
    }
    let (slug, description) = (&flavour.slug, escape(&flavour.description));
    page(
        &flavour.name,
        &format!(r#"<p>{description}</p><ul>{items}</ul><p><a href="/flavours/{slug}/edit">Edit</a></p>"#),
    )
}

pub(crate) fn report(sales: &[Sales], took: Duration) -> Html<String> {
    let mut rows = String::new();
    for line in sales {
        let (flavour, revenue) = (escape(&line.flavour), price(line.revenue_cents));
        let (orders, portions) = (line.orders, line.portions);
        let _ = writeln!(
            rows,
            "<tr><td>{flavour}</td><td>{orders}</td><td>{portions}</td><td>{revenue}</td></tr>"
        );
    }
    let head = "<tr><th>Flavour</th><th>Orders</th><th>Portions</th><th>Revenue</th></tr>";
    let took = took.as_millis();
    page("Report", &format!("<table>{head}{rows}</table><p>Computed in {took} ms.</p>"))
}

/// The form for a new flavour or an old one; it posts to its own address.
pub(crate) fn flavour_form(title: &str, form: &FlavourForm, problem: Option<&str>) -> Html<String> {
    let problem = problem_line(problem);
    let (name, price) = (escape(&form.name), escape(&form.price));
    let description = escape(&form.description);
    page(
        title,
        &format!(
            r#"{problem}<form method="post">
<p><label>Name <input name="name" value="{name}" required></label></p>
<p><label>Price <input name="price" value="{price}" inputmode="decimal" required></label></p>
<p><label>Description <textarea name="description">
{description}</textarea></label></p>
<p><button>Save</button></p>
</form>"#
        ),
    )
}

pub(crate) fn login(problem: Option<&str>) -> Html<String> {
    let problem = problem_line(problem);
    page(
        "Log in",
        &format!(
            r#"{problem}<form method="post">
<p><label>Your name <input name="name" required></label></p>
<p><button>Log in</button></p>
</form>"#
        ),
    )
}

pub(crate) fn account(name: &str) -> Html<String> {
    page(
        "Account",
        &format!(
            r#"<p>You are logged in as {}.</p>
<form method="post" action="/logout"><button>Log out</button></form>"#,
            escape(name)
        ),
    )
}

pub(crate) fn error(title: &str) -> Html<String> {
    page(title, "<p>Have another scoop instead.</p>")
}

fn page(title: &str, body: &str) -> Html<String> {
    let title = escape(title);
    Html(format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<nav><a href="/">Flavours</a> | <a href="/report">Report</a> | <a href="/account">Account</a></nav>
<h1>{title}</h1>
{body}
</html>
"#
    ))
}

fn problem_line(problem: Option<&str>) -> String {
    problem.map_or_else(String::new, |text| format!("<p role=\"alert\">{}</p>\n", escape(text)))
}

fn price(cents: impl Into<i64>) -> String {
    format!("€{}", decimal(cents.into()))
}

/// Writes cents as a form takes them: `3.50`.
pub(crate) fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
