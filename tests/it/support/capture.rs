//! What a process writes to a pipe, readable while it runs.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

struct State {
    pipe: File,
    bytes: Vec<u8>,
    ended: bool,
    paused: bool,
    /// A file's end is not the end of what is written to it.
    grows: bool,
}

impl State {
    /// Takes what is in the pipe at this instant.
    fn drain(&mut self) {
        let mut buffer = [0; 65536];
        while !self.ended && !self.paused {
            match self.pipe.read(&mut buffer) {
                Ok(0) if self.grows => return,
                Ok(0) => self.ended = true,
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }
}

/// A pipe's contents so far.
#[derive(Clone)]
pub(super) struct Capture(Arc<Mutex<State>>);

impl Capture {
    pub(super) fn of(pipe: OwnedFd, paused: bool) -> Capture {
        rustix::io::ioctl_fionbio(&pipe, true).unwrap();
        let watched = pipe.try_clone().unwrap();
        let state = Arc::new(Mutex::new(State { pipe: pipe.into(), bytes: Vec::new(), ended: false, paused, grows: false }));
        let capture = Capture(Arc::clone(&state));
        std::thread::spawn(move || {
            let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            loop {
                let paused = {
                    let mut state = state.lock().unwrap();
                    state.drain();
                    if state.ended {
                        return;
                    }
                    state.paused
                };
                // The state has one owner left when the test is over.
                if Arc::strong_count(&state) == 1 {
                    return;
                }
                if paused {
                    std::thread::sleep(Duration::from_millis(5));
                } else {
                    let _ = poll(&mut [PollFd::new(&watched, PollFlags::IN)], Some(&tick));
                }
            }
        });
        capture
    }

    /// Of a file that another process appends to.
    pub(super) fn file(path: &Path) -> Capture {
        let pipe = File::open(path).unwrap();
        Capture(Arc::new(Mutex::new(State { pipe, bytes: Vec::new(), ended: false, paused: false, grows: true })))
    }

    /// Everything written up to this instant, what still is in the pipe included.
    pub(super) fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let mut state = self.0.lock().unwrap();
        state.drain();
        look(&state.bytes)
    }

    /// Lets go of everything written up to this instant.
    pub(super) fn forget(&self) {
        let mut state = self.0.lock().unwrap();
        state.drain();
        state.bytes.clear();
    }

    /// Nothing is read any more, or again.
    pub(super) fn pause(&self, paused: bool) {
        self.0.lock().unwrap().paused = paused;
    }
}
