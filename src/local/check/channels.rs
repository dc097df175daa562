//! A handler's process with the protocol's channels, and nobody between it and us: what it writes is kept as it came.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::tree::{self, Process};
use crate::local::function::Function;

/// What is kept of one channel until somebody takes it.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// A handler that was quiet for so long has most likely nothing more to say; its processes are looked at then.
const QUIET: Duration = Duration::from_millis(60);

/// How long a handler is watched until it does nothing.
const REST: Duration = Duration::from_secs(2);

/// How long a busy machine may take to give a handler the time that it needs to end.
const BUSY: Duration = Duration::from_secs(20);

/// A channel that the handler writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Descriptor 1. Where all are one, it is that one.
    Stdout,
    /// Descriptor 2.
    Stderr,
    /// Descriptor 3.
    ReplyFd,
}

#[derive(Debug, Default)]
struct Kept {
    /// What has come and nobody has taken.
    bytes: BytesMut,
    /// How much has come in all.
    length: usize,
    /// Nobody has the other end any more.
    ended: bool,
}

/// A handler's process. Its group is killed where this is dropped before its end.
#[derive(Debug)]
pub struct Channels {
    child: Child,
    stdin: Option<ChildStdin>,
    kept: Vec<(Channel, Arc<Mutex<Kept>>)>,
    heard: Arc<Notify>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        for reader in &self.readers {
            reader.abort();
        }
    }
}

impl Channels {
    /// Starts the function's handler as the runtime does. With `merged` all that it writes goes into one pipe, so that it comes
    /// in the order in which it was written.
    ///
    /// # Errors
    /// When this machine gives no process or pipe.
    pub fn start(function: &Function, merged: bool) -> io::Result<Self> {
        let heard = Arc::new(Notify::new());
        let (mut kept, mut readers) = (Vec::new(), Vec::new());
        let mut channel = |channel| -> io::Result<OwnedFd> {
            let (read, write) = io::pipe()?;
            let bytes = Arc::new(Mutex::new(Kept::default()));
            kept.push((channel, Arc::clone(&bytes)));
            readers.push(tokio::spawn(keep(pipe::Receiver::from_owned_fd(read.into())?, bytes, Arc::clone(&heard))));
            Ok(write.into())
        };
        // What has come on descriptor 3 is looked at first: from then on stdout is logs.
        let (stdout, stderr, reply) = if merged {
            let stdout = channel(Channel::Stdout)?;
            (stdout.try_clone()?, stdout.try_clone()?, stdout)
        } else {
            let reply = channel(Channel::ReplyFd)?;
            (channel(Channel::Stdout)?, channel(Channel::Stderr)?, reply)
        };

        let (program, arguments) = command(function)?;
        let root = function.variable("LAMBDA_TASK_ROOT");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(root)
            .env_clear()
            .envs(&function.environment)
            .env_remove("AWS_LAMBDA_EXEC_WRAPPER")
            .env("BOOTSTRAP_PROTOCOL_VERSION", "1")
            .env("BOOTSTRAP_REPLY_FD", "3")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .process_group(0)
            .kill_on_drop(true);
        let from = reply.as_raw_fd();
        let give_descriptor_3 = move || {
            // SAFETY: two system calls on descriptors, which touch no memory.
            #[expect(unsafe_code, reason = "the descriptor has to be 3, whoever may have that here")]
            let result = unsafe { if from == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(from, 3) } };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are system calls, which allocate
        // nothing and take no lock.
        #[expect(unsafe_code, reason = "a descriptor's number can be set by the child only")]
        unsafe {
            command.pre_exec(give_descriptor_3);
        }
        let mut child = command.spawn()?;
        drop(reply);
        let stdin = child.stdin.take();
        Ok(Channels { child, stdin, kept, heard, readers })
    }

    /// Writes to its stdin. One that does not read in this time, or has closed it, is told by its silence.
    pub async fn write(&mut self, bytes: &[u8], limit: Duration) {
        use tokio::io::AsyncWriteExt as _;
        if let Some(stdin) = &mut self.stdin {
            let _ = timeout(limit, stdin.write_all(bytes)).await;
        }
    }

    /// The next whole line that nobody has taken.
    pub fn take_line(&mut self) -> Option<(Channel, Bytes)> {
        self.kept.iter().find_map(|(channel, kept)| {
            let mut kept = lock(kept);
            let newline = memchr::memchr(b'\n', &kept.bytes)?;
            let line = kept.bytes.split_to(newline + 1).freeze();
            let end = if line[..newline].ends_with(b"\r") { newline - 1 } else { newline };
            Some((*channel, line.slice(..end)))
        })
    }

