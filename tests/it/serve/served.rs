//! A served function: started, called, and ended.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::it::support::{Call, Client, Ended, Local, Reply, Running, bootstrap, handler};

/// A server that runs.
pub(super) struct Served {
    pub(super) running: Running,
    pub(super) address: SocketAddr,
}

/// `bootstrap serve` and these arguments on a free port, with a timeout that no busy machine uses up where they have none.
pub(super) fn serve<const N: usize>(args: [&str; N]) -> Local {
    let mut local = bootstrap(["serve"]);
    if !args.contains(&"--timeout") {
        local.args.extend(["--timeout", "900"].map(Into::into));
    }
    if !args.contains(&"--listen") {
        local.args.extend(["--listen", "127.0.0.1:0"].map(Into::into));
    }
    local.args.extend(args.iter().map(Into::into));
    local
}

/// The handler that does what its events say, served.
pub(super) fn told<const N: usize>(args: [&str; N]) -> Served {
    listen(serve(args).handler(handler("does_as_told.py")))
}

/// Starts it and waits until it can be called.
#[track_caller]
pub(super) fn listen(local: Local) -> Served {
    let running = local.start();
    let address = running.wait("the address", || {
        let stderr = running.stderr();
        assert!(!stderr.contains("can't listen"), "{stderr}");
        stderr.split_once("is at http://")?.1.split_once(';')?.0.parse().ok()
    });
    Served { running, address }
}

impl Served {
    #[track_caller]
    pub(super) fn call(&self, call: &Call) -> Reply {
        Client::connect(self.address).call(call)
    }

    #[track_caller]
    pub(super) fn invoke(&self, event: impl AsRef<[u8]>) -> Reply {
        self.call(&Call::invoke("function", event))
    }

    /// A connection with a request on its way.
    pub(super) fn begin(&self, call: &Call) -> Client {
        let mut client = Client::connect(self.address);
        client.send(call);
        client
    }

    #[track_caller]
    pub(super) fn wait_stderr(&self, text: &str) {
        self.running.wait(&format!("{text:?} on stderr"), || self.running.stderr().contains(text).then_some(()));
    }

    /// Presses Ctrl-C, and waits until all is over.
    #[track_caller]
    pub(super) fn end(self) -> Ended {
        self.running.signal(Signal::INT);
        let ended = self.running.end();
        ended.code(130).says("bootstrap: stopped by SIGINT\n");
        ended
    }
}
