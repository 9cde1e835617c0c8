//! The encoding of entries for stores outside the process: a frame with a version and a checksum.
//!
//! ```text
//! magic "trc" | version (1) | length (8) | checksum (8) | kind (1) | header of the kind | body
//!                                                       └── length and checksum cover this ───┘
//! ```
//!
//! Numbers are little-endian. Any change of the format needs another version.

use super::packing::{body_for_storage, pack, with_first};
use super::rewritten_headers::{RewrittenHeaders, is_rewritten};
use super::wire::{EntryReader, Wire, Writer, record};
use super::{
    Dependency, Encoding, Entry, EntryKind, Generation, Head, NominatedField, Scope, StoredResponse,
    StoredValue, VaryIndex,
};
use crate::clock::{Clock, Moment};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::rules::client::ClientCacheControl;
use crate::rules::freshness::MAX_LIFETIME;
use crate::rules::stale::{StaleOverrides, Windows};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use siphasher::sip::SipHasher13;
use std::cmp::Ordering;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

const MAGIC: [u8; 3] = *b"trc";
const VERSION: u8 = 5;
/// The length of a frame's head: magic and version, length, checksum.
const HEAD: usize = 4 + 8 + 8;
/// The key of the checksum, the same in every process: "tower-response-c".
const CHECKSUM_KEYS: (u64, u64) = (0x746f_7765_722d_7265, 0x7370_6f6e_7365_2d63);

/// The kinds of entries in a frame.
mod kind {
    pub(super) const RESPONSE: u8 = 1;
    pub(super) const INDEX: u8 = 2;
    pub(super) const VALUE: u8 = 3;
    pub(super) const COUNTER: u8 = 4;
}

impl Entry {
    /// Encodes the entry as bytes, for a store outside the process.
    ///
    /// Times are encoded by the wall clock, in milliseconds. Processes that share a store need
    /// synchronized clocks: the difference between their clocks lengthens or shortens freshness
    /// lifetimes. With one clock, the bytes are the same each time, so that a store may compare them.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::clock::Clock;
    /// use tower_response_cache::store::Entry;
    ///
    /// let clock = Clock::system();
    /// let entry = Entry::raw("vanilla");
    /// assert_eq!(Entry::decode(entry.encode(&clock), &clock)?, entry);
    /// # Ok::<_, tower_response_cache::error::DecodeError>(())
    /// ```
    #[must_use]
    pub fn encode(&self, clock: &Clock) -> Bytes {
        let mut to = Writer::new(clock);
        to.bytes.resize(HEAD, 0);
        match &self.0 {
            EntryKind::Response(response) => {
                kind::RESPONSE.write(&mut to);
                to.bytes.reserve(response.body().len());
                response.head().write(&mut to);
                to.bytes.extend_from_slice(response.body());
            }
            EntryKind::Index(index) => {
                kind::INDEX.write(&mut to);
                index.write(&mut to);
            }
            EntryKind::Value(value) => {
                kind::VALUE.write(&mut to);
                to.bytes.reserve(value.bytes().len());
                ValueHeader::of(value).write(&mut to);
                to.bytes.extend_from_slice(value.bytes());
            }
            EntryKind::Counter(number) => {
                kind::COUNTER.write(&mut to);
                number.write(&mut to);
            }
        }
        let mut frame = to.bytes;
        let (head, payload) = frame.split_at_mut(HEAD);
        head[..3].copy_from_slice(&MAGIC);
        head[3] = VERSION;
        head[4..12].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        head[12..].copy_from_slice(&checksum(payload));
        frame.into()
    }

