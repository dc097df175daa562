//! The runtime as a child process: started, signalled, and its end, which several may wait for.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::function::Function;
use super::tree;

/// A runtime's process. It is killed where this value is dropped before its end.
#[derive(Debug)]
pub struct Process {
    pid: Option<Pid>,
    /// How it ended, in Lambda's words, once it has.
    end: watch::Receiver<Option<String>>,
    waiter: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child is the waiter's, and dropping a child kills it.
        self.waiter.abort();
    }
}

impl Process {
    /// Starts this same binary as the function's runtime, with the address of its Runtime API.
    ///
    /// It leads a process group of its own, so that a terminal's Ctrl-C reaches it through us and only once, and it gets
    /// SIGTERM where we are killed, so that it ends its handler and nothing stays.
    ///
    /// # Errors
    /// When this machine gives no process.
    pub fn start(function: &Function, api: &str, log: OwnedFd) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(&function.command)
            .env_clear()
            .envs(&function.environment)
            .env("AWS_LAMBDA_RUNTIME_API", api)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .process_group(0)
            .kill_on_drop(true);
        #[cfg(target_os = "linux")]
        {
            let parent = rustix::process::getpid();
            let die_with_parent = move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
                // The parent may have died before that.
                if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
            };
            // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two system calls, which
            // allocate nothing and take no lock. (An `io::Error` of an `ErrorKind` is no allocation either.)
            #[expect(unsafe_code, reason = "the parent-death signal can be set by the child only")]
            unsafe {
                command.pre_exec(die_with_parent);
            }
        }
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (ended, end) = watch::channel(None);
        let waiter = tokio::spawn(async move {
            let status = child.wait().await;
            ended.send_replace(Some(exit_message(status)));
        });
        Ok(Process { pid, end, waiter })
    }

    /// Waits for its end. How it ended, in Lambda's words.
    pub async fn ended(&self) -> String {
        let mut end = self.end.clone();
        let message = end.wait_for(Option::is_some).await.ok().and_then(|message| message.clone());
        match message {
            Some(message) => message,
            // The waiter goes with this value, so it has said nothing only where the event loop has ended.
            None => std::future::pending().await,
        }
    }

    /// Its process id, if it has not been waited for: after that the id may be another's.
    pub fn pid(&self) -> Option<Pid> {
        self.pid.filter(|_| self.end.borrow().is_none())
    }

    /// Whether it has ended by now, known here or only to the kernel.
    pub fn has_ended(&self) -> bool {
        let no_hang = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.end.borrow().is_some() || self.pid.is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), no_hang), Ok(None)))
    }

    /// Signals its process group, if it has not been waited for.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may be ending this moment.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Kills it, and all that it and its handler have started, if it has not been waited for.
    pub async fn kill(&self) {
        if let Some(pid) = self.pid() {
            tree::kill(pid).await;
        }
    }
}

/// Lambda's words for the end of a runtime; they are Go's for the end of a process.
fn exit_message(status: io::Result<ExitStatus>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("Runtime exited: {error}"),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                1 => "hangup",
                2 => "interrupt",
                3 => "quit",
                4 => "illegal instruction",
                6 => "aborted",
                8 => "floating point exception",
                9 => "killed",
                11 => "segmentation fault",
                13 => "broken pipe",
                15 => "terminated",
                _ => return format!("Runtime exited with error: signal {signal}"),
            };
            format!("Runtime exited with error: signal: {name}")
        }
        (None, None) => "Runtime exited".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_end_is_told_in_lambdas_words() {
        for (wait_status, message) in [
            (0, "Runtime exited without providing a reason"),
            (1 << 8, "Runtime exited with error: exit status 1"),
            (9, "Runtime exited with error: signal: killed"),
            (11 | 0x80, "Runtime exited with error: signal: segmentation fault"),
            (64, "Runtime exited with error: signal 64"),
        ] {
            assert_eq!(exit_message(Ok(ExitStatus::from_raw(wait_status))), message);
        }
    }
}
