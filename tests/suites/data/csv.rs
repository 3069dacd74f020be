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
        ",b\n1,2.5\n-3e2,4\n",
        "\"a,\",\"b\"\n\"1\", 2.5\n\t-3e2 ,+4.0\r\n",
        "\"a\"\"\n\n\",b\r\n \"1\" ,\t\" 2.5 \"\n-3e2,4\n",
        "\"a\r\",\"b\"\"\r\"\r\n1,2.5\n-3e2,4\n",
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
        ("1,2\n3,\"4\n5,6\n", "line 2", "never closed", "a closing quote"),
        ("a,\"b\nc\"\n1,2\n3,x\n", "line 4, column 2", "x", "a number"),
        ("1\n\"\"\n3\n", "line 2, column 1", "\"\"", "a number"),
        ("1\r\n \"\" \r\n3\r\n", "line 2, column 1", "\"\"", "a number"),
        ("\"\"\n3\n", "line 1, column 1", "\"\"", "a number"),
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
        let _ = read_csv(path, &CsvOptions { delimiter, label: Some(LabelColumn::Index(0)), ..CsvOptions::default() });
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

fn read_with(text: impl AsRef<[u8]>, options: CsvOptions) -> Result<Data> {
    let (_dir, path) = file(text.as_ref());
    read_csv(path, &options)
}

/// A line of numbers is data, one of names a header; one of both is neither until somebody says so.
#[test]
fn a_first_line_of_numbers_and_names_asks_what_it_is() {
    let says = |header| CsvOptions { header: Some(header), ..CsvOptions::default() };
    for first in ["5,1,?,1", "?,1,5,1", "label,0,1,2", "\"5\",x,,", "5.1,3.5,1.4,setosa"] {
        let text = format!("{first}\n1,2,3,4\n5,6,7,8\n");
        assert_data(read_text(&text), "line 1, column", "beside", "CsvOptions::header says whether it is a header");
        assert_eq!(read_with(&text, says(true)).unwrap().rows(), 2, "{first}");
        assert_data(read_with(&text, says(false)), "line 1, column", "", "a number");
    }
    // What is said holds for a line that looks otherwise.
    let years = "2001,2002\n1,2\n3,4\n";
    assert_eq!(read_text(years).unwrap().rows(), 3);
    assert_eq!(read_with(years, says(true)).unwrap().values(), [1.0, 2.0, 3.0, 4.0]);
    assert_data(read_with("a,b\n1,2\n", says(false)), "line 1, column 1", "a", "a number");
    assert_data(read_with("1,2\n", says(true)), "", "no line of numbers", "at least one");
    // Who names the column of labels knows of a header.
    let options = CsvOptions { label: Some(name("label")), ..CsvOptions::default() };
    let data = read_with("label,0,1\n7,1,2\n", options).unwrap();
    assert_eq!((data.values(), data.labels()), ([1.0, 2.0].as_slice(), Some([7].as_slice())));
    let options = CsvOptions { label: Some(name("label")), ..says(false) };
    assert_data(read_with("label,0,1\n7,1,2\n", options), "column of labels", "no header", "an index");
}

/// What is wrong with the first line of numbers may be wrong with the header above it.
#[test]
fn an_error_behind_a_header_that_was_guessed_says_so() {
    let taken = "line 1 was taken for the header";
    for text in ["?,?\n1,x\n", "?,?\n1,2,3\n", "\n\n?,?\n1,\n", "?,?\n"] {
        let expected = if text.starts_with('\n') { "line 3 was taken for the header" } else { taken };
        assert_data(read_text(text), "", "", expected);
    }
    let options = CsvOptions { header: Some(true), ..CsvOptions::default() };
    for (text, options) in [("a,b\n1,2\n3,x\n", CsvOptions::default()), ("a,b\n1,x\n", options)] {
        let message = read_with(text, options).unwrap_err().to_string();
        assert!(!message.contains("taken for the header"), "{message}");
    }
}

