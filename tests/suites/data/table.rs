//! The in-memory table.

use strait::data::{Data, Source};

use super::assert_data;

/// 3 x 2, labelled.
fn table() -> Data {
    let data = Data::from_rows(2, vec![1.0, -2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    data.with_labels(vec![7, 8, 9]).unwrap().with_name("small")
}

#[test]
fn a_table_returns_what_it_was_made_of() {
    let data = table();
    assert_eq!((data.rows(), data.columns(), data.name()), (3, 2, "small"));
    assert_eq!(data.values(), [1.0, -2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(data.row(0), Some([1.0, -2.0].as_slice()));
    assert_eq!(data.row(2), Some([5.0, 6.0].as_slice()));
    assert_eq!(data.row(3), None);
    assert_eq!(data.row(usize::MAX), None);
    assert_eq!(data.labels(), Some([7, 8, 9].as_slice()));
    assert_eq!(data.min_max(), (-2.0, 6.0));
    assert_eq!(Data::from_rows(1, vec![0.5]).unwrap().labels(), None);
    assert_eq!(format!("{data:?}"), "Data(small: 3 x 2, labelled)");
}

#[test]
fn a_table_must_be_whole_and_finite() {
    assert_data(Data::from_rows(0, vec![1.0]), "columns", "0", "1 or more");
    assert_data(Data::from_rows(2, vec![]), "number of values", "0", "at least one row");
    assert_data(Data::from_rows(2, vec![1.0; 5]), "number of values", "5", "multiple of the 2 columns");
    assert_data(Data::from_rows(usize::MAX, vec![1.0; 5]), "number of values", "5", "multiple of");
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for bad in 0..6 {
            let mut values = vec![0.0; 6];
            values[bad] = value;
            let place = format!("row {}, column {}", bad / 3, bad % 3);
            assert_data(Data::from_rows(3, values), &place, word, "finite");
        }
    }
    assert_data(table().with_labels(vec![1, 2]), "small: number of labels", "2", "3, one for each row");
}

#[test]
fn splitting_and_selecting_keep_rows_with_their_labels() {
    let (first, rest) = table().split_at(1).unwrap();
    assert_eq!((first.values(), first.labels()), ([1.0, -2.0].as_slice(), Some([7].as_slice())));
    assert_eq!((rest.values(), rest.labels()), ([3.0, 4.0, 5.0, 6.0].as_slice(), Some([8, 9].as_slice())));
    for row in [0, 3, 4, usize::MAX] {
        assert_data(table().split_at(row), "small: row to split at", &row.to_string(), "3 rows");
    }

    let picked = table().select(&[2, 0, 2]).unwrap();
    assert_eq!(picked.values(), [5.0, 6.0, 1.0, -2.0, 5.0, 6.0]);
    assert_eq!(picked.labels(), Some([9, 7, 9].as_slice()));
    assert_data(table().select(&[]), "rows to select", "none", "at least one");
    assert_data(table().select(&[0, 3]), "row to select", "3", "0 to 2");
}

#[test]
fn values_are_mapped_and_rescaled() {
    assert_eq!(table().map(|v| v * 2.0).unwrap().values(), [2.0, -4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!(table().map(|v| v * 2.0).unwrap().labels(), Some([7, 8, 9].as_slice()));
    assert_data(table().map(f32::sqrt), "small: row 0, column 1", "NaN", "finite");

    let scaled = table().rescaled((-2.0, 6.0), (0.0, 1.0)).unwrap();
    assert_eq!(scaled.values(), [0.375, 0.0, 0.625, 0.75, 0.875, 1.0]);
    assert_eq!(table().rescaled((1.0, 3.0), (1.0, -1.0)).unwrap().values(), [1.0, 4.0, -1.0, -2.0, -3.0, -4.0]);
    let wide = Data::from_rows(1, vec![f32::MIN, f32::MAX]).unwrap();
    assert_eq!(wide.rescaled((f32::MIN, f32::MAX), (-0.1, 0.1)).unwrap().values(), [-0.1, 0.1]);
    for from in [(1.0, 1.0), (2.0, 1.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        assert_data(table().rescaled(from, (0.0, 1.0)), "range to rescale from", "(", "below a finite high end");
    }
    assert_data(table().rescaled((0.0, 1.0), (0.0, f32::NAN)), "range to rescale to", "NaN", "finite");
    assert_data(table().rescaled((0.0, 1e-30), (0.0, 1e30)), "small: row 0, column 0", "inf", "finite");
}

#[test]
fn a_table_is_a_source() {
    let data = table();
    let source: &dyn Source = &data;
    assert_eq!((source.rows(), source.columns(), source.name()), (3, 2, "small"));
    let mut out = [0.0; 4];
    source.read(1, &mut out).unwrap();
    assert_eq!(out, [3.0, 4.0, 5.0, 6.0]);
    source.read(3, &mut []).unwrap();
    assert_data(source.read(0, &mut [0.0; 3]), "small: length", "3", "multiple of the 2 columns");
    assert_data(source.read(2, &mut out), "small: rows to read", "2 rows from row 2 on", "rows 0 to 2");
    assert_data(source.read(usize::MAX, &mut out), "small: rows to read", "from row", "rows 0 to 2");
}
