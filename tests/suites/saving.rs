//! Saving: what is replaced and what is not, with which permissions; and what is left when it goes wrong.

use std::fs;
use std::path::Path;

use crate::common::gpu;
use strait::{Activation, Error, Session, Spec, Training};

fn session() -> Session {
    Session::new(&gpu(), &Spec::symmetric(&[3, 2], Activation::Tanh), Training::default()).unwrap()
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_str().unwrap().into()).collect();
    names.sort();
    names
}

/// The kind of a refusal by the file system.
fn refused(result: strait::Result<()>) -> std::io::ErrorKind {
    match result {
        Err(Error::Io { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_killed_process_left_goes_with_the_next_save() {
    let folder = tempfile::tempdir().unwrap();
    let (path, part) = (folder.path().join("model"), folder.path().join("model.strait-part"));
    fs::write(&part, "half a mod").unwrap();
    session().save(&path).unwrap();
    assert_eq!(names(folder.path()), ["model"]);
    assert!(Session::open(&gpu(), &path).is_ok());
    // Of a longer file, too.
    fs::write(&part, vec![7; 1 << 20]).unwrap();
    session().checkpoint(&path).unwrap();
    assert_eq!(names(folder.path()), ["model"]);
    assert!(Session::resume(&gpu(), &path).is_ok());
}

#[test]
fn a_second_writer_is_refused_while_the_first_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let (path, part) = (folder.path().join("model"), folder.path().join("model.strait-part"));
    fs::write(&path, "old").unwrap();
    let first = fs::File::create(&part).unwrap();
    first.lock().unwrap();
    assert_eq!(refused(session().save(&path)), std::io::ErrorKind::ResourceBusy);
    assert_eq!(refused(session().checkpoint(&path)), std::io::ErrorKind::ResourceBusy);
    assert_eq!((fs::read_to_string(&path).unwrap(), names(folder.path()).len()), ("old".into(), 2));
    // Another file in the same folder is another matter.
    session().save(folder.path().join("other")).unwrap();
    drop(first);
    session().save(&path).unwrap();
    assert_eq!(names(folder.path()), ["model", "other"]);
}

#[test]
fn names_as_long_as_a_file_system_takes_them_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["n".repeat(255), "é".repeat(127)] {
        let path = folder.path().join(&name);
        session().save(&path).unwrap();
        session().save(&path).unwrap();
        assert!(Session::open(&gpu(), &path).is_ok());
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_has_the_usual_permissions_and_an_old_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        session().save(&path).unwrap();
        // What any program here makes: 0666 less the umask.
        let usual = folder.path().join("usual");
        fs::write(&usual, "").unwrap();
        assert_eq!(mode(&path), mode(&usual));
        for kept in [0o600, 0o640, 0o664, 0o444, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            session().save(&path).unwrap();
            assert_eq!(mode(&path), kept, "{kept:o}");
        }
        // Rights to run as somebody else are not passed on.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        session().save(&path).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn links_are_followed_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/model"), "old").unwrap();
        symlink("deep/model", at("relative")).unwrap();
        symlink(at("relative"), at("absolute")).unwrap();
        symlink("deep/new", at("dangling")).unwrap();
        for (link, file) in [("relative", "deep/model"), ("absolute", "deep/model"), ("dangling", "deep/new")] {
            session().save(at(link)).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert!(fs::symlink_metadata(at(file)).unwrap().is_file(), "{link}");
            assert!(Session::open(&gpu(), at(file)).is_ok(), "{link}");
        }
        assert_eq!(names(folder.path()), ["absolute", "dangling", "deep", "relative"]);
        assert_eq!(names(&at("deep")), ["model", "new"]);
        symlink("round", at("round")).unwrap();
        refused(session().save(at("round")));
    }

    #[test]
    fn what_is_no_regular_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        let before = names(folder.path());
        for name in ["pipe", "socket", "null", "folder"] {
            let kind = refused(session().save(at(name)));
            let wanted = if name == "folder" { "IsADirectory" } else { "InvalidInput" };
            assert_eq!(format!("{kind:?}"), wanted, "{name}");
        }
        assert_eq!(names(folder.path()), before);
        assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    /// Whoever may write into the folder must not have other files overwritten, nor let a save wait.
    #[test]
    fn nothing_is_written_through_the_name_of_a_part() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "precious").unwrap();
        symlink("victim", at("model.strait-part")).unwrap();
        refused(session().save(at("model")));
        fs::remove_file(at("model.strait-part")).unwrap();
        assert!(Command::new("mkfifo").arg(at("model.strait-part")).status().unwrap().success());
        refused(session().save(at("model")));
        fs::remove_file(at("model.strait-part")).unwrap();
        // A second name of another file: the name goes, the file stays.
        fs::hard_link(at("victim"), at("model.strait-part")).unwrap();
        session().save(at("model")).unwrap();
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
        assert_eq!(fs::metadata(at("victim")).unwrap().nlink(), 1);
        assert_eq!(names(folder.path()), ["model", "victim"]);
    }
}
