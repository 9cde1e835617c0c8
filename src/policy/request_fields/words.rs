//! Names that look like those of credentials: whole words of a name, and what is run together in one.

/// Words that identify wherever they stand, run together with others too.
const fn stems(first: u8) -> &'static [&'static str] {
    match first {
        b'a' => {
            &["accesskey", "account", "apikey", "assertion", "attestation", "authent", "authoris", "authoriz"]
        }
        b'b' => &["bearer"],
        b'c' => &["certificate", "clientcert", "credential", "csrf"],
        b'd' => &["dpop"],
        b'e' => &["email"],
        b'i' => &["identity", "impersonat"],
        b'j' => &["jwt"],
        b'k' => &["kerberos", "keycloak"],
        b'l' => &["login", "logon"],
        b'm' => &["mtls"],
        b'n' => &["ntlm"],
        b'o' => &["oauth", "oidc", "openid"],
        b'p' => &["passcode", "passkey", "passphrase", "passport", "passw", "principal"],
        b's' => &["saml", "secret", "session", "shib", "signature", "signin", "spnego"],
        b't' => &["ticket", "token"],
        b'u' => &["username", "userid", "userinfo"],
        b'x' => &["xsrf"],
        _ => &[],
    }
}

/// Words that identify at either end of a word: within, they are parts of others.
const ENDS: [&str; 7] = ["cert", "claim", "cred", "jws", "pwd", "sso", "user"];

/// Words that identify where they stand alone: personal data, and what single products send.
const ALONE: [&str; 63] = [
    "2fa",
    "admin",
    "affiliation",
    "appcheck",
    "basket",
    "behalf",
    "cart",
    "cn",
    "cognito",
    "consumer",
    "cookie",
    "cookies",
    "creds",
    "customer",
    "displayname",
    "dn",
    "entitlements",
    "eppn",
    "fullname",
    "givenname",
    "group",
    "groups",
    "hmac",
    "iap",
    "ident",
    "imsi",
    "jwe",
    "krb",
    "krb5",
    "logged",
    "mail",
    "member",
    "mfa",
    "msisdn",
    "negotiate",
    "nickname",
    "nonce",
    "okta",
    "otp",
    "person",
    "phone",
    "pomerium",
    "psk",
    "role",
    "roles",
    "sid",
    "sig",
    "signed",
    "subject",
    "subno",
    "subscriber",
    "sudo",
    "surname",
    "tailscale",
    "totp",
    "uid",
    "uidh",
    "upn",
    "visitor",
    "vouch",
    "whoami",
    "wsse",
    "acr",
];

/// Pairs of neighbors that identify, though neither does by itself.
const PAIRS: [(&str, &[&str]); 12] = [
    ("access", &["key"]),
    ("api", &["key"]),
    ("calling", &["line"]),
    ("caller", &["id"]),
    ("cf", &["access"]),
    (
        "client",
        &[
            "chain",
            "fingerprint",
            "i",
            "id",
            "issuer",
            "key",
            "s",
            "san",
            "serial",
            "uid",
            "verified",
            "verify",
        ],
    ),
    ("device", &["id", "uid"]),
    ("remote", &["name"]),
    ("secret", &["key"]),
    ("ssl", &["client", "issuer", "serial", "verify"]),
    ("subscription", &["key"]),
    ("tls", &["client"]),
];

/// Returns `true` if the name of a field says that its value identifies a visitor.
pub(super) fn identify(name: &str) -> bool {
    let mut words = words(name.as_bytes()).peekable();
    while let Some(word) = words.next() {
        let next = words.peek().copied();
        if identifies(word, next) || (next.is_none() && (word.ends_with(b"key") || word == b"keys")) {
            return true;
        }
    }
    false
}

fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn identifies(word: &[u8], next: Option<&[u8]>) -> bool {
    // A user agent is a program.
    if word.starts_with(b"useragent") || (word == b"user" && next == Some(b"agent")) {
        return false;
    }
    // Of an author are written works.
    let begins_with_auth = word.starts_with(b"auth") && !word.starts_with(b"author");
    begins_with_auth
        || word.ends_with(b"auth")
        || has_stem(word)
        || word.ends_with(b"sid")
        || ENDS.iter().any(|end| word.starts_with(end.as_bytes()) || word.ends_with(end.as_bytes()))
        || ALONE.iter().any(|alone| alone.as_bytes() == word)
        || next.is_some_and(|next| is_pair(word, next))
}

fn has_stem(word: &[u8]) -> bool {
    word.iter().enumerate().any(|(at, first)| {
        let rest = &word[at..];
        stems(*first).iter().any(|stem| rest.starts_with(stem.as_bytes()))
    })
}

fn is_pair(word: &[u8], next: &[u8]) -> bool {
    let pair = PAIRS.iter().find(|(first, _)| first.as_bytes() == word);
    pair.is_some_and(|(_, seconds)| seconds.iter().any(|second| second.as_bytes() == next))
}
