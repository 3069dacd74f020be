//! Data sets through the public API: what the readers return for files written here byte by byte, and that every
//! damaged file is a typed error. Nothing here needs a GPU.

mod csv;
mod digits;
mod gzip;
mod idx;
mod mnist;
mod npy;
#[cfg(feature = "npz")]
mod npz;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use strait::Error;

/// A file of these bytes in a folder that goes when the returned guard does.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// The bytes, gzipped.
fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file: element type, dimensions, values.
fn idx(element: u8, dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, element, dimensions.len() as u8];
    dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// Checks that this is a data error whose place, found and allowed hold the given words.
#[track_caller]
fn assert_data<T: std::fmt::Debug>(result: strait::Result<T>, place: &str, found: &str, allowed: &str) {
    match result {
        Err(Error::Data { place: p, found: f, allowed: a, .. }) => {
            assert!(p.contains(place), "place {p:?} does not say {place:?}");
            assert!(f.contains(found), "found {f:?} does not say {found:?}");
            assert!(a.contains(allowed), "allowed {a:?} does not say {allowed:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// Checks that a missing file and an empty one are errors, and a folder too.
#[track_caller]
fn assert_reads_no_nothing<T: std::fmt::Debug>(read: impl Fn(&Path) -> strait::Result<T>) {
    let (dir, path) = file(b"");
    assert!(matches!(read(&path), Err(Error::Data { .. })));
    let missing = dir.path().join("missing");
    match read(&missing) {
        Err(Error::Io { path, source }) => {
            assert_eq!((path, source.kind()), (missing, std::io::ErrorKind::NotFound));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(read(dir.path()), Err(Error::Io { .. })));
}

/// Checks that the file cut off at every byte is a data error.
#[track_caller]
fn assert_rejects_prefixes<T: std::fmt::Debug>(bytes: &[u8], read: impl Fn(&Path) -> strait::Result<T>) {
    for length in 0..bytes.len() {
        let (_dir, path) = file(&bytes[..length]);
        let result = read(&path);
        assert!(matches!(result, Err(Error::Data { .. })), "cut off at {length}: {result:?}");
    }
}

/// Gives `read` the file with every byte of the first `length` replaced by every other value. What it returns is
/// free; that it returns is the check.
fn survive_mutations<T>(bytes: &[u8], length: usize, read: impl Fn(&Path) -> strait::Result<T>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for i in 0..length {
        for value in 0..=255 {
            let mut bytes = bytes.to_vec();
            bytes[i] = value;
            std::fs::write(&path, &bytes).unwrap();
            let _ = read(&path);
        }
    }
}
