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
pub(super) fn npy(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", [version, 0].as_slice(), length, header.as_bytes(), values].concat()
}

/// A header as NumPy writes it.
pub(super) fn header(descr: &str, fortran: &str, shape: &str) -> String {
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
    let fortran = |shape: &str| npy(1, &header("|u1", "True", shape), &[0; 8]);
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
        ("descr", "<c8", "f2, f4, f8, u1", typed("<c8")),
        ("descr", "|f4", "| for one byte", typed("|f4")),
        ("descr", "\"f4\"", "<, > or =", typed("f4")),
        ("descr", "\"\"", "<, > or =", typed("")),
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
        ("header", "L,", "whole number", shaped("(L,)")),
        ("header", "L", ")", shaped("(2LL,)")),
        ("header", "l", ")", shaped("(2l,)")),
        ("header", "18446744073709551616L", "below 2^64", shaped("(18446744073709551616L,)")),
        ("length of the file", "", "1 x 4294967295 values", shaped("(1, 4294967295)")),
        ("length of the file", "", "1 x 3 values", shaped("(1, 3)")),
        ("number of dimensions", "0", "1 or more", fortran("()")),
        ("dimension 0", "0", "1 or more", fortran("(0,)")),
        ("dimension 0", "0", "1 or more", fortran("(0, 2)")),
        ("dimension 2", "0", "1 or more", fortran("(1, 2, 0)")),
        ("dimensions", "4294967296", "product", fortran("(4294967296, 4294967296)")),
        ("length of the file", "", "4294967295 x 4294967295 values", fortran("(4294967295, 4294967295L)")),
        ("length of the file", "", "3 x 1 values", fortran("(3, 1)")),
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

/// What numpy.save of NumPy 2.4 wrote for numpy.asfortranarray of an array `a` of 2 x 3 x 2 bytes, where `a[i, j, k]` is
/// 100 i + 10 j + k.
const FORTRAN: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 2), }\
\x20                                                       \n\x00d\nn\x14x\x01e\x0bo\x15y";

