//! Processes that are killed while they save, and two that save to one path.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use strait::{Activation, Error, Gpu, Session, Spec, Training};

/// What a saving process says once it begins.
const BEGINS: &str = "saving";

/// Makes a process that calls [`save`] with a path and a number of times.
pub type Start<'a> = &'a dyn Fn(&Path, u32) -> std::io::Result<Command>;

/// What such a process does: saves a model of 8 megabytes again and again, so that much of the time goes into writing.
/// Where another is saving it tries again.
pub fn save(path: &Path, times: u32) -> Outcome {
    let spec = Spec::symmetric(&[256, 4096], Activation::Tanh);
    let session = Session::new(&Gpu::new()?, &spec, Training::default())?;
    println!("{BEGINS}");
    let mut done = 0;
    while done < times {
        match session.save(path) {
            Ok(()) => done += 1,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Starts such a process and waits until it saves.
fn started(start: Start, path: &Path, times: u32) -> Outcome<Child> {
    let mut child = start(path, times)?.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no output of a process")?);
    let mut line = String::new();
    while out.read_line(&mut line)? > 0 {
        if line.contains(BEGINS) {
            // It may say more.
            child.stdout = Some(out.into_inner());
            return Ok(child);
        }
        line.clear();
    }
    Err(format!("a process ended before it saved: {}", child.wait()?).into())
}

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Kills `count` processes while they save to one path. The file is always whole, at most one other is left, and that
/// one goes with the next save. Returns how often one was left.
pub fn kills(count: usize, start: Start) -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    let (path, part) = (folder.path().join("model"), folder.path().join("model.strait-part"));
    let gpu = Gpu::new()?;
    let session = Session::new(&gpu, &Spec::symmetric(&[3, 2], Activation::Tanh), Training::default())?;
    session.save(&path)?;
    let mut left = 0;
    for i in 0..count {
        let mut child = started(start, &path, u32::MAX)?;
        // Now at any moment, now while the part is there.
        let begun = Instant::now();
        while i % 2 == 1 && !part.exists() && begun.elapsed() < Duration::from_secs(10) {}
        let microseconds = if i % 2 == 1 { i * 397 % 3_000 } else { i * 6_173 % 20_000 };
        std::thread::sleep(Duration::from_micros(microseconds as u64));
        child.kill()?;
        child.wait()?;
        Session::open(&gpu, &path).map_err(|e| format!("behind kill {i}: {e}"))?;
        match names(folder.path())?.as_slice() {
            [_] => {}
            [_, part] if part == "model.strait-part" => left += 1,
            names => return Err(format!("behind kill {i} there are {names:?}").into()),
        }
    }
    session.save(&path)?;
    match names(folder.path())?.as_slice() {
        [_] => Ok(left),
        names => Err(format!("behind the last save there are {names:?}").into()),
    }
}

/// Two processes save `times` times to one path, and whoever reads meanwhile finds a whole file. Returns how often that
/// was.
pub fn rivals(times: u32, start: Start) -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model");
    let gpu = Gpu::new()?;
    let mut children = [started(start, &path, times)?, started(start, &path, times)?];
    let mut read = 0;
    loop {
        let ended = [children[0].try_wait()?, children[1].try_wait()?];
        if path.exists() {
            Session::open(&gpu, &path).map_err(|e| format!("while two save: {e}"))?;
            read += 1;
        }
        if let Some(failed) = ended.iter().flatten().find(|status| !status.success()) {
            return Err(format!("a process that saved ended with {failed}").into());
        }
        if ended.iter().all(Option::is_some) {
            break;
        }
    }
    match names(folder.path())?.as_slice() {
        [one] if one == "model" => Ok(read),
        names => Err(format!("behind two that saved there are {names:?}").into()),
    }
}
