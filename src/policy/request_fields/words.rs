//! Decides whether the name of a field looks like the name of a credential.
//!
//! The words of a name are its parts between characters that are not letters or digits. A name
//! *identifies* if one of its words is listed below (`cookie`), or if two adjacent words are listed
//! as a pair (`device-id`). Many products run words together (`customerid`), so parts of words
//! count, too.

use crate::rules::by_length::is_listed;

/// Returns the stems that begin with this byte. A word that contains a stem identifies.
const fn stems(first: u8) -> &'static [&'static str] {
    match first {
        b'a' => {
            &["accesskey", "account", "apikey", "assertion", "attestation", "authent", "authoris", "authoriz"]
        }
        b'b' => &["bearer"],
        b'c' => &["certificate", "clientcert", "credential", "csrf"],
        b'd' => &["dpop"],
        b'e' => &["eduperson", "email", "employee"],
        b'i' => &["identity", "impersonat"],
        b'j' => &["jwt"],
        b'k' => &["kerberos", "keycloak"],
        b'l' => &["login", "logon"],
        b'm' => &["mailbox", "memberof", "mtls"],
        b'n' => &["ntlm"],
        b'o' => &["oauth", "oidc", "openid"],
        b'p' => &["passcode", "passkey", "passphrase", "passport", "passw", "principal", "proxiedentit"],
        b's' => &["saml", "secret", "session", "shib", "signature", "signin", "spnego"],
        b't' => &["ticket", "token"],
        b'u' => &["username", "userid", "userinfo"],
        b'x' => &["xsrf"],
        _ => &[],
    }
}

/// A word that starts or ends with one of these stems identifies. In the middle of a word, they are
/// parts of unrelated words.
const EDGE_STEMS: [&str; 7] = ["cert", "claim", "cred", "jws", "pwd", "sso", "user"];

/// Returns `true` if the whole word is a kind of personal data, or a term or product of
/// authentication. Longer words that contain such a word are not matched here.
fn is_identifying_word(word: &[u8]) -> bool {
    is_listed! { word,
        2: b"cn" b"dn" b"sn";
        3: b"2fa" b"acr" b"iap" b"jwe" b"krb" b"mfa" b"otp" b"psk" b"sid" b"sig" b"ssn" b"uid" b"upn";
        4: b"cart" b"eppn" b"gaid" b"hmac" b"idfa" b"idfv" b"imei" b"imsi" b"krb5" b"mail" b"meid" b"oaid"
            b"okta" b"role" b"scnt" b"sess" b"sign" b"sudo" b"svid" b"totp" b"udid" b"uidh" b"wsse";
        5: b"actor" b"admin" b"clerk" b"creds" b"crumb" b"group" b"iccid" b"ident" b"nonce" b"phone" b"roles"
            b"subno" b"vouch";
        6: b"basket" b"behalf" b"cookie" b"groups" b"logged" b"member" b"msisdn" b"person" b"scopes" b"signed"
            b"spiffe" b"stytch" b"whoami" b"workos";
        7: b"cognito" b"cookies" b"descope" b"subject" b"surname" b"visitor" b"zitadel";
        8: b"appcheck" b"consumer" b"customer" b"frontegg" b"nickname" b"pomerium";
        9: b"negotiate" b"privilege" b"tailscale" b"telephone";
        10: b"formdigest" b"permission" b"privileges" b"subscriber";
        11: b"affiliation" b"entitlement" b"permissions";
        12: b"entitlements";
        13: b"requestdigest";
    }
}

/// Words that identify only at the end of a name. Before another word, they name a part of a site
/// (`x-sub-path`).
const LAST_WORDS: [&str; 2] = ["scope", "sub"];

/// Words that identify if one of [`IDENTIFIER_WORDS`] follows, as the next word (`device-id`) or
/// run together (`deviceid`).
const OWNER_WORDS: [&str; 24] = [
    "advertising",
    "anonymous",
    "browser",
    "buyer",
    "caller",
    "client",
    "device",
    "guest",
    "handset",
    "installation",
    "machine",
    "name",
    "owner",
    "pairwise",
    "patient",
    "persistent",
    "player",
    "profile",
    "shopper",
    "student",
    "targeted",
    "transient",
    "union",
    "universal",
];

/// Words for identifiers. Directly after one of [`OWNER_WORDS`], such a word identifies a visitor
/// (`device-id`).
const IDENTIFIER_WORDS: [&str; 7] = ["fingerprint", "guid", "id", "number", "serial", "uid", "uuid"];

/// Words that, followed by `name`, denote a person's name: as separate words (`first-name`) or run
/// together (`firstname`).
const PERSONAL_NAMES: [&str; 10] =
    ["common", "display", "family", "first", "full", "given", "last", "middle", "nick", "screen"];

