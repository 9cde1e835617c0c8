//! The rules for single entries: `get`, `put`, `remove` and `compare_and_set`.

use super::rule::{self, ShownEntry, key as shown};
use super::{Contract, SECOND, all, value};
use crate::clock::{Clock, Moment};
use crate::entry::{EntryKind, VaryIndex};
use crate::store::{Entry, KeyRef, PutMode, Store};
use http::header::ACCEPT;
use std::sync::Arc;
use std::time::Duration;

impl<S: Store> Contract<S> {
    pub(super) async fn verify_entries(&self) {
        self.put_stores_an_equal_entry().await;
        self.keys_are_compared_by_all_bytes().await;
        self.values_are_returned_unchanged().await;
        self.remove_removes_the_entry().await;
        self.peek_returns_what_get_returns().await;
        self.put_with_a_zero_ttl_stores_nothing().await;
        self.put_accepts_a_ttl_of_any_length().await;
        self.too_large_put_removes_the_old_entry().await;
        self.put_if_absent_does_not_replace().await;
        self.one_of_concurrent_puts_if_absent_wins().await;
        self.compare_and_set_replaces_only_the_expected_entry().await;
        self.compare_and_set_removes_only_the_expected_entry().await;
        self.one_of_concurrent_replacements_wins().await;
    }

    async fn put_stores_an_equal_entry(&self) {
        let key = KeyRef::new(b"contract/put");
        for body in ["", "one", "two"] {
            self.expect_put(rule::PUT, key, value(body), None, PutMode::Always, true).await;
            self.expect(rule::PUT, "a put", key, Some(value(body))).await;
        }
        self.put(key, Entry::counter(7), None).await;
        self.expect(rule::GET, "a put of a counter", key, Some(Entry::counter(7))).await;
        for until in [Moment::NEVER, Clock::system().now().after(3600 * SECOND)] {
            let index = VaryIndex::new(vec![ACCEPT], until).with_variant(b"variant", &[], until);
            let index = Entry(EntryKind::Index(Arc::new(index)));
            self.put(key, index.clone(), None).await;
            self.expect(rule::GET_UNCHANGED, "a put of an index", key, Some(index)).await;
        }
        let none = KeyRef::new(b"contract/none");
        self.expect(rule::GET, "nothing", none, None).await;
    }

    async fn keys_are_compared_by_all_bytes(&self) {
        let long = vec![b'k'; 4096];
        let other = [&long[1..], b"l"].concat();
        let keys: [&[u8]; 8] =
            [b"", b"\0", b" ", b"a\nb", b"a\r\nb", "\u{e9}\u{1f366}".as_bytes(), &long, &other];
        for (i, key) in keys.into_iter().enumerate() {
            self.put(KeyRef::new(key), Entry::counter(i as i64), None).await;
        }
        for (i, key) in keys.into_iter().enumerate() {
            let expected = Some(Entry::counter(i as i64));
            self.expect(rule::GET_KEYS, "puts under eight keys", KeyRef::new(key), expected).await;
        }
    }

    async fn values_are_returned_unchanged(&self) {
        let key = KeyRef::new(b"contract/hostile");
        let bytes = [vec![0; 3], b"\r\n\r\n".to_vec(), (0..=u8::MAX).collect(), vec![0xff; 100_000]];
        for bytes in bytes {
            self.put(key, Entry::raw(bytes.clone()), None).await;
            self.expect(rule::GET_UNCHANGED, "a put", key, Some(Entry::raw(bytes))).await;
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            self.put(key, Entry::counter(number), None).await;
            self.expect(rule::GET_UNCHANGED, "a put", key, Some(Entry::counter(number))).await;
        }
    }

    async fn remove_removes_the_entry(&self) {
        let key = KeyRef::new(b"contract/remove");
        self.put(key, value("x"), None).await;
        let removed = self.remove(key).await;
        self.expect_result(rule::REMOVE, "remove of a stored entry", removed, true);
        self.expect(rule::REMOVE, "a removal", key, None).await;
        rule::REMOVE.returned("remove of an absent entry", self.remove(key).await, false);
    }

    async fn peek_returns_what_get_returns(&self) {
        let key = KeyRef::new(b"contract/peek");
        let peek = async |call, expected: Option<Entry>| {
            let found = ShownEntry(rule::PEEK.ok("peek", self.store.peek(key).await));
            self.expect_result(rule::PEEK, call, found, ShownEntry(expected));
        };
        peek("peek of an absent entry", None).await;
        for entry in [value("x"), Entry::counter(7)] {
            self.put(key, entry.clone(), None).await;
            peek("peek of a stored entry", Some(entry.clone())).await;
            self.expect(rule::PEEK, "a peek", key, Some(entry)).await;
        }
        self.remove(key).await;
        peek("peek of a removed entry", None).await;
    }

