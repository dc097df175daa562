//! What is measured: bootstrap in its modes with its handlers, and its peers.
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::api::Equality;

/// Where the programs are.
pub(crate) struct Programs {
    /// bootstrap as it ships: the static file; and a build that is linked with the system's libraries.
    pub(crate) bootstrap: PathBuf,
    pub(crate) dynamic: Option<PathBuf>,
    /// The peers from their registries, and the Java handler's image.
    pub(crate) tools: PathBuf,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) command: Vec<String>,
    /// `{port}` in a value is a free port, the same as in the companion's PORT.
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) folder: Option<PathBuf>,
    /// The web application, started just before the runtime.
    pub(crate) companion: Option<String>,
    pub(crate) equality: Equality,
    /// Of each size's events (1 KB, 100 KB, 5.5 MB), the share that a target gets, so that slow ones end in time too. 0: none.
    pub(crate) share: [f64; 3],
}

impl Target {
    pub(crate) fn new(key: &'static str, name: &'static str, command: &[&str]) -> Self {
        Self {
            key,
            name,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![],
            folder: None,
            companion: None,
            equality: Equality::Bytes,
            share: [1.0; 3],
        }
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    fn share(mut self, share: [f64; 3]) -> Self {
        self.share = share;
        self
    }
}

/// The benchmark's own programs are beside the driver.
fn own(name: &str) -> String {
    let driver = std::env::current_exe().unwrap_or_default();
    driver.with_file_name(name).to_string_lossy().into_owned()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) const ECHO: &str = "echo";

/// bootstrap with a handler's command line.
pub(crate) fn bootstrap(key: &'static str, name: &'static str, binary: &Path, mode: &str, handler: &str) -> Target {
    Target::new(key, name, &[&binary.to_string_lossy()]).env("BOOTSTRAP_MODE", mode).env("BOOTSTRAP_COMMAND", handler)
}

/// The Rust handler's command line.
pub(crate) fn echo(mode: &str, log_lines: usize, concurrency: usize) -> String {
    format!("{} {mode} {log_lines} {concurrency}", own(ECHO))
}

pub(crate) fn floor() -> Target {
    Target::new("floor", "floor with a pipe", &[&own("floor")]).env("_HANDLER", &own(ECHO))
}

pub(crate) fn in_process() -> Target {
    Target::new("in_process", "`lambda_runtime`", &[&own("in_process")])
}

/// As many in flight as `AWS_LAMBDA_MAX_CONCURRENCY` says.
pub(crate) fn concurrent_in_process() -> Target {
    Target::new("in_process", "`lambda_runtime`", &[&own("in_process_concurrent")])
}

/// One invocation at a time: the targets of every size.
pub(crate) fn one_at_a_time(programs: &Programs) -> Vec<Target> {
    let Programs { bootstrap: fixed, dynamic, tools } = programs;
    let sh = |mode| format!("{} {mode}", source("handlers/echo.sh").display());
    let java = |mode| {
        let java = tools.join("java/bin/java");
        format!(
            "{} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xmx512m -m bench.echo/bench.Echo {mode}",
            java.display()
        )
    };
    let mut targets = vec![
        floor(),
        bootstrap("bootstrap", "**bootstrap**, Rust handler", fixed, "jsonl", &echo("jsonl", 0, 0)),
        in_process(),
        Target::new("in_process_one_thread", "`lambda_runtime` on one thread", &[&own("in_process_one_thread")]),
        Target {
            companion: Some(own("web_app")),
            ..Target::new("web_adapter", "Lambda Web Adapter, hyper", &[&tools.join("bin/lambda-adapter").to_string_lossy()])
        }
        .env("AWS_LWA_PORT", "{port}")
        .env("AWS_LWA_PASS_THROUGH_PATH", "/")
        .share([1.0, 1.0, 0.5]),
        Target {
            folder: Some(source("runtimes")),
            equality: Equality::Json,
            ..Target::new(
                "python",
                "`awslambdaric` (Python)",
                &[&tools.join("venv/bin/python3").to_string_lossy(), "-m", "awslambdaric", "echo.handler"],
            )
        }
        .share([0.5, 0.2, 0.25]),
        Target::new("curl", "bash, curl and cat", &[&source("runtimes/curl.sh").to_string_lossy()]).share([0.02, 0.1, 0.25]),
        bootstrap("rust_filter", "bootstrap, Rust, filter", fixed, "filter", &echo("filter", 0, 0)),
        bootstrap("rust_oneshot", "bootstrap, Rust, oneshot", fixed, "oneshot", &echo("oneshot", 0, 0)).share([0.1, 0.3, 0.5]),
        bootstrap("sh_jsonl", "bootstrap, sh, jsonl", fixed, "jsonl", &sh("jsonl")).share([0.1, 0.02, 0.0]),
        bootstrap("sh_filter", "bootstrap, sh, filter", fixed, "filter", &sh("filter")).share([0.1, 0.02, 0.0]),
        bootstrap("sh_oneshot", "bootstrap, sh, oneshot", fixed, "oneshot", &sh("oneshot")).share([0.05, 0.1, 0.5]),
        bootstrap("java_jsonl", "bootstrap, Java, jsonl", fixed, "jsonl", &java("jsonl")).share([0.5, 0.5, 0.5]),
        bootstrap("java_filter", "bootstrap, Java, filter", fixed, "filter", &java("filter")).share([0.5, 0.5, 0.5]),
        bootstrap("java_oneshot", "bootstrap, Java, oneshot", fixed, "oneshot", &java("oneshot")).share([0.005, 0.03, 0.1]),
    ];
    if let Some(dynamic) = dynamic {
        targets.insert(2, bootstrap("dynamic", "bootstrap, dynamic build", dynamic, "jsonl", &echo("jsonl", 0, 0)));
    }
    targets
}

/// Several in flight.
pub(crate) fn concurrent(programs: &Programs, concurrency: usize) -> Vec<Target> {
    let fixed = &programs.bootstrap;
    let targets = vec![
        bootstrap("bootstrap", "**bootstrap**, a handler that takes 8", fixed, "jsonl", &echo("jsonl", 0, concurrency)),
        bootstrap("processes", "bootstrap, 8 handlers", fixed, "jsonl", &echo("jsonl", 0, 0)),
        concurrent_in_process(),
    ];
    targets.into_iter().map(|target| target.env("AWS_LAMBDA_MAX_CONCURRENCY", &concurrency.to_string())).collect()
}

/// Says what is missing before anything is measured.
pub(crate) fn look(targets: &[Target]) -> Result<()> {
    for target in targets {
        let handler =
            target.env.iter().filter(|(name, _)| *name == "BOOTSTRAP_COMMAND").filter_map(|(_, line)| line.split(' ').next());
        for program in target.command.iter().take(1).chain(&target.companion).map(String::as_str).chain(handler) {
            ensure!(Path::new(program).is_file(), "{}: {program} is not there; `make bench` builds and installs it", target.name);
        }
    }
    Ok(())
}
