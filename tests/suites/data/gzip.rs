//! Gzipped files that lie: about their size, before and after unpacking.

use std::path::Path;

use strait::Result;
use strait::data::{Data, IdxFile, MAX_BYTES, Scale, read_idx, read_idx_labels, read_idx_within};

use super::{assert_data, assert_rejects_prefixes, file, gz, idx, survive_mutations};

fn read(path: &Path) -> Result<Data> {
    read_idx(path, Scale::Raw)
}

#[test]
fn a_header_that_promises_more_than_is_there_allocates_nothing_for_it() {
    for dimensions in [[u32::MAX, 1], [u32::MAX, 1 << 30], [4, 1]] {
        let (_dir, path) = file(&gz(&idx(0x08, &dimensions, &[1, 2, 3])));
        let all = |path: &Path| read_idx_within(path, Scale::Raw, u64::MAX);
        assert_data(all(&path), "values from row 0 on", "the end of the file after 3 bytes", "bytes");
    }
    let (_dir, path) = file(&gz(&idx(0x08, &[2, u32::MAX, u32::MAX], &[1, 2, 3])));
    assert_data(read(&path), "dimensions", "4294967295", "product");
}

#[test]
fn unpacking_stops_past_the_promised_size() {
    // 16 MiB of zeros behind a header that promises 4 bytes, and the second half of the file cut off: whoever unpacked
    // it all would come to that end.
    let bomb = gz(&idx(0x08, &[4], &vec![0; 1 << 24]));
    assert!(bomb.len() < 1 << 16);
    let (_dir, path) = file(&bomb[..bomb.len() / 2]);
    assert_data(read(&path), "end", "more bytes", "after 4 x 1 values");
}

/// Zeros are packed a thousandfold: what the values would take is known from the header, before any is unpacked.
#[test]
fn values_of_a_gzipped_file_take_no_more_memory_than_allowed() {
    let rows = (MAX_BYTES / 4 / 1000 + 1) as u32;
    for (element, width) in [(0x08, 1), (0x0d, 4)] {
        let (_dir, path) = file(&gz(&idx(element, &[rows, 1000], &vec![0; 1 << 20])));
        let found = (u64::from(rows) * 4000).to_string();
        assert_data(read(&path), "bytes of its values in memory", &found, "1073741824 (max_bytes");
        // Who allows it comes to the end of the file.
        let allowed = read_idx_within(&path, Scale::Raw, MAX_BYTES + 4000);
        assert_data(allowed, &format!("values from row {}", (1 << 20) / width / 1000), "the end of the file", "bytes");
    }
    let (_dir, path) = file(&gz(&idx(0x08, &[u32::MAX], &[])));
    assert_data(read_idx_labels(&path).map(drop), "bytes of its values in memory", "17179869180", "1073741824");
    let (_dir, path) = file(&gz(&idx(0x08, &[5], &[1, 2, 3, 4, 5])));
    assert_eq!(read_idx_within(&path, Scale::Raw, 20).unwrap().rows(), 5);
    assert_data(read_idx_within(&path, Scale::Raw, 19), "bytes of its values in memory", "20", "19");
    // A plain file cannot hold more than its size.
    let (_dir, path) = file(&idx(0x08, &[5], &[1, 2, 3, 4, 5]));
    assert_eq!(read_idx_within(&path, Scale::Raw, 19).unwrap().rows(), 5);
}

#[test]
fn several_members_are_one_file() {
    let bytes = idx(0x08, &[4], &[1, 2, 3, 4]);
    let (_dir, path) = file(&[gz(&bytes[..9]), gz(&bytes[9..])].concat());
    assert_eq!(read(&path).unwrap().values(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn damaged_gzip_is_an_error_and_never_a_panic() {
    let whole = gz(&idx(0x08, &[2, 2], &[1, 2, 3, 4]));
    assert_rejects_prefixes(&whole, read);
    survive_mutations(&whole, whole.len(), read);
    // The checksum and the length that end the file are checked too.
    for i in whole.len() - 8..whole.len() {
        let mut bytes = whole.clone();
        bytes[i] ^= 1;
        let (_dir, path) = file(&bytes);
        assert_data(read(&path), "end", "", "undamaged gzip file");
    }
    let (_dir, path) = file(&[whole.as_slice(), b"more"].concat());
    assert_data(read(&path), "end", "", "gzip file");
    let (_dir, path) = file(&gz(&[]));
    assert_data(read(&path), "magic number", "the end of the file after 0 bytes", "4 bytes");
}

#[test]
fn a_gzipped_file_cannot_be_streamed() {
    let (_dir, path) = file(&gz(&idx(0x08, &[1], &[1])));
    assert_data(IdxFile::open(&path, Scale::Raw), "file", "a gzipped file", "read_idx");
}
