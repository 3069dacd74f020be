//! What the numbers of a command line may be, and where files can be written: others are refused by name, before anything starts.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A number of things, 1 or more.
pub fn count<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let count = text.parse().ok().filter(|count| *count >= T::from(1));
    count.ok_or_else(|| "allowed: a whole number, 1 or more".into())
}

/// A number above 0 that single precision holds in full.
pub fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| (*value as f32).is_normal() && *value > 0.0);
    value.ok_or_else(|| "allowed: a number above 0, 1.2e-38 to 3.4e38".into())
}

/// A number that is 0 or more and finite in single precision.
pub fn not_negative(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| (*value as f32).is_finite() && *value >= 0.0);
    value.ok_or_else(|| "allowed: 0 or more, up to 3.4e38".into())
}

/// A number from one end of a range to the other.
pub fn within<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("allowed: {} to {}", range.start(), range.end()))
}

/// Whether a file can be written here, whose folders need not be there yet. Nothing is made or changed; asked before
/// anything starts, it tells in time.
pub fn writable(path: &Path) -> io::Result<()> {
    if path.exists() {
        return File::options().append(true).open(path).map(drop);
    }
    let folder = path.ancestors().skip(1).find(|folder| folder.exists() || folder.as_os_str().is_empty());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Without a name, so that nothing stays behind.
    tempfile::tempfile_in(folder).map(drop)
}

/// A file in the folder of `--out`. Asked for before anything starts, it tells in time where none can be written.
pub fn file(out: &Path, name: &str) -> Result<PathBuf, String> {
    let path = out.join(name);
    writable(&path).map_err(|e| format!("--out {}: {name} cannot be written there: {e}", out.display()))?;
    Ok(path)
}