    async fn put_with_a_zero_ttl_stores_nothing(&self) {
        let (key, zero) = (KeyRef::new(b"contract/zero"), Some(Duration::ZERO));
        self.put(key, value("old"), None).await;
        let put = self.put_as(key, value("new"), zero, PutMode::IfAbsent).await;
        rule::PUT_ZERO.returned("put with IfAbsent and a zero ttl", put, false);
        self.expect(rule::PUT_ZERO, "a put with IfAbsent and a zero ttl", key, Some(value("old"))).await;
        self.expect_put(rule::PUT_ZERO, key, value("new"), zero, PutMode::Always, false).await;
        self.expect(rule::PUT_ZERO, "a put with a zero ttl", key, None).await;
        let put = self.put_as(key, value("new"), zero, PutMode::IfAbsent).await;
        rule::PUT_ZERO.returned("put with IfAbsent and a zero ttl for an absent key", put, false);
        self.expect(rule::PUT_ZERO, "a put with IfAbsent and a zero ttl", key, None).await;
    }

    async fn put_accepts_a_ttl_of_any_length(&self) {
        let key = KeyRef::new(b"contract/absurd");
        for (number, ttl) in [Duration::MAX, Duration::from_millis(u64::MAX)].into_iter().enumerate() {
            let entry = Entry::counter(number as i64);
            let put = self.store.put(key, entry.clone(), Some(ttl), PutMode::Always).await;
            rule::PUT_LONG.ok(format_args!("put with a ttl of {ttl:?}"), put);
            self.expect(rule::PUT_LONG, &format!("a put with a ttl of {ttl:?}"), key, Some(entry)).await;
        }
    }

    /// Verifies nothing if the store has no limit or a limit above 16 MiB, since an entry above the
    /// limit is needed.
    async fn too_large_put_removes_the_old_entry(&self) {
        const MAX_BYTES: u64 = 16 << 20;
        let Some(largest) = self.store.largest_entry().filter(|largest| *largest <= MAX_BYTES) else {
            return;
        };
        let key = KeyRef::new(b"contract/large");
        self.put(key, value("old"), None).await;
        let large = Entry::raw(vec![0; largest as usize + 1]);
        // The put may also fail: an error counts as `false`.
        let put = self.store.put(key, large, None, PutMode::Always).await.unwrap_or_default();
        rule::PUT_TOO_LARGE.returned(format_args!("put of an entry of over {largest} bytes"), put, false);
        self.expect(rule::PUT_TOO_LARGE, "a put of an entry that is too large", key, None).await;
    }

    async fn put_if_absent_does_not_replace(&self) {
        let key = KeyRef::new(b"contract/absent");
        self.expect_put(rule::PUT, key, value("first"), None, PutMode::IfAbsent, true).await;
        let second = self.put_as(key, value("second"), None, PutMode::IfAbsent).await;
        self.expect_result(rule::PUT, "put with IfAbsent over a stored entry", second, false);
        self.expect(rule::PUT, "a put with IfAbsent over a stored entry", key, Some(value("first"))).await;
    }

    async fn one_of_concurrent_puts_if_absent_wins(&self) {
        let key = KeyRef::new(b"contract/race");
        let puts = (0..16).map(|i| self.store.put(key, Entry::counter(i), None, PutMode::IfAbsent));
        let puts = all(puts.collect()).await.into_iter();
        let won = puts.map(|put| rule::PUT_IF_ABSENT.ok("put with IfAbsent", put)).filter(|put| *put).count();
        if self.stores_entries {
            let what = "the number of 16 concurrent puts with IfAbsent for one absent key that returned true";
            rule::PUT_IF_ABSENT.is(what, won, 1);
        }
    }

