//! The meanings of the values of `fwd` and `detail`, read from the tables in `details.md`.

const TABLES: &str = include_str!("details.md");

/// Returns the meaning of a value of `fwd`, if the tables have it.
pub(crate) fn forward_meaning(word: &str) -> Option<String> {
    meaning("fwd", word)
}

/// Returns the meaning of a value of `detail`.
///
/// A value that the tables do not list is the name of a field. It has the meaning of an example
/// field in the tables: of a request field if `is_bypass`, otherwise of a response field.
pub(crate) fn detail_meaning(word: &str, is_bypass: bool) -> Option<String> {
    let example = if is_bypass { "client-cert" } else { "x-auth-token" };
    meaning("detail", word).or_else(|| meaning("detail", example))
}

/// Returns `true` if a table lists this value of `fwd` or `detail`.
#[cfg(feature = "testing")]
pub(crate) fn has_meaning(word: &str) -> bool {
    ["fwd", "detail"].iter().any(|parameter| meaning(parameter, word).is_some())
}

/// Returns the meaning of a value in the tables of a parameter. The meanings of several rows are
/// joined by `; `.
fn meaning(parameter: &str, word: &str) -> Option<String> {
    let heading = format!("| `{parameter}`");
    let tables = TABLES.split("\n\n").filter(|table| table.starts_with(&heading));
    let rows = tables.flat_map(|table| table.lines().skip(2));
    let cells = rows.filter_map(|row| row.strip_prefix('|')?.strip_suffix('|')?.split_once('|'));
    let texts: Vec<_> =
        cells.filter(|(words, _)| has_word(words, word)).map(|(_, text)| text.trim()).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Returns `true` if a cell contains the word in backquotes.
fn has_word(cell: &str, word: &str) -> bool {
    cell.split('`').skip(1).step_by(2).any(|named| named == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::all;
    use crate::status::{Detail, ForwardReason};

    #[test]
    fn every_value_of_fwd_and_detail_has_a_meaning() {
        use ForwardReason::{Bypass, Method, Request, Stale, UriMiss, VaryMiss};
        for reason in [Bypass, Method, UriMiss, VaryMiss, Request, Stale] {
            assert!(forward_meaning(reason.as_str()).is_some_and(|text| !text.is_empty()), "{reason:?}");
        }
        for word in all().into_iter().map(Detail::as_str) {
            assert!(meaning("detail", word).is_some_and(|text| !text.is_empty()), "{word}");
        }
    }

    #[test]
    fn words_of_several_rows_and_unlisted_names_are_explained() {
        let authorization = detail_meaning("authorization", true).expect("a meaning");
        assert!(authorization.contains("; also: "), "{authorization}");
        assert_eq!(detail_meaning("x-shop-token", true), meaning("detail", "x-acme-session"));
        assert_eq!(detail_meaning("x-shop-token", false), meaning("detail", "x-csrf-token"));
        assert_eq!(meaning("fwd", "cookie"), None);
        #[cfg(feature = "testing")]
        assert!(has_meaning("method") && has_meaning("cookie") && !has_meaning("cookies"));
    }
}
