//! The request whose decision an operator wants to see.

use super::form::FormFields;
use crate::rules::list::trim;
use crate::serve::public_uri;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// The most header fields of a request.
const MAX_FIELDS: usize = 64;

/// The fields that proxies add for all requests to a host. If the form names a path, they are copied
/// from the inspector's own request.
const PROXY_FIELDS: [HeaderName; 7] = [
    http::header::FORWARDED,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-host"),
];

/// Creates the request that a form describes, in the form in which the server of the inspector's
/// own request would receive it.
///
/// | field | value |
/// |---|---|
/// | `url` | a path, or a URL with `http` or `https` |
/// | `method` | a method; GET by default |
/// | `header` | a line such as `Accept-Language: de`; may be repeated |
///
/// # Errors
/// Returns a description of the first mistake. It repeats no part of the form.
pub(super) fn sample_request(form: &FormFields, own: &Parts) -> Result<Request<()>, &'static str> {
    let (mut url, mut method, mut headers) = (None, None, HeaderMap::new());
    for (name, value) in form {
        match name.as_str() {
            "url" if url.is_none() => url = Some(parse_url(value)?),
            "method" if method.is_none() => {
                method = Some(value.parse::<Method>().map_err(|_| "not a method")?);
            }
            "url" | "method" => return Err("`url` and `method` may be given once"),
            "header" if headers.len() == MAX_FIELDS => return Err("more than 64 header fields"),
            "header" => {
                let (name, value) = parse_field(value)?;
                headers.try_append(name, value).map_err(|_| "too many header fields")?;
            }
            _ => return Err("an unknown parameter: use url, method and header"),
        }
    }
    let url = url.ok_or("no `url`")?;
    if url.authority().is_none() {
        copy_proxy_fields(&own.headers, &mut headers)?;
    }
    let uri = received_uri(url, own, &mut headers)?;
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.version_mut()) =
        (method.unwrap_or_default(), uri, own.version);
    *request.headers_mut() = headers;
    Ok(request)
}

/// Adds the fields of the proxy in front, unless the form names them.
fn copy_proxy_fields(own: &HeaderMap, headers: &mut HeaderMap) -> Result<(), &'static str> {
    for name in PROXY_FIELDS.into_iter().filter(|name| own.contains_key(name)) {
        if !headers.contains_key(&name) {
            for value in own.get_all(&name) {
                headers.try_append(&name, value.clone()).map_err(|_| "too many header fields")?;
            }
        }
    }
    Ok(())
}

/// Returns the URI as a server passes it on: for HTTP/1.1 the path, with the host in `Host`; for
/// HTTP/2 a complete URI.
fn received_uri(url: Uri, own: &Parts, headers: &mut HeaderMap) -> Result<Uri, &'static str> {
    let own_uri = public_uri(own.into());
    let mut parts = url.into_parts();
    if own_uri.authority().is_some() {
        if parts.authority.is_none() {
            (parts.scheme, parts.authority) = (own_uri.scheme().cloned(), own_uri.authority().cloned());
        }
    } else {
        let named = parts.authority.take();
        let named = named.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        parts.scheme = None;
        let host = named.or_else(|| own.headers.get(HOST).cloned());
        if let Some(host) = host.filter(|_| !headers.contains_key(HOST)) {
            headers.try_append(HOST, host).map_err(|_| "too many header fields")?;
        }
    }
    Uri::from_parts(parts).map_err(|_| "not a path or a URL")
}

/// Parses a path or a URL. Characters other than ASCII are percent-encoded, as browsers do.
fn parse_url(text: &str) -> Result<Uri, &'static str> {
    const NOT_A_URL: &str = "not a path or a URL";
    let text = trimmed(text)?;
    let encode = |byte: u8| match byte {
        0x80.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    let encoded: String = text.bytes().map(encode).collect();
    if encoded.starts_with('/') {
        // `//host/path` is a path here, not a URL without a scheme.
        let path = encoded.split('#').next().unwrap_or_default();
        let path = path.parse::<PathAndQuery>().map_err(|_| NOT_A_URL)?;
        return Uri::builder().path_and_query(path).build().map_err(|_| NOT_A_URL);
    }
    let uri: Uri = encoded.parse().map_err(|_| NOT_A_URL)?;
    let is_http = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    let has_password = uri.authority().map(Authority::as_str).is_some_and(|host| host.contains('@'));
    if is_http && !has_password { Ok(uri) } else { Err(NOT_A_URL) }
}

/// Parses a line such as `Accept: text/html`. A line feed in it is not a second line, but a mistake.
fn parse_field(line: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = trimmed(line)?.split_once(':').ok_or("a header field without a colon")?;
    let name = name.parse::<HeaderName>().map_err(|_| "not the name of a header field")?;
    let value = trim(value.as_bytes());
    let value = HeaderValue::from_bytes(value).map_err(|_| "not the value of a header field")?;
    Ok((name, value))
}

