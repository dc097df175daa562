//! Starting, signalling and reaping processes: the only place that does.
//!
//! Bootstrap is a child subreaper, so what a handler leaves behind becomes bootstrap's child, and one `waitpid(-1)` loop
//! ([`Children::reap`]) collects everything. That is why nothing else in this program may wait for a process: two waiters steal
//! each other's exit statuses.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::oneshot;

/// The descriptor on which a handler may send its replies (protocol, section 2).
pub const REPLY_FD: i32 = 3;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Status(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {number}"),
            },
        }
    }
}

/// The name of a signal that can end a process.
fn signal_name(number: i32) -> Option<&'static str> {
    let named = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::PROF, "SIGPROF"),
        (Signal::IO, "SIGIO"),
        (Signal::SYS, "SIGSYS"),
    ];
    named.iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| *name)
}

/// What to start, and with which environment beside bootstrap's own.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The file to execute; never searched for on `PATH`.
    pub program: &'a Path,
    /// `argv[0]`.
    pub arg0: &'a OsStr,
    /// The arguments after `argv[0]`.
    pub args: &'a [OsString],
    /// The working directory.
    pub directory: &'a Path,
    /// Variables taken out of the environment.
    pub without: &'a [&'a str],
    /// Variables put into the environment.
    pub with: &'a [(&'a str, &'a OsStr)],
}

/// The child's ends of its channels.
#[derive(Debug)]
pub struct ChildEnds {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
    /// Descriptor 3, if it gets one.
    pub reply: Option<OwnedFd>,
}

/// Every process below bootstrap, and who wants to know of its end.
///
/// A cheap handle; all clones are the same set.
#[derive(Debug, Clone)]
pub struct Children(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    leaders: HashMap<i32, oneshot::Sender<Exit>>,
    /// During the shutdown phase the members of a group outlive its leader for the grace period; then these are the groups.
    spared: Option<Vec<Pid>>,
}

/// A process that [`Children::spawn`] started: the leader of a process group of its own.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    children: Children,
    /// Empty once the end has been told.
    exit: Option<oneshot::Receiver<Exit>>,
}

