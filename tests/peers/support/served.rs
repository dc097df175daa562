//! `bootstrap serve`: it starts bootstrap when the first event comes, as the emulator does.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;

use crate::it_support::{Local, Running, bootstrap};

/// A served handler, and where it is.
pub(crate) struct Served(Running, SocketAddr);

impl Served {
    /// A function whose timeout is generous.
    #[track_caller]
    pub(crate) fn of(handler: impl AsRef<Path>, name: &str) -> Served {
        Served::start(bootstrap(["serve", "--timeout", "300", "--function-name", name]), handler)
    }

    /// This command line, on a port that is free.
    #[track_caller]
    pub(crate) fn start(local: Local, handler: impl AsRef<Path>) -> Served {
        let running = local.arg("--listen").arg("127.0.0.1:0").handler(handler).start();
        let address =
            running.wait("the address", || running.stderr().split_once("is at http://")?.1.split_once(';')?.0.parse().ok());
        Served(running, address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.1
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.1)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// Makes a file in its directory.
    pub(crate) fn touch(&self, name: &str) {
        self.0.touch(name);
    }

    #[track_caller]
    pub(crate) fn end(self) {
        self.0.signal(Signal::INT);
        self.0.end().code(130);
    }
}
