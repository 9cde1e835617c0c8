//! The pages, as HTML.

use crate::db::{Flavour, Sales, Size};
use crate::forms::FlavourForm;
use crate::visitor::{Language, Visitor};
use axum::response::Html;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// The translated texts: the navigation, the footer, and the words in the list of flavors. All
/// other texts are in English.
struct Words {
    flavours: &'static str,
    report: &'static str,
    account: &'static str,
    from: &'static str,
    add: &'static str,
    made: &'static str,
}

fn words(language: Language) -> Words {
    match language {
        Language::English => Words {
            flavours: "Flavours",
            report: "Report",
            account: "Account",
            from: "from",
            add: "Add a flavour",
            made: "This page was made on",
        },
        Language::German => Words {
            flavours: "Sorten",
            report: "Bericht",
            account: "Konto",
            from: "ab",
            add: "Neue Sorte",
            made: "Diese Seite entstand am",
        },
    }
}

pub(crate) fn list(visitor: &Visitor, flavours: &[Flavour], notice: Option<&str>) -> Html<String> {
    let words = words(visitor.language);
    let mut items = String::new();
    for flavour in flavours {
        let (slug, name) = (&flavour.slug, escape(&flavour.name));
        let price = price(flavour.price_cents);
        let link = format!(r#"<a href="/flavours/{slug}">{name}</a>"#);
        let _ = writeln!(items, "<li>{link}, {} {price}</li>", words.from);
    }
    let add = words.add;
    let notice = notice.map_or_else(String::new, |text| format!("<p>{}</p>\n", escape(text)));
    let body = format!(r#"{notice}<ul>{items}</ul><p><a href="/flavours/new">{add}</a></p>"#);
    page(visitor, words.flavours, &body)
}

pub(crate) fn detail(visitor: &Visitor, flavour: &Flavour, sizes: &[Size]) -> Html<String> {
    let mut items = String::new();
    for size in sizes {
        let (name, price) = (escape(&size.name), price(size.price_cents));
        let _ = writeln!(items, "<li>{name}: {price}</li>");
    }
    let (slug, description) = (&flavour.slug, escape(&flavour.description));
    page(
        visitor,
        &flavour.name,
        &format!(r#"<p>{description}</p><ul>{items}</ul><p><a href="/flavours/{slug}/edit">Edit</a></p>"#),
    )
}

pub(crate) fn report(visitor: &Visitor, sales: &[Sales], took: Duration) -> Html<String> {
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
    page(
        visitor,
        words(visitor.language).report,
        &format!("<table>{head}{rows}</table><p>Computed in {took} ms.</p>"),
    )
}

/// Returns the page with the form for a new or an existing flavor. The form posts to the address of
/// the page.
pub(crate) fn flavour_form(
    visitor: &Visitor,
    title: &str,
    form: &FlavourForm,
    problem: Option<&str>,
) -> Html<String> {
    let problem = problem_line(problem);
    let (name, price) = (escape(&form.name), escape(&form.price));
    let description = escape(&form.description);
    page(
        visitor,
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

/// Returns the page with the extra prices of the sizes, each in a separate form.
pub(crate) fn sizes(visitor: &Visitor, sizes: &[Size]) -> Html<String> {
    let mut forms = String::new();
    for size in sizes {
        let (id, name, extra) = (size.id, escape(&size.name), decimal(size.price_cents.into()));
        let _ = writeln!(
            forms,
            r#"<form method="post" action="/sizes/{id}">
<label>{name} <input name="extra" value="{extra}" inputmode="decimal" required></label> <button>Save</button>
</form>"#
        );
    }
    page(visitor, "Sizes", &forms)
}

pub(crate) fn notice(visitor: &Visitor) -> Html<String> {
    page(
        visitor,
        "Notice",
        r#"<form method="post">
<p><label>For the front page <input name="text"></label></p>
<p><button>Save</button></p>
</form>"#,
    )
}

pub(crate) fn login(visitor: &Visitor, problem: Option<&str>) -> Html<String> {
    let problem = problem_line(problem);
    page(
        visitor,
        "Log in",
        &format!(
            r#"{problem}<form method="post">
<p><label>Your name <input name="name" required></label></p>
<p><button>Log in</button></p>
</form>"#
        ),
    )
}

pub(crate) fn account(visitor: &Visitor, name: &str) -> Html<String> {
    page(
        visitor,
        "Account",
        &format!(
            r#"<p>You are logged in as {}.</p>
<form method="post" action="/logout"><button>Log out</button></form>"#,
            escape(name)
        ),
    )
}

pub(crate) fn error(title: &str) -> Html<String> {
    page(&Visitor::default(), title, "<p>Have another scoop instead.</p>")
}

/// Returns a page with the time at which it was made. A hit shows the time of the fetch.
fn page(visitor: &Visitor, title: &str, body: &str) -> Html<String> {
    let Words { flavours, report, account, made, .. } = words(visitor.language);
    let time = httpdate::fmt_http_date(SystemTime::now());
    let (title, code) = (escape(title), visitor.language.code());
    let account = visitor.name.as_deref().map_or_else(|| account.to_owned(), escape);
    Html(format!(
        r#"<!doctype html>
<html lang="{code}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<nav><a href="/">{flavours}</a> | <a href="/report">{report}</a> | <a href="/account">{account}</a> |
<a href="/language/en">English</a> | <a href="/language/de">Deutsch</a></nav>
<h1>{title}</h1>
{body}
<footer>{made} {time}.</footer>
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

/// Formats cents as a form expects them: `3.50`.
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
