//! NPZ archives: what NumPy wrote, and archives written here byte by byte.

use std::io::Write;
use std::path::Path;

use strait::data::{Data, MAX_BYTES, npz_names, read_npz, read_npz_within};
use strait::{Error, Result};

use super::npy::{header, npy};
use super::{assert_data, assert_reads_no_nothing, assert_rejects_prefixes, file, gz};

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An entry of an archive: its name, how it is packed, its flags, what it holds.
struct Entry<'a> {
    name: &'a str,
    method: u16,
    flags: u16,
    bytes: &'a [u8],
}

fn entry<'a>(name: &'a str, method: u16, bytes: &'a [u8]) -> Entry<'a> {
    Entry { name, method, flags: 0, bytes }
}

/// A ZIP archive of these entries.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = flate2::Crc::new();
        crc.update(entry.bytes);
        let packed = match entry.method {
            DEFLATED => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(entry.bytes).unwrap();
                encoder.finish().unwrap()
            }
            _ => entry.bytes.to_vec(),
        };
        let mut head = Vec::new();
        // The version that is needed, the flags, the method, the time and the date.
        [20, entry.flags, entry.method, 0, 0x21].iter().for_each(|v| head.extend(v.to_le_bytes()));
        [crc.sum(), packed.len() as u32, entry.bytes.len() as u32].iter().for_each(|v| head.extend(v.to_le_bytes()));
        head.extend([entry.name.len() as u16, 0].map(u16::to_le_bytes).concat());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&head);
        // A comment, a disk and attributes: none. Then the place of the entry.
        directory.extend([0; 10]);
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        bytes.extend([b"PK\x03\x04", head.as_slice(), entry.name.as_bytes(), &packed].concat());
    }
    let (start, count) = (bytes.len() as u32, entries.len() as u16);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00");
    bytes.extend([count, count].map(u16::to_le_bytes).concat());
    bytes.extend([directory.len() as u32, start].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes
}

/// An NPY file of four bytes in two rows.
fn four() -> Vec<u8> {
    npy(1, &header("|u1", "False", "(2, 2)"), &[1, 2, 3, 4])
}

fn read(path: &Path) -> Result<Data> {
    read_npz(path, None)
}

fn read_bytes(bytes: &[u8], name: Option<&str>) -> Result<Data> {
    let (_dir, path) = file(bytes);
    read_npz(path, name)
}

#[test]
fn what_numpy_packed_is_read() {
    let (_dir, path) = file(include_bytes!("../../fixtures/numpy.npz"));
    assert_eq!(npz_names(&path).unwrap(), ["codes", "fortran", "mask", "a/big endian"]);
    let cases: [(&str, usize, &[f32]); 4] = [
        ("codes", 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5]),
        ("fortran", 2, &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 100.0, 101.0, 110.0, 111.0, 120.0, 121.0]),
        ("mask", 3, &[1.0, 0.0, 1.0]),
        ("a/big endian", 1, &[258.0, -32768.0]),
    ];
    for (name, rows, expected) in cases {
        for name in [name, &format!("{name}.npy")] {
            let data = read_npz(&path, Some(name)).unwrap();
            assert_eq!((data.rows(), data.values()), (rows, expected), "{name}");
        }
    }
    let (_dir, path) = file(include_bytes!("../../fixtures/numpy_stored.npz"));
    assert_eq!(npz_names(&path).unwrap(), ["arr_0"]);
    for name in [None, Some("arr_0")] {
        assert_eq!(read_npz(&path, name).unwrap().values(), [0.5, -2.0]);
    }
}