/// Other pairs of adjacent words that identify: a first word, and the words that may follow it.
/// Most of these words do not identify alone.
const IDENTIFYING_PAIRS: [(&str, &[&str]); 18] = [
    ("access", &["key"]),
    ("api", &["key"]),
    ("calling", &["line"]),
    ("cf", &["access"]),
    ("client", &["chain", "i", "issuer", "key", "s", "san", "verified", "verify"]),
    ("form", &["digest"]),
    ("honeycomb", &["team"]),
    ("mac", &["address"]),
    ("owa", &["canary"]),
    ("prerender", &["revalidate"]),
    ("protection", &["bypass"]),
    ("remote", &["name"]),
    ("request", &["digest"]),
    ("secret", &["key"]),
    ("ssl", &["client", "issuer", "serial", "verify"]),
    ("subscription", &["key"]),
    ("tls", &["client"]),
    ("warp", &["tag"]),
];

/// Pairs of adjacent words that do not identify, though the first word alone does.
///
/// A user agent is a program, an address belongs to a network, and a policy to the site.
const HARMLESS_PAIRS: [(&str, &str); 4] =
    [("user", "agent"), ("user", "ip"), ("proxyuser", "ip"), ("permissions", "policy")];

/// Names that identify though none of their words does. Both fields contain the identity that AWS
/// API Gateway has authorized. `request` and `context` are not in [`IDENTIFYING_PAIRS`], since the
/// field `Request-Context` of Azure names an application.
const IDENTIFYING_NAMES: [&str; 2] = ["x-amzn-request-context", "x-amzn-lambda-context"];

/// Returns `true` if the name of a field indicates that its value identifies a visitor.
pub(super) fn name_identifies(name: &str) -> bool {
    // The key of a cache entry, as in `x-cache-key`, is not secret.
    if name.strip_suffix("key").is_some_and(|rest| rest.trim_end_matches(['-', '_']).ends_with("cache")) {
        return false;
    }
    // WebSphere's plug-in for web servers describes the connection and its user in `$WS…` fields.
    if IDENTIFYING_NAMES.contains(&name) || name.starts_with("$ws") {
        return true;
    }
    let mut words = words(name.as_bytes()).peekable();
    while let Some(word) = words.next() {
        let next = words.peek().copied();
        if word_identifies(word, next) || (next.is_none() && last_word_identifies(word)) {
            return true;
        }
    }
    false
}

fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn last_word_identifies(word: &[u8]) -> bool {
    word.ends_with(b"key") || word == b"keys" || is_one_of(&LAST_WORDS, word)
}

fn word_identifies(word: &[u8], next: Option<&[u8]>) -> bool {
    let is_pair = |(first, second): &(&str, &str)| {
        first.as_bytes() == word && next.is_some_and(|next| second.as_bytes() == next)
    };
    if word.starts_with(b"useragent") || HARMLESS_PAIRS.iter().any(is_pair) {
        return false;
    }
    // `author` is the writer of a page. `has_stem` still finds `authorization`.
    let begins_with_auth = word.starts_with(b"auth") && !word.starts_with(b"author");
    begins_with_auth
        || word.ends_with(b"auth")
        || has_stem(word)
        || word.ends_with(b"sid")
        || EDGE_STEMS.iter().any(|end| word.starts_with(end.as_bytes()) || word.ends_with(end.as_bytes()))
        || is_identifying_word(word)
        || is_run_together(word)
        || next.is_some_and(|next| pair_identifies(word, next))
}

fn has_stem(word: &[u8]) -> bool {
    word.iter().enumerate().any(|(at, first)| {
        let rest = &word[at..];
        stems(*first).iter().any(|stem| rest.starts_with(stem.as_bytes()))
    })
}

/// Returns `true` if a word and the next one identify as a pair, such as `device-id`.
fn pair_identifies(word: &[u8], next: &[u8]) -> bool {
    let pair = IDENTIFYING_PAIRS.iter().find(|(first, _)| first.as_bytes() == word);
    (is_one_of(&IDENTIFIER_WORDS, next) && is_one_of(&OWNER_WORDS, word))
        || (next == b"name" && is_one_of(&PERSONAL_NAMES, word))
        || pair.is_some_and(|(_, seconds)| is_one_of(seconds, next))
}

/// Returns `true` if a word consists of two words that identify as a pair, such as `customerid` or
/// `displayname`.
fn is_run_together(word: &[u8]) -> bool {
    let identified = |end: &&str| {
        let owner = word.strip_suffix(end.as_bytes());
        owner.is_some_and(|owner| is_one_of(&OWNER_WORDS, owner) || is_identifying_word(owner))
    };
    let is_name = || word.strip_suffix(b"name").is_some_and(|whose| is_one_of(&PERSONAL_NAMES, whose));
    IDENTIFIER_WORDS.iter().any(identified) || is_name()
}

fn is_one_of(words: &[&str], word: &[u8]) -> bool {
    words.iter().any(|known| known.as_bytes() == word)
}
