//! AWS's Runtime Interface Emulator: it starts bootstrap when the first event comes.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::peer::{Peer, invocations};
use super::run::{Run, Setup, free};
use super::tool::{binary, tool};

pub(crate) struct Emulator {
    run: Run,
    address: SocketAddr,
    /// It has been killed by the test.
    killed: bool,
}

impl Emulator {
    /// The name of its process and log, which is bootstrap's and the handler's too.
    pub(crate) const NAME: &'static str = "emulator";

    /// A function whose time-out is generous.
    pub(crate) fn of(handler: impl AsRef<Path>) -> Emulator {
        Emulator::start(Setup::new(), handler)
    }

    pub(crate) fn start(setup: Setup, handler: impl AsRef<Path>) -> Emulator {
        Emulator::start_with(setup, &[binary().into_os_string()], handler)
    }

    /// A deployment package that has its own runtime, and is unpacked in this folder.
    pub(crate) fn of_package(folder: &Path) -> Emulator {
        let command = ["sh", "-c", "cd \"$0\" && exec ./bootstrap"].map(OsString::from);
        Emulator::start_with(Setup::new(), &command, folder)
    }

    /// Bootstrap is what this command runs.
    pub(crate) fn start_with(setup: Setup, bootstrap: &[OsString], handler: impl AsRef<Path>) -> Emulator {
        let setup = setup.default_env("AWS_LAMBDA_FUNCTION_TIMEOUT", "300");
        let command = [bootstrap, &[handler.as_ref().into()]].concat();
        Emulator::begin(setup, Command::new(tool("aws-lambda-rie")), &command)
    }

    /// `command` is the emulator, or becomes it. Without these last arguments it looks for bootstrap as Lambda does.
    pub(super) fn begin(setup: Setup, mut command: Command, last: &[OsString]) -> Emulator {
        let ip = setup.address();
        let (address, runtime_api) = (free(ip), free(ip));
        let mut run = setup.run();
        command.arg("--runtime-api-address").arg(runtime_api.to_string());
        command.arg("--runtime-interface-emulator-address").arg(address.to_string());
        run.start(Self::NAME, command.args(last));
        let mut emulator = Emulator { run, address, killed: false };
        // It opens the two ports in no order, and an extension that finds the Runtime API closed ends, and the invocation with it.
        emulator.run.wait_for_port(Self::NAME, address);
        emulator.run.wait_for_port(Self::NAME, runtime_api);
        emulator
    }

    /// Where AWS's clients are to send their requests.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The message of the init error of this type that a caller gets.
    #[track_caller]
    pub(crate) fn fails_to_start(&mut self, error_type: &str) -> String {
        let answer = self.invoke(b"{}");
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert_eq!(document["errorType"], error_type, "{}", answer.text());
        document["errorMessage"].as_str().unwrap().to_owned()
    }

    /// Ends it as Lambda ends an environment; gives its log.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> String {
        assert!(self.run.terminate(Self::NAME).is_some(), "SIGTERM did not end the emulator");
        self.run.log(Self::NAME)
    }

    /// Ends it with SIGKILL, so that it can't end bootstrap.
    pub(crate) fn kill(&mut self) {
        self.run.signal(Self::NAME, rustix::process::Signal::KILL);
        self.run.exit(Self::NAME);
        self.killed = true;
    }
}

impl Peer for Emulator {
    fn run(&mut self) -> &mut Run {
        &mut self.run
    }

    fn url(&self) -> String {
        invocations(self.address, "function")
    }

    fn error_status(&self) -> u16 {
        200
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // On SIGTERM it ends bootstrap with SIGKILL.
        let killed = self.killed;
        self.run.finish(|run| {
            if !killed && run.terminate(Self::NAME).is_none() {
                return vec!["SIGTERM did not end the emulator".to_owned()];
            }
            Vec::new()
        });
    }
}