    /// Decodes an entry from the bytes that [`encode`](Self::encode) returned, in any process.
    ///
    /// The body is not copied if it is nearly all of the bytes and the bytes have no other owner.
    ///
    /// A store should treat bytes that cannot be decoded as absent. The cache then replaces them,
    /// even if another version of this crate has written them.
    ///
    /// # Security
    /// Every field is validated. The checksum detects damage, but not forgery: a program that can
    /// write to the store decides what the cache answers.
    ///
    /// # Errors
    /// Fails if the bytes are not an entry, are damaged, or are in the format of another version.
    pub fn decode(frame: impl Into<Bytes>, clock: &Clock) -> Result<Self, DecodeError> {
        let payload = payload(body_for_storage(frame.into()).0).map_err(DecodeError::new)?;
        entry(&mut EntryReader::new(payload, clock)).ok_or(DecodeError::new(DecodeErrorKind::Malformed))
    }

    /// Decodes an entry that no store in memory will keep. Its header values and its body are
    /// slices of `frame` and not copies.
    #[cfg(feature = "redis")]
    pub(crate) fn decode_slices(frame: Bytes, clock: &Clock) -> Option<Self> {
        entry(&mut EntryReader::of_slices(payload(frame).ok()?, clock))
    }

    /// The first bytes of every frame that this version decodes.
    #[cfg(feature = "redis")]
    pub(crate) const FRAME_START: [u8; 4] = [MAGIC[0], MAGIC[1], MAGIC[2], VERSION];
}

/// Returns the bytes after the head of a frame, if length and checksum are right.
fn payload(mut frame: Bytes) -> Result<Bytes, DecodeErrorKind> {
    let known = frame.len().min(MAGIC.len());
    if frame[..known] != MAGIC[..known] {
        return Err(DecodeErrorKind::Malformed);
    }
    match frame.get(MAGIC.len()) {
        Some(&VERSION) => {}
        Some(_) => return Err(DecodeErrorKind::UnknownVersion),
        None => return Err(DecodeErrorKind::Truncated),
    }
    if frame.len() < HEAD {
        return Err(DecodeErrorKind::Truncated);
    }
    let payload = frame.split_off(HEAD);
    let stated = (&frame[4..]).get_u64_le();
    match (payload.len() as u64).cmp(&stated) {
        Ordering::Less => Err(DecodeErrorKind::Truncated),
        Ordering::Greater => Err(DecodeErrorKind::Malformed),
        Ordering::Equal if frame[12..] != checksum(&payload) => Err(DecodeErrorKind::Checksum),
        Ordering::Equal => Ok(payload),
    }
}

/// Returns the SipHash-1-3 of a payload. SHA-256 would take most of the time of a hit.
fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher13::new_with_keys(CHECKSUM_KEYS.0, CHECKSUM_KEYS.1);
    hasher.write(payload);
    hasher.finish().to_le_bytes()
}

fn entry(from: &mut EntryReader) -> Option<Entry> {
    let entry = match u8::read(from)? {
        kind::RESPONSE => {
            Entry(EntryKind::Response(Arc::new(StoredResponse::decoded(Head::read(from)?, from.rest()))))
        }
        kind::INDEX => Entry(EntryKind::Index(Arc::new(VaryIndex::read(from)?))),
        kind::VALUE => Entry(EntryKind::Value(Arc::new(ValueHeader::read(from)?.value(from.rest())))),
        kind::COUNTER => Entry(EntryKind::Counter(i64::read(from)?)),
        _ => return None,
    };
    from.is_empty().then_some(entry)
}

/// The fields of a value, without its bytes.
struct ValueHeader {
    encoding: Encoding,
    generation: Option<Generation>,
    scopes: Box<[Scope]>,
    dependencies: Box<[Dependency]>,
    fresh_until: Moment,
}

impl ValueHeader {
    fn of(value: &StoredValue) -> Self {
        Self {
            encoding: value.encoding,
            generation: value.generation,
            scopes: value.scopes.clone(),
            dependencies: value.dependencies.clone(),
            fresh_until: value.fresh_until,
        }
    }

    fn value(self, bytes: Bytes) -> StoredValue {
        let Self { encoding, generation, scopes, dependencies, fresh_until } = self;
        StoredValue { bytes, encoding, generation, scopes, dependencies, fresh_until }
    }
}

