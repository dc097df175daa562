//! What `make dist` has built: it runs where there is nothing but itself, and can be built again.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::support::{Emulator, Example, Peer, Setup, goes_on_after, of_the_project, output, released};

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

fn binary(architecture: &str) -> std::path::PathBuf {
    released(&format!("bootstrap-{architecture}"))
}

fn layer(architecture: &str) -> std::path::PathBuf {
    released(&format!("bootstrap-layer-{architecture}.zip"))
}

/// What a command writes to stdout.
#[track_caller]
fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    String::from_utf8(output(Command::new(program).args(arguments).current_dir(directory), b"")).unwrap()
}

#[test]
fn the_file_for_this_architecture_answers_in_an_empty_root() {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(binary(std::env::consts::ARCH), root.path().join("bootstrap")).unwrap();
    let handler = root.path().join("echo");
    let source = b"#include <unistd.h>\n\
        int main(void) { char b[4096]; long n; while ((n = read(0, b, sizeof b)) > 0) if (write(1, b, n) != n) return 1; return 0; }";
    output(Command::new("cc").args(["-x", "c", "-static", "-o"]).arg(&handler).arg("-"), source);

    // Root may change the root; anybody else may in a user namespace of their own.
    let mut bootstrap: Vec<OsString> = Vec::new();
    if !rustix::process::geteuid().is_root() {
        bootstrap.extend(["unshare".into(), "--map-root-user".into()]);
    }
    bootstrap.extend(["chroot".into(), root.path().into(), "/bootstrap".into()]);
    let setup =
        Setup::new().env("BOOTSTRAP_MODE", "oneshot").env("LAMBDA_TASK_ROOT", "/").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut emulator = Emulator::start_with(setup, &bootstrap, "/echo");
    for event in [r#"{"n":[1.10,12345678901234567890]}"#, r#""Zoë""#] {
        emulator.invoke(event.as_bytes()).is(event);
    }
    let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "there is more than bootstrap and the handler: {left:?}");
}

#[test]
fn the_file_for_the_other_architecture_answers_under_qemu() {
    let other = ARCHITECTURES.into_iter().find(|&architecture| architecture != std::env::consts::ARCH).unwrap();
    let bootstrap: [OsString; 2] = [format!("qemu-{other}-static").into(), binary(other).into()];
    let mut emulator = Emulator::start_with(Setup::new(), &bootstrap, Example::Hello.command());
    for _ in 0..3 {
        goes_on_after(&mut emulator, Example::Hello);
    }
}

#[test]
fn no_file_needs_an_interpreter_or_a_library_and_none_has_symbols() {
    for (architecture, machine) in ARCHITECTURES.into_iter().zip(["Advanced Micro Devices X86-64", "AArch64"]) {
        let file = binary(architecture);
        let told = run("readelf", &["--wide", "--all", file.to_str().unwrap()], Path::new("/"));
        assert!(told.contains(machine), "{architecture} is not for {machine}");
        for absent in ["INTERP", "(NEEDED)", ".symtab", ".debug_"] {
            assert!(!told.contains(absent), "{architecture} has {absent}:\n{told}");
        }
    }
}

#[test]
fn no_file_tells_where_it_was_built() {
    let home = std::env::var("HOME").unwrap();
    let here = of_the_project("");
    for architecture in ARCHITECTURES {
        let content = std::fs::read(binary(architecture)).unwrap();
        for place in
            [here.to_str().unwrap().trim_end_matches('/'), &format!("{home}/.cargo"), &format!("{home}/.rustup"), "index.crates.io"]
        {
            assert_eq!(memchr::memmem::find(&content, place.as_bytes()), None, "{architecture} has {place}");
        }
    }
}

#[test]
fn each_layer_is_the_file_alone_executable_and_of_a_fixed_day() {
    let list = "import sys, zipfile\n\
        for e in zipfile.ZipFile(sys.argv[1]).infolist():\n\
        \x20   print(e.filename, e.create_system, oct(e.external_attr >> 16), *e.date_time)";
    for architecture in ARCHITECTURES {
        let layer = layer(architecture);
        let layer = layer.to_str().unwrap();
        assert_eq!(run("python3", &["-c", list, layer], Path::new("/")), "bootstrap 3 0o100755 1980 1 1 0 0 0\n");
        let unpacked = tempfile::tempdir().unwrap();
        run("python3", &["-m", "zipfile", "-e", layer, "."], unpacked.path());
        same(&unpacked.path().join("bootstrap"), &binary(architecture));
    }
}

#[test]
fn the_checksums_are_those_of_all_files() {
    let sums = released("SHA256SUMS");
    let told = run("sha256sum", &["--check", "--strict", "SHA256SUMS"], sums.parent().unwrap());
    let files = ["bootstrap-aarch64", "bootstrap-layer-aarch64.zip", "bootstrap-layer-x86_64.zip", "bootstrap-x86_64"];
    assert_eq!(told, files.map(|file| format!("{file}: OK\n")).concat());
}

/// It takes minutes, and leaves the processors to the other tests.
#[test]
fn the_same_sources_elsewhere_give_the_same_bytes() {
    let elsewhere = tempfile::tempdir().unwrap();
    let sources = elsewhere.path().join("a folder with another name");
    copy(&of_the_project(""), &sources);
    // Another folder for the crates; what was downloaded is taken from the first.
    let (cargo, crates) = (cargo_home(), elsewhere.path().join("cargo"));
    std::fs::create_dir_all(crates.join("registry")).unwrap();
    for shared in ["config.toml", "registry/index", "registry/cache"] {
        if cargo.join(shared).exists() {
            symlink(cargo.join(shared), crates.join(shared)).unwrap();
        }
    }
    for architecture in ARCHITECTURES {
        let mut build = Command::new("nice");
        build.args(["-n", "19", ".ci/dist", architecture]).current_dir(&sources);
        build.env("CARGO_HOME", &crates).env("CARGO_TARGET_DIR", elsewhere.path().join("built"));
        output(&mut build, b"");
        for file in [binary(architecture), layer(architecture)] {
            same(&elsewhere.path().join("built/dist").join(file.file_name().unwrap()), &file);
        }
    }
}

fn cargo_home() -> std::path::PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"), Into::into)
}

/// The sources, without what was built from them and without their history.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            output(Command::new("cp").arg("-R").arg(entry.path()).arg(to), b"");
        }
    }
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let equal = std::fs::read(one).unwrap() == std::fs::read(other).unwrap();
    assert!(equal, "{} and {} differ", one.display(), other.display());
}
