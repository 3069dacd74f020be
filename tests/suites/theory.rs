//! What theory says of every system, measured on the GPU: of each row what takes seconds. The example `theory` runs
//! the rest, too, and prints it.

#[path = "../../examples/theory/suite.rs"]
#[allow(dead_code, reason = "the example and the suite rbm use the rest")]
pub(crate) mod suite;

use suite::Row;
use suite::check::Check;

/// Asserts every check of a section's rows, after all of them were measured.
fn holds(section: &[Row]) {
    let mut failed = Vec::new();
    for row in section {
        let checks = (row.run)(&crate::common::gpu(), 0).unwrap_or_else(|error| panic!("row {}: {error}", row.number));
        assert!(!checks.is_empty(), "row {} checks nothing", row.number);
        failed.extend(checks.iter().filter(|c| !c.passes()).map(|c| format!("{:>3}  {}", row.number, c.line())));
    }
    assert!(failed.is_empty(), "row  {}\n{}", Check::titles(), failed.join("\n"));
}

#[test]
fn structure() {
    holds(suite::structure::ROWS);
}

#[test]
fn decoders() {
    holds(suite::decoders::ROWS);
}

#[test]
fn sparse() {
    holds(suite::sparse::ROWS);
}

#[test]
fn denoising() {
    holds(suite::denoising::ROWS);
}

#[test]
fn contractive() {
    holds(suite::contractive::ROWS);
}

#[test]
fn variational() {
    holds(suite::variational::ROWS);
}

#[test]
fn schemes() {
    holds(suite::schemes::ROWS);
}

#[test]
fn searched() {
    holds(suite::searched::ROWS);
}

#[test]
fn adversarial() {
    holds(suite::adversarial::ROWS);
}

#[test]
fn pairs() {
    holds(suite::pretraining::PAIRS);
}

#[test]
fn labels() {
    holds(suite::pretraining::LABELS);
}

/// Rows are numbered as in the list, each once and in order.
#[test]
fn the_rows_are_in_order() {
    let numbers: Vec<u32> = suite::SECTIONS.iter().flat_map(|s| s.iter().map(|row| row.number)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers.iter().all(|n| (1..=43).contains(n)), "{numbers:?}");
}

/// A check that cannot fail is worth nothing.
#[test]
fn checks_fail_where_they_should() {
    assert!(Check::equal("", 1.0, 1.0 + 1e-9, 1e-8).passes());
    assert!(!Check::equal("", 1.0, 1.0 + 1e-7, 1e-8).passes());
    assert!(Check::at_most("", 1.0, 1.0).passes() && !Check::at_most("", 1.0, 1.1).passes());
    assert!(Check::at_least("", 1.0, 1.0).passes() && !Check::at_least("", 1.0, 0.9).passes());
    assert!(Check::all_equal("", &[1.0, 2.0], &[1.0f32, 2.0], 0.0).passes());
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(!Check::equal("", bad, bad, 1.0).passes());
        assert!(!Check::at_most("", f64::INFINITY, bad).passes() && !Check::at_least("", 0.0, bad).passes());
        assert!(!Check::all_equal("", &[1.0, 2.0], &[bad, 2.0], 1.0).passes());
    }
    assert!(!Check::all_equal("", &[1.0, 2.0], &[1.0, 2.5], 0.1).passes());
    assert!(!Check::all_equal::<f64>("", &[], &[], 1.0).passes());
    assert!(!Check::all_equal("", &[1.0, 2.0], &[1.0], 1.0).passes());
}
