//! From the words of a command to the file that is executed, and why it can't be.
//!
//! Most first hours with Lambda end in one of these errors, so each says what is wrong and how to mend it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::fault::Fault;

/// How much of a file is looked at: enough for a `#!` line and for an ELF file's program headers.
const HEAD: usize = 4096;

/// Where Lambda unpacks layers.
const LAYERS: &str = "/opt";

/// A command that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The file to execute.
    pub program: PathBuf,
    /// The program as the user named it.
    pub arg0: OsString,
    /// The arguments after it.
    pub args: Vec<OsString>,
    /// The working directory.
    pub directory: PathBuf,
}

impl Command {
    /// Looks the command up: a path with a `/` in the task root, a bare name there first, then on `PATH`.
    ///
    /// # Errors
    /// `Runtime.HandlerNotFound` with the places looked at, or `Runtime.InvalidEntrypoint` for what is there but can't run.
    pub fn resolve(config: &Config) -> Result<Self, Fault> {
        let words = &config.command.words;
        let Some((name, args)) = words.split_first().filter(|(name, _)| !name.is_empty()) else {
            return Err(Fault::HandlerNotFound(format!("the command in {} is an empty word", config.command.source)));
        };
        let command =
            |program: PathBuf| Self { program, arg0: name.clone(), args: args.to_vec(), directory: config.task_root.clone() };
        let mut unusable = None;
        let places = places(name, config);
        for place in &places {
            match examine(place, &config.path) {
                Examined::Missing => {}
                Examined::Runs => return Ok(command(place.clone())),
                // As execvp does: what can't run here may be further on.
                Examined::Unusable(why) => {
                    unusable.get_or_insert(why);
                }
            }
        }
        if let Some(why) = unusable {
            return Err(Fault::InvalidEntrypoint(why));
        }
        let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let layers = Path::new(LAYERS).join(name);
        let advice = if layers.is_file() && !places.contains(&layers) {
            format!("there is {}, from a layer: name it by that path", layers.display())
        } else {
            "check its spelling and that the deployment package contains it".to_owned()
        };
        Err(Fault::HandlerNotFound(format!(
            "the handler {:?} ({}) was not found; looked at {}; {advice}",
            name.to_string_lossy(),
            config.command.source,
            looked.join(", ")
        )))
    }

    /// Why the system refused to execute it.
    #[must_use]
    pub fn diagnose(&self, error: &io::Error) -> Fault {
        let program = self.program.display();
        // Out of processes, memory or descriptors: the program is not to blame.
        if let Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) = error.raw_os_error() {
            return Fault::InvalidEntrypoint(format!(
                "{program} could not be started: {error}; a limit of the system or of this user is reached"
            ));
        }
        if !self.directory.is_dir() {
            return Fault::InvalidEntrypoint(format!(
                "the working directory {} (LAMBDA_TASK_ROOT) is not a directory, so {program} can't be run in it",
                self.directory.display()
            ));
        }
        let head = match head(&self.program) {
            Ok(head) => head,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Fault::HandlerNotFound(format!("the handler {program} is no longer there"));
            }
            Err(_) => Vec::new(),
        };
        let why = match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "{program} was refused by the system (permission denied), though it has execute permission; \
                 is it on a file system mounted noexec, or in a folder this user may not enter?"
            ),
            _ if head.is_empty() => format!("{program} is an empty file"),
            _ => match elf_problem(&head) {
                Some(problem) => format!("{program} {problem}"),
                None if head.starts_with(b"\x7fELF") || head.starts_with(b"#!") => {
                    format!("{program} could not be executed: {error}")
                }
                None if head.starts_with(b"MZ") => format!("{program} is a Windows program; build it for Linux"),
                None if is_macho(&head) => format!("{program} is a macOS program; build it for Linux ({})", std::env::consts::ARCH),
                None => format!(
                    "{program} is neither a program for this system nor a script with a `#!` line; \
                     if it is a script, let its first line name the interpreter, such as #!/bin/sh"
                ),
            },
        };
        Fault::InvalidEntrypoint(why)
    }
}

