//! Processes that know each other by a mark in their environment, and what they write.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::tool::binary;
use crate::it_support::{eventually, leftovers, show};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The environment of a run to be.
pub(crate) struct Setup {
    env: BTreeMap<OsString, OsString>,
    dir: TempDir,
    mark: String,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        let mark = format!("peer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("bootstrap-peer-").tempdir().unwrap();
        let setup = Setup { env: BTreeMap::new(), dir, mark: mark.clone() };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dir = setup.dir.path().to_owned();
        setup.env("PATH", path).env("TEST_MARK", mark).env("TEST_DIR", dir).env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// For bootstrap and the handler, and for the emulator where that starts them.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Setup {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// The same, where the variable is not set yet.
    pub(super) fn default_env(self, name: &str, value: &str) -> Setup {
        if self.env.contains_key(OsStr::new(name)) { self } else { self.env(name, value) }
    }

    /// The programs in `tests/fixtures/programs/` are found before the system's.
    pub(crate) fn with_odd_programs(self) -> Setup {
        let mut path = crate::it_support::fixture("programs").into_os_string();
        path.push(":");
        path.push(&self.env[OsStr::new("PATH")]);
        self.env("PATH", path)
    }

    /// An address on the loopback interface that nobody else here uses: each run has one of its own.
    pub(super) fn address(&self) -> Ipv4Addr {
        let number = std::process::id() * 64 + COUNT.fetch_add(1, Ordering::Relaxed);
        let [_, a, b, c] = number.to_be_bytes();
        Ipv4Addr::new(127, a | 0x80, b, c.clamp(1, 254))
    }

    /// The run's own directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn run(self) -> Run {
        Run { env: self.env, dir: self.dir, mark: self.mark, processes: Vec::new() }
    }
}

/// A free port of that address.
pub(super) fn free(address: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}

struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    line: String,
    status: Option<ExitStatus>,
}

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }
}

/// Started processes and those that they started in turn.
pub(crate) struct Run {
    env: BTreeMap<OsString, OsString>,
    dir: TempDir,
    mark: String,
    processes: Vec<Process>,
}

impl Run {
    /// Starts a program with the run's environment and nothing else.
    pub(super) fn start(&mut self, name: &'static str, command: &mut Command) {
        command.env_clear().envs(&self.env).current_dir(self.dir.path());
        self.start_as_it_is(name, command);
    }

    /// Starts a program in the environment that it has.
    pub(super) fn start_as_it_is(&mut self, name: &'static str, command: &mut Command) {
        let log = self.dir.path().join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let line = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        self.processes.push(Process { name, child, log, line, status: None });
    }

    fn process(&mut self, name: &str) -> &mut Process {
        self.processes.iter_mut().find(|p| p.name == name).unwrap()
    }

    /// The id of one of the started processes.
    pub(super) fn pid(&mut self, name: &str) -> Pid {
        self.process(name).pid()
    }

    /// Waits until this process listens there.
    pub(super) fn wait_for_port(&mut self, name: &'static str, address: SocketAddr) {
        self.wait(&format!("{name} to listen at {address}"), |run| {
            let ended = run.process(name).ended();
            assert_eq!(ended, None, "{name} has ended");
            TcpStream::connect(address).ok().map(drop)
        });
    }