#[test]
fn an_archive_of_one_array_needs_no_name_and_others_say_which_there_are() {
    let four = four();
    for method in [STORED, DEFLATED] {
        let one = archive(&[entry("read me", STORED, b"text"), entry("x.npy", method, &four)]);
        for name in [None, Some("x"), Some("x.npy")] {
            let data = read_bytes(&one, name).unwrap();
            assert_eq!((data.rows(), data.values()), (2, [1.0, 2.0, 3.0, 4.0].as_slice()));
        }
        assert_data(read_bytes(&one, Some("y")), "name of the array", "\"y\"", "one of \"x\"");
        assert_data(read_bytes(&one, Some("")), "name of the array", "\"\"", "one of \"x\"");
    }
    let two = archive(&[entry("x.npy", STORED, &four), entry("labels.npy", STORED, &four)]);
    assert_data(read_bytes(&two, None), "name of the array", "2 arrays", "one of \"x\", \"labels\"");
    assert_data(read_bytes(&two, Some("X")), "name of the array", "\"X\"", "one of \"x\", \"labels\"");
    // An entry whose whole name is asked for is meant, as in NumPy.
    let other = npy(1, &header("|u1", "False", "(1,)"), &[9]);
    let nested = archive(&[entry("x.npy.npy", STORED, &other), entry("x.npy", STORED, &four)]);
    assert_eq!(read_bytes(&nested, Some("x.npy")).unwrap().rows(), 2);
    assert_eq!(read_bytes(&nested, Some("x.npy.npy")).unwrap().rows(), 1);
    // A list of very many, or of very long, names is cut.
    let names: Vec<String> = (0..300).map(|i| format!("{i}{}.npy", "n".repeat(200))).collect();
    let many: Vec<Entry> = names.iter().map(|name| entry(name, STORED, &four)).collect();
    let message = read_bytes(&archive(&many), None).unwrap_err().to_string();
    assert!(message.contains("300 arrays") && message.len() < 3000, "{message}");
    let (_dir, path) = file(&archive(&many));
    assert_eq!(npz_names(&path).unwrap().len(), 300);
}

#[test]
fn archives_without_arrays_are_errors() {
    for (bytes, names) in [
        (archive(&[]), 0),
        (archive(&[entry("read me", STORED, b"text")]), 0),
        (archive(&[entry("folder/", STORED, b"")]), 0),
    ] {
        for name in [None, Some("x")] {
            assert_data(read_bytes(&bytes, name), "arrays", "none", "end with .npy");
        }
        let (_dir, path) = file(&bytes);
        assert_eq!(npz_names(path).unwrap().len(), names);
    }
}

#[test]
fn entries_that_are_no_arrays_of_numbers_are_errors() {
    let four = four();
    let text = npy(1, &header("<U3", "False", "(2,)"), &[0; 24]);
    let nan = npy(1, &header("<f4", "False", "(1, 1)"), &f32::NAN.to_le_bytes());
    for method in [STORED, DEFLATED] {
        for (bytes, place, found, allowed) in [
            (b"text that is no array".as_slice(), "\"x.npy\": magic string", "text t", "NUMPY"),
            (b"", "\"x.npy\": magic string", "the end of the file after 0 bytes", "6 bytes"),
            (&gz(&four), "\"x.npy\": magic string", "a gzip file", "unpack it first"),
            (b"\x80\x04\x95\x0b\x00\x00\x00", "\"x.npy\": magic string", "a Python pickle", "numpy.save"),
            (&text, "\"x.npy\": header: descr", "<U3", "f2, f4, f8"),
            (&nan, "\"x.npy\": row 0, column 0", "NaN", "finite"),
        ] {
            assert_data(read_bytes(&archive(&[entry("x.npy", method, bytes)]), None), place, found, allowed);
        }
    }
    let encrypted = archive(&[Entry { flags: 1, ..entry("x.npy", STORED, &four) }]);
    assert_data(read_bytes(&encrypted, None), "\"x.npy\"", "an encrypted entry", "not encrypted");
    for (method, name) in [(12, "Bzip2"), (93, "Zstd")] {
        let packed = archive(&[entry("x.npy", method, &four)]);
        assert_data(read_bytes(&packed, None), "\"x.npy\": packing", name, "stored or deflated");
    }
    // Other files are named by their first bytes, and what is no archive at all is one error.
    assert_data(read_bytes(&four, None), "file", "an NPY file", "read it with read_npy");
    assert_data(read_bytes(&gz(&four), None), "file", "a gzip file", "ZIP archive");
    assert_data(read_bytes(b"1,2\n3,4\n", None), "file", "", "a whole, undamaged ZIP archive");
}

