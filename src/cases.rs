//! Property tests that keep the seeds of their failures in a file beside their source.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns the default configuration. The seeds of failures of `name.rs` go to `name.regressions`.
pub(crate) fn cases() -> ProptestConfig {
    let beside_source = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside_source)), ..ProptestConfig::default() }
}
