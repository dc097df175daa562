//! The Java example as it is deployed, and the naive runtime that `make bench-java` compares it with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::support::{Emulator, Example, Peer as _, answers, binary, goes_on_after, naive_runtime};

/// The most bytes of the zip, with bootstrap, the runtime image and its archive in it.
const MOST: u64 = 20_000_000;

#[track_caller]
fn run(folder: &Path, command: &mut Command) {
    let status = command.current_dir(folder).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The deployment package, `function.zip`, made by the command in the example's README, and `unpacked` from it.
fn package() -> TempDir {
    let folder = tempfile::Builder::new().prefix("bootstrap-package-").tempdir().unwrap();
    let executable = Example::Java.command();
    let dist = executable.ancestors().nth(2).unwrap();
    run(folder.path(), Command::new("cp").arg("-R").arg(dist).arg("dist"));
    run(folder.path(), Command::new("cp").arg(binary()).arg("bootstrap"));
    let readme = std::fs::read_to_string(dist.with_file_name("README.md")).unwrap();
    let zip = readme.lines().map(str::trim).find(|line| line.starts_with("zip ")).unwrap();
    run(folder.path(), Command::new("sh").args(["-c", zip]));
    run(folder.path(), Command::new("unzip").args(["-q", "function.zip", "-d", "unpacked"]));
    folder
}

#[test]
fn the_java_package_has_at_most_20_megabytes_and_all_that_it_must() {
    let folder = package();
    let size = std::fs::metadata(folder.path().join("function.zip")).unwrap().len();
    assert!(size <= MOST, "{size} bytes; is {} the binary that is shipped?", binary().display());
    for (name, mode) in [
        ("bootstrap", 0o100),
        ("dist/bin/executable", 0o100),
        ("dist/bin/java", 0o100),
        ("dist/lib/jspawnhelper", 0o100),
        ("dist/lib/modules", 0o400),
        ("dist/lib/server/libjvm.so", 0o400),
        ("dist/lib/server/classes.jsa", 0o400),
        ("dist/lib/security/cacerts", 0o400),
        ("dist/lib/tzdb.dat", 0o400),
        ("dist/legal/java.base/LICENSE", 0o400),
    ] {
        let file = std::fs::metadata(folder.path().join("unpacked").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(file.permissions().mode() & mode, mode, "{name}");
    }
}

#[test]
fn the_java_package_answers_where_it_is_unpacked_and_has_its_classes_from_the_archive() {
    let folder = package();
    let unpacked = folder.path().join("unpacked");
    let mut emulator = Emulator::of(unpacked.join("dist/bin/executable"));
    answers(&mut emulator, Example::Java);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", emulator.run().handler())).unwrap();
    let archive = unpacked.join("dist/lib/server/classes.jsa").canonicalize().unwrap();
    assert!(maps.contains(archive.to_str().unwrap()), "the virtual machine does not use {}:\n{maps}", archive.display());
}

/// Else the two could not be compared.
#[test]
fn the_naive_runtime_answers_what_the_java_example_answers() {
    let mut emulator = Emulator::of_package(&naive_runtime());
    goes_on_after(&mut emulator, Example::Java);
    let (wrong, ..) = Example::Java.wrong_event().unwrap();
    let answer = emulator.invoke(wrong.as_bytes());
    assert_eq!(String::from_utf8_lossy(&answer.body), "Failed to invoke function", "all that it says of an error");
    goes_on_after(&mut emulator, Example::Java);
}