/// Zeros are packed a thousandfold: what the values would take is known from the array's header, before any is unpacked.
#[test]
fn values_of_a_deflated_array_take_no_more_memory_than_allowed() {
    let rows = MAX_BYTES / 4 / 1000 + 1;
    for (descr, width) in [("|u1", 1), ("<f4", 4)] {
        for fortran in ["False", "True"] {
            let bytes = npy(1, &header(descr, fortran, &format!("({rows}, 1000)")), &vec![0; 1 << 20]);
            let (_dir, path) = file(&archive(&[entry("x.npy", DEFLATED, &bytes)]));
            let found = (rows * 4000).to_string();
            let allowed = "1073741824 (max_bytes of read_npz_within)";
            assert_data(read(&path), "\"x.npy\": bytes of its values in memory", &found, allowed);
            // Who allows it comes to the end of the entry.
            let (row, column) = match fortran {
                "False" => ((1 << 20) / width / 1000, None),
                _ => ((1 << 20) / width % rows, Some((1 << 20) / width / rows)),
            };
            let place = match column {
                None => format!("values from row {row}"),
                Some(column) => format!("values in Fortran order from row {row}, column {column}"),
            };
            let read = read_npz_within(&path, None, MAX_BYTES + 4000);
            assert_data(read, &place, "the end of the file", "bytes");
        }
    }
    let (_dir, path) = file(&archive(&[entry("x.npy", DEFLATED, &four())]));
    assert_eq!(read_npz_within(&path, None, 16).unwrap().rows(), 2);
    assert_data(read_npz_within(&path, None, 15), "bytes of its values in memory", "16", "15");
    // A stored one cannot hold more than the archive does.
    let (_dir, path) = file(&archive(&[entry("x.npy", STORED, &four())]));
    assert_eq!(read_npz_within(&path, None, 15).unwrap().rows(), 2);
}

#[test]
fn unpacking_stops_past_the_promised_size() {
    // 16 MiB of zeros behind a header that promises 4 bytes.
    let bytes = npy(1, &header("|u1", "False", "(4,)"), &vec![0; 1 << 24]);
    let bomb = archive(&[entry("x.npy", DEFLATED, &bytes)]);
    assert!(bomb.len() < 1 << 16);
    assert_data(read_bytes(&bomb, None), "\"x.npy\": end", "more bytes", "after 4 x 1 values");
    let stored = archive(&[entry("x.npy", STORED, &[four(), vec![5]].concat())]);
    assert_data(read_bytes(&stored, None), "\"x.npy\": length of the file in bytes", "", "2 x 2 values");
    // A header that promises gigabytes of itself.
    let bytes = [b"\x93NUMPY\x02\x00", u32::MAX.to_le_bytes().as_slice(), &[b' '; 100]].concat();
    for (method, allowed) in [(DEFLATED, "at most 65535"), (STORED, "at most 100,")] {
        let lie = archive(&[entry("x.npy", method, &bytes)]);
        assert_data(read_bytes(&lie, None), "\"x.npy\": length of the header in bytes", "4294967295", allowed);
    }
}

/// Where what the first entry, `x.npy`, holds begins in an archive.
const LOCAL: usize = 30 + "x.npy".len();

#[test]
fn lies_of_the_directory_are_errors() {
    let four = four();
    for method in [STORED, DEFLATED] {
        let whole = archive(&[entry("x.npy", method, &four)]);
        let directory = whole.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        // The checksum, the packed and the unpacked length, and the place of the entry. That a deflated entry ends before
        // its packed length does no harm.
        let packed: &[u32] = if method == STORED { &[0, 1, u32::MAX - 1] } else { &[0, 1] };
        for (at, lies) in [(16, [0, 1].as_slice()), (20, packed), (24, &[0, 1]), (42, &[1, u32::MAX - 1])] {
            for lie in lies {
                let mut bytes = whole.clone();
                bytes[directory + at..][..4].copy_from_slice(&lie.to_le_bytes());
                let read = read_bytes(&bytes, None);
                assert!(matches!(read, Err(Error::Data { .. })), "{method}, {at}, {lie}: {read:?}");
            }
        }
        // A changed value is told by the checksum.
        if method == STORED {
            let mut bytes = whole.clone();
            bytes[LOCAL + four.len() - 1] ^= 1;
            assert_data(read_bytes(&bytes, None), "\"x.npy\": end", "checksum", "undamaged ZIP archive");
        }
    }
}

#[test]
fn damaged_archives_are_errors_and_never_panics() {
    assert_reads_no_nothing(read);
    assert_reads_no_nothing(|path| npz_names(path));
    let whole = archive(&[entry("x.npy", DEFLATED, &four()), entry("y.npy", STORED, &four())]);
    let numpy = include_bytes!("../../fixtures/numpy_stored.npz");
    for (bytes, name) in [(whole.as_slice(), Some("x")), (&whole, Some("y")), (numpy, None)] {
        assert!(read_bytes(bytes, name).is_ok());
        let read = |path: &Path| read_npz(path, name);
        assert_rejects_prefixes(bytes, read);
        // Every bit turned over. What is then returned is free; that it returns is the check.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let _ = (read(&path), npz_names(&path));
        }
    }
    assert_data(read_bytes(&whole[..whole.len() / 2], None), "file", "", "a whole, undamaged ZIP archive");
}
