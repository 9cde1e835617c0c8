//! The configuration of property tests: proptest keeps the inputs of failed tests in a file beside
//! the source.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns proptest's default configuration, except that `name.regressions` keeps the failures in
/// `name.rs`.
pub(crate) fn cases() -> ProptestConfig {
    let beside_source = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside_source)), ..ProptestConfig::default() }
}
