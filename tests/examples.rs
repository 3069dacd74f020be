//! The examples as programs: arguments that cannot work are refused by name before anything starts, and charts of next
//! to nothing are drawn. `cargo test` builds the examples; for this program alone, `cargo build --profile test
//! --examples` does.

#[path = "../examples/common/arguments.rs"]
#[allow(dead_code, reason = "examples use the rest")]
mod arguments;
#[path = "../examples/common/chart.rs"]
#[allow(dead_code, reason = "examples use the rest")]
mod chart;
#[path = "../examples/common/features.rs"]
#[allow(dead_code, reason = "an example uses the rest")]
mod features;
#[path = "../examples/common/outcome.rs"]
#[allow(dead_code, reason = "examples use the rest")]
mod outcome;
#[path = "../examples/common/panel.rs"]
#[allow(dead_code, reason = "an example uses the rest")]
mod panel;
#[path = "../examples/common/picture.rs"]
#[allow(dead_code, reason = "examples use the rest")]
mod picture;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use chart::{Line, Points, lines, points, scatter};
use features::neighbour_correlation;
use outcome::Outcome;
use panel::{Values, histogram};
use picture::{LINE, MARGIN, PAPER, Sheet, extent, loss_curve};

/// How long a refusal, a short run or a picture may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of an example, which lies beside the folder of this one.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().and_then(Path::parent).expect("a folder").join("examples");
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: cargo build --profile test --examples", path.display());
    path
}

