//! Folders laid out like MNIST.

use strait::Error;
use strait::data::mnist;

use super::{assert_data, gz, idx};

/// What to make of a file's name, and of its bytes.
type Spelling = (fn(&str) -> String, fn(&[u8]) -> Vec<u8>);

/// A folder with two training and one test image of 1 x 3 pixels, each file under the name `spell` makes of it.
fn folder(spell: fn(&str) -> String, pack: fn(&[u8]) -> Vec<u8>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("train-images-idx3-ubyte", idx(0x08, &[2, 1, 3], &[0, 51, 255, 255, 0, 0])),
        ("train-labels-idx1-ubyte", idx(0x08, &[2], &[5, 9])),
        ("t10k-images-idx3-ubyte", idx(0x08, &[1, 1, 3], &[255, 255, 0])),
        ("t10k-labels-idx1-ubyte", idx(0x08, &[1], &[4])),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.path().join(spell(name)), pack(&bytes)).unwrap();
    }
    dir
}

fn plain() -> tempfile::TempDir {
    folder(str::to_string, <[u8]>::to_vec)
}

#[test]
fn every_spelling_is_found() {
    let spellings: [Spelling; 4] = [
        (str::to_string, <[u8]>::to_vec),
        (|name| format!("{name}.gz"), gz),
        (|name| name.replace("-idx", ".idx"), <[u8]>::to_vec),
        (|name| name.replace("-idx", ".idx") + ".gz", gz),
    ];
    for (spell, pack) in spellings {
        let dir = folder(spell, pack);
        let (train, test) = mnist(dir.path()).unwrap();
        assert_eq!((train.rows(), train.columns(), train.labels()), (2, 3, Some([5, 9].as_slice())));
        assert_eq!(train.values(), [0.0, 0.2, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!((test.values(), test.labels()), ([1.0, 1.0, 0.0].as_slice(), Some([4].as_slice())));
    }
}

#[test]
fn a_folder_that_does_not_fit_is_an_error() {
    let dir = plain();
    assert!(matches!(mnist(dir.path().join("missing")), Err(Error::Io { .. })));
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();

    write("t10k-labels-idx1-ubyte", &idx(0x08, &[2], &[4, 4]));
    assert_data(mnist(dir.path()), "t10k-images-idx3-ubyte: number of labels", "2", "1, one for each row");
    write("t10k-labels-idx1-ubyte", &idx(0x08, &[1], &[4]));
    write("t10k-images-idx3-ubyte", &idx(0x08, &[1, 2, 2], &[0; 4]));
    assert_data(mnist(dir.path()), "t10k-images-idx3-ubyte: pixels of an image", "4", "3, as in");
    write("t10k-images-idx3-ubyte", &idx(0x09, &[1, 1, 3], &[0; 3]));
    assert_data(mnist(dir.path()), "t10k-images-idx3-ubyte: element type", "I8", "U8");
    std::fs::remove_file(dir.path().join("t10k-images-idx3-ubyte")).unwrap();
    assert_data(mnist(dir.path()), "", "no file of t10k images", "t10k-images.idx3-ubyte.gz");
}
