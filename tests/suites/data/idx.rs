//! IDX files, read whole and through [`IdxFile`].

use std::path::Path;

use strait::Result;
use strait::data::{Data, IdxFile, Scale, Source, read_idx, read_idx_labels};

use super::{assert_data, assert_reads_no_nothing, assert_rejects_prefixes, file, gz, idx, survive_mutations};

/// 2 images of 2 x 3 bytes.
fn images() -> Vec<u8> {
    idx(0x08, &[2, 2, 3], &[0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6])
}

fn raw(path: &Path) -> Result<Data> {
    read_idx(path, Scale::Raw)
}

fn streamed(path: &Path) -> Result<Vec<f32>> {
    let file = IdxFile::open(path, Scale::Raw)?;
    let mut out = vec![0.0; file.rows().saturating_mul(file.columns())];
    file.read(0, &mut out).map(|()| out)
}

#[test]
fn every_element_type_is_read_whole_gzipped_and_streamed() {
    let cases: [(u8, Vec<u8>, [f32; 2]); 6] = [
        (0x08, vec![0, 255], [0.0, 255.0]),
        (0x09, vec![0x80, 0x7f], [-128.0, 127.0]),
        (0x0b, vec![0x80, 0x00, 0x01, 0x02], [-32768.0, 258.0]),
        (0x0c, vec![0xff, 0xff, 0xff, 0xfe, 0x00, 0x01, 0x00, 0x00], [-2.0, 65536.0]),
        (0x0d, vec![0x3f, 0x80, 0x00, 0x00, 0xc0, 0x20, 0x00, 0x00], [1.0, -2.5]),
        (0x0e, vec![0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0x00, 0, 0, 0, 0, 0, 0], [1.5, -2.0]),
    ];
    for (element, values, expected) in cases {
        let bytes = idx(element, &[1, 2], &values);
        for bytes in [bytes.clone(), gz(&bytes)] {
            let (_dir, path) = file(&bytes);
            let data = raw(&path).unwrap();
            assert_eq!((data.rows(), data.columns(), data.values()), (1, 2, expected.as_slice()));
        }
        let (_dir, path) = file(&bytes);
        assert_eq!(streamed(&path).unwrap(), expected);
        if element != 0x08 {
            assert_data(read_idx(&path, Scale::Unit), "element type", "", "U8");
            assert_data(IdxFile::open(&path, Scale::Unit), "element type", "", "U8");
        }
    }
}

#[test]
fn bytes_are_scaled_only_when_asked() {
    let (_dir, path) = file(&images());
    let data = raw(&path).unwrap();
    assert_eq!((data.rows(), data.columns()), (2, 6));
    assert_eq!(data.row(0).unwrap(), [0.0, 51.0, 102.0, 153.0, 204.0, 255.0]);
    let unit = read_idx(&path, Scale::Unit).unwrap();
    assert_eq!(unit.row(0).unwrap(), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
    assert_eq!(unit.name(), path.display().to_string());
}

#[test]
fn a_streamed_file_gives_any_rows_to_any_thread() {
    // 1,000 rows of 300 columns: several pieces. Value = (row * 300 + column) mod 251.
    let values: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let (_dir, path) = file(&idx(0x08, &[1000, 20, 15], &values));
    let source = IdxFile::open(&path, Scale::Unit).unwrap();
    assert_eq!((source.rows(), source.columns(), source.dimensions()), (1000, 300, [1000, 20, 15].as_slice()));
    let check = |first: usize, count: usize| {
        let mut out = vec![-1.0; count * 300];
        source.read(first, &mut out).unwrap();
        let expected = (first * 300..(first + count) * 300).map(|i| (i % 251) as f32 / 255.0);
        assert!(out.into_iter().eq(expected), "{count} rows from {first}");
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || (0..50).for_each(|i| check((thread * 177 + i * 13) % 900, i)));
        }
    });
    check(0, 1000);
    check(999, 1);
    check(1000, 0);
    assert_data(source.read(999, &mut [0.0; 600]), "rows to read", "2 rows from row 999 on", "rows 0 to 999");
    assert_data(source.read(0, &mut [0.0; 301]), "length", "301", "multiple of the 300 columns");
    assert_data(source.read(usize::MAX, &mut [0.0; 300]), "rows to read", "", "rows 0 to 999");

    std::fs::write(&path, [0; 500]).unwrap();
    assert_data(source.read(5, &mut [0.0; 300]), "file", "the end of the file", "when it was opened");
}

