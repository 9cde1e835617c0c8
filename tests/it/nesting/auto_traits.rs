//! Public types that are `Clone`, `Send`, `Sync` and `Unpin`. Handlers and futures of users hold
//! these types, so a change would break users.

use crate::support::{Body, MINUTE, memory};
use http::{Request, Uri};
use std::future::Ready;
use tower_response_cache::AnonymousOnlyLayer;
use tower_response_cache::ConditionalGetLayer;
use tower_response_cache::PurgeService;
use tower_response_cache::anonymous_only::AnonymousOnly;
use tower_response_cache::anonymous_only::AnonymousOnlyBuilder;
use tower_response_cache::cache::*;
use tower_response_cache::cache_headers::*;
use tower_response_cache::clock::*;
use tower_response_cache::conditional_get::ConditionalGet;
use tower_response_cache::error::*;
use tower_response_cache::invalidation::*;
use tower_response_cache::key::*;
use tower_response_cache::policy::*;
use tower_response_cache::precondition::*;
use tower_response_cache::response_cache::*;
use tower_response_cache::status::*;
use tower_response_cache::store::*;
use tower_response_cache::values::*;
use tower_response_cache::{anonymous_only, conditional_get};

type Service = crate::support::Inner;
type Call = Ready<Result<http::Response<Body>, std::convert::Infallible>>;

macro_rules! hold {
    ($bounds:path: $($type:ty),* $(,)?) => {
        const _: () = {
            const fn holds<T: ?Sized + $bounds>() {}
            $(holds::<$type>();)*
        };
    };
}

trait Shared: Send + Sync + Unpin {}
impl<T: ?Sized + Send + Sync + Unpin> Shared for T {}

trait SharedValue: Shared + Clone + 'static {}
impl<T: Shared + Clone + 'static> SharedValue for T {}

// Handles, options and values.
hold!(SharedValue:
    Cache, CacheControl, CacheControlError, CacheHints, CacheStatus, Clock, ConfigError, ConfigErrorKind,
    EntityTag, ForwardReason, Fragment<'static>, Identified, InvalidateOnSuccess, Invalidation, KeyPart,
    ManualClock, MemoryStore, Moment, NullStore, Policy, PolicyBuilder, PurgeService, QueryKey, RefreshStats,
    RequestHead<'static>, TagField, Ttl, Value<'static>, WarmSummary,
);
// Layers and their services.
hold!(SharedValue:
    AddVary<()>, AddVaryLayer, AnonymousOnly<()>, AnonymousOnlyBuilder, AnonymousOnlyLayer, ByFunctions, ByGet, ConditionalGet<()>,
    ConditionalGetLayer, NeverCache<()>, NeverCacheLayer, Precondition<()>, Precondition<(), ByGet>, PreconditionLayer,
    PreconditionLayer<ByGet>, ResponseCache<()>, RouteCacheLayer, SetCacheControl<()>, SetCacheControlLayer,
    SiteCacheLayer,
);
// Types of the store interface.
hold!(SharedValue:
    CacheKey, DecodeErrorKind, Dependency, Entry, Generation, InitialCounter, KeyRef<'static>,
    LocalGenerations, MemoryStoreBuilder, PutMode, Scope, StoreErrorKind, Strength,
    Validity,
);
hold!(Shared:
    CacheBuilder, ComputeError<std::io::Error>, DecodeError, StoreError, ValueError, ResponseBody<Body>, AddVaryFuture<Call>,
    conditional_get::ResponseFuture<Call>, NeverCacheFuture<Call>, SetCacheControlFuture<Call>, WarmOutcome, WithDependencies<Call>,
);
hold!(Send: anonymous_only::ResponseFuture<Service, Body>, ResponseFuture<Service, Body, Body>, StoreFuture<()>, BoxError);
hold!(Sync: dyn Store, dyn Generations);
hold!(Send: dyn Store, dyn Generations);

#[cfg(feature = "testing")]
hold!(Sync: contract::Contract<MemoryStore>);
#[cfg(feature = "testing")]
hold!(Send: contract::Contract<MemoryStore>);

/// An error must be `Send`, `Sync` and `'static` to become a `BoxError`.
#[test]
fn public_errors_become_boxed_errors() {
    let boxed: [fn(StoreError) -> BoxError; 3] = [
        |error| error.into(),
        |error| ValueError::from(error).into(),
        |error| ComputeError::<std::io::Error>::Unwritable(ValueError::Store(error)).into(),
    ];
    for boxed in boxed {
        assert!(!boxed(StoreError::new(StoreErrorKind::Unavailable)).to_string().is_empty());
    }
}

/// The test creates the futures and does not poll them.
#[test]
fn futures_of_public_methods_are_send() {
    const fn is_send<T: Send>(_: &T) {}
    macro_rules! send {
        ($($future:expr),* $(,)?) => {$(is_send(&$future);)*};
    }
    let cache = memory();
    let (value, fragment, uris) = (cache.value("a"), cache.fragment("a"), || std::iter::empty::<Uri>());
    let service = || crate::support::origin(|_, call| crate::support::numbered(&[], call)).0;
    send!(
        cache.get::<u8>("a"),
        cache.get_bytes("a"),
        cache.set("a", &1, MINUTE),
        cache.set_bytes("a", "b", MINUTE),
        cache.add("a", &1, MINUTE),
        cache.delete("a"),
        cache.contains("a"),
        cache.touch("a", MINUTE),
        cache.clear(),
        cache.clear_pages(),
        cache.clear_values(),
        cache.set_counter("a", 1, MINUTE),
        cache.incr("a", 1),
        cache.decr("a", 1),
        cache.incr_or("a", 1, 1, MINUTE),
        cache.incr_version("a"),
        cache.decr_version("a"),
        cache.get_many::<u8, _>(["a"]),
        cache.set_many([("a", 1)], MINUTE),
        cache.delete_many(["a"]),
        cache.get_or_set("a", MINUTE, || async { 1 }),
        cache.invalidate("/a"),
        cache.shutdown(),
    );
    send!(
        value.get::<u8>(),
        value.get_bytes(),
        value.contains(),
        value.touch(),
        value.delete(),
        value.set(&1),
        value.add(&1),
        value.set_bytes("b"),
        value.get_or_set(|| async { 1 }),
        fragment.delete(),
        fragment.get_or_render(|| async { 1 }),
        cache.warm_as::<Body, _, _>(service(), uris()),
        cache.warm_with(service(), std::iter::empty::<Request<Body>>(), 4, |_| {}),
        propagate_dependencies(std::future::ready(1)),
    );
}
