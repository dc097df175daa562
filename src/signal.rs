//! Who asks us to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Why the shutdown phase begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: Lambda's shutdown, where an extension is registered; `docker stop`; `kill`.
    Terminate,
    /// SIGINT: Ctrl-C on a laptop. Lambda never sends it.
    Interrupt,
    /// SIGHUP: the terminal went away.
    HangUp,
}

impl Stop {
    /// The exit status that the shutdown phase ends with (protocol, section 6, "End").
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Terminate => 0,
            Self::Interrupt => 130,
            Self::HangUp => 129,
        }
    }

    /// The signal's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// Listens from now on. The future resolves at the first of the three signals.
///
/// # Errors
/// When the signals can't be listened to.
pub fn stop() -> io::Result<impl Future<Output = Stop> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Stop::Terminate,
            _ = interrupt.recv() => Stop::Interrupt,
            _ = hang_up.recv() => Stop::HangUp,
        }
    })
}
