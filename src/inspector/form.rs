//! The form in the body of a POST: read within a limit of size and time.

use crate::rules::list::trim;
use crate::serve::with_timeout;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use std::pin::pin;
use std::time::Duration;

/// The most bytes of a form.
const MAX_FORM: usize = 8 << 10;
/// How long the body of a request may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// The decoded names and values of a form or a query.
pub(super) type FormFields = Vec<(String, String)>;

/// The status and the description of a mistake in a request.
pub(super) type Rejection = (StatusCode, &'static str);

/// Parses the form-urlencoded fields of a text.
pub(super) fn parse(text: &[u8]) -> FormFields {
    form_urlencoded::parse(text).into_owned().collect()
}

/// Reads the form in the body of a request.
///
/// # Errors
/// Returns a mistake if the content is of another type, is too large, fails or arrives too slowly.
pub(super) async fn read<B: Body>(headers: &HeaderMap, body: B) -> Result<FormFields, Rejection> {
    if !is_form(headers) {
        let expected = "the content type is not application/x-www-form-urlencoded";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, expected));
    }
    match with_timeout(Some(FORM_TIMEOUT), collect(body)).await {
        Some(form) => Ok(parse(&form?)),
        None => Err((StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let media_type = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    trim(media_type).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

async fn collect<B: Body>(body: B) -> Result<Vec<u8>, Rejection> {
    let mut body = pin!(body);
    let mut form = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "the body failed"))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if form.len() + bytes::Buf::remaining(&data) > MAX_FORM {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 8 KiB"));
        }
        while bytes::Buf::has_remaining(&data) {
            let chunk = bytes::Buf::chunk(&data);
            form.extend_from_slice(chunk);
            let length = chunk.len();
            bytes::Buf::advance(&mut data, length);
        }
    }
    Ok(form)
}
