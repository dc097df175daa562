//! One run: a Runtime API, a runtime that is started, measured and stopped, and what it logged.
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::api::{Api, Plan};
use crate::results::Run;
use crate::system::signal_group;
use crate::targets::Target;

const TOO_LONG: Duration = Duration::from_secs(180);
const GRACE: Duration = Duration::from_secs(10);

/// What Lambda sets.
const ENVIRONMENT: [(&str, &str); 13] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "en_US.UTF-8"),
    ("TZ", ":UTC"),
    ("LAMBDA_TASK_ROOT", "/tmp"),
    ("_HANDLER", "handler"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ("AWS_LAMBDA_FUNCTION_NAME", "speed"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/speed"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/25/[$LATEST]4f7c0d1b2a3948d5a6b7c8d9e0f10213"),
];

/// A process with its group, which ends with it.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &fs::File) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
        command.spawn().map(Self).with_context(|| format!("can't start {program}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal_group(self.0.id(), libc::SIGTERM);
        let until = Instant::now() + GRACE;
        while self.0.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > until {
                signal_group(self.0.id(), libc::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn run(target: &Target, plan: Plan) -> Result<Run> {
    let log_path = std::env::temp_dir().join(format!("speed-{}.log", std::process::id()));
    let result = attempt(target, plan, &log_path);
    let log = fs::read(&log_path).unwrap_or_default();
    let _ = fs::remove_file(&log_path);
    match result {
        Ok(run) => Ok(Run { log_bytes: log.len() as u64, ..run }),
        Err(error) => {
            let log = String::from_utf8_lossy(&log[..log.len().min(2000)]);
            Err(error.context(format!("{}, {} bytes; its log: {log}", target.name, plan.size)))
        }
    }
}

fn attempt(target: &Target, plan: Plan, log: &Path) -> Result<Run> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let log = fs::File::options().create(true).append(true).open(log)?;
    let mut runtime = Command::new(&target.command[0]);
    runtime.args(&target.command[1..]).env_clear().envs(ENVIRONMENT).env("AWS_LAMBDA_RUNTIME_API", address.to_string());
    runtime.envs(target.env.iter().map(|(name, value)| (*name, value.replace("{port}", &port))));
    if let Some(folder) = &target.folder {
        runtime.current_dir(folder);
    }
    let companion = target.companion.as_ref().map(|program| {
        let mut command = Command::new(program);
        command.env_clear().env("PORT", &port);
        command
    });

    let api = Api::new(plan, target.equality);
    std::thread::scope(|scope| {
        scope.spawn(|| api.serve(&listener));
        let result = drive(&api, runtime, companion, &log);
        // Ends the serving, too.
        api.fail(String::new());
        let _ = TcpStream::connect(address);
        result
    })
}

fn drive(api: &Api, mut runtime: Command, companion: Option<Command>, log: &fs::File) -> Result<Run> {
    let companion = companion.map(|mut command| Process::start(&mut command, log)).transpose()?;
    let mut runtime = Process::start(&mut runtime, log)?;
    api.measure(runtime.0.id(), companion.as_ref().map(|process| process.0.id()));
    loop {
        if let Some(result) = api.result() {
            return result.map_err(|why| anyhow!(why));
        }
        if let Some(status) = runtime.0.try_wait()? {
            return Err(anyhow!("the runtime has ended: {status}"));
        }
        if api.elapsed() > TOO_LONG {
            return Err(anyhow!("no end after {} s", TOO_LONG.as_secs()));
        }
    }
}