fn places(name: &OsStr, config: &Config) -> Vec<PathBuf> {
    // `join` leaves an absolute path as it is. A relative folder on PATH is looked up where the handler will run.
    let mut places = vec![config.task_root.join(name)];
    if !name.as_bytes().contains(&b'/') {
        let on_path = std::env::split_paths(&config.path).filter(|folder| !folder.as_os_str().is_empty());
        for place in on_path.map(|folder| config.task_root.join(folder).join(name)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// What is at a place.
enum Examined {
    Missing,
    Runs,
    /// Why it can't run, and how to mend it.
    Unusable(String),
}

fn examine(place: &Path, path: &OsStr) -> Examined {
    let shown = place.display();
    let metadata = match fs::metadata(place) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Examined::Unusable(format!("{shown} can't be looked at: a folder on the way is closed to this user"));
        }
        Err(_) if place.is_symlink() => {
            return Examined::Unusable(format!("{shown} is a symbolic link to a file that is not there"));
        }
        Err(_) => return Examined::Missing,
    };
    if metadata.is_dir() {
        return Examined::Unusable(format!("{shown} is a directory; name the executable file in it"));
    }
    if !metadata.is_file() {
        return Examined::Unusable(format!("{shown} is not a regular file; name an executable file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 || rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_err() {
        return Examined::Unusable(format!("{shown} is not executable; run `chmod +x` on it before it is packaged"));
    }
    // A program that may be executed but not read is the system's to judge.
    match head(place).map(|head| script_problem(&head, path)) {
        Ok(Some(problem)) => Examined::Unusable(format!("{shown} {problem}")),
        _ => Examined::Runs,
    }
}

/// The first bytes of a file.
fn head(place: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    fs::File::open(place)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What is wrong with the `#!` line, if there is one.
fn script_problem(head: &[u8], path: &OsStr) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    if line.contains(&b'\r') {
        return Some(
            "has a carriage return in its `#!` line (Windows line ends), so its interpreter is not found; \
             convert it with `sed -i 's/\\r$//'` or `dos2unix`"
                .to_owned(),
        );
    }
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let Some(interpreter) = words.next() else {
        return Some("has a `#!` line that names no interpreter".to_owned());
    };
    if !Path::new(interpreter).exists() {
        return Some(format!(
            "names the interpreter {} in its `#!` line, which is not there; install it in the package, a layer or the image, or name another",
            interpreter.to_string_lossy()
        ));
    }
    if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
        // With options or assignments env does more than look on PATH, and says by itself what it does not find.
        let program = words.next().filter(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='))?;
        let found = program.as_bytes().contains(&b'/') || std::env::split_paths(path).any(|folder| folder.join(program).is_file());
        if !found {
            return Some(format!(
                "asks env for the interpreter {} in its `#!` line, which is not on PATH ({}); install it in the package, a layer or \
                 the image, or name another",
                program.to_string_lossy(),
                path.to_string_lossy()
            ));
        }
    }
    None
}

/// What is wrong with an ELF file, if it is one: its architecture, or its loader.
fn elf_problem(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    let is_64 = head[4] == 2;
    let read = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if head[5] == 2 { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    };
    let machine = match (read(18, 2)?, is_64) {
        (62, true) => "x86_64",
        (62, false) => "x32",
        (3, _) => "x86 (32 bits)",
        (183, _) => "aarch64",
        (40, _) => "arm (32 bits)",
        (243, _) => "riscv64",
        _ => "unknown",
    };
    if machine != std::env::consts::ARCH {
        return Some(format!(
            "is a program for another architecture: {machine}, and this machine is {}; build it for {}, or choose the function's other architecture",
            std::env::consts::ARCH,
            std::env::consts::ARCH
        ));
    }
    let loader = elf_loader(head, &read)?;
    (!Path::new(&loader).exists()).then(|| {
        format!(
            "needs the loader {}, which is not there: it was built for another C library (glibc and musl have different ones); \
             link it statically or build it on the system it will run on",
            loader.to_string_lossy()
        )
    })
}

/// The `PT_INTERP` entry of a 64-bit ELF file.
fn elf_loader(head: &[u8], read: &impl Fn(usize, usize) -> Option<u64>) -> Option<OsString> {
    const PT_INTERP: u64 = 3;
    let table = usize::try_from(read(32, 8)?).ok()?;
    let size = usize::try_from(read(54, 2)?).ok()?;
    let count = usize::try_from(read(56, 2)?).ok()?;
    let entry = (0..count).map(|index| table.saturating_add(index * size)).find(|entry| read(*entry, 4) == Some(PT_INTERP))?;
    let offset = usize::try_from(read(entry + 8, 8)?).ok()?;
    let length = usize::try_from(read(entry + 32, 8)?).ok()?;
    let text = head.get(offset..offset.checked_add(length)?)?;
    Some(OsStr::from_bytes(text.split(|byte| *byte == 0).next()?).to_owned())
}

fn is_macho(head: &[u8]) -> bool {
    [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]].iter().any(|magic| head.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_bang_line_is_examined() {
        let path = OsStr::new("/usr/bin:/bin");
        for (head, problem) in [
            ("#!/bin/sh\n", None),
            ("#! /bin/sh -e\necho\r\n", None),
            ("#!/usr/bin/env sh", None),
            ("#!/usr/bin/env -S A=b sh -e\n", None),
            ("#!/usr/bin/env -S -u FOO nosuchinterpreter\n", None),
            ("#!/usr/bin/env PATH=/elsewhere nosuchinterpreter\n", None),
            ("no hash bang", None),
            ("#!/bin/sh\r\n", Some("carriage return")),
            ("#!/usr/bin/env sh\r\n", Some("carriage return")),
            ("#!/no/such/interpreter -x\n", Some("/no/such/interpreter")),
            ("#!/usr/bin/env nosuchinterpreter\n", Some("nosuchinterpreter")),
            ("#!\n", Some("no interpreter")),
        ] {
            match (script_problem(head.as_bytes(), path), problem) {
                (None, None) => {}
                (Some(told), Some(expected)) => assert!(told.contains(expected), "{head:?}: {told}"),
                (told, expected) => panic!("{head:?}: {told:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn an_elf_file_of_another_architecture_is_told() {
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(64, 0);
        head[18] = if std::env::consts::ARCH == "aarch64" { 62 } else { 183 };
        let told = elf_problem(&head).unwrap();
        assert!(told.contains("another architecture") && told.contains(std::env::consts::ARCH), "{told}");
        assert_eq!(elf_problem(&head[..10]), None);
    }

    #[test]
    fn an_elf_files_loader_is_found() {
        let head = head(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(elf_problem(&head), None, "the test itself runs");
        let mut other = head.clone();
        let at = memchr::memmem::find(&other, b"/ld-").unwrap();
        other[at + 1] = b'X';
        assert!(elf_problem(&other).unwrap().contains("needs the loader"));
    }
}
