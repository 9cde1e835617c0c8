//! Configurations of property tests. A failing test saves its seed in a file beside its source.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns a configuration with a number of cases. Failures in `x.rs` go to `x.regressions`.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let beside_source = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(beside_source)), ..ProptestConfig::with_cases(count) }
}

/// Returns a configuration with the default number of cases, which `PROPTEST_CASES` sets.
pub(crate) fn default_cases() -> ProptestConfig {
    cases(ProptestConfig::default().cases)
}
