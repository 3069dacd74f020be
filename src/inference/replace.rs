//! Replacing files: whoever reads finds the old file or the new one, whole, also after a crash.
//!
//! The new file is written beside its place, under one name for each place, synced and moved there. A lock on it says
//! that somebody is at work; where nobody holds it, it is what a process that was killed has left, and goes. So there is
//! never more than one such file, and a second writer at the same time is refused.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What is added to the name of a file while its successor is written.
const PART: &str = ".strait-part";

/// Bytes of a file's name that the name of its successor begins with: file systems allow 255.
const NAME: usize = 200;

/// Links that are followed, as many as Linux follows.
const LINKS: usize = 40;

/// How often a name that others take away meanwhile is tried again.
const TRIES: usize = 100;

/// Puts what `write` writes in the place of the file at `path`, through links, with the permissions of the file that was
/// there.
///
/// # Errors
/// Whatever `write` fails with;
/// [`Error::Io`]: of the kind `ResourceBusy` where somebody else is writing the same file; of the kind `IsADirectory` or
/// `InvalidInput` where the path leads to something else than a regular file or nothing.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let place = destination(path).map_err(Error::io(path))?;
    let old = regular(&place).map_err(Error::io(path))?;
    let part = Part::claim(&place).map_err(Error::io(path))?;
    write(&part.file)?;
    part.put(&place, old.as_ref()).map_err(Error::io(path))
}

/// Where a path leads: to the file behind all links, which need not be there.
fn destination(path: &Path) -> IoResult<PathBuf> {
    let mut place = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_symlink() => place = folder(&place).join(fs::read_link(&place)?),
            Ok(_) => return Ok(place),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(place),
            Err(e) => return Err(e),
        }
    }
    Err(IoError::new(ErrorKind::InvalidInput, format!("more than {LINKS} links, one leading to another")))
}

/// The regular file at a place, if there is one.
fn regular(place: &Path) -> IoResult<Option<Metadata>> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(found) => {
            let kind = if found.is_dir() { ErrorKind::IsADirectory } else { ErrorKind::InvalidInput };
            let found = if found.is_dir() { "a folder" } else { "no regular file" };
            Err(IoError::new(kind, format!("there is {found}; allowed: a regular file, or nothing")))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn folder(place: &Path) -> &Path {
    place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file on its way to its place, which this process alone writes. It goes where it was not put there.
struct Part {
    file: File,
    path: PathBuf,
    put: bool,
}

impl Part {
    fn claim(place: &Path) -> IoResult<Part> {
        let no_name = || IoError::new(ErrorKind::InvalidInput, "the path names no file");
        let name = place.file_name().ok_or_else(no_name)?.to_string_lossy();
        let end = (0..=NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
        let path = folder(place).join(format!("{}{PART}", &name[..end]));
        let busy =
            || IoError::new(ErrorKind::ResourceBusy, format!("somebody else is writing it ({})", path.display()));
        for _ in 0..TRIES {
            // A new file: that follows no link and opens nothing that was there.
            let (file, new) = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => (file, true),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => match left_over(&path) {
                    Ok(Some(file)) => (file, false),
                    Ok(None) => continue,
                    Err(e) => return Err(e),
                },
                Err(e) => return Err(e),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(busy()),
                // Some file systems know no locks.
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
            // Whoever had the lock before may have moved the file away or removed it.
            if !is_at(&file, &path)? {
                continue;
            }
            if new {
                return Ok(Part { file, path, put: false });
            }
            fs::remove_file(&path)?;
        }
        Err(busy())
    }

    fn put(mut self, place: &Path, old: Option<&Metadata>) -> IoResult<()> {
        if let Some(old) = old {
            keep_permissions(&self.file, old)?;
        }
        self.file.sync_all()?;
        fs::rename(&self.path, place)?;
        self.put = true;
        sync_folder(folder(place))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.put {
            // The lock is still held: nobody else's file is meant.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens what another process left, following no link and waiting for nobody; nothing where it has gone meanwhile.
fn left_over(path: &Path) -> IoResult<Option<File>> {
    if regular(path)?.is_none() {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether an open file is the one at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> IoResult<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    Ok(regular(path)?.is_some_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
}

/// Whether there is a file at a path: elsewhere std does not tell which one.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> IoResult<bool> {
    Ok(regular(path)?.is_some())
}

#[cfg(unix)]
fn keep_permissions(file: &File, old: &Metadata) -> IoResult<()> {
    use std::os::unix::fs::PermissionsExt;
    // Not whose rights a program runs with: the new file may have another owner.
    file.set_permissions(fs::Permissions::from_mode(old.permissions().mode() & 0o777))
}

#[cfg(not(unix))]
fn keep_permissions(_: &File, _: &Metadata) -> IoResult<()> {
    Ok(())
}

/// Makes a move last through a loss of power. Not every folder can be opened, and not every file system can do it.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> IoResult<()> {
    let Ok(folder) = File::open(folder) else { return Ok(()) };
    match folder.sync_all() {
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Err(e),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> IoResult<()> {
    Ok(())
}
