//! CSV files.

use std::path::Path;

use strait::Result;
use strait::data::{CsvOptions, Data, LabelColumn, read_csv};

use super::{assert_data, assert_reads_no_nothing, file};

fn read(path: &Path) -> Result<Data> {
    read_csv(path, &CsvOptions::default())
}

fn read_text(text: impl AsRef<[u8]>) -> Result<Data> {
    let (_dir, path) = file(text.as_ref());
    read(&path)
}

fn read_labelled(text: &str, label: LabelColumn) -> Result<Data> {
    let (_dir, path) = file(text.as_bytes());
    read_csv(path, &CsvOptions { label: Some(label), ..CsvOptions::default() })
}

fn name(name: &str) -> LabelColumn {
    LabelColumn::Name(name.to_string())
}

#[test]
fn numbers_are_read_with_and_without_a_header() {
    let texts = [
        "1,2.5\n-3e2,4\n",
        "1,2.5\n-3e2,4",
        "1,2.5\r\n-3e2,4\r\n",
        "\n\n1,2.5\n\n   \n-3e2,4\n\n",
        "a,b\n1,2.5\n-3e2,4\n",
        "1,b\n1,2.5\n-3e2,4\n",
        ",b\n1,2.5\n-3e2,4\n",
        "\"a,\",\"b\"\n\"1\", 2.5\n\t-3e2 ,+4.0\r\n",
        "\u{feff}1,2.5\n-3e2,4\n",
    ];
    for text in texts {
        let data = read_text(text).unwrap();
        assert_eq!((data.rows(), data.columns()), (2, 2), "{text:?}");
        assert_eq!(data.values(), [1.0, 2.5, -300.0, 4.0], "{text:?}");
        assert_eq!(data.labels(), None);
    }
    let (_dir, path) = file(b"x\ty\n1\t2\n");
    let data = read_csv(&path, &CsvOptions { delimiter: b'\t', ..CsvOptions::default() }).unwrap();
    assert_eq!((data.values(), data.name()), ([1.0, 2.0].as_slice(), path.display().to_string().as_str()));
}

#[test]
fn values_are_the_nearest_f32_of_what_was_written() {
    let values = [0.1f32, -1.0 / 3.0, f32::MAX, f32::MIN_POSITIVE, 16_777_216.0, 1e-45];
    let text: Vec<String> = values.iter().map(f32::to_string).collect();
    assert_eq!(read_text(text.join(",")).unwrap().values(), values);
}

#[test]
fn labels_come_from_a_column_by_index_or_name() {
    let text = "a,kind,b\n1,7,2\n3,8.0,4\n";
    for label in [LabelColumn::Index(1), name("kind")] {
        let data = read_labelled(text, label).unwrap();
        assert_eq!((data.rows(), data.columns()), (2, 2));
        assert_eq!(data.values(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(data.labels(), Some([7, 8].as_slice()));
    }
    let data = read_labelled("4294967295,1\n0,2\n", LabelColumn::Index(0)).unwrap();
    assert_eq!(data.labels(), Some([u32::MAX, 0].as_slice()));

    assert_data(read_labelled(text, LabelColumn::Index(3)), "column of labels", "index 3", "0 to 2");
    assert_data(read_labelled(text, name("Kind")), "column of labels", "Kind", "\"kind\"");
    assert_data(read_labelled("a,a\n1,2\n", name("a")), "column of labels", "twice", "once");
    assert_data(read_labelled("1,2\n", name("a")), "column of labels", "no header", "an index");
    assert_data(read_labelled("a\n1\n", name("a")), "columns", "0", "1 or more");
    for bad in ["-1", "1.5", "4294967296", "nan", "inf", "", "cat"] {
        let text = format!("x,y\n1,2\n1,{bad}\n");
        assert_data(read_labelled(&text, name("y")), "line 3, column 2", bad, "0 to 4294967295");
    }
}

#[test]
fn errors_name_the_line_and_the_column() {
    let long = format!("1,{}", "x".repeat(100_000));
    let cases = [
        ("1,2\n3,x\n", "line 2, column 2", "x", "a number"),
        ("1,2\r\n\r\n3,4\r\nx,5\r\n", "line 4, column 1", "x", "a number"),
        ("\n\n1,2\n\n\n3,4\n5,x", "line 7, column 2", "x", "a number"),
        ("a,b\n1,2\n\n3,\n", "line 4, column 2", "\"\"", "a number"),
        ("1,\n2,3\n", "line 1, column 2", "\"\"", "a number"),
        ("1,2\n3,nan\n", "line 2, column 2", "nan", "finite"),
        ("1,2\n-inf,3\n", "line 2, column 1", "-inf", "finite"),
        ("inf,2\n", "line 1, column 1", "inf", "finite"),
        ("1,2\n3,1e39\n", "line 2, column 2", "1e39", "finite"),
        ("1,2\n3\n", "line 2: number of fields", "1", "2, as on the first line"),
        ("1,2\n3,4\n5,6,7\n", "line 3: number of fields", "3", "2, as on the first line"),
        ("a,b,c\n1,2\n", "line 2: number of fields", "2", "3, as on the first line"),
        ("1,2\n3,\"4\n5,6\n", "line 4, column 2", "4", "a number"),
        ("a,b\n", "", "no line of numbers", "at least one"),
        ("\n\r\n \n", "", "no line of numbers", "at least one"),
        ("1,2\n3,1 2\n", "line 2, column 2", "1 2", "a number"),
        ("1,2\n3,0x10\n", "line 2, column 2", "0x10", "a number"),
    ];
    for (text, place, found, allowed) in cases {
        assert_data(read_text(text), place, found, allowed);
    }
    assert_data(read_text(b"1,2\n3,\xff\xfe\n"), "line 2, column 2", "\u{fffd}", "a number");
    let message = read_text(format!("1,2\n{long}\n")).unwrap_err().to_string();
    assert!(message.len() < 300, "{message}");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    assert_reads_no_nothing(read);
    let text = b"a,\"b\"\r\n1,2\n3,4\n".as_slice();
    for delimiter in 0..=255 {
        let (_dir, path) = file(text);
        let _ = read_csv(path, &CsvOptions { delimiter, label: Some(LabelColumn::Index(0)) });
    }
    for i in 0..text.len() {
        for value in 0..=255 {
            let mut text = text.to_vec();
            text[i] = value;
            let _ = read_text(&text);
        }
        let _ = read_text(&text[..i]);
    }
}
