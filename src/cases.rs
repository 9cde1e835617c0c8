//! Configuration of property tests: the inputs of failed tests are kept in a file beside the
//! source.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns proptest's default configuration. Failures in `name.rs` are kept in `name.regressions`.
pub(crate) fn cases() -> ProptestConfig {
    let beside_source = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside_source)), ..ProptestConfig::default() }
}
