//! Standard error as something that may take nothing: what it is, whether a write would block, how much is safe.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};

/// A pipe or socket that polls as writable takes this much without blocking (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// How stderr is written to.
#[derive(Debug)]
pub(super) enum Output {
    /// A regular file, which never blocks for long.
    File,
    /// A descriptor of our own that never blocks. A terminal polls as writable and then blocks; opened a second time, it does not,
    /// and the user's own stays as it was.
    Own(OwnedFd),
    /// A pipe or socket: what polls as writable takes [`ATOMIC`] bytes.
    Polled,
}

impl Output {
    pub(super) fn of_stderr() -> Self {
        match rustix::fs::fstat(stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Self::File,
            Ok(FileType::CharacterDevice) => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::open("/dev/fd/2", flags, Mode::empty()).map_or(Self::Polled, Self::Own)
            }
            _ => Self::Polled,
        }
    }

    /// Whether a write would take something now. A stderr without a reader counts: the write then says so.
    pub(super) fn is_writable(&self) -> bool {
        let descriptor = self.descriptor();
        let mut asked = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => asked[0].revents().intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
            Err(_) => false,
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(own) => own.as_fd(),
            Self::File | Self::Polled => stderr(),
        }
    }

    /// The longest write that can't block.
    pub(super) fn at_once(&self) -> usize {
        if matches!(self, Self::Polled) { ATOMIC } else { usize::MAX }
    }
}

fn stderr() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}
