//! Configuration of property tests: proptest saves the inputs of failed tests in a file beside the
//! source.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns proptest's default configuration. Failed inputs of tests in `name.rs` are saved in
/// `name.regressions`.
pub(crate) fn cases() -> ProptestConfig {
    let beside_source = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside_source)), ..ProptestConfig::default() }
}