#[test]
fn large_files_are_read_over_several_pieces() {
    let values: Vec<u8> = (0..100_000u32).flat_map(|i| (i as f32 * 0.5).to_be_bytes()).collect();
    let bytes = idx(0x0d, &[1000, 100], &values);
    for bytes in [bytes.clone(), gz(&bytes)] {
        let (_dir, path) = file(&bytes);
        assert!(raw(&path).unwrap().values().iter().copied().eq((0..100_000).map(|i| i as f32 * 0.5)));
    }
}

#[test]
fn labels_are_whole_numbers_in_one_dimension() {
    let (_dir, path) = file(&gz(&idx(0x08, &[4], &[0, 3, 255, 7])));
    assert_eq!(read_idx_labels(&path).unwrap(), [0, 3, 255, 7]);
    let (_dir, path) = file(&images());
    assert_data(read_idx_labels(&path), "number of dimensions", "3", "1, for labels");
    let i32s = |value: i32| file(&idx(0x0c, &[2], &[[0; 4], value.to_be_bytes()].concat()));
    let (_dir, path) = i32s((1 << 24) - 1);
    assert_eq!(read_idx_labels(&path).unwrap(), [0, 16_777_215]);
    for value in [-1, 1 << 24, (1 << 24) + 1, i32::MIN, i32::MAX] {
        let (_dir, path) = i32s(value);
        assert_data(read_idx_labels(&path), "label 1", "", "0 to 16777215");
    }
    let (_dir, path) = file(&idx(0x0d, &[1], &1.5f32.to_be_bytes()));
    assert_data(read_idx_labels(&path), "label 0", "1.5", "whole number");
}

#[test]
fn lying_headers_are_errors() {
    let cases = [
        ("magic number", "[01, 00, 08, 01]", "[00, 00", vec![1, 0, 8, 1, 0, 0, 0, 1, 5]),
        ("magic number", "[00, 01, 08, 01]", "[00, 00", vec![0, 1, 8, 1, 0, 0, 0, 1, 5]),
        ("element type", "0x0a", "0x08 (u8)", idx(0x0a, &[1], &[5])),
        ("number of dimensions", "0", "1 or more", idx(0x08, &[], &[5])),
        ("dimension 0", "0", "1 or more", idx(0x08, &[0], &[])),
        ("dimension 1", "0", "1 or more", idx(0x08, &[3, 0, 3], &[])),
        ("length of the file", "9", "4294967303 bytes", idx(0x08, &[u32::MAX], &[5])),
        ("length of the file", "10", "9 bytes", idx(0x08, &[1], &[5, 6])),
        ("length of the file", "9", "10 bytes", idx(0x08, &[2], &[5])),
        ("length of the file", "16", "20 bytes", idx(0x0e, &[1, 1], &[0; 4])),
        ("dimensions", "[4294967295, 4294967295, 4294967295]", "product", idx(0x08, &[u32::MAX; 3], &[5])),
        ("dimensions", "[4294967295, 4294967295]", "product", idx(0x0e, &[u32::MAX; 2], &[5])),
        ("dimensions", "4294967295", "product", idx(0x08, &[u32::MAX; 255], &[5])),
        ("row 1, column 0", "NaN", "finite", idx(0x0d, &[2, 1], &[0, 0, 0, 0, 0x7f, 0xc0, 0, 0])),
        ("row 0, column 1", "-inf", "finite", idx(0x0d, &[1, 2], &[0, 0, 0, 0, 0xff, 0x80, 0, 0])),
        ("row 0, column 0", "1e300", "finite", idx(0x0e, &[1], &1e300f64.to_be_bytes())),
    ];
    for (place, found, allowed, bytes) in cases {
        let (_dir, path) = file(&bytes);
        assert_data(raw(&path), place, found, allowed);
        assert_data(streamed(&path), place, found, allowed);
    }
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    assert_reads_no_nothing(raw);
    assert_reads_no_nothing(streamed);
    assert_reads_no_nothing(|path| read_idx_labels(path));
    let labels = idx(0x08, &[3], &[1, 2, 3]);
    assert_rejects_prefixes(&images(), raw);
    assert_rejects_prefixes(&images(), streamed);
    assert_rejects_prefixes(&labels, |path| read_idx_labels(path));
    survive_mutations(&images(), 16, raw);
    survive_mutations(&images(), 16, streamed);
    survive_mutations(&labels, labels.len(), |path| read_idx_labels(path));
}