record! {
    ValueHeader {
        encoding: Encoding,
        generation: Option<Generation>,
        scopes: Box<[Scope]>,
        dependencies: Box<[Dependency]>,
        fresh_until: Moment,
    }
    Generation { incarnation: u64, counter: u64, stamp: u32 }
    Dependency { value: Scope, since: Generation }
    VaryIndex { fields: Vec<HeaderName>, variants: Vec<Bytes>, expires: Moment }
    NominatedField { name: HeaderName, original: Option<Bytes>, is_digest: bool }
    Windows { while_revalidate: Duration, if_error: Duration }
    StaleOverrides { while_revalidate: Option<Duration>, if_error: Option<Duration> }
    ClientCacheControl { max_age: Option<Duration>, private: bool }
    RewrittenHeaders { client_control: ClientCacheControl, original: Vec<(HeaderName, HeaderValue)> }
}

impl Wire for Scope {
    const MIN_LEN: usize = 2 * u64::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        to.bytes.extend(self.to_bytes());
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let (high, low) = (u64::read(from)?, u64::read(from)?);
        Self::from_bytes((u128::from(low) << 64 | u128::from(high)).to_le_bytes())
    }
}

impl Wire for Encoding {
    const MIN_LEN: usize = 1;

    fn write(&self, to: &mut Writer) {
        let code: u8 = match self {
            Self::Raw => 0,
            Self::MessagePack => 1,
        };
        code.write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(Self::Raw),
            1 => Some(Self::MessagePack),
            _ => None,
        }
    }
}

impl Wire for Head {
    const MIN_LEN: usize = StatusCode::MIN_LEN;

    fn write(&self, to: &mut Writer) {
        // The pattern names all fields, so that the compiler reports a new one.
        let Self {
            parts,
            nominated,
            scopes,
            dependencies,
            generation,
            response_time,
            corrected_initial_age,
            fresh_until,
            hinted_ttl,
            windows,
            hinted_windows,
            cost,
            requires_coding,
            // Only a store inside the process keeps encoded variants.
            is_encodable: _,
            rewritten,
        } = self;
        parts.status.write(to);
        parts.headers.write(to);
        nominated.write(to);
        scopes.write(to);
        dependencies.write(to);
        generation.write(to);
        response_time.write(to);
        corrected_initial_age.write(to);
        fresh_until.write(to);
        hinted_ttl.write(to);
        windows.write(to);
        hinted_windows.write(to);
        cost.write(to);
        requires_coding.write(to);
        rewritten.write(to);
    }

