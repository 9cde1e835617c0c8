//! The random token that every POST to an inspector must repeat.

use subtle::ConstantTimeEq;

/// A random token of one inspector. A page of another site cannot read it.
///
/// It is `None` if the system has no random bytes. Then no token is accepted.
#[derive(Debug)]
pub(super) struct RequestToken(Option<String>);

impl RequestToken {
    pub(super) fn random() -> Self {
        let mut bytes = [0; 32];
        let is_random = getrandom::fill(&mut bytes).is_ok();
        Self(is_random.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Returns the token as text.
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Returns `true` if the text is the token. The time of the comparison does not depend on the
    /// text, except on its length.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|token| bool::from(token.as_bytes().ct_eq(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = RequestToken::random();
        let text = token.as_str().expect("random bytes").to_owned();
        assert_eq!(text.len(), 64);
        assert!(token.is(text.as_bytes()));
        for other in ["", &text[1..], &format!("{text}0"), &text.to_uppercase().replace('A', "b")] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert!(!RequestToken::random().is(text.as_bytes()), "each token is different");
        assert!(!RequestToken(None).is(b""), "no token is accepted without random bytes");
    }
}
