//! `cargo lambda watch`: the Runtime API at a path, for a bootstrap that somebody else starts.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::peer::{Peer, invocations};
use super::run::{Run, Setup, free};
use super::tool::{binary, tool};

pub(crate) struct CargoLambda {
    run: Run,
    address: SocketAddr,
    /// Bootstrap is to have ended with this status.
    status: i32,
}

impl CargoLambda {
    const NAME: &'static str = "cargo-lambda";

    pub(crate) fn of(handler: impl AsRef<Path>) -> CargoLambda {
        CargoLambda::start(Setup::new(), handler, &[])
    }

    /// With more arguments for `cargo lambda watch`.
    pub(crate) fn start(setup: Setup, handler: impl AsRef<Path>, arguments: &[&str]) -> CargoLambda {
        let address = free(setup.address());
        let setup = setup.env("_HANDLER", handler.as_ref()).env("AWS_LAMBDA_RUNTIME_API", format!("{address}/.rt"));
        let mut run = setup.run();
        // It asks cargo for the binaries of a project, and wants to hear of one; it does not build it.
        let project = run.dir().join("project");
        std::fs::create_dir_all(project.join("src")).unwrap();
        std::fs::write(project.join("src/main.rs"), "fn main() {}\n").unwrap();
        std::fs::write(project.join("Cargo.toml"), "[package]\nname = \"some\"\nedition = \"2021\"\n").unwrap();
        let mut command = Command::new(tool("cargo-lambda"));
        command.args(["lambda", "watch", "--only-lambda-apis"]).args(arguments).current_dir(&project);
        command.arg("-A").arg(address.ip().to_string()).arg("-P").arg(address.port().to_string());
        run.start_as_it_is(Self::NAME, &mut command);
        run.wait_for_port(Self::NAME, address);
        run.start("bootstrap", &mut Command::new(binary()));
        CargoLambda { run, address, status: 0 }
    }

    /// The status with which bootstrap has ended by itself.
    pub(crate) fn bootstrap_ends_with(&mut self, status: i32) {
        self.status = status;
        assert_eq!(self.run.exit("bootstrap").code(), Some(status));
    }
}

impl Peer for CargoLambda {
    fn run(&mut self) -> &mut Run {
        &mut self.run
    }

    fn url(&self) -> String {
        invocations(self.address, "_")
    }

    fn error_status(&self) -> u16 {
        500
    }
}

impl Drop for CargoLambda {
    fn drop(&mut self) {
        let wanted = self.status;
        self.run.finish(|run| {
            let mut wrong = Vec::new();
            match run.terminate("bootstrap") {
                Some(status) if status.code() == Some(wanted) => {}
                status => wrong.push(format!("bootstrap has ended with {status:?}")),
            }
            if run.terminate(Self::NAME).is_none() {
                wrong.push("SIGTERM did not end cargo-lambda".to_owned());
            }
            wrong
        });
    }
}
