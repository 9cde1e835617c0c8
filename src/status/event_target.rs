//! The target of the events of answered requests.

/// The target of the events of answered requests (feature `tracing`).
///
/// Each cache layer emits one event of level `DEBUG` for each request that it answers. Its fields
/// are the parameters of `Cache-Status`. A field is absent if the status does not have its
/// parameter:
///
/// | field | type | meaning |
/// |---|---|---|
/// | `layer` | string | the name of the layer, as in [`Cache::stats`](crate::Cache::stats) |
/// | `path` | string | the path of the client's URL, without the query, at most 512 characters |
/// | `hit` | boolean | the response is from the cache |
/// | `fwd` | string | why the request was forwarded |
/// | `fwd_status` | integer | the status of the service's response |
/// | `stored` | boolean | the response is being stored |
/// | `collapsed` | boolean | a follower got the response of its leader |
/// | `age` | integer | the age of a stored response in seconds |
/// | `ttl` | integer | the rest of the freshness lifetime in seconds; negative if stale |
/// | `detail` | string | the reason, as in `Cache-Status` |
/// | `identified_by` | string | for a bypass: the field or cookie that caused it, such as `cookie sid`; the name of a cookie is escaped and has at most 64 bytes |
///
/// Events never contain keys, values of fields or cookies, or bodies. If an outer cache layer decides
/// whether a response is stored, `stored` of the inner layer's event is a forecast.
///
/// The other events of this crate have the path of their module as target. They report stored
/// responses, values and invalidations.
///
/// # Example
/// ```
/// use tower_response_cache::status::EVENT_TARGET;
///
/// // A filter of `tracing-subscriber` that shows one line for each answered request.
/// let filter = format!("warn,{EVENT_TARGET}=debug");
/// assert_eq!(filter, "warn,tower_response_cache::answers=debug");
/// ```
pub const EVENT_TARGET: &str = "tower_response_cache::answers";