#[test]
fn arrays_in_fortran_order_are_read_as_the_same_arrays_in_c_order() {
    let data = read_bytes(FORTRAN).unwrap();
    assert_eq!((data.rows(), data.columns()), (2, 6));
    assert_eq!(data.row(0).unwrap(), [0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    assert_eq!(data.row(1).unwrap(), [100.0, 101.0, 110.0, 111.0, 120.0, 121.0]);
    // Bytes that count up in the file, and where numpy.reshape(order='F') puts them: worked out by hand.
    let cases: [(&str, usize, &[f32]); 11] = [
        ("(3,)", 3, &[0.0, 1.0, 2.0]),
        ("(1,)", 1, &[0.0]),
        ("(1, 1, 1)", 1, &[0.0]),
        ("(4, 1)", 4, &[0.0, 1.0, 2.0, 3.0]),
        ("(1, 4)", 1, &[0.0, 1.0, 2.0, 3.0]),
        ("(2, 2)", 2, &[0.0, 2.0, 1.0, 3.0]),
        ("(2, 3)", 2, &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
        ("(3L, 2L)", 3, &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ("(1, 2, 1, 3)", 1, &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
        ("(2, 1, 3, 1)", 2, &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
        ("(2, 2, 2)", 2, &[0.0, 4.0, 2.0, 6.0, 1.0, 5.0, 3.0, 7.0]),
    ];
    for (shape, rows, expected) in cases {
        let bytes: Vec<u8> = (0..expected.len() as u8).collect();
        let data = read_bytes(&npy(1, &header("|u1", "True", shape), &bytes)).unwrap();
        assert_eq!((data.rows(), data.values()), (rows, expected), "{shape}");
    }
}

/// Larger than what is read at once, so that pieces end within a column; every value tells its indices.
#[test]
fn long_arrays_in_fortran_order_are_read() {
    let (rows, wide, deep) = (67, 89, 23);
    let mut bytes = Vec::new();
    for k in 0..deep {
        for j in 0..wide {
            bytes.extend((0..rows).flat_map(|i: u32| (i * 10_000 + j * 100 + k).to_be_bytes()));
        }
    }
    let data = read_bytes(&npy(1, &header(">u4", "True", "(67, 89, 23)"), &bytes)).unwrap();
    assert_eq!((data.rows(), data.columns()), (67, 89 * 23));
    let mut values = data.values().iter();
    for i in 0..rows {
        for (j, k) in (0..wide).flat_map(|j| (0..deep).map(move |k| (j, k))) {
            assert_eq!(values.next(), Some(&((i * 10_000 + j * 100 + k) as f32)), "{i} {j} {k}");
        }
    }
}

/// Errors name the row and the column of the table, not the place in the file.
#[test]
fn errors_in_fortran_order_name_the_row_and_the_column() {
    // The sixth value of 2 x 3 x 2 is at [1, 2, 0]: column 4.
    let mut values = [0f32; 12];
    values[5] = f32::INFINITY;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let read = read_bytes(&npy(1, &header("<f4", "True", "(2, 3, 2)"), &bytes));
    assert_data(read, "row 1, column 4", "inf", "finite");
}

#[test]
fn bools_are_zero_and_one() {
    // What numpy.save of NumPy 2.4 wrote for numpy.array([[True, False], [False, True]]).
    let numpy = b"\x93NUMPY\x01\x00v\x00{'descr': '|b1', 'fortran_order': False, 'shape': (2, 2), }\
        \x20                                                         \n\x01\x00\x00\x01";
    assert_eq!(read_bytes(numpy).unwrap().values(), [1.0, 0.0, 0.0, 1.0]);
    for other in 2..=255 {
        let bytes = npy(1, &header("|b1", "False", "(2, 2)"), &[1, 0, other, 1]);
        assert_data(read_bytes(&bytes), "row 1, column 0", &other.to_string(), "0 or 1");
        let bytes = npy(1, &header("|b1", "True", "(2, 2)"), &[1, 0, other, 1]);
        assert_data(read_bytes(&bytes), "row 0, column 1", &other.to_string(), "0 or 1");
    }
}

#[test]
fn the_byte_order_of_the_writer_is_taken_for_that_of_this_machine() {
    let values = [1.0f32.to_ne_bytes(), (-2.5f32).to_ne_bytes()].concat();
    assert_eq!(read_bytes(&npy(1, &header("=f4", "False", "(2,)"), &values)).unwrap().values(), [1.0, -2.5]);
    assert_eq!(read_bytes(&npy(1, &header("=u1", "False", "(2,)"), &[3, 4])).unwrap().values(), [3.0, 4.0]);
}

/// Python 2 wrote sizes that it held as long integers with an L behind them.
#[test]
fn sizes_may_be_written_as_python_2_wrote_them() {
    for shape in ["(3L, 4L)", "(3L,4L,)", "(3, 4L)", "( 3L , 2L , 2 )"] {
        let data = read_bytes(&npy(1, &header("|u1", "False", shape), &[7; 12])).unwrap();
        assert_eq!((data.rows(), data.columns()), (3, 4), "{shape}");
    }
    let data = read_bytes(&npy(1, &header("|u1", "False", "(12L,)"), &[7; 12])).unwrap();
    assert_eq!((data.rows(), data.columns()), (12, 1));
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    assert_reads_no_nothing(read);
    assert_rejects_prefixes(NUMPY, read);
    assert_rejects_prefixes(FORTRAN, read);
    survive_mutations(NUMPY, 70, read);
    // Of another order, where the sizes come first.
    let turned = npy(1, "{'shape': (2, 3, 2), 'fortran_order': True, 'descr': '|u1'}", &[7; 12]);
    survive_mutations(&turned, 30, read);
}

/// Files that are often taken for NPY are named by their first bytes.
#[test]
fn what_is_no_npy_file_is_told_by_its_name() {
    let whole = gz(NUMPY);
    let cases: [(&[u8], &str, &str); 5] = [
        (b"PK\x03\x04\x2d\x00\x00\x00", "a ZIP archive, as .npz files are", "read it with read_npz"),
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