impl Children {
    /// Makes this process a subreaper and its open descriptors private.
    ///
    /// Under qemu's user emulation (a container of another architecture) there are no subreapers, as on systems that are not Linux:
    /// then what a handler leaves behind ends with its process group, and what has left the group can't be ended.
    ///
    /// # Errors
    /// When the platform refuses; nothing is known to.
    pub fn adopt() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        keep_descriptors_private()?;
        Ok(Self(Rc::new(RefCell::new(Inner { leaders: HashMap::new(), spared: None }))))
    }

    /// Starts a process as the leader of its own group. It dies with the calling thread, which must therefore be the main one.
    ///
    /// # Errors
    /// Those of `fork`, `chdir` and `execve`, as the child saw them.
    #[expect(unsafe_code, reason = "pre_exec, argued for below")]
    pub fn spawn(&self, what: &Spawn<'_>, ends: ChildEnds) -> io::Result<Process> {
        let image = Image::new(what)?;
        let mut command = std::process::Command::new(what.program);
        command.current_dir(what.directory);
        command.stdin(Stdio::from(ends.stdin)).stdout(Stdio::from(ends.stdout)).stderr(Stdio::from(ends.stderr));
        command.process_group(0);
        let parent = rustix::process::getpid();
        let reply = ends.reply;
        // SAFETY: between fork and exec only async-signal-safe calls are allowed. These are bare system calls; nothing allocates,
        // locks or panics. Descriptor 3 of this process is always open (`keep_descriptors_private` sees to that), so it is neither
        // the pipe on which the standard library reports a failed exec nor the reply pipe's own number. The standard library
        // has set up the standard streams, the directory, the group and the signals by then.
        unsafe {
            command.pre_exec(move || {
                if let Some(reply) = &reply {
                    let mut target = OwnedFd::from_raw_fd(REPLY_FD);
                    let copied = rustix::io::dup2(reply, &mut target);
                    let _ = target.into_raw_fd();
                    copied?;
                }
                die_with(parent)?;
                Err(image.execute())
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::Other)?;
        let (tell, exit) = oneshot::channel();
        self.0.borrow_mut().leaders.insert(pid.as_raw_nonzero().get(), tell);
        Ok(Process { pid, children: self.clone(), exit: Some(exit) })
    }

    /// Collects what has ended, forever.
    ///
    /// # Errors
    /// When SIGCHLD can't be listened to.
    pub fn watch(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let mut ended: SignalStream = signal(SignalKind::child())?;
        let children = self.clone();
        Ok(async move {
            loop {
                children.reap();
                ended.recv().await;
            }
        })
    }

    /// Collects what has ended by now. Returns whether any process is left.
    pub fn reap(&self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let number = pid.as_raw_nonzero().get();
                    let Some(tell) = self.0.borrow_mut().leaders.remove(&number) else { continue };
                    // The group goes with its leader. The leader's number can't have been given to another process in the
                    // instant since it was collected, and while members are left the kernel doesn't reuse it at all.
                    match &mut self.0.borrow_mut().spared {
                        Some(groups) => groups.push(pid),
                        None => drop(rustix::process::kill_process_group(pid, Signal::KILL)),
                    }
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(status), _) => Exit::Status(status),
                        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                    };
                    let _ = tell.send(exit);
                }
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// From now on a leader's end leaves the rest of its group alone: the shutdown phase has begun, and they have the grace period.
    pub fn spare_groups(&self) {
        self.0.borrow_mut().spared.get_or_insert_default();
    }

    /// Waits until no process is left, at most until `latest`. Returns whether none is.
    pub async fn gone(&self, latest: Instant) -> bool {
        // `watch` is told of the same SIGCHLD and may collect first, so this asks again by itself.
        loop {
            if !self.reap() {
                return true;
            }
            if Instant::now() >= latest {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends every process below this one, those in sessions of their own included, and waits for them, at most `limit`.
    ///
    /// What `/proc` does not show (it may not be mounted, and it is Linux's) keeps running unless it is in a leader's group.
    pub async fn kill_all(&self, limit: Duration) {
        let latest = Instant::now() + limit;
        while self.reap() {
            // No process is started any more, so the number of a group that was spared can't have become another's.
            let leaders: Vec<Pid> = self.0.borrow().leaders.keys().filter_map(|leader| Pid::from_raw(*leader)).collect();
            let spared = self.0.borrow().spared.clone().unwrap_or_default();
            for group in leaders.into_iter().chain(spared) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            // A process may fork while the list is read: the loop comes back until none is left.
            for pid in descendants() {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            if Instant::now() >= latest {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Process {
    /// The process id, which is also the process group's.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for its end, and tells it once. Cancel safe. What is left of its group has been ended by then, except in the
    /// shutdown phase.
    pub async fn exited(&mut self) -> Exit {
        if let Some(exit) = &mut self.exit
            && let Ok(exit) = exit.await
        {
            self.exit = None;
            return exit;
        }
        std::future::pending().await
    }

    /// How it ended, if it has and that was not told yet.
    pub fn try_exited(&mut self) -> Option<Exit> {
        self.children.reap();
        let exit = self.exit.as_mut()?.try_recv().ok();
        if exit.is_some() {
            self.exit = None;
        }
        exit
    }

    /// Sends SIGTERM to the group.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the whole group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Once the leader was collected its number may belong to somebody else.
        if self.children.0.borrow().leaders.contains_key(&self.id()) {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }
}

/// A program, its arguments and its environment as `execve` takes them, made before the fork.
///
/// The standard library would call `execvp`, which hands a file of no known format to a shell: an empty file would "succeed" and a
/// program for another architecture would be read as a script.
struct Image {
    program: CString,
    /// The addresses of the arguments and of the variables, each list ended by a null.
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// What they point to.
    _strings: [Vec<CString>; 2],
}

// SAFETY: the pointers point into the strings beside them, which are neither changed nor moved on the heap while this lives, and
// nothing is shared.
#[expect(unsafe_code, reason = "argued for above")]
unsafe impl Send for Image {}
// SAFETY: the same; all that is done through a reference is to read.
#[expect(unsafe_code, reason = "argued for above")]
unsafe impl Sync for Image {}

impl Image {
    fn new(what: &Spawn<'_>) -> io::Result<Self> {
        let string = |text: &OsStr| CString::new(text.as_bytes());
        let mut arguments = vec![string(what.arg0)?];
        for argument in what.args {
            arguments.push(string(argument)?);
        }
        let mut environment = Vec::new();
        let replaced =
            |name: &OsStr| what.without.iter().any(|other| name == *other) || what.with.iter().any(|(other, _)| name == *other);
        let inherited = std::env::vars_os().filter(|(name, _)| !replaced(name));
        for (name, value) in inherited.chain(what.with.iter().map(|(name, value)| (OsString::from(name), value.to_os_string()))) {
            let mut variable = name;
            variable.push("=");
            variable.push(value);
            environment.push(string(&variable)?);
        }
        let pointers = |strings: &[CString]| strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self {
            program: string(what.program.as_os_str())?,
            arguments: pointers(&arguments),
            environment: pointers(&environment),
            _strings: [arguments, environment],
        })
    }

    /// Becomes the program. Returns only where that fails.
    #[expect(unsafe_code, reason = "a system call, argued for below")]
    fn execute(&self) -> io::Error {
        // SAFETY: the program is a C string, and both lists are arrays of C strings that live as long as `self`, ended by a null.
        unsafe { libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Asks the kernel to end this process when its parent dies, and checks that the parent has not died before.
#[cfg(target_os = "linux")]
fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}

/// Only Linux has a parent-death signal; elsewhere the end of stdin has to do.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Pid) -> io::Result<()> {
    Ok(())
}

/// Marks what this process inherited beyond descriptor 2 as close-on-exec, and makes sure that descriptor 3 is taken.
///
/// Everything that Rust opens is close-on-exec; what came from outside (`_LAMBDA_TELEMETRY_LOG_FD`, a shell's `5>file`) is not.
#[expect(unsafe_code, reason = "borrowing a descriptor by number, argued for below")]
fn keep_descriptors_private() -> io::Result<()> {
    let inherited: Vec<i32> = match std::fs::read_dir("/dev/fd") {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (REPLY_FD..1024).collect(),
    };
    for number in inherited.into_iter().filter(|number| *number >= REPLY_FD) {
        // SAFETY: the descriptor is used for this one call only; where it is closed (the directory's own is by now) the call
        // fails with EBADF and nothing happens.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
    // A copy of stderr, which needs no file of the system's: there may be none. It gets the lowest number from 3 on.
    let placeholder = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), REPLY_FD)?;
    if placeholder.as_raw_fd() == REPLY_FD {
        let _ = placeholder.into_raw_fd();
    }
    Ok(())
}

/// Every process below this one that `/proc` shows.
#[cfg(target_os = "linux")]
fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            open.push(child);
            found.extend(Pid::from_raw(child));
        }
    }
    found
}

/// Where there is no `/proc`, groups are all that can be ended.
#[cfg(not(target_os = "linux"))]
fn descendants() -> Vec<Pid> {
    Vec::new()
}

/// The fourth field of `/proc/PID/stat`. The second is the command's name in parentheses and may hold spaces and parentheses.
#[cfg(target_os = "linux")]
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[memchr::memrchr(b')', &stat)? + 1..];
    std::str::from_utf8(after_name).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_by_status_or_by_the_signals_name() {
        assert_eq!(Exit::Status(7).to_string(), "exit status 7");
        assert_eq!(Exit::Signal(9).to_string(), "signal SIGKILL");
        assert_eq!(Exit::Signal(11).to_string(), "signal SIGSEGV");
        assert_eq!(Exit::Signal(62).to_string(), "signal 62");
    }

    #[test]
    #[expect(unsafe_code, reason = "argued for below")]
    fn an_image_points_to_its_strings_wherever_it_has_been_moved() {
        let (args, with) = (["a b".into(), "".into()], [("NEW", OsStr::new("1"))]);
        let (program, arg0, directory) = (Path::new("/bin/program"), OsStr::new("name"), Path::new("/"));
        let image = Image::new(&Spawn { program, arg0, args: &args, directory, without: &["PATH"], with: &with }).unwrap();
        let image = std::thread::spawn(move || Box::new(image)).join().unwrap();
        let read = |list: &[*const libc::c_char]| {
            let (end, strings) = list.split_last().unwrap();
            assert!(end.is_null());
            // SAFETY: each points to a C string of the image, which is still there.
            let strings = strings.iter().map(|text| unsafe { std::ffi::CStr::from_ptr(*text) });
            strings.map(|text| text.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(read(&image.arguments), ["name", "a b", ""]);
        let environment = read(&image.environment);
        assert!(environment.last().is_some_and(|last| last == "NEW=1") && !environment.iter().any(|v| v.starts_with("PATH=")));
    }
}