    /// Waits for a condition; a wait that ends in vain fails the test.
    #[track_caller]
    pub(crate) fn wait<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Run) -> Option<T>) -> T {
        match eventually(|| ask(self)) {
            Some(found) => found,
            None => panic!("waited in vain for {what}"),
        }
    }

    /// Waits until this stands in what the process has written.
    #[track_caller]
    pub(crate) fn wait_log(&mut self, name: &'static str, text: &str) {
        self.wait(&format!("{text:?} from {name}"), |run| run.log(name).contains(text).then_some(()));
    }

    /// What the process, and whoever has its stderr, has written.
    pub(crate) fn log(&mut self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.process(name).log).unwrap()).into_owned()
    }

    /// Sends one of the started processes a signal.
    pub(crate) fn signal(&mut self, name: &str, signal: Signal) {
        kill_process(self.process(name).pid(), signal).unwrap();
    }

    /// Waits for the end of one of the started processes.
    #[track_caller]
    pub(crate) fn exit(&mut self, name: &'static str) -> ExitStatus {
        self.wait(&format!("the end of {name}"), |run| run.process(name).ended())
    }

    /// Bootstrap's process id, whoever has started it.
    pub(crate) fn bootstrap(&self) -> Option<i32> {
        let binary = binary().canonicalize().unwrap();
        // In a file system of its own it has another path.
        let ours = |exe: PathBuf| exe == binary || exe.file_name() == Some(OsStr::new("bootstrap"));
        let of = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(ours);
        leftovers(&self.mark).into_iter().map(|(pid, _)| pid).find(of)
    }

    /// The handler's processes, with their command lines.
    pub(crate) fn handlers(&self) -> Vec<(i32, String)> {
        let bootstrap = self.bootstrap();
        let ours: Vec<_> = self.processes.iter().map(|p| p.pid().as_raw_nonzero().get()).collect();
        leftovers(&self.mark).into_iter().filter(|(pid, _)| Some(*pid) != bootstrap && !ours.contains(pid)).collect()
    }

    /// The one process that the handler is made of.
    #[track_caller]
    pub(crate) fn handler(&mut self) -> i32 {
        self.wait("a handler of one process", |run| match run.handlers().as_slice() {
            [(pid, _)] => Some(*pid),
            _ => None,
        })
    }

    /// Stops the handler where it stands, as a debugger would, and gives its process id. What it is sent, it never reads.
    #[track_caller]
    pub(crate) fn stop_handler(&mut self) -> i32 {
        let pid = self.handler();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
        self.wait("the handler to stop", |_| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
            (state == Some('T')).then_some(())
        });
        pid
    }

    /// Waits until no process of the run is left, those that were started here aside; gives what still is there.
    pub(crate) fn nothing_stays(&mut self) -> Vec<(i32, String)> {
        let mut left = Vec::new();
        eventually(|| {
            left = self.handlers();
            left.extend(self.bootstrap().map(|pid| (pid, "bootstrap".to_owned())));
            left.is_empty().then_some(())
        });
        left
    }

    fn story(&mut self) -> String {
        let mut story = format!("==== {} ====\nenvironment: {:?}\nprocesses: {:?}\n", self.mark, self.env, leftovers(&self.mark));
        for process in &mut self.processes {
            let (status, log) = (process.ended(), std::fs::read(&process.log).unwrap_or_default());
            story += &format!("---- {} ----\n{}\nstatus: {status:?}\n", process.name, process.line);
            for line in log.split(|&b| b == b'\n') {
                story += &show(line);
                story.push('\n');
            }
        }
        story
    }

    /// Prints all that is known, and ends every process.
    pub(super) fn give_up(&mut self, why: &str) {
        eprintln!("{}{why}\n====", self.story());
        for process in &mut self.processes {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        // Bootstrap first: what it starts meanwhile is met in the next round.
        eventually(|| {
            let left: Vec<_> = self.bootstrap().into_iter().chain(self.handlers().into_iter().map(|(pid, _)| pid)).collect();
            for &pid in &left {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
            left.is_empty().then_some(())
        });
    }

    /// Ends a run whose processes have been told to end. Gives what is wrong.
    pub(super) fn end(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let left = self.nothing_stays();
        if !left.is_empty() {
            wrong.push(format!("left running: {left:?}"));
        }
        for process in &mut self.processes {
            if process.ended().is_none() {
                wrong.push(format!("{} runs on", process.name));
            }
            let log = std::fs::read(&process.log).unwrap();
            if String::from_utf8_lossy(&log).contains("panicked at") {
                wrong.push(format!("{} panicked", process.name));
            }
        }
        wrong
    }

    /// The end of every peer: `stop` tells its processes to end; then nothing may be left.
    pub(super) fn finish(&mut self, stop: impl FnOnce(&mut Run) -> Vec<String>) {
        if std::thread::panicking() {
            return self.give_up("the test failed");
        }
        let mut wrong = stop(self);
        wrong.extend(self.end());
        if !wrong.is_empty() {
            self.give_up(&wrong.join("\n"));
            panic!("{}", wrong.join("\n"));
        }
    }

    /// Sends SIGTERM and waits; `None` where the process does not end.
    pub(super) fn terminate(&mut self, name: &'static str) -> Option<ExitStatus> {
        let process = self.process(name);
        if process.ended().is_none() {
            kill_process(process.pid(), Signal::TERM).unwrap();
        }
        eventually(|| self.process(name).ended())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}
