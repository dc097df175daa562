//! A function's files where Lambda puts them, in a file system like Lambda's, under AWS's emulator.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::output;
use super::emulator::Emulator;
use super::run::Setup;
use super::tool::tool;
use crate::it_support::fixture;

/// What a function for `provided.al2023` has in its environment, as AWS's guide lists it.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
    ("LD_LIBRARY_PATH", "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"),
    ("LANG", "en_US.UTF-8"),
    ("TZ", ":UTC"),
    ("LAMBDA_TASK_ROOT", "/var/task"),
    ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
];

/// Where the emulator is in AWS's images.
const EMULATOR: &str = "/usr/local/bin/aws-lambda-rie";

/// A function to be. Its directory is what `/var/task` shows; `/opt` has what its layers bring.
pub(crate) struct Unpacked {
    setup: Setup,
    task: PathBuf,
    /// More files of the system's: `SOURCE:DESTINATION`.
    system: Vec<String>,
}

impl Unpacked {
    pub(crate) fn new(task: &Path) -> Unpacked {
        let mut setup = Setup::new();
        for folder in ["opt", "root"] {
            std::fs::create_dir(setup.dir().join(folder)).unwrap();
        }
        for (name, value) in ENVIRONMENT {
            setup = setup.env(name, value);
        }
        let system = vec![format!("{}:{EMULATOR}", tool("aws-lambda-rie").display())];
        Unpacked { setup, task: task.to_owned(), system }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Unpacked {
        self.setup = self.setup.env(name, value);
        self
    }

    /// Unpacks a layer into `/opt`. What an earlier one has brought there by the same name is overwritten.
    pub(crate) fn layer(self, files: &Path) -> Unpacked {
        let mut copy = Command::new("cp");
        output(copy.arg("-R").arg(files.join(".")).arg(self.opt()), b"");
        self
    }

    /// A file in `/opt`, of a layer.
    pub(crate) fn in_layer(self, name: &str, mode: u32, contents: impl AsRef<[u8]>) -> Unpacked {
        let file = self.opt().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, contents).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// `/opt`, from outside.
    pub(crate) fn opt(&self) -> PathBuf {
        self.setup.dir().join("opt")
    }

    /// Bootstrap and the handler have 128 MB of address space each.
    pub(crate) fn with_little_memory(mut self) -> Unpacked {
        self.system.push(format!("{}:/usr/local/bin/limit", fixture("sandbox/limit.sh").display()));
        self.env("AWS_LAMBDA_EXEC_WRAPPER", "/usr/local/bin/limit")
    }

    /// Starts the emulator there, which looks for `bootstrap` where Lambda does.
    #[track_caller]
    pub(crate) fn start(self) -> Emulator {
        let mut command = Command::new(fixture("sandbox/enter.sh"));
        command.arg(self.setup.dir().join("root")).arg(&self.task).arg(self.opt()).arg(EMULATOR);
        // Mounting needs programs that are in no function's PATH.
        let setup = self.setup.env("FILES", self.system.join(" "));
        Emulator::begin(setup, command, &[])
    }
}