/// What an example says and how it ends; killed where it goes on.
fn run(name: &str, arguments: &[&str], place: &Path) -> Output {
    let mut command = Command::new(program(name));
    command.args(arguments).current_dir(place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("an example that starts");
    let begun = Instant::now();
    while child.try_wait().expect("a status").is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().expect("an end");
            panic!("{name} {arguments:?} still runs after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("its words")
}

/// Every argument of the examples with values that it cannot have, and the words that the refusal must hold.
#[test]
fn what_cannot_work_is_refused_at_once() {
    let (folder, place) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("a file");
    let (file, in_file) = (file.to_str().expect("a name"), &format!("{}/more/folders", file.display()));
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("digits", &["--epochs", "0"], &["--epochs", "0", "1 or more"]),
        ("digits", &["--epochs", "many"], &["--epochs", "many", "1 or more"]),
        ("digits", &["--code", "0"], &["--code", "1 or more"]),
        ("digits", &["--code", "99999999999"], &["99999999999", "1048576"]),
        ("digits", &["--batch", "0"], &["--batch", "1 or more"]),
        ("digits", &["--rate", "0"], &["--rate", "above 0"]),
        ("digits", &["--rate", "nan"], &["--rate", "nan", "above 0"]),
        ("digits", &["--rate=-1"], &["--rate", "-1", "above 0"]),
        ("digits", &["--rate", "inf"], &["--rate", "inf", "3.4e38"]),
        ("digits", &["--rate", "1e300"], &["--rate", "1e300", "3.4e38"]),
        ("digits", &["--out", file], &["--out", file]),
        ("digits", &["--out", in_file], &["--out", in_file]),
        ("digits", &["--seed", "-1"], &["-1"]),
        ("digits", &["--seed=-1"], &["--seed", "-1"]),
        ("digits", &["--nothing"], &["--nothing"]),
        ("mnist", &[], &["--data is missing"]),
        ("mnist", &["--epochs", "0", "--data", "."], &["--epochs", "1 or more"]),
        ("mnist", &["--batch", "0", "--data", "."], &["--batch", "1 or more"]),
        ("mnist", &["--rate", "0", "--data", "."], &["--rate", "above 0"]),
        ("mnist", &["--limit", "0", "--data", "."], &["--limit", "1 or more"]),
        ("mnist", &["--data", "no/such/folder"], &["no/such/folder"]),
        ("pca", &["--codes", "65"], &["--codes", "65", "1 to 64"]),
        ("pca", &["--codes", "2,0"], &["--codes", "0", "1 to 64"]),
        ("pca", &["--codes", ""], &["--codes"]),
        ("pca", &["--steps", "0"], &["--steps", "1 or more"]),
        ("pca", &["--rate", "0"], &["--rate", "above 0"]),
        ("cost", &["--only", "l1"], &["--only", "l1", "L1", "Student-t", "variational"]),
        ("cost", &["--only", "L1,nothing"], &["--only", "nothing"]),
        ("cost", &["--only", ""], &["--only"]),
        ("cost", &["--rounds", "0"], &["--rounds", "1 or more"]),
        ("cost", &["--steps", "0"], &["--steps", "1 or more"]),
        ("cost", &["--profile", "0"], &["--profile", "1 to 65536"]),
        ("cost", &["--profile", "65537"], &["--profile", "1 to 65536"]),
        ("cost", &["--profile", "1", "--json"], &["--profile", "--json"]),
        ("contractive", &["--neighbours", "1501"], &["--neighbours", "1501", "1500"]),
        ("contractive", &["--neighbours", "5"], &["--neighbours", "5", "6"]),
        ("contractive", &["--limit", "10"], &["--neighbours", "20", "10"]),
        ("contractive", &["--weight", "1e300"], &["--weight", "1e300"]),
        ("contractive", &["--code", "99999999999"], &["99999999999", "1048576"]),
        ("contractive", &["--weight=-1"], &["--weight", "-1", "0 or more"]),
        ("contractive", &["--code", "0"], &["--code", "1 or more"]),
        ("contractive", &["--out", file], &["--out", file]),
        ("sparse", &["--code", "0"], &["--code", "1 or more"]),
        ("sparse", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("sparse", &["--limit", "0"], &["--limit", "1 or more"]),
        ("sparse", &["--out", file], &["--out", file]),
        ("vae", &["--hidden", "0"], &["--hidden", "1 or more"]),
        ("vae", &["--code", "0"], &["--code", "1 or more"]),
        ("vae", &["--out", file], &["--out", file]),
        ("sampling", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("sampling", &["--data", "no/such/folder"], &["no/such/folder"]),
        ("sampling", &["--gsn", "--epochs", "0"], &["--epochs", "1 or more"]),
        ("sampling", &["--out", file], &["--out", file]),
        ("search", &["--candidates", "0"], &["--candidates", "1 to 10000"]),
        ("search", &["--folds", "1"], &["--folds", "1", "2 to 100"]),
        ("search", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("search", &["--table", in_file], &["--table", in_file]),
        ("search", &["--out", file], &["--out", file]),
        ("adversarial", &["--seeds", "0"], &["--seeds", "1 or more"]),
        ("adversarial", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("adversarial", &["--out", file], &["--out", file]),
        ("vector_field", &["--sigma", "0"], &["--sigma", "0.01 to 3"]),
        ("vector_field", &["--sigma", "1e9"], &["--sigma", "0.01 to 3"]),
        ("vector_field", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("vector_field", &["--out", file], &["--out", file]),
        ("rbm", &["--seeds", "0"], &["--seeds", "1 or more"]),
        ("rbm", &["--steps", "0"], &["--steps", "1 or more"]),
        ("rbm", &["--epochs", "0"], &["--epochs", "1 or more"]),
        ("rbm", &["--tuning", "0"], &["--tuning", "1 or more"]),
        ("rbm", &["--out", file], &["--out", file]),
        ("embed", &["--budget", "0"], &["--budget", "0.001 to 1000"]),
        ("embed", &["--budget", "inf"], &["--budget", "0.001 to 1000"]),
        ("embed", &["--seconds", "1e300"], &["--seconds", "0.1 to 1000000"]),
        ("embed", &["--batch", "1798"], &["--batch", "1 to 1797"]),
        ("embed", &["--rounds", "0"], &["--rounds", "1 or more"]),
        ("embed", &["--out", file], &["--out", file]),
        ("explain", &["--batch", "0"], &["--batch", "1 or more"]),
        ("explain", &["--tune", "0"], &["--tune", "1 or more"]),
        ("explain", &["--purpose", "guess"], &["--purpose", "guess", "reconstruct"]),
        ("explain", &["--kind", "paper"], &["--kind", "paper", "software"]),
        ("explain", &["--spec", "no/such/spec"], &["no/such/spec"]),
        ("explain", &["--shaders", file], &["--shaders", file]),
        ("theory", &["--only", "99"], &["--only", "99", "36"]),
        ("theory", &["--only", "1,99"], &["--only", "99", "36"]),
        ("theory", &["--only", "sparse"], &["--only", "sparse"]),
        ("benchmark", &["--adapter", "no such adapter", "--out", "made"], &["no such adapter"]),
        ("benchmark", &["--adapter", "any", "--all"], &["--adapter", "--all"]),
        ("benchmark", &["--seconds", "0"], &["--seconds", "0.1 to 1000000"]),
        ("benchmark", &["--seconds", "1e300"], &["--seconds", "0.1 to 1000000"]),
        ("benchmark", &["--only", "nothing"], &["--only", "nothing", "products"]),
        ("benchmark", &["--tiles", "--only", "use"], &["--tiles", "products", "--only"]),
        ("benchmark", &["--profile", "--only", "use,products"], &["--profile", "training", "--only"]),
        ("benchmark", &["--compare", "no/such/a", "no/such/b"], &["no/such/a"]),
        ("benchmark", &["--compare", "a", "b", "--all"], &["--compare", "--all"]),
        ("benchmark", &["--out", file], &["--out", file]),
        ("endurance", &["--kills", "none"], &["--kills", "none"]),
        ("endurance", &["--saves", "4294967296"], &["--saves", "4294967296"]),
        (
            "endurance",
            &["--dropped=0", "--runs=0", "--awaited=0", "--losses=0", "--kills=0", "--saves=0"],
            &["--dropped", "--saves", "nothing to do"],
        ),
    ];
    for (name, arguments, words) in cases {
        let output = run(name, arguments, place.path());
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("{name} {arguments:?} says {said:?}");
        assert!(!output.status.success(), "{what}");
        assert!(words.iter().all(|word| said.contains(word)), "{what}, not {words:?}");
        assert!(!said.contains("panicked"), "{what}");
        // Nothing was begun: an adapter is the first thing that they print.
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{what}");
    }
    assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0, "something was written");
}

/// What they can have is taken: the ends of every range, and lists.
#[test]
fn what_can_work_is_taken() {
    for (text, value) in [("1", 1), ("64", 64), ("18446744073709551615", u64::MAX)] {
        assert_eq!(arguments::count::<u64>(text), Ok(value));
    }
    for text in ["0", "-1", "1.5", "", "18446744073709551616"] {
        assert!(arguments::count::<u64>(text).is_err(), "{text}");
    }
    assert_eq!(arguments::positive("1.2e-38"), Ok(1.2e-38));
    assert_eq!(arguments::positive("3.4e38"), Ok(3.4e38));
    assert!(["0", "-1", "inf", "NaN", "x", "1e-39", "3.5e38"].iter().all(|text| arguments::positive(text).is_err()));
    assert_eq!(arguments::not_negative("0"), Ok(0.0));
    assert!(["-1", "inf", "NaN", "", "3.5e38"].iter().all(|text| arguments::not_negative(text).is_err()));
    assert_eq!(arguments::within("64", 1usize..=64), Ok(64));
    assert!(["0", "65", "x"].iter().all(|text| arguments::within(text, 1usize..=64).is_err()));
    // As whole programs, with what would otherwise take long: one step, and a code wider than a digit has pixels.
    let folder = tempfile::tempdir().expect("a folder");
    let taken: [(&str, &[&str]); 8] = [
        ("adversarial", &["--epochs", "1", "--seeds", "2", "--json"]),
        ("pca", &["--codes", "1,64", "--steps", "1"]),
        ("digits", &["--epochs", "1", "--batch", "1500", "--code", "65", "--out", "made/for/it"]),
        ("vector_field", &["--epochs", "1", "--sigma", "3"]),
        ("embed", &["--seconds", "0.2", "--rounds", "1", "--budget", "1000"]),
        ("pretrain", &["--seeds", "1", "--pretraining", "1", "--epochs", "1"]),
        ("rbm", &["--seeds", "1", "--steps", "1", "--epochs", "1", "--tuning", "1"]),
        ("search", &["--candidates", "3", "--epochs", "3", "--folds", "2", "--table", "table.json"]),
    ];
    for (name, arguments) in taken {
        let output = run(name, arguments, folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {arguments:?} says {said:?}");
    }
    let files = [
        "made/for/it/digits.png",
        "made/for/it/loss.png",
        "out/vector_field.png",
        "out/embed.png",
        "out/adversarial_codes.png",
        "out/adversarial_generated.png",
        "out/adversarial_worst.png",
        "out/rbm-dreams.png",
        "out/rbm-filters.png",
        "out/pretrain.png",
        "out/search.png",
        "out/search.csv",
        "table.json",
    ];
    for file in files {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}

/// A device that is lost in the middle of a measurement: the report has what was measured until then, and says why it ends.
#[test]
fn a_benchmark_outlives_its_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--seconds", "10", "--lose", "0.2", "--only", "training,products", "--json"];
    let output = run("benchmark", &arguments, folder.path());
    let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}");
    let last = told.lines().last().expect("a line");
    let report: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let adapter = &report["adapters"][0];
    let left_out = adapter["left_out"].to_string();
    assert!(left_out.contains("the device was lost"), "{left_out}");
    assert!(adapter["flops"].as_f64().is_some_and(|flops| flops > 0.0), "{adapter}");
}

/// Whether `draw` comes to an end, and what it drew.
fn drawn(what: &str, draw: impl FnOnce(&Path) -> Outcome + Send + 'static) -> image::RgbImage {
    let (done, wait) = channel();
    std::thread::spawn(move || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("picture.png");
        let outcome = draw(&path).map(|()| image::open(&path).expect("a picture").to_rgb8());
        let _ = done.send(outcome.map_err(|error| error.to_string()));
    });
    wait.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: no picture")).expect(what)
}

/// Pixels of the colour of curves.
fn inked(picture: &image::RgbImage) -> usize {
    picture.pixels().filter(|pixel| pixel.0 == [LINE.0, LINE.1, LINE.2]).count()
}

#[test]
fn charts_of_next_to_nothing_are_drawn() {
    let curves: [(&[(f64, f64)], bool); 9] = [
        (&[], false),
        (&[(1.0, 5.0)], true),
        (&[(1.0, 0.0)], true),
        (&[(0.0, 1.0)], true),
        (&[(1.0, -3.0), (2.0, -3.0)], true),
        (&[(1.0, 1e300), (2.0, 1e300)], true),
        (&[(1.0, 1e-300), (2.0, 2e-300)], true),
        (&[(1.0, f64::NAN)], false),
        (&[(1.0, 2.0), (2.0, f64::INFINITY), (3.0, 1.0)], true),
    ];
    for (curve, visible) in curves {
        let picture = drawn(&format!("{curve:?}"), move |path| loss_curve(path, "title", "loss", curve));
        assert_eq!(inked(&picture) > 0, visible, "{curve:?}");
        let line = move |label: &str| Line { label: label.into(), colour: LINE, dashed: false, points: curve.to_vec() };
        drawn(&format!("lines of {curve:?}"), move |path| lines(path, "title", ["x", "y"], &[line("a")]));
        let points = move || vec![("0".to_string(), curve.to_vec())];
        drawn(&format!("points {curve:?}"), move |path| scatter(path, "title", ["x", "y"], &points()));
    }
    for values in [vec![], vec![1.0], vec![0.0], vec![1e-30, 1e30]] {
        let what = format!("histogram of {values:?}");
        drawn(&what, move |path| histogram(path, "title", "x", &[Values { name: "a", color: LINE, values: &values }]));
    }
    drawn("a sheet of no images", |path| {
        let (title, legend) = (String::new(), "");
        Sheet { side: 8, title, rows: vec![("none", vec![])], legend, features: &[], feature_size: 48 }.save(path)
    });
}

/// Below the axis of figures by name is what their places are called, and nothing else: no number of the axis.
#[test]
fn places_across_have_names_alone() {
    let below = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let picture = drawn(&format!("{names:?}"), move |path| {
            let figures = (0..names.len()).map(|at| (at as f64, 0.5, 0.1)).collect();
            let kind = Points { label: "kind".into(), colour: LINE, points: figures };
            points(path, "title", "y", &names, &[kind])
        });
        let (width, height) = picture.dimensions();
        // Right of the axis that goes up, whose numbers stay, and below the axis across.
        let (left, top) = (MARGIN + 120, height - MARGIN - 80);
        let inked = |x: u32| (top..height).any(|y| picture.get_pixel(x, y) != &PAPER);
        (left..width).filter(|&x| inked(x)).collect::<Vec<u32>>()
    };
    assert_eq!(below(&[]), [0; 0]);
    assert_eq!(below(&["", "", ""]), [0; 0]);
    let two = below(&["20 labels", "50 labels"]);
    let apart = two.windows(2).filter(|pair| pair[1] - pair[0] > 100).count();
    assert!(apart == 1 && two.len() > 60, "{two:?}");
}

#[test]
fn an_extent_has_a_length() {
    let of = |values: &[f64]| extent(values.iter().copied());
    assert_eq!(of(&[3.0, -1.0, f64::NAN, 2.0]), -1.0..3.0);
    assert_eq!(of(&[]), 0.0..1.0);
    assert_eq!(of(&[f64::INFINITY]), 0.0..1.0);
    for values in [[0.0, 0.0], [5.0, 5.0], [-1e300, -1e300], [1e-320, 2e-320]] {
        let found = of(&values);
        let length = found.end - found.start;
        assert!(found.start <= values[0] && length > 0.0 && found.end.is_finite(), "{values:?}: {found:?}");
    }
}

/// Two by two pixels by hand: pairs (1,2), (1,2), (1,1), (2,2), whose covariance is .25 and whose variances are .75. A
/// board: all pairs are opposite. Stripes of one pixel: of 112 pairs 28 are (1,1), 28 (0,0), 24 (1,0) and 32 (0,1), so
/// the covariance is (112 · 28 − 52 · 60)/112² = 16/112² and each variance 52 · 60/112².
#[test]
fn the_correlation_of_neighbours() {
    let close = |images: &[f32], side, expected: f64| {
        let found = neighbour_correlation(images, side);
        assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
    };
    close(&[1.0, 2.0, 1.0, 2.0], 2, 1.0 / 3.0);
    let board: Vec<f32> = (0..64).map(|i| ((i % 8 + i / 8) % 2) as f32).collect();
    close(&board, 8, -1.0);
    let stripes: Vec<f32> = (0..64).map(|i| (i % 8 % 2) as f32).collect();
    close(&stripes, 8, 1.0 / 195.0);
    // The mean over images; one without contrast does not count.
    close(&[board, stripes, vec![2.0; 64]].concat(), 8, (1.0 / 195.0 - 1.0) / 2.0);
}