/// Removes spaces and tabs at both ends. Rejects bytes that were not UTF-8, which the form parser
/// has replaced.
fn trimmed(text: &str) -> Result<&str, &'static str> {
    let text = text.trim_matches([' ', '\t']);
    if text.contains(char::REPLACEMENT_CHARACTER) { Err("a value that is not UTF-8") } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::form::parse;
    use http::Version;

    fn own(uri: &str, lines: &[(&str, &str)]) -> Parts {
        let mut own = Request::get(uri);
        for (name, value) in lines {
            own = own.header(*name, *value);
        }
        own.body(()).expect("a request").into_parts().0
    }

    fn read(query: &str, own: &Parts) -> Result<(String, String), &'static str> {
        let request = sample_request(&parse(query.as_bytes()), own)?;
        let lines = request.headers().iter();
        let lines = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
        Ok((format!("{} {}", request.method(), request.uri()), lines.collect::<Vec<_>>().join("; ")))
    }

    #[test]
    fn request_has_the_form_that_the_server_receives() {
        let own = own("/explain.json", &[("host", "shop.example"), ("cookie", "sid=1")]);
        let table = [
            ("url=/a?x=1", "GET /a?x=1", "host: shop.example"),
            ("url=%20/a%09&method=HEAD", "HEAD /a", "host: shop.example"),
            ("url=/caf%C3%A9%23top", "GET /caf%C3%A9", "host: shop.example"),
            ("url=//evil.example/a", "GET //evil.example/a", "host: shop.example"),
            ("url=https://blog.example:8080/a%23b", "GET /a", "host: blog.example:8080"),
            ("url=/&header=Host:blog.example", "GET /", "host: blog.example"),
            (
                "url=/&header=%20Accept:%09a,b%20&header=X-A:",
                "GET /",
                "accept: a,b; x-a: ; host: shop.example",
            ),
        ];
        for (query, target, lines) in table {
            assert_eq!(read(query, &own), Ok((target.to_owned(), lines.to_owned())), "{query}");
        }
    }

    #[test]
    fn http_2_request_has_a_complete_uri() {
        let mut own = own("https://shop.example/explain.json", &[]);
        own.version = Version::HTTP_2;
        let read = |query: &str| read(query, &own).map(|(target, lines)| (target, lines.is_empty()));
        assert_eq!(read("url=/a?x"), Ok(("GET https://shop.example/a?x".to_owned(), true)));
        assert_eq!(read("url=http://blog.example/"), Ok(("GET http://blog.example/".to_owned(), true)));
    }

    #[test]
    fn path_gets_the_fields_of_the_own_proxy() {
        let proxied = [("host", "internal"), ("x-forwarded-host", "shop.example"), ("x-original-url", "/x")];
        let own = own("/explain.json", &proxied);
        let lines = |query: &str| read(query, &own).map(|(_, lines)| lines);
        assert_eq!(lines("url=/a"), Ok("x-forwarded-host: shop.example; host: internal".to_owned()));
        let named = "url=/a&header=X-Forwarded-Host:%20blog.example";
        assert_eq!(lines(named), Ok("x-forwarded-host: blog.example; host: internal".to_owned()));
        assert_eq!(lines("url=http://a.example/"), Ok("host: a.example".to_owned()));
    }

    #[test]
    fn invalid_requests_are_refused() {
        let own = own("/explain.json", &[("host", "shop.example")]);
        let many = format!("url=/{}", "&header=X-A:1".repeat(65));
        let table = [
            "",
            "url=",
            "url=a",
            "url=shop.example:80",
            "url=ftp://shop.example/",
            "url=javascript:alert(1)",
            "url=http://user:password@shop.example/",
            "url=/a%0Ab",
            "url=/a%0D%0A",
            "url=%0A/a",
            "url=/a%00",
            "url=/a%20b",
            "url=/%FF",
            "url=/a&url=/b",
            "url=/&method=GET&method=GET",
            "url=/&method=",
            "url=/&method=G%20T",
            "url=/&method=GET%0A",
            "url=/&header=Accept",
            "url=/&header=",
            "url=/&header=:a",
            "url=/&header=Acc%20ept:a",
            "url=/&header=Accept%20:a",
            "url=/&header=Accept:a%0AHost:b",
            "url=/&header=Accept:a%0D",
            "url=/&header=%0AAccept:a",
            "url=/&header=Accept:%00",
            "url=/&header=Accept:%FF",
            "url=/&other=1",
            many.as_str(),
        ];
        for query in table {
            assert!(read(query, &own).is_err(), "{query}");
        }
    }
}