    /// What stands in a channel without a newline.
    pub fn unfinished(&self) -> Option<(Channel, String)> {
        self.kept.iter().find_map(|(channel, kept)| {
            let kept = lock(kept);
            let after = memchr::memrchr(b'\n', &kept.bytes).map_or(0, |newline| newline + 1);
            let rest = &kept.bytes[after..];
            (!rest.is_empty()).then(|| (*channel, String::from_utf8_lossy(rest).into_owned()))
        })
    }

    /// Waits until it has said something, at most until then. Whether it has, or may have.
    pub async fn hears(&self, end: Instant) -> bool {
        timeout_at(end, self.heard.notified()).await.is_ok()
    }

    /// Whether there is nothing more to be heard.
    pub fn have_ended(&self) -> bool {
        self.kept.iter().all(|(_, kept)| lock(kept).ended)
    }

    /// Waits until it says nothing and its processes do nothing.
    pub async fn rest(&self) {
        let end = Instant::now() + REST;
        let look = || self.id().and_then(tree::below_and_itself);
        let (mut before, mut length) = (look(), self.length());
        while Instant::now() < end {
            sleep(QUIET).await;
            let (after, now) = (look(), self.length());
            let idle = match (&before, &after) {
                (Some(before), Some(after)) => tree::were_idle(before, after),
                _ => true,
            };
            if idle && now == length {
                return;
            }
            (before, length) = (after, now);
        }
    }

    /// Closes its stdin.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Signals its group, unless it has been waited for.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.id().and_then(Pid::from_raw) {
            // It may be ending this moment.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Waits for its end. Whether it came in this time.
    pub async fn ends(&mut self, limit: Duration) -> bool {
        timeout(limit, self.child.wait()).await.is_ok()
    }

    /// The same, where what other processes take of the machine's time does not count: one that is still at work has longer, but
    /// no more of the processor's time than this.
    pub async fn ends_at_work(&mut self, limit: Duration) -> bool {
        let look = |channels: &Self| channels.id().and_then(tree::below_and_itself);
        let begin = look(self).map(|processes| tree::used(&processes));
        let mut before: Option<Vec<Process>> = None;
        let end = Instant::now() + BUSY;
        let mut wait = limit;
        loop {
            if self.ends(wait).await {
                return true;
            }
            let (Some(begin), Some(after)) = (begin, look(self)) else { return false };
            let is_idle = before.as_ref().is_some_and(|before| tree::were_idle(before, &after));
            if is_idle || tree::used(&after).saturating_sub(begin) > limit || Instant::now() > end {
                return false;
            }
            (before, wait) = (Some(after), QUIET * 3);
        }
    }

    /// Whether its process has not ended.
    pub fn live(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn id(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }

    fn length(&self) -> usize {
        self.kept.iter().map(|(_, kept)| lock(kept).length).sum()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Nothing panics while it holds the lock.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep(pipe: pipe::Receiver, kept: Arc<Mutex<Kept>>, heard: Arc<Notify>) {
    let mut chunk = vec![0; 64 * 1024];
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                let mut kept = lock(&kept);
                let room = MAX_KEPT.saturating_sub(kept.bytes.len()).min(length);
                kept.bytes.extend_from_slice(&chunk[..room]);
                kept.length += length;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(_) => break,
        }
        heard.notify_one();
    }
    lock(&kept).ended = true;
    heard.notify_one();
}

/// The handler's command, which the runtime has started before: where it can't be, that has been told.
fn command(function: &Function) -> io::Result<(PathBuf, Vec<String>)> {
    let line = ["BOOTSTRAP_COMMAND", "_HANDLER"].map(|name| function.variable(name));
    let line = line.into_iter().find(|line| !line.is_empty()).unwrap_or_default();
    let mut words = shell_words::split(line).map_err(io::Error::other)?.into_iter();
    let word = words.next().ok_or(io::ErrorKind::NotFound)?;
    let root = Path::new(function.variable("LAMBDA_TASK_ROOT"));
    let here = std::path::absolute(root.join(&word))?;
    let program = if word.contains('/') || here.is_file() { here } else { PathBuf::from(word) };
    Ok((program, words.collect()))
}
