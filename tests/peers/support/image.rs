//! The image that the Dockerfile makes. `make image` has built it; here it is run in its own files, without Docker.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::emulator::Emulator;
use super::run::{Run, Setup};
use super::tool::of_the_project;
use crate::it_support::fixture;

/// The address of a container, in a network of its own. It is one for documentation, which nobody has.
const ADDRESS: &str = "192.0.2.2";

/// An image: its files and its settings.
pub(crate) struct Image {
    folder: PathBuf,
    config: Value,
}

impl Image {
    #[track_caller]
    pub(crate) fn built() -> Image {
        let folder = std::env::var_os("BOOTSTRAP_TEST_IMAGE").map_or_else(|| of_the_project("target/image"), PathBuf::from);
        let file = folder.join("config.json");
        let text = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}: run `make image` as root", file.display()));
        let config = serde_json::from_slice::<Value>(&text).unwrap()["config"].take();
        Image { folder, config }
    }

    /// What `docker inspect` gives as `Config`.
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    /// The directory that is `/` to a container.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// What the build printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The paths that the image has and the one that it is built on has not, in order.
    pub(crate) fn added(&self) -> Vec<String> {
        std::fs::read_to_string(self.folder.join("added")).unwrap().lines().map(str::to_owned).collect()
    }

    fn words(&self, member: &str) -> Vec<OsString> {
        self.config[member].as_array().unwrap().iter().map(|word| word.as_str().unwrap().into()).collect()
    }

    fn setup(&self) -> Setup {
        let variables = self.config["Env"].as_array().unwrap().iter().map(|variable| variable.as_str().unwrap());
        variables.fold(Setup::new(), |setup, variable| {
            let (name, value) = variable.split_once('=').unwrap();
            setup.env(name, value)
        })
    }

    /// What runs a container: the image's own command, or the entry point with these arguments.
    fn command(&self, arguments: Option<&[&str]>) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![fixture("container.sh").into(), self.root().into()];
        command.push(self.config["WorkingDir"].as_str().unwrap().into());
        command.extend(self.words("Entrypoint"));
        command.extend(arguments.map_or_else(|| self.words("Cmd"), |words| words.iter().map(OsString::from).collect()));
        command
    }

    /// Runs it as Lambda does, with the emulator as the Runtime API.
    #[track_caller]
    pub(crate) fn in_lambda(&self) -> Emulator {
        let mut command = self.command(None);
        let last = command.pop().unwrap();
        Emulator::start_with(self.setup(), &command, last)
    }

    /// Runs it as `docker run` does, with these arguments or with none.
    #[track_caller]
    pub(crate) fn run(&self, arguments: Option<&[&str]>) -> Container {
        let mut run = self.setup().env("CONTAINER_ADDRESS", ADDRESS).run();
        let [program, rest @ ..] = &*self.command(arguments) else { unreachable!() };
        run.start(Container::NAME, Command::new(program).args(rest));
        Container { run, status: 143 }
    }
}

/// A container without Lambda. It ends with this value, on SIGTERM where it has not ended by itself.
pub(crate) struct Container {
    run: Run,
    /// It is to end with this.
    status: i32,
}

impl Container {
    const NAME: &'static str = "container";

    /// The address that others reach.
    pub(crate) fn endpoint() -> String {
        format!("http://{ADDRESS}:8080")
    }

    #[track_caller]
    pub(crate) fn wait_log(&mut self, text: &str) {
        self.run.wait_log(Self::NAME, text);
    }

    /// Waits until it ends by itself with this status; gives what it wrote.
    #[track_caller]
    pub(crate) fn ends_with(mut self, status: i32) -> String {
        self.status = status;
        self.run.exit(Self::NAME);
        self.run.log(Self::NAME)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.run.dir()
    }

    /// This command, run in the container's network, but in no other way inside of it.
    pub(crate) fn beside(&mut self, command: &Command) -> Command {
        let network = format!("--net=/proc/{}/ns/net", self.run.pid(Self::NAME).as_raw_nonzero());
        let mut beside = Command::new("nsenter");
        beside.env_clear().arg(network).arg(command.get_program()).args(command.get_args());
        beside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        beside.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
        beside
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let wanted = self.status;
        self.run.finish(|run| {
            // The first process inside is the child of the one that was started.
            let outer = run.pid(Self::NAME).as_raw_nonzero();
            let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap_or_default();
            for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = kill_process(pid, Signal::TERM);
            }
            match run.exit(Self::NAME).code() {
                Some(status) if status == wanted => Vec::new(),
                status => vec![format!("the container has ended with {status:?} and not {wanted}")],
            }
        });
    }
}