    fn read(from: &mut EntryReader) -> Option<Self> {
        let (status, headers) = (StatusCode::read(from)?, HeaderMap::read(from)?);
        let nominated = Wire::read(from)?;
        let scopes = Wire::read(from)?;
        let dependencies = Wire::read(from)?;
        let (generation, response_time) = (Generation::read(from)?, Moment::read(from)?);
        let mut head = Self::new(status, HeaderMap::new(), generation, response_time);
        (head.nominated, head.scopes, head.dependencies) = (nominated, scopes, dependencies);
        // `encode` never writes an age over `MAX_LIFETIME`. A sum with a larger age could overflow.
        head.corrected_initial_age = Duration::read(from).filter(|age| *age <= MAX_LIFETIME)?;
        head.fresh_until = Wire::read(from)?;
        head.hinted_ttl = Wire::read(from)?;
        head.windows = Wire::read(from)?;
        head.hinted_windows = Wire::read(from)?;
        // Nor a cost over this limit. It would distort the statistics and the early refresh.
        head.cost = Duration::read(from).filter(|cost| *cost <= MAX_LIFETIME)?;
        head.requires_coding = Wire::read(from)?;
        let rewritten: Option<Box<RewrittenHeaders>> = Wire::read(from)?;
        head.rewritten = rewritten
            .map(|rewritten| Box::new(RewrittenHeaders::new(rewritten.client_control, &rewritten.original)));
        let original = head.rewritten.iter().flat_map(|rewritten| &rewritten.original);
        if !original.map(|(name, _)| name).all(is_rewritten) {
            return None;
        }
        // Lines from a store may be in any order. A hit updates the first field, so `Age` or `Date`
        // must come first.
        head.parts.headers = match from.keeps_slices() {
            true => with_first(&headers, &head.first_field()),
            false => pack(&headers, HeaderName::clone, &head.first_field()),
        };
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers_for_storage;
    use super::super::wire::MAX_LINES;
    use super::*;
    use crate::clock::ManualClock;
    use crate::entry::{SecretFields, VariantSelection};
    use crate::key::ValueDigests;
    use crate::rules::vary::VaryMatch;
    use http::header::{AGE, CACHE_CONTROL, DATE, ETAG};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns rules under which the values of `x-a` are secret.
    fn selection() -> VariantSelection {
        let is_secret = SecretFields { by_name: |name| name == "x-a", declared: Vec::new() };
        VariantSelection::new(VaryMatch::Exact, ValueDigests::default(), is_secret)
    }

    /// A moment after `start`, or never.
    fn moment(start: Moment) -> impl Strategy<Value = Moment> {
        prop_oneof![
            (0..1_u64 << 40).prop_map(move |millis| start.after(Duration::from_millis(millis))),
            Just(Moment::NEVER),
        ]
    }

    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (any::<u32>(), 0..1_000_000_000_u32)
                .prop_map(|(seconds, nanos)| Duration::new(seconds.into(), nanos)),
            Just(Duration::MAX),
        ]
    }

    fn name() -> impl Strategy<Value = HeaderName> {
        let known =
            ["age", "cache-control", "date", "etag", "expires", "last-modified", "link", "vary", "x-a"];
        prop_oneof![
            proptest::sample::select(known.to_vec()).prop_map(HeaderName::from_static),
            vec(proptest::sample::select(&b"abcxyz019-_!~*"[..]), 1..40)
                .prop_map(|name| HeaderName::from_lowercase(&name).expect("a name")),
        ]
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let directives = ["public, max-age=60", "private", "no-store", "\"a\"", "W/\"b\"", ""];
        let text = vec(any::<u8>(), 0..64).prop_map(|bytes| {
            let bytes: Vec<_> = bytes.into_iter().filter(|byte| *byte >= b' ' && *byte != 127).collect();
            HeaderValue::from_bytes(&bytes).expect("a value")
        });
        let known = proptest::sample::select(directives.to_vec()).prop_map(HeaderValue::from_static);
        (prop_oneof![text, known], any::<bool>()).prop_map(|(mut value, sensitive)| {
            value.set_sensitive(sensitive);
            value
        })
    }

    fn headers() -> impl Strategy<Value = HeaderMap> {
        vec((name(), value()), 0..20).prop_map(|lines| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value);
            }
            headers
        })
    }

    fn generation() -> impl Strategy<Value = Generation> {
        (any::<u64>(), any::<u64>(), any::<u32>())
            .prop_map(|(incarnation, counter, stamp)| Generation::new(incarnation, counter).with_stamp(stamp))
    }

    fn scope() -> impl Strategy<Value = Scope> {
        (any::<[u8; 8]>(), 0..4).prop_map(|(name, kind)| match kind {
            0 => Scope::EVERYTHING,
            1 => Scope::value(&name),
            2 => Scope::tag(&format!("{name:?}")),
            _ => Scope::path(&format!("{name:?}")).on_host("h"),
        })
    }

    fn scopes_and_dependencies() -> impl Strategy<Value = (Box<[Scope]>, Box<[Dependency]>)> {
        let scopes = vec(scope(), 0..10);
        let dependency = (scope(), generation()).prop_map(|(value, since)| Dependency::new(value, since));
        (scopes, vec(dependency, 0..5))
            .prop_map(|(scopes, dependencies)| (scopes.into(), dependencies.into()))
    }

    fn client_control() -> impl Strategy<Value = ClientCacheControl> {
        (proptest::option::of(duration()), any::<bool>())
            .prop_map(|(max_age, private)| ClientCacheControl { max_age, private })
    }

    prop_compose! {
        fn head(start: Moment)(
            (status, headers, request) in (100..1000_u16, headers(), headers()),
            nominated in vec(name(), 0..4),
            (scopes, dependencies) in scopes_and_dependencies(),
            generation in generation(),
            (response_time, fresh_until) in (moment(start), moment(start)),
            (age, cost) in (0..=MAX_LIFETIME.as_secs(), 0..=MAX_LIFETIME.as_secs()),
            hinted in proptest::option::of(duration()),
            (while_revalidate, if_error) in (duration(), duration()),
            (wanted, other) in (proptest::option::of(duration()), proptest::option::of(duration())),
            client_control in client_control(),
        ) -> Head {
            let status = StatusCode::from_u16(status).expect("a status");
            let headers = headers_for_storage(&headers, &[]);
            let mut head = Head::new(status, headers, generation, response_time);
            head.nominated = nominated.iter().map(|name| NominatedField::from_request(name, &request, &selection())).collect();
            (head.scopes, head.dependencies, head.fresh_until) = (scopes, dependencies, fresh_until);
            (head.corrected_initial_age, head.cost, head.hinted_ttl) = (Duration::from_secs(age), Duration::from_secs(cost), hinted);
            head.windows = Windows { while_revalidate, if_error };
            head.hinted_windows = StaleOverrides { while_revalidate: wanted, if_error: other };
            head.rewrite_for_clients(client_control, &[]);
            head
        }
    }

    fn any_entry(start: Moment) -> impl Strategy<Value = Entry> {
        let body = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let response = (head(start), body())
            .prop_map(|(head, body)| Entry(EntryKind::Response(Arc::new(StoredResponse::new(head, body)))));
        let index =
            (vec(name(), 0..5), vec(body(), 0..5), moment(start)).prop_map(|(fields, variants, expires)| {
                Entry(EntryKind::Index(Arc::new(VaryIndex { fields, variants, expires })))
            });
        let encoding = proptest::sample::select(&[Encoding::Raw, Encoding::MessagePack][..]);
        let value =
            (body(), encoding, proptest::option::of(generation()), scopes_and_dependencies(), moment(start))
                .prop_map(|(bytes, encoding, generation, (scopes, dependencies), fresh_until)| {
                    let about = ValueHeader { encoding, generation, scopes, dependencies, fresh_until };
                    Entry(EntryKind::Value(Arc::new(about.value(bytes))))
                });
        prop_oneof![4 => response, 1 => index, 2 => value, 1 => any::<i64>().prop_map(Entry::counter)]
    }

    /// A manual clock at a random time, and an entry with times before and after that time.
    fn clock_and_entry() -> impl Strategy<Value = (Clock, ManualClock, Entry)> {
        (0..1_u64 << 40).prop_flat_map(|millis| {
            let (clock, manual) = Clock::manual();
            let start = clock.now();
            manual.advance(Duration::from_millis(millis));
            any_entry(start).prop_map(move |entry| (clock.clone(), manual.clone(), entry))
        })
    }

    fn response(entry: &Entry) -> &StoredResponse {
        let Entry(EntryKind::Response(response)) = entry else { panic!("no response") };
        response
    }

    /// The lines of a header section in their order, with their sensitivity.
    fn lines(headers: &HeaderMap) -> Vec<(&HeaderName, &[u8], bool)> {
        headers.iter().map(|(name, value)| (name, value.as_bytes(), value.is_sensitive())).collect()
    }

    /// Returns the heads of a hit: for a GET, for a HEAD, and of a 304.
    fn hits(response: &StoredResponse, clock: &Clock) -> [http::response::Parts; 3] {
        let now = clock.now();
        [
            response.parts_at(now, clock),
            response.parts_for_head(now, clock),
            response.not_modified_at(now, clock),
        ]
    }

    /// A frame with the right length and checksum for any payload.
    fn sealed(payload: &[u8]) -> Bytes {
        let mut frame = [&MAGIC[..], &[VERSION], &(payload.len() as u64).to_le_bytes()].concat();
        frame.extend(checksum(payload));
        frame.extend(payload);
        frame.into()
    }

    fn refused(frame: Bytes) -> DecodeErrorKind {
        Entry::decode(frame, &Clock::manual().0).expect_err("refused").kind()
    }

    /// A response that uses most fields of a head.
    fn sample(clock: &Clock) -> Entry {
        let mut headers = HeaderMap::new();
        for (name, value) in [("cache-control", "max-age=60"), ("expires", "0"), ("etag", "\"a\"")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let now = clock.now();
        let mut head =
            Head::new(StatusCode::OK, headers_for_storage(&headers, &[]), Generation::new(7, 3), now);
        head.nominated = [NominatedField::from_request(&CACHE_CONTROL, &headers, &selection())].into();
        head.scopes = [Scope::path("/"), Scope::tag("t")].into();
        head.dependencies = [Dependency { value: Scope::value(b"v"), since: Generation::new(7, 2) }].into();
        head.corrected_initial_age = 5 * SECOND;
        head.fresh_until = now.after(60 * SECOND);
        head.hinted_ttl = Some(60 * SECOND);
        head.windows.if_error = 600 * SECOND;
        head.rewrite_for_clients(
            ClientCacheControl { max_age: Some(10 * SECOND), private: true },
            &["accept".to_owned()],
        );
        Entry(EntryKind::Response(Arc::new(StoredResponse::new(head, Bytes::from_static(b"body")))))
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn decoded_entry_equals_the_encoded_one_and_answers_alike((clock, manual, entry) in clock_and_entry()) {
            let frame = entry.encode(&clock);
            let decoded = Entry::decode(frame.clone(), &clock).expect("decoded");
            prop_assert_eq!(&decoded, &entry);
            prop_assert_eq!(&decoded.encode(&clock), &frame, "the bytes are the same each time");
            if let (Entry(EntryKind::Response(a)), Entry(EntryKind::Response(b))) = (&entry, &decoded) {
                let rest = |head: &Head| (head.hinted_ttl, head.windows, head.hinted_windows, head.cost);
                prop_assert_eq!(rest(a.head()), rest(b.head()));
                let (original, again) = (a.head().original_headers(), b.head().original_headers());
                prop_assert_eq!(lines(&original), lines(&again));
                prop_assert_eq!(a.weight(), b.weight());
                manual.advance(SECOND);
                for (a, b) in hits(a, &clock).iter().zip(&hits(b, &clock)) {
                    prop_assert_eq!(a.status, b.status);
                    prop_assert_eq!(lines(&a.headers), lines(&b.headers));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_decode_without_a_panic(bytes in vec(any::<u8>(), 0..200), kind in 0..6_u8) {
            let clock = Clock::manual().0;
            let _ = Entry::decode(bytes.clone(), &clock);
            let _ = Entry::decode(sealed(&[&[kind], &bytes[..]].concat()), &clock);
        }

        /// The checksum has no secret, so a forged frame must be harmless when it is served.
        #[test]
        fn forged_frame_is_refused_or_served_without_a_panic(
            (clock, manual, entry) in clock_and_entry(),
            changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut payload = entry.encode(&clock)[HEAD..].to_vec();
            for (at, byte) in changes {
                let at = at.index(payload.len());
                payload[at] = byte;
            }
            manual.advance(SECOND);
            let Ok(decoded) = Entry::decode(sealed(&payload), &clock) else { return Ok(()) };
            let _ = (decoded.weight(), decoded.replica() == decoded, decoded.encode(&clock));
            if let Entry(EntryKind::Response(response)) = decoded {
                let now = clock.now();
                let _ = (hits(&response, &clock), response.head().original_headers(), response.current_age(now));
                let _ = (response.is_fresh(now), response.serves_on_errors(now));
                let _ = response.freshened(response.head().original_headers(), response.head(), clock.now(), response.head().windows, &[]);
            }
        }
    }

    #[test]
    fn decoded_head_begins_with_age_or_date() {
        let (clock, manual) = Clock::manual();
        let rewritten_entry = sample(&clock);
        let mut head = response(&rewritten_entry).head().clone();
        head.parts.headers = headers_for_storage(&head.original_headers(), &[]);
        head.rewritten = None;
        let plain = Entry(EntryKind::Response(Arc::new(StoredResponse::new(head, Bytes::new()))));
        manual.advance(7 * SECOND);
        for (entry, first, value) in
            [(plain, AGE, "12"), (rewritten_entry, DATE, "Thu, 01 Jan 2026 00:00:07 GMT")]
        {
            let decoded = Entry::decode(entry.encode(&clock), &clock).expect("decoded");
            let headers = response(&decoded).parts_at(clock.now(), &clock).headers;
            assert_eq!(lines(&headers)[0], (&first, value.as_bytes(), false));
        }
    }

    #[test]
    fn age_and_freshness_are_the_same_in_another_process() {
        let (here, here_hand) = Clock::manual();
        let earlier = 10_000_000 * SECOND;
        here_hand.set_wall_back(earlier);
        let entry = sample(&here);
        here_hand.advance(20 * SECOND);
        let frame = entry.encode(&here);
        // The other process began later or long before this one. Both wall clocks show the same time.
        for uptime in [0, 19, 20, 21, 1_000_000] {
            let (there, manual) = Clock::manual();
            manual.advance(Duration::from_secs(uptime));
            manual.set_wall_back(Duration::from_secs(uptime) + earlier - 20 * SECOND);
            let decoded = Entry::decode(frame.clone(), &there).expect("decoded");
            let (decoded, now) = (response(&decoded), there.now());
            assert_eq!(decoded.current_age(now), 25 * SECOND, "{uptime}");
            assert_eq!(decoded.head().fresh_until.since(now), 40 * SECOND, "{uptime}");
            assert!(decoded.is_fresh(now.after(39 * SECOND)) && !decoded.is_fresh(now.after(40 * SECOND)));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_detected() {
        let clock = Clock::manual().0;
        let frame = sample(&clock).encode(&clock);
        for at in 0..frame.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = frame.to_vec();
                changed[at] ^= change;
                assert!(Entry::decode(changed, &clock).is_err(), "byte {at}");
            }
            assert_eq!(refused(frame.slice(..at)), DecodeErrorKind::Truncated, "cut at {at}");
        }
        let mut changed = frame.to_vec();
        changed[HEAD + 9] ^= 1;
        assert_eq!(refused(changed.into()), DecodeErrorKind::Checksum);
        assert_eq!(refused([&frame[..], b"x"].concat().into()), DecodeErrorKind::Malformed);
    }

    #[test]
    fn other_version_is_unknown_and_other_bytes_are_malformed() {
        let clock = Clock::manual().0;
        for version in [0, VERSION + 1, 0xff] {
            let mut frame = Entry(EntryKind::Counter(1)).encode(&clock).to_vec();
            frame[3] = version;
            assert_eq!(refused(frame.into()), DecodeErrorKind::UnknownVersion);
        }
        assert_eq!(refused(Bytes::from_static(b"trc\xff")), DecodeErrorKind::UnknownVersion);
        assert_eq!(refused(Bytes::from_static(b"<html>")), DecodeErrorKind::Malformed);
    }

    #[test]
    fn impossible_fields_are_refused_despite_a_right_checksum() {
        let clock = Clock::manual().0;
        let head = response(&sample(&clock)).head().clone();
        let written = |change: fn(&mut Head)| {
            let mut head = head.clone();
            change(&mut head);
            Entry(EntryKind::Response(Arc::new(StoredResponse::new(head, Bytes::new())))).encode(&clock)
        };
        let original = |head: &mut Head| {
            let rewritten = head.rewritten.as_mut().expect("a lifetime");
            rewritten.original.push((ETAG, HeaderValue::from_static("\"a\"")));
        };
        let lines = |head: &mut Head| {
            for _ in 0..=MAX_LINES {
                head.parts.headers.append("x-a", HeaderValue::from_static(""));
            }
        };
        let changes = [original, lines, |head: &mut Head| head.corrected_initial_age = MAX_LIFETIME + SECOND];
        for (at, change) in changes.into_iter().enumerate() {
            assert_eq!(refused(written(change)), DecodeErrorKind::Malformed, "{at}");
        }
        let payload = written(|_| {});
        let status =
            |status: u16| [&[kind::RESPONSE], &status.to_le_bytes()[..], &payload[HEAD + 3..]].concat();
        assert!(Entry::decode(sealed(&status(204)), &clock).is_ok());
        assert_eq!(refused(sealed(&status(99))), DecodeErrorKind::Malformed);
        let counter = |rest: &[u8]| sealed(&[&[kind::COUNTER][..], &[0; 8], rest].concat());
        assert!(Entry::decode(counter(b""), &clock).is_ok());
        assert_eq!(refused(counter(b"x")), DecodeErrorKind::Malformed, "a byte after the counter");
        let line = |name: &[u8], value: &[u8]| {
            let part = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
            let line = [part(name), vec![0], part(value)].concat();
            HeaderMap::read(&mut EntryReader::new([&1_u32.to_le_bytes()[..], &line].concat().into(), &clock))
        };
        assert_eq!(line(b"x-a", b"b").expect("a line").len(), 1);
        for (name, value) in
            [(&b"X-A"[..], &b"b"[..]), (b"", b""), (b"a b", b""), (b"x-a", b"b\nc"), (b"x-a", b"\0")]
        {
            assert!(line(name, value).is_none(), "{name:?}: {value:?}");
        }
    }

    /// A false length must not make the decoder allocate more than the size of the frame.
    #[test]
    fn absurd_lengths_are_refused_before_any_allocation() {
        for absurd in [1_u32, 9, 1 << 20, u32::MAX] {
            let absurd = absurd.to_le_bytes();
            let index = [&[kind::INDEX][..], &absurd].concat();
            let variants = [&[kind::INDEX][..], &[0; 4], &absurd].concat();
            let value = [&[kind::VALUE, 0, 0][..], &absurd].concat();
            let lines = [&[kind::RESPONSE, 200, 0][..], &absurd].concat();
            let line = [&[kind::RESPONSE, 200, 0, 1, 0, 0, 0][..], &absurd].concat();
            for payload in [index, variants, value, lines, line] {
                let frame = sealed(&payload);
                let mut kind = None;
                let used = allocation_counter::measure(|| kind = Some(refused(frame)));
                assert_eq!(kind, Some(DecodeErrorKind::Malformed));
                assert!(used.bytes_total < 1000, "{payload:?}: {used:?}");
            }
        }
    }

    #[test]
    fn decoding_does_not_copy_the_body() {
        let clock = Clock::manual().0;
        let mut large = response(&sample(&clock)).clone();
        large.set_body(vec![7; 1 << 16].into());
        let frame = Entry(EntryKind::Response(Arc::new(large))).encode(&clock).to_vec();
        let end = frame.as_ptr_range().end;
        let decoded = Entry::decode(frame, &clock).expect("decoded");
        assert_eq!(response(&decoded).body().as_ptr_range().end, end);
    }
}
