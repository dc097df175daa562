//! One run of the binary, from its environment to what it leaves behind.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::api::{Route, RuntimeApi, Streamed};
use super::capture::Capture;
use super::report::Report;
use super::{Answer, Event, eventually, show};

/// A file in `tests/fixtures/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The `PATH` of every run: the tests' own, with the real Python in front, since a version manager's shim in its place
/// is a shell script that costs more than all else that a handler does.
pub(crate) fn path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let own = std::env::var("PATH").unwrap_or_default();
        let code = "import os, sys; print(os.path.dirname(sys.executable))";
        let python = Command::new("python3").args(["-c", code]).output().expect("the handlers need python3");
        format!("{}:{own}", String::from_utf8_lossy(&python.stdout).trim())
    })
}

/// The processes, zombies aside, that have `TEST_MARK=mark` in their environment: id and command line.
pub(crate) fn leftovers(mark: &str) -> Vec<(i32, String)> {
    let wanted = format!("TEST_MARK={mark}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let mut environ = Vec::new();
        let Ok(mut file) = File::open(entry.path().join("environ")) else { continue };
        if file.read_to_end(&mut environ).is_ok() && environ.split(|&b| b == 0).any(|v| v == wanted.as_bytes()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

enum Stderr {
    Pipe,
    /// A pipe that nobody reads until [`Run::read_stderr`].
    Stalled,
    File,
    /// /dev/full: each write fails.
    Full,
}

/// A run to be: environment, arguments, and what the Runtime API says.
pub(crate) struct Setup {
    env: BTreeMap<OsString, OsString>,
    launcher: Vec<OsString>,
    args: Vec<OsString>,
    answers: Vec<(Route, Answer)>,
    prefix: String,
    address: Box<dyn Fn(&str) -> String>,
    address_variable: String,
    api: bool,
    strict: bool,
    concurrency: usize,
    stderr: Stderr,
    dir: TempDir,
    mark: String,
}

impl Setup {
    /// A run without a handler.
    pub(crate) fn new() -> Setup {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("bootstrap-test-").tempdir().unwrap();
        let mut env = BTreeMap::new();
        env.insert("PATH".into(), path().into());
        env.insert("TEST_MARK".into(), mark.clone().into());
        env.insert("TEST_DIR".into(), dir.path().into());
        // The fixtures share a module; its cache has no place in the source tree.
        env.insert("PYTHONDONTWRITEBYTECODE".into(), "1".into());
        Setup {
            env,
            launcher: Vec::new(),
            args: Vec::new(),
            answers: Vec::new(),
            prefix: String::new(),
            address: Box::new(str::to_owned),
            address_variable: "AWS_LAMBDA_RUNTIME_API".to_owned(),
            api: true,
            strict: true,
            concurrency: 1,
            stderr: Stderr::Pipe,
            dir,
            mark,
        }
    }

    /// A run with one of the handlers in `tests/fixtures/handlers/`.
    pub(crate) fn of(handler: &str) -> Setup {
        assert!(fixture("handlers").join(handler).exists(), "no handler {handler}");
        Setup::new().env("_HANDLER", handler).env("LAMBDA_TASK_ROOT", fixture("handlers"))
    }

    /// The handler that does what its events say; `tests/fixtures/handlers/steps.py` lists the steps.
    pub(crate) fn told() -> Setup {
        Setup::of("does_as_told.py")
    }

    /// A shell script as handler, in this mode. It is `$0` with no arguments, and notes its start.
    pub(crate) fn script(mode: &str, script: &str) -> Setup {
        let script = format!("echo $$ >> \"$TEST_DIR/starts\"\n{script}");
        Setup::new().env("BOOTSTRAP_MODE", mode).arg("sh").arg("-c").arg(script)
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Setup {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    pub(crate) fn no_env(mut self, name: &str) -> Setup {
        self.env.remove(OsStr::new(name));
        self
    }

    /// This program starts bootstrap: it becomes its own last arguments by `exec`.
    pub(crate) fn under(mut self, launcher: &[&str]) -> Setup {
        self.launcher = launcher.iter().map(OsString::from).collect();
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Setup {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// The next answer on this route.
    pub(crate) fn answer(mut self, route: Route, answer: Answer) -> Setup {
        self.answers.push((route, answer));
        self
    }

    /// The next event.
    pub(crate) fn event(self, event: impl Into<Event>) -> Setup {
        self.answer(Route::Next, event.into().answer())
    }

    /// The API is at this path, and the setting that names it is made of its `host:port` so.
    pub(crate) fn address(mut self, prefix: &str, address: impl Fn(&str) -> String + 'static) -> Setup {
        self.prefix = prefix.to_owned();
        self.address = Box::new(address);
        self
    }

    /// The API's address is in this variable instead.
    pub(crate) fn address_as(mut self, variable: &str) -> Setup {
        self.address_variable = variable.to_owned();
        self
    }

    /// `AWS_LAMBDA_RUNTIME_API` is not set.
    pub(crate) fn without_api(mut self) -> Setup {
        self.api = false;
        self
    }

    /// So many invocations may be in flight at once.
    pub(crate) fn concurrency(mut self, n: usize) -> Setup {
        self.concurrency = n;
        self.env("AWS_LAMBDA_MAX_CONCURRENCY", n.to_string())
    }

    /// The state machine's rules are not enforced.
    pub(crate) fn lenient(mut self) -> Setup {
        self.strict = false;
        self
    }

    /// Nobody reads bootstrap's stderr, at first.
    pub(crate) fn stalled_stderr(mut self) -> Setup {
        self.stderr = Stderr::Stalled;
        self
    }

    /// Bootstrap's stderr is a file.
    pub(crate) fn stderr_to_file(mut self) -> Setup {
        self.stderr = Stderr::File;
        self
    }

    /// Each write to bootstrap's stderr fails.
    pub(crate) fn full_stderr(mut self) -> Setup {
        self.stderr = Stderr::Full;
        self
    }

    /// A directory of this run's own; handlers know it as `$TEST_DIR`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the run's directory.
    pub(crate) fn file(self, name: &str, mode: u32, contents: impl AsRef<[u8]>) -> Setup {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn start(mut self) -> Run {
        let api = RuntimeApi::start(&self.prefix, self.strict, self.concurrency);
        for (route, answer) in self.answers.drain(..) {
            api.push(route, answer);
        }
        let binary = super::binary();
        let mut words = self.launcher.clone();
        words.push(binary.clone());
        let mut command = Command::new(words.remove(0));
        command.args(words).args(&self.args).env_clear().current_dir(self.dir.path());
        if self.api {
            command.env(&self.address_variable, (self.address)(&api.address()));
        }
        // What a test sets wins.
        command.envs(&self.env).stdin(Stdio::null()).stdout(Stdio::piped());
        // The log is watched before the process is there: its first request comes soon.
        let log = self.dir.path().join("stderr");
        let (stderr, writer): (Capture, Stdio) = match self.stderr {
            Stderr::Pipe | Stderr::Stalled => {
                let (reader, writer) = std::io::pipe().unwrap();
                (Capture::of(reader.into(), matches!(self.stderr, Stderr::Stalled)), writer.into())
            }
            Stderr::File => {
                let file = File::options().create(true).append(true).open(&log).unwrap();
                (Capture::file(&log), file.into())
            }
            Stderr::Full => {
                let file = File::options().write(true).open("/dev/full").unwrap();
                (Capture::file(Path::new("/dev/null")), file.into())
            }
        };
        api.set_log(stderr.clone());
        let mut child = command.stderr(writer).spawn().unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        let stdout = Capture::of(child.stdout.take().unwrap().into(), false);
        Run { api, child, stderr, stdout, dir: self.dir, mark: self.mark, status: None, binary: binary.into(), killed: false }
    }
}

/// A run that goes on.
pub(crate) struct Run {
    api: RuntimeApi,
    child: Child,
    stderr: Capture,
    stdout: Capture,
    dir: TempDir,
    mark: String,
    status: Option<ExitStatus>,
    binary: PathBuf,
    /// With SIGKILL, by the test.
    killed: bool,
}

impl Run {
    /// A run with that handler and nothing special.
    pub(crate) fn of(handler: &str) -> Run {
        Setup::of(handler).start()
    }

    /// A run with the handler that does what its events say.
    pub(crate) fn told() -> Run {
        Setup::told().start()
    }

    /// The Runtime API's side.
    pub(crate) fn api(&self) -> &RuntimeApi {
        &self.api
    }

    /// Waits for a condition; a wait that ends in vain fails the test.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        match eventually(ask) {
            Some(found) => found,
            None => panic!("waited in vain for {what}"),
        }
    }

    /// Queues an event for the next `/next`; gives its request id.
    pub(crate) fn push(&self, event: impl Into<Event>) -> String {
        let event = event.into();
        let id = event.request_id().to_owned();
        self.api.push(Route::Next, event.answer());
        id
    }

    /// One event and the report on it.
    #[track_caller]
    pub(crate) fn invoke(&self, event: impl Into<Event>) -> Report {
        let before = self.api.report_count();
        let id = self.push(event);
        let report = self.report(before);
        assert_eq!(report.id, id);
        report
    }

    /// The report number `n`, from 0, as soon as it is there.
    #[track_caller]
    pub(crate) fn report(&self, n: usize) -> Report {
        self.wait(&format!("report number {n}"), || {
            assert!(n == 0 || self.api.violations().is_empty(), "the Runtime API would have refused this");
            self.api.nth_report(n)
        })
    }

    /// The report on this invocation, as soon as it is there.
    #[track_caller]
    pub(crate) fn report_of(&self, id: &str) -> Report {
        self.wait(&format!("the report on {id}"), || {
            assert!(self.api.violations().is_empty(), "the Runtime API would have refused this");
            self.api.report_of(id)
        })
    }

    /// The head of the streamed report number `n`, from 0, and as much of its body as has come.
    #[track_caller]
    pub(crate) fn streamed(&self, n: usize) -> Streamed {
        self.wait(&format!("the head of streamed report number {n}"), || self.api.nth_streamed(n))
    }

    /// Waits until this, no less and no more, has come of the streamed report number `n`, which has not ended.
    #[track_caller]
    pub(crate) fn arrived(&self, n: usize, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.wait(&format!("{:?} in streamed report number {n}", show(body)), || {
            let streamed = self.api.nth_streamed(n)?;
            assert!(!streamed.ended, "the stream has ended");
            (streamed.request.body == body).then_some(())
        });
    }

    /// Waits until so many calls to `/next` are in flight.
    #[track_caller]
    pub(crate) fn waiting(&self, n: usize) {
        self.wait(&format!("{n} × /next in flight"), || (self.api.waiting() == n).then_some(()));
    }

    /// Waits until every event has been reported and bootstrap asks for the next one.
    #[track_caller]
    pub(crate) fn idle(&self) {
        self.wait("a /next with nothing left to do", || (self.api.waiting() > 0 && self.api.all_reported()).then_some(()));
    }

    /// Lets go of all that was requested and logged, where nothing is in flight: a run that is long need not be held.
    pub(crate) fn forget(&self) {
        self.api.forget();
        self.stderr.forget();
    }

    /// Waits until so many requests like this have come; gives them all.
    #[track_caller]
    pub(crate) fn requests(&self, method: &str, path_end: &str, at_least: usize) -> Vec<super::Request> {
        self.wait(&format!("{at_least} × {method} …{path_end}"), || {
            let found: Vec<_> = self.api.requests().into_iter().filter(|r| r.is(method, path_end)).collect();
            (found.len() >= at_least).then_some(found)
        })
    }

    /// What bootstrap has written to its stderr up to now.
    pub(crate) fn log(&self) -> String {
        self.stderr.with(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn log_bytes(&self) -> Vec<u8> {
        self.stderr.with(<[u8]>::to_vec)
    }

    /// What bootstrap had written when the head of this report came.
    pub(crate) fn log_before_head(&self, report: &Report) -> String {
        self.stderr.with(|bytes| String::from_utf8_lossy(&bytes[..report.request.log_length_at_head]).into_owned())
    }

    /// What bootstrap had written when this report had come.
    pub(crate) fn log_before(&self, report: &Report) -> String {
        self.stderr.with(|bytes| String::from_utf8_lossy(&bytes[..report.request.log_length]).into_owned())
    }

    /// Waits until this stands in the log; gives the log.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        self.wait(&format!("{text:?} in the log"), || {
            let log = self.log();
            log.contains(text).then_some(log)
        })
    }

    /// Somebody begins to read bootstrap's stderr, or ceases to.
    pub(crate) fn read_stderr(&self, read: bool) {
        self.stderr.pause(!read);
    }

    /// Waits for a file in the run's directory to be there; gives its contents.
    #[track_caller]
    pub(crate) fn wait_file(&self, name: &str) -> Vec<u8> {
        self.wait(&format!("the file {name}"), || std::fs::read(self.dir.path().join(name)).ok())
    }

    /// Makes a file in the run's directory, for a handler that waits for it.
    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.dir.path().join(name), "").unwrap();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process ids of all handlers that have started, in order.
    pub(crate) fn starts(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.dir.path().join("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits until so many handlers have started.
    #[track_caller]
    pub(crate) fn wait_starts(&self, at_least: usize) -> Vec<i32> {
        self.wait(&format!("{at_least} handler starts"), || {
            let starts = self.starts();
            (starts.len() >= at_least).then_some(starts)
        })
    }

    /// Bootstrap's own process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Processes of this run other than bootstrap itself.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        leftovers(&self.mark).into_iter().filter(|(pid, _)| *pid != self.pid()).collect()
    }

    /// Bootstrap's children, by their state's letter in /proc: `Z` is a zombie.
    pub(crate) fn children(&self) -> Vec<char> {
        let parent = self.pid().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = entries.filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
        // pid (name) state ppid …
        let fields = stats.filter_map(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()));
        fields.filter(|f| f.split(' ').nth(1) == Some(&parent)).filter_map(|f| f.chars().next()).collect()
    }

    /// How many descriptors bootstrap has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// A line of bootstrap's /proc/PID/status that is in kB: `VmHWM` is the most memory that it had, `VmRSS` what it has.
    pub(crate) fn memory_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends bootstrap a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if ![Signal::STOP, Signal::CONT].contains(&signal) {
            self.api.set_ending();
        }
        self.killed |= signal == Signal::KILL;
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Does something while bootstrap is stopped, so that it finds all of it at once when it goes on.
    pub(crate) fn while_stopped(&mut self, act: impl FnOnce(&Run)) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        self.wait("bootstrap to be stopped", || std::fs::read_to_string(&stat).is_ok_and(|s| s.contains(") T ")).then_some(()));
        act(self);
        self.signal(Signal::CONT);
    }

    /// Waits until this process has ended, though its parent may not have noticed.
    #[track_caller]
    pub(crate) fn wait_end_of(&self, pid: i32) {
        self.wait("a process's end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |s| s.contains(") Z ")).then_some(())
        });
    }

    /// Bootstrap has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.status = self.status.or_else(|| self.child.try_wait().unwrap());
        self.status.is_some()
    }

    /// A signal may end bootstrap from here on, as the test wants it.
    pub(crate) fn may_die(&mut self) {
        self.api.set_ending();
        self.killed = true;
    }

    /// Waits until bootstrap has ended; gives its status.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let child = &mut self.child;
        let status = match eventually(|| child.try_wait().unwrap()) {
            Some(status) => status,
            None => panic!("waited in vain for bootstrap's end"),
        };
        self.status = Some(status);
        status
    }

    /// Waits until bootstrap has ended; its exit status is to be this.
    #[track_caller]
    pub(crate) fn exits_with(&mut self, code: i32) {
        let status = self.exit();
        assert_eq!(status.code(), Some(code), "bootstrap's end: {status}");
    }

    /// The init error that ended this run: its report, once bootstrap has exited with status 1.
    #[track_caller]
    pub(crate) fn init_error(&mut self) -> Report {
        self.exits_with(1);
        let reports = self.api.reports();
        assert_eq!(reports.len(), 1, "one report");
        assert_eq!(reports[0].kind, super::Kind::InitError);
        assert!(!self.api.requests().iter().any(|r| r.is("GET", "/next")), "/next after an init error");
        reports[0].clone()
    }

    fn story(&self) -> String {
        let left = leftovers(&self.mark);
        format!(
            "==== {} ====\nstatus: {:?}\nprocesses: {left:?}\nhandlers started: {:?}\n---- requests ----\n{}---- stderr ----\n{}\n---- stdout ----\n{}\n====",
            self.binary.display(),
            self.status,
            self.starts(),
            self.api.story(),
            self.stderr.with(show),
            self.stdout.with(show),
        )
    }

    /// Ends the run as Lambda would and looks at what it leaves; gives what is wrong.
    fn end(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.status.is_none() && !self.killed {
            let running = self.child.try_wait().unwrap().is_none();
            if running {
                self.api.set_ending();
                kill_process(Pid::from_raw(self.pid()).unwrap(), Signal::TERM).unwrap();
            }
            let child = &mut self.child;
            match eventually(|| child.try_wait().unwrap()) {
                // One that ended between the question and the signal is a surprise too.
                Some(status) if running && status.code() == Some(0) => {}
                Some(status) if running => wrong.push(format!("SIGTERM ended bootstrap with {status}")),
                Some(status) => wrong.push(format!("bootstrap had ended by itself: {status}")),
                None => wrong.push("SIGTERM did not end bootstrap".to_owned()),
            }
            self.status = self.child.try_wait().unwrap();
        }
        if let Some(signal) = self.status.and_then(|s| s.signal())
            && !self.killed
        {
            wrong.push(format!("bootstrap was ended by signal {signal}"));
        }
        if self.killed {
            // Nobody was there to wait for them; they die with it or see the end of their stdin.
            eventually(|| self.processes().is_empty().then_some(()));
        }
        let left = self.processes();
        if !left.is_empty() {
            wrong.push(format!("left running: {left:?}"));
        }
        wrong.extend(self.api.violations());
        let log = self.log();
        if log.contains("panicked at") {
            wrong.push("bootstrap panicked".to_owned());
        }
        if self.stdout.with(|bytes| !bytes.is_empty()) {
            wrong.push("bootstrap wrote to its stdout".to_owned());
        }
        wrong
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let wrong = if std::thread::panicking() { vec!["the test failed".to_owned()] } else { self.end() };
        let story = if wrong.is_empty() { String::new() } else { self.story() };
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for (pid, _) in self.processes() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        self.api.stop();
        if !wrong.is_empty() {
            eprintln!("{story}");
            if !std::thread::panicking() {
                panic!("{}", wrong.join("\n"));
            }
        }
    }
}

/// The environment as a handler wrote it down: `env -0`.
pub(crate) fn parse_environ(bytes: &[u8]) -> BTreeMap<String, String> {
    bytes
        .split(|&b| b == 0)
        .filter(|v| !v.is_empty())
        .map(|v| OsStr::from_bytes(v).to_string_lossy().into_owned())
        .filter_map(|v| v.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())))
        .collect()
}