    async fn compare_and_set_replaces_only_the_expected_entry(&self) {
        let key = KeyRef::new(b"contract/compare");
        let (a, b) = (value("a"), value("b"));
        let compare = async |call, expected: Option<&Entry>, new: &Entry, did| {
            let compared = self.compare(key, expected, new, None).await;
            self.expect_result(rule::COMPARE, call, compared, did);
        };
        rule::COMPARE.returned(
            "compare_and_set of an absent entry with expected None",
            self.compare(key, None, &a, None).await,
            true,
        );
        compare("compare_and_set of a stored entry with expected None", None, &b, false).await;
        compare("compare_and_set of a stored entry with another expected entry", Some(&b), &b, false).await;
        self.expect(rule::COMPARE, "a compare_and_set that expected another entry", key, Some(a.clone()))
            .await;
        compare("compare_and_set of a stored entry with an equal expected entry", Some(&a), &b, true).await;
        self.expect(rule::COMPARE, "a compare_and_set", key, Some(b.clone())).await;
        let (call, none) =
            ("compare_and_set of an absent entry with an expected entry", KeyRef::new(b"contract/lost"));
        rule::COMPARE.returned(call, self.compare(none, Some(&a), &b, None).await, false);
    }

    async fn compare_and_set_removes_only_the_expected_entry(&self) {
        let (key, zero) = (KeyRef::new(b"contract/compare-zero"), Some(Duration::ZERO));
        let (a, b) = (value("a"), value("b"));
        self.put(key, b.clone(), None).await;
        let removed = self.compare(key, Some(&a), &a, zero).await;
        rule::COMPARE_ZERO.returned(
            "compare_and_set with a zero ttl and another expected entry",
            removed,
            false,
        );
        let after = "a compare_and_set with a zero ttl that expected another entry";
        self.expect(rule::COMPARE_ZERO, after, key, Some(b.clone())).await;
        let removed = self.compare(key, Some(&b), &b, zero).await;
        self.expect_result(rule::COMPARE_ZERO, "compare_and_set with a zero ttl", removed, true);
        self.expect(rule::COMPARE_ZERO, "a compare_and_set with a zero ttl", key, None).await;
    }

    async fn one_of_concurrent_replacements_wins(&self) {
        let (key, old) = (KeyRef::new(b"contract/compare-race"), value("old"));
        self.put(key, old.clone(), None).await;
        let calls = (0..16).map(|i| self.store.compare_and_set(key, Some(&old), Entry::counter(i), None));
        let all = all(calls.collect()).await.into_iter();
        let won = all.map(|put| rule::COMPARE.ok("compare_and_set", put)).filter(|put| *put).count();
        if self.stores_entries {
            rule::COMPARE.is(
                "the number of 16 concurrent replacements of one entry that returned true",
                won,
                1,
            );
        }
    }

    pub(super) async fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>) {
        self.put_as(key, entry, ttl, PutMode::Always).await;
    }

    async fn put_as(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> bool {
        let put = self.store.put(key, entry, ttl, mode).await;
        rule::PUT.ok(format_args!("put under {}", shown(key)), put)
    }

    /// Puts an entry, and verifies the result of the put.
    pub(super) async fn expect_put(
        &self,
        rule: rule::Rule,
        key: KeyRef<'_>,
        entry: Entry,
        ttl: Option<Duration>,
        mode: PutMode,
        expected: bool,
    ) {
        let put = self.put_as(key, entry, ttl, mode).await;
        rule.returned(format_args!("put under {} (ttl {ttl:?}, {mode:?})", shown(key)), put, expected);
    }

    pub(super) async fn remove(&self, key: KeyRef<'_>) -> bool {
        rule::REMOVE.ok(format_args!("remove of {}", shown(key)), self.store.remove(key).await)
    }

    async fn compare(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: &Entry,
        ttl: Option<Duration>,
    ) -> bool {
        let compared = self.store.compare_and_set(key, expected, new.clone(), ttl).await;
        rule::COMPARE.ok(format_args!("compare_and_set of {}", shown(key)), compared)
    }

    /// Verifies the value that a call returned. Skipped if the store [keeps
    /// nothing](Contract::keeps_nothing).
    pub(super) fn expect_result<T: PartialEq + std::fmt::Debug>(
        &self,
        rule: rule::Rule,
        call: &str,
        found: T,
        expected: T,
    ) {
        if self.stores_entries {
            rule.returned(call, found, expected);
        }
    }

    /// Verifies that `get` returns the expected entry for a key. A store that
    /// [keeps nothing](Contract::keeps_nothing) may also return `None`.
    pub(super) async fn expect(
        &self,
        rule: rule::Rule,
        after: &str,
        key: KeyRef<'_>,
        expected: Option<Entry>,
    ) {
        let call = format!("get of {}, after {after},", shown(key));
        let found = rule::GET.ok(&call, self.store.get(key).await);
        if self.stores_entries || found.is_some() {
            rule.returned(call, ShownEntry(found), ShownEntry(expected));
        }
    }
}
