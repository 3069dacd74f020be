//! NPY files.

use std::path::Path;

use strait::Result;
use strait::data::{Data, read_npy};

use super::{assert_data, assert_reads_no_nothing, assert_rejects_prefixes, file, gz, survive_mutations};

/// What numpy.save of NumPy 2.4 wrote for numpy.array([[1, 2, 3], [4, 5, 6.5]], dtype='<f4').
const NUMPY: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\
\x20                                                         \n\
\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@\x00\x00\xa0@\x00\x00\xd0@";

/// A file of the given version around a header and values.
fn npy(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", [version, 0].as_slice(), length, header.as_bytes(), values].concat()
}

fn header(descr: &str, fortran: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
}

fn read(path: &Path) -> Result<Data> {
    read_npy(path)
}

fn read_bytes(bytes: &[u8]) -> Result<Data> {
    let (_dir, path) = file(bytes);
    read_npy(path)
}

#[test]
fn what_numpy_wrote_is_read() {
    let data = read_bytes(NUMPY).unwrap();
    assert_eq!((data.rows(), data.columns()), (2, 3));
    assert_eq!(data.values(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
}

#[test]
fn every_element_type_is_read_in_either_order_and_every_version() {
    // The little-endian bytes of two values each.
    let cases: [(&str, Vec<u8>, [f32; 2]); 11] = [
        ("u1", vec![0, 255], [0.0, 255.0]),
        ("i1", vec![0x80, 0x7f], [-128.0, 127.0]),
        ("u2", vec![0x02, 0x01, 0xff, 0xff], [258.0, 65535.0]),
        ("i2", vec![0x02, 0x01, 0x00, 0x80], [258.0, -32768.0]),
        ("u4", vec![0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x80], [65536.0, 2147483648.0]),
        ("i4", vec![0xfe, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x80], [-2.0, -2147483648.0]),
        ("u8", vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80], [1.0, 9223372036854775808.0]),
        ("i8", vec![0xff; 16], [-1.0, -1.0]),
        ("f2", vec![0x00, 0x3c, 0x00, 0xc1], [1.0, -2.5]),
        ("f4", vec![0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20, 0xc0], [1.0, -2.5]),
        ("f8", vec![0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0], [1.5, -2.0]),
    ];
    for (kind, little, expected) in cases {
        let width = little.len() / 2;
        let big: Vec<u8> = little.chunks(width).flat_map(|value| value.iter().rev().copied()).collect();
        for (order, values) in [("<", &little), (">", &big), ("|", &little)] {
            for version in 1..=3 {
                let bytes = npy(version, &header(&format!("{order}{kind}"), "False", "(2,)"), values);
                if order == "|" && width > 1 {
                    assert_data(read_bytes(&bytes), "descr", kind, "f2, f4, f8, u1");
                } else {
                    let data = read_bytes(&bytes).unwrap();
                    assert_eq!((data.rows(), data.columns()), (2, 1), "{order}{kind}");
                    assert_eq!(data.values(), expected, "{order}{kind}");
                }
            }
        }
    }
}

#[test]
fn the_first_axis_is_rows_and_the_others_are_columns() {
    let shapes =
        [("(12,)", 12, 1), ("(3, 4)", 3, 4), ("(2,3,2)", 2, 6), ("( 2 , 1 , 2 , 3 , )", 2, 6), ("(1, 12)", 1, 12)];
    for (shape, rows, columns) in shapes {
        let data = read_bytes(&npy(1, &header("|u1", "False", shape), &[7; 12])).unwrap();
        assert_eq!((data.rows(), data.columns()), (rows, columns), "{shape}");
    }
    let reordered = "{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"|u1\"}";
    assert_eq!(read_bytes(&npy(2, reordered, &[3, 4])).unwrap().values(), [3.0, 4.0]);
}

#[test]
fn lying_headers_are_errors() {
    let shaped = |shape: &str| npy(1, &header("<f4", "False", shape), &[0; 8]);
    let typed = |descr: &str| npy(1, &header(descr, "False", "(2,)"), &[0; 8]);
    let text = |text: &str| npy(1, text, &[0; 8]);
    let nan = [0f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    let huge = [0f64.to_le_bytes(), 1e300f64.to_le_bytes()].concat();
    let cases = [
        ("magic string", "\\x93NUMPX", "\\x93NUMPY", b"\x93NUMPX\x01\x00".to_vec()),
        ("magic string", "a gzip file", "\\x93NUMPY", gz(NUMPY)),
        ("version", "4.0", "1.0, 2.0 or 3.0", npy(4, &header("<f4", "False", "(2,)"), &[0; 8])),
        ("version", "1.1", "1.0, 2.0 or 3.0", b"\x93NUMPY\x01\x01\x02\x00{}".to_vec()),
        ("length of the header", "65535", "at most 2,", b"\x93NUMPY\x01\x00\xff\xff{}".to_vec()),
        ("length of the header", "4294967295", "at most 2,", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec()),
        ("fortran_order", "True", "ascontiguousarray", npy(1, &header("<f4", "True", "(2,)"), &[0; 8])),
        ("descr", "<c8", "f2, f4, f8, u1", typed("<c8")),
        ("descr", "=f4", "< or >", typed("=f4")),
        ("descr", "\"f4\"", "< or >", typed("f4")),
        ("descr", "\"\"", "< or >", typed("")),
        ("descr", "é", "f2, f4, f8, u1", typed("é")),
        (
            "header",
            "[('a', '<f4')]",
            "quotes",
            text("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}"),
        ),
        ("number of dimensions", "0", "1 or more", shaped("()")),
        ("dimension 0", "0", "1 or more", shaped("(0,)")),
        ("dimension 1", "0", "1 or more", shaped("(2, 0)")),
        ("dimensions", "4294967296", "product", shaped("(4294967296, 4294967296)")),
        ("dimensions", "18446744073709551615", "product", shaped("(18446744073709551615,)")),
        ("header", "18446744073709551616", "below 2^64", shaped("(18446744073709551616,)")),
        ("header", "-1", "whole number", shaped("(-1,)")),
        ("header", ".5", ")", shaped("(2.5,)")),
        ("header", "2", "(", shaped("2")),
        ("length of the file", "", "1 x 4294967295 values", shaped("(1, 4294967295)")),
        ("length of the file", "", "1 x 3 values", shaped("(1, 3)")),
        ("length of the file", "", "1 x 1 values", shaped("(1, 1)")),
        ("row 0, column 1", "NaN", "finite", npy(1, &header("<f4", "False", "(1, 2)"), &nan)),
        ("row 1, column 0", "1e300", "finite", npy(1, &header("<f8", "False", "(2, 1)"), &huge)),
        ("header", "\"\"", "{", text("")),
        ("header: descr", "no such key", "descr", text("{}")),
        ("header: fortran_order", "no such key", "descr", text("{'descr': '<f4', 'shape': (2,)}")),
        ("header: shape", "no such key", "shape", text("{'descr': '<f4', 'fortran_order': False}")),
        ("header: key", "shape twice", "once", text("{'shape': (2,), 'shape': (2,)}")),
        ("header: key", "color", "descr, fortran_order", text("{'color': 3}")),
        ("header", "descr", "closing quote", text("{'descr")),
        ("header", "0", "True or False", text("{'fortran_order': 0}")),
        ("header", "more", "the end of the header", text("{'descr': '<f4'} more")),
    ];
    for (place, found, allowed, bytes) in cases {
        assert_data(read_bytes(&bytes), place, found, allowed);
    }
    assert_data(read_bytes(b"\x93NUMPY\x01\x00\x01\x00\xff"), "header", "\u{fffd}", "UTF-8");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    assert_reads_no_nothing(read);
    assert_rejects_prefixes(NUMPY, read);
    survive_mutations(NUMPY, 70, read);
}

/// Files that are often taken for NPY are named by their first bytes.
#[test]
fn what_is_no_npy_file_is_told_by_its_name() {
    let whole = gz(NUMPY);
    let cases: [(&[u8], &str, &str); 5] = [
        (b"PK\x03\x04\x2d\x00\x00\x00", "a ZIP archive, as .npz files are", "unpack it first"),
        (&whole, "a gzip file", "unpack it first"),
        (b"\x80\x04\x95\x0b\x00\x00\x00", "a Python pickle", "numpy.save"),
        (b"\x80\x02]q\x00(K\x01K\x02e.", "a Python pickle", "numpy.save"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01\x07", "an IDX file", "read_idx"),
    ];
    for (bytes, found, allowed) in cases {
        assert_data(read_bytes(bytes), "magic string", found, allowed);
        assert_data(read_bytes(bytes), "magic string", found, "NUMPY");
    }
    assert_data(read_bytes(b"1.0,2.0,3.0\n"), "magic string", "1.0,2.", "NUMPY");
    // So are they where other files are wanted.
    for (bytes, found, allowed) in cases {
        if !found.starts_with("an IDX") {
            let (_dir, path) = file(bytes);
            let read = strait::data::read_csv(&path, &Default::default());
            assert_data(read, "line 1", found, "lines of numbers as text");
            if !found.starts_with("a gzip") {
                assert_data(strait::data::read_idx(&path, strait::data::Scale::Raw), "magic number", found, allowed);
            }
        }
    }
    let (_dir, path) = file(NUMPY);
    assert_data(strait::data::read_csv(&path, &Default::default()), "line 1", "an NPY file", "read_npy");
    assert_data(strait::data::read_idx(&path, strait::data::Scale::Raw), "magic number", "an NPY file", "read_npy");
}
