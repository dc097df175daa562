//! A command line of `bootstrap` without Lambda around it: described, run, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{binary, eventually, fixture, leftovers, show};

/// A command line of `bootstrap` to be, without Lambda around it.
pub(crate) struct Local {
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    pub(crate) dir: TempDir,
    pub(crate) mark: String,
}

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) dir: TempDir,
}

/// A run that goes on.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) dir: TempDir,
    pub(crate) mark: String,
}

/// `bootstrap` and these arguments.
pub(crate) fn bootstrap<const N: usize>(args: [&str; N]) -> Local {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("{}-local-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = tempfile::Builder::new().prefix("bootstrap-test-").tempdir().unwrap();
    let env = vec![
        ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
        ("TEST_MARK".into(), mark.clone().into()),
        ("TEST_DIR".into(), dir.path().into()),
        ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
    ];
    Local { args: args.iter().map(Into::into).collect(), env, stdin: Vec::new(), dir, mark }
}

/// `bootstrap invoke` and these arguments, with a timeout that no busy machine uses up where they have none.
pub(crate) fn invoke<const N: usize>(args: [&str; N]) -> Local {
    let mut local = bootstrap(["invoke"]);
    if !args.contains(&"--timeout") {
        local.args.extend(["--timeout", "900"].map(Into::into));
    }
    local.args.extend(args.iter().map(Into::into));
    local
}

/// The handler that answers with `{"hello":EVENT}`, byte for byte.
pub(crate) fn hello() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shell/hello.sh")
}

pub(crate) fn handler(name: &str) -> PathBuf {
    fixture("handlers").join(name)
}

impl Local {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Local {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Local {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The last of the arguments.
    pub(crate) fn handler(self, path: impl AsRef<Path>) -> Local {
        self.arg("--").arg(path.as_ref())
    }

    /// A runtime of our own in bootstrap's place.
    pub(crate) fn runtime(self, name: &str) -> Local {
        self.env("AWS_LAMBDA_EXEC_WRAPPER", fixture("runtimes").join(name)).handler("none")
    }

    /// A file in the run's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Local {
        self.stdin = bytes.as_ref().to_owned();
        self
    }

    /// Writes a file into the run's directory, which is its working directory.
    pub(crate) fn file(self, name: &str, mode: u32, contents: impl AsRef<[u8]>) -> Local {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn start(self) -> Running {
        let stdout = File::create(self.dir.path().join("stdout")).unwrap();
        self.start_to(stdout.into())
    }

    pub(crate) fn start_to(self, stdout: Stdio) -> Running {
        let stderr = File::create(self.dir.path().join("stderr")).unwrap();
        self.start_with(stdout, stderr.into())
    }

    pub(crate) fn start_with(self, stdout: Stdio, stderr: Stdio) -> Running {
        let binary = binary();
        let mut child = Command::new(&binary)
            .args(&self.args)
            .env_clear()
            .envs(self.env)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        let stdin = child.stdin.take();
        Running { child, stdin, dir: self.dir, mark: self.mark }
    }

    #[track_caller]
    pub(crate) fn run(mut self) -> Ended {
        let input = std::mem::take(&mut self.stdin);
        let mut running = self.start();
        let mut stdin = running.stdin.take().unwrap();
        // One that reads nothing may end before this is written.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let ended = running.end();
        writer.join().unwrap();
        ended
    }
}

impl Running {
    pub(crate) fn stdout(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("stdout")).unwrap_or_default()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("stderr")).unwrap_or_default()).into_owned()
    }

    pub(crate) fn story(&self) -> String {
        let left = leftovers(&self.mark);
        format!("processes: {left:?}\n---- stdout ----\n{}\n---- stderr ----\n{}\n----", show(&self.stdout()), self.stderr())
    }

    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        eventually(ask).unwrap_or_else(|| panic!("waited in vain for {what}\n{}", self.story()))
    }

    #[track_caller]
    pub(crate) fn wait_file(&self, name: &str) {
        self.wait(name, || self.dir.path().join(name).exists().then_some(()));
    }

    /// What the run waits for, in its directory.
    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.dir.path().join(name), "").unwrap();
    }

    /// Waits until this is all of stdout.
    #[track_caller]
    pub(crate) fn wait_stdout(&self, stdout: impl AsRef<[u8]>) {
        let what = format!("{} on stdout", show(stdout.as_ref()));
        self.wait(&what, || (self.stdout() == stdout.as_ref()).then_some(()));
    }

    /// Writes a line to stdin, which stays open.
    pub(crate) fn write_line(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended with an exit status, and nothing of it is left.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let status = eventually(|| self.child.try_wait().unwrap());
        let status = status.unwrap_or_else(|| panic!("waited in vain for the end\n{}", self.story()));
        let left = leftovers(&self.mark);
        assert!(left.is_empty(), "left running: {left:?}\n{}", self.story());
        let (stdout, stderr) = (self.stdout(), self.stderr());
        assert!(!stderr.contains("panicked at"), "{stderr}");
        let code = status.code().unwrap_or_else(|| panic!("{status}\n{}", self.story()));
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Ended { code, stdout, stderr, dir }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to end, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for (pid, _) in leftovers(&self.mark) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

impl Ended {
    pub(crate) fn story(&self) -> String {
        format!("status: {}\n---- stdout ----\n{}\n---- stderr ----\n{}\n----", self.code, show(&self.stdout), self.stderr)
    }

    /// It answered everything, and this is all of stdout.
    #[track_caller]
    pub(crate) fn gives(&self, stdout: impl AsRef<[u8]>) -> &Ended {
        assert!(self.code == 0 && self.stdout == stdout.as_ref(), "not {}\n{}", show(stdout.as_ref()), self.story());
        self
    }

    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Ended {
        assert_eq!(self.code, code, "{}", self.story());
        self
    }

    /// Stderr has this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Ended {
        assert!(self.stderr.contains(text), "{text:?} not on stderr\n{}", self.story());
        self
    }

    /// Stderr has this in one of its lines only.
    #[track_caller]
    pub(crate) fn says_once(&self, text: &str) -> &Ended {
        let lines = self.stderr.lines().filter(|line| line.contains(text)).count();
        assert_eq!(lines, 1, "lines on stderr with {text:?}\n{}", self.story());
        self
    }

    /// The lines of stdout, as JSON.
    #[track_caller]
    pub(crate) fn answers(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}\n{}", self.story()));
        String::from_utf8_lossy(&self.stdout).lines().map(parse).collect()
    }

    /// The one answer, an error: its type and message.
    #[track_caller]
    pub(crate) fn error(&self) -> (String, String) {
        self.code(1);
        let answers = self.answers();
        assert_eq!(answers.len(), 1, "{}", self.story());
        let text = |name: &str| answers[0][name].as_str().unwrap_or_default().to_owned();
        (text("errorType"), text("errorMessage"))
    }

    /// What a file in the run's directory has; nothing where there is none.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn starts(&self) -> usize {
        self.file("starts").lines().count()
    }
}