#[test]
fn errors_tell_what_a_file_of_another_kind_is() {
    let cases = [
        ("1;2\n3;4\n", "delimiter may be a semicolon (CsvOptions::delimiter: b';')"),
        ("a;b\n3;4\n", "delimiter may be a semicolon"),
        ("1\t2\n3\t4\n", "delimiter may be a tab (CsvOptions::delimiter: b'\\t')"),
        ("1 2\n3 4\n", "delimiter may be a blank"),
        ("0.5  2 -3\n", "delimiter may be a blank"),
        ("1|2\n3|4\n", "delimiter may be a bar"),
        ("a,b\n1,2\n3;4\n", "delimiter may be a semicolon"),
        ("1,5;2,5\n3,5;4,5\n", "delimiter may be a semicolon"),
        ("\"1,5\",\"2,5\"\n", "a decimal comma"),
        ("\"1,234,567\",2\n", "a decimal comma"),
        ("1,2\r3,4\r5,6\r", "lines that end with a newline"),
        ("a,b\r1,2\r", "lines that end with a newline"),
        ("\"a,\",\"b\"\r1,2\r", "lines that end with a newline"),
        ("\"1\",\"2\"\r\"3\",\"4\"", "lines that end with a newline"),
    ];
    for (text, allowed) in cases {
        assert_data(read_text(text), "line", "", allowed);
    }
    let semicolons = CsvOptions { delimiter: b';', ..CsvOptions::default() };
    assert_data(read_with("1,5;2,5\n3,5;4,5\n", semicolons.clone()), "line 1, column 1", "1,5", "a decimal comma");
    assert_data(read_with("a;b\n1,5;2\n", semicolons), "line 2, column 1", "1,5", "a decimal comma");
    assert_data(read_text("1,2\r3,4\r"), "line 1", "carriage return alone", "newline");
    for mark in [[0xff, 0xfe], [0xfe, 0xff]] {
        let wide = "1,2\n3,4\n".encode_utf16();
        let bytes = wide.flat_map(|unit| if mark[0] == 0xff { unit.to_le_bytes() } else { unit.to_be_bytes() });
        let text: Vec<u8> = mark.into_iter().chain(bytes).collect();
        assert_data(read_text(text), "line 1", "UTF-16", "UTF-8");
    }
}

/// Nothing grows without bound, whatever a file holds: a line, a record of many lines, or all of it.
#[test]
fn what_never_ends_is_refused() {
    let long = 1 << 24;
    for text in ["7".repeat(long + 1), ",".repeat(long + 1), format!("\"{}", "1\n".repeat(long / 2 + 1))] {
        assert_data(read_text(format!("1,2\n{text}")), "line 2", "more than 16777216 bytes", "newline");
    }
    let within = |max_bytes| CsvOptions { max_bytes, label: Some(LabelColumn::Index(0)), ..CsvOptions::default() };
    let text = "1,2,3\n4,5,6\n";
    assert_eq!(read_with(text, within(24)).unwrap().rows(), 2);
    assert_data(read_with(text, within(23)), "line 2: size", "24", "23 bytes of values and labels");
    #[cfg(unix)]
    assert_data(read(Path::new("/dev/zero")), "line 1", "more than 16777216 bytes", "newline");
}

/// Keeps what the readers log at the level that applications show.
struct Kept(std::sync::Mutex<Vec<String>>);

impl log::Log for Kept {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("strait::data")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

#[test]
fn what_is_guessed_and_what_is_lost_is_logged() {
    static KEPT: Kept = Kept(std::sync::Mutex::new(vec![]));
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let logged = |text: &str, options: CsvOptions| {
        let (_dir, path) = file(text.as_bytes());
        read_csv(&path, &options).unwrap();
        let all = KEPT.0.lock().unwrap();
        all.iter().filter(|line| line.contains(&path.display().to_string())).cloned().collect::<Vec<_>>()
    };
    let found = logged("\na,b\n1,2\n", CsvOptions::default());
    assert!(found.len() == 1 && found[0].starts_with("INFO") && found[0].contains("line 2"), "{found:?}");
    let header = Some(true);
    assert_eq!(logged("a,b\n1,2\n", CsvOptions { header, ..CsvOptions::default() }), [""; 0]);
    // 1700000001 lies between two numbers of f32, 16777218 does not; the first of a file is enough.
    let found = logged("1,16777218\n2,1700000001\n3,1700000003\n", CsvOptions::default());
    assert!(found.len() == 1 && found[0].starts_with("WARN"), "{found:?}");
    for word in ["line 2, column 2", "\"1700000001\" becomes 1700000000", "offset"] {
        assert!(found[0].contains(word), "{found:?} does not say {word:?}");
    }
    assert_eq!(logged("1,16777216\n2,-1700000000\n3,0.1\n4,123456789.5\n", CsvOptions::default()), [""; 0]);
}
