//! The command line and its help.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::local::json;
use crate::local::serve::name;

/// Turns any executable into an AWS Lambda function.
///
/// In Lambda this file is the runtime: it fetches each event, hands it to your process as a line of JSON, and reports the
/// answer. Here it runs the same handler on the same events, with no Docker and no AWS account.
#[derive(Debug, Parser)]
#[command(
    name = "bootstrap",
    version,
    help_expected = true,
    max_term_width = 100,
    styles = STYLES,
    after_help = "Run a handler on an event:\n  bootstrap invoke --event '{\"name\":\"world\"}' -- examples/shell/hello.sh\n\nIn Lambda, where AWS_LAMBDA_RUNTIME_API is set, no arguments are needed and any are ignored."
)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a handler on events here and prints its responses
    ///
    /// Starts the handler the way Lambda would, on this machine, gives it one event or many, and prints each response, or the
    /// error document in its place, to stdout as it is. Logs and everything else go to stderr. A streamed response is printed as
    /// it comes, and an error in its middle goes to stderr.
    ///
    /// The exit status is 0 when every event was answered, 1 when an invocation ended in an error, and 2 for a mistake on the
    /// command line.
    Invoke(Invoke),
    /// Serves a handler here, to the clients that Lambda has
    ///
    /// Speaks Lambda's own Invoke API, so that the AWS CLI, the SDKs and curl call the handler unchanged. Every other path is a
    /// function URL, for the browser. Each execution environment starts when an event needs it, and has one event at a time.
    /// The log goes to stderr, with Lambda's START, END and REPORT lines. Ctrl-C ends everything.
    Serve(Serve),

    /// Tells whether a handler keeps the protocol
    ///
    /// Does to a handler what Lambda will do to it: awkward events, a thousand in a row, a freeze, a deadline, the end. For each
    /// rule it tells whether it is kept, broken (what was sent, what came, how to mend it), or does not apply. An error reply
    /// is an answer: a handler may refuse an event.
    ///
    /// The exit status is 0 when every rule holds, 1 when one is broken, and 2 for a mistake on the command line.
    Check(Check),
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default())
    .usage(AnsiColor::Yellow.on_default())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// `bootstrap invoke`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootstrap invoke --event '{\"name\":\"world\"}' -- examples/shell/hello.sh
  bootstrap invoke --event-file event.json --timeout 10 -- java -jar handler.jar
  bootstrap invoke --events events.jsonl -- ./handler > responses.jsonl
  generate-events | bootstrap invoke --events - -- ./handler | jq .total")]
pub struct Invoke {
    /// Which event or events
    #[command(flatten)]
    pub source: Source,

    /// How many events the handler may have at a time
    ///
    /// With more than 1 the function is run as Lambda Managed Instances run one: the runtime is told
    /// AWS_LAMBDA_MAX_CONCURRENCY, and an event that times out ends nothing but its own invocation. `--events` gives that many
    /// events at a time; the responses come in their order all the same.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,

    /// The caller's context, a JSON object, as a mobile SDK sends it
    #[arg(long, value_name = "JSON", value_parser = client_context, help_heading = "The invocation")]
    pub client_context: Option<String>,

    /// The X-Ray tracing header of each event [default: a new sampled trace for each]
    #[arg(long, value_name = "HEADER", value_parser = header_value, help_heading = "The invocation")]
    pub trace_id: Option<String>,

    /// The tenant that each event is for
    #[arg(long, value_name = "ID", value_parser = header_value, help_heading = "The invocation")]
    pub tenant_id: Option<String>,

    /// The function
    #[command(flatten)]
    pub function: FunctionOptions,
}

/// `bootstrap serve`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootstrap serve -- examples/shell/hello.sh
  bootstrap serve --listen 127.0.0.1:8000 --environments 4 --function-name orders -- java -jar handler.jar

Call it:
  curl -d '{\"name\":\"world\"}' http://127.0.0.1:9000/2015-03-31/functions/function/invocations
  aws lambda invoke --endpoint-url http://127.0.0.1:9000 --function-name function out.json")]
pub struct Serve {
    /// Where to listen. Port 0 is any free one
    ///
    /// The interface of this machine alone, unless it says otherwise: whoever reaches another address can run the handler.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", value_parser = listen_address, help_heading = "The server")]
    pub listen: SocketAddr,

    /// How many execution environments there may be, each a process of its own with one event at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "The server")]
    pub environments: u16,

    /// Stops an environment's processes between events (SIGSTOP), as Lambda does
    ///
    /// It finds the handlers that go on working after their answer: in Lambda that work stands still until the next event, or is
    /// never done.
    #[arg(long, help_heading = "The server")]
    pub freeze: bool,

    /// A file or a folder; when it changes, each environment is replaced before its next event. Can be given again
    #[arg(long, value_name = "PATH", help_heading = "The server")]
    pub watch: Vec<PathBuf>,

    /// What the function is called [default: AWS_LAMBDA_FUNCTION_NAME, else function]
    #[arg(long, value_name = "NAME", value_parser = function_name, help_heading = "The function")]
    pub function_name: Option<String>,

    /// The function
    #[command(flatten)]
    pub function: FunctionOptions,
}

/// Where the events come from. Without any of these the event is `{}`.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct Source {
    /// The event, as JSON [default: {}]
    ///
    /// It is sent as it is written, byte for byte. What is not JSON is refused, with the place, since it is mostly the shell's
    /// quoting that went wrong; `--raw-event` sends that too.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, help_heading = "The event")]
    pub event: Option<String>,

    /// The event, as any text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "The event")]
    pub raw_event: Option<String>,

    /// The event, from a file; `-` is stdin
    ///
    /// The file's bytes are sent as they are.
    #[arg(long, value_name = "FILE", help_heading = "The event")]
    pub event_file: Option<PathBuf>,

    /// Many events, from a file with one JSON value a line; `-` is stdin
    ///
    /// The responses come in the same order, one a line; a streamed one comes whole, up to 6 MiB. Empty lines are skipped. A
    /// line on stderr at the end counts them and gives the latencies.
    #[arg(long, value_name = "FILE", help_heading = "The event")]
    pub events: Option<PathBuf>,
}

/// `bootstrap check`
#[derive(Debug, Args)]
#[command(after_help = "With --format json, stdout has one object:
  {\"kept\":N,\"broken\":N,\"doesNotApply\":N,\"rules\":[{\"id\":…,\"rule\":…,\"verdict\":…,…},…]}
A verdict is \"kept\", \"broken\" or \"doesNotApply\". A broken rule has \"sent\", \"came\" and \"mend\",
one that does not apply has the reason as \"note\", and one that is kept may have a \"note\".

The exit status is 0 when no rule is broken and 1 when one is; 2 tells a mistake on the command line,
and 128 and its number a signal that ended the check. A fault of this machine is 1, with no report.

Examples:
  bootstrap check -- examples/shell/hello.sh
  bootstrap check --event '{\"numbers\":[1]}' --format json -- ./handler | jq '.rules[] | select(.verdict == \"broken\")'")]
pub struct Check {
    /// An event that the handler understands, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", allow_hyphen_values = true, help_heading = "The check")]
    pub event: String,

    /// The form of the report
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "The check")]
    pub format: CheckFormat,

    /// The function
    #[command(flatten)]
    pub function: FunctionOptions,
}

/// The forms of a check's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    Text,
    /// For scripts: one JSON object
    Json,
}

/// What makes a function: its handler and its configuration. All the local commands take these.
#[derive(Debug, Args)]
pub struct FunctionOptions {
    /// The seconds that one invocation may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=900), help_heading = "The function")]
    pub timeout: u16,

    /// The memory size that the handler is told, in MB. It is not enforced
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u16).range(128..=10240), help_heading = "The function")]
    pub memory: u16,

    /// A variable for the handler's environment, beside those that are set here already. Can be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = "The function")]
    pub env: Vec<Variable>,

    /// The form of log lines [default: AWS_LAMBDA_LOG_FORMAT, else text]
    #[arg(long, value_name = "FORMAT", help_heading = "The function")]
    pub log_format: Option<LogFormat>,

    /// How the handler gets its events: BOOTSTRAP_MODE
    #[arg(long, value_name = "MODE", help_heading = "Settings, as in Lambda")]
    pub mode: Option<Mode>,

    /// When the handler counts as started: BOOTSTRAP_READY
    #[arg(long, value_name = "WHEN", help_heading = "Settings, as in Lambda")]
    pub ready: Option<Ready>,

    /// How long to wait for that before the first event: BOOTSTRAP_INIT_TIMEOUT_MS
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=900_000), help_heading = "Settings, as in Lambda")]
    pub init_timeout_ms: Option<u32>,

    /// How long before the deadline an invocation is ended: BOOTSTRAP_DEADLINE_MARGIN_MS
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=60_000), help_heading = "Settings, as in Lambda")]
    pub deadline_margin_ms: Option<u32>,

    /// How many handlers in a row may fail: BOOTSTRAP_MAX_RESTARTS
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Settings, as in Lambda")]
    pub max_restarts: Option<u16>,

    /// How long the handler has to end when it is told to: BOOTSTRAP_STOP_GRACE_MS
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=60_000), help_heading = "Settings, as in Lambda")]
    pub stop_grace_ms: Option<u32>,

    /// Registers an internal extension, as Lambda wants it for SIGTERM: BOOTSTRAP_GRACEFUL_SHUTDOWN
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Settings, as in Lambda")]
    pub graceful_shutdown: Option<bool>,

    /// The handler's command [default: BOOTSTRAP_COMMAND, else _HANDLER]
    ///
    /// It is run without a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

impl FunctionOptions {
    /// The settings that were given as flags, as the variables that the runtime reads.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let command = (!self.command.is_empty()).then(|| shell_words::join(&self.command));
        let log_format = self.log_format.map(|format| match format {
            LogFormat::Text => "Text".to_owned(),
            LogFormat::Json => "JSON".to_owned(),
        });
        [
            ("BOOTSTRAP_COMMAND", command),
            ("AWS_LAMBDA_LOG_FORMAT", log_format),
            ("BOOTSTRAP_MODE", self.mode.and_then(|mode| name(mode.to_possible_value()))),
            ("BOOTSTRAP_READY", self.ready.and_then(|ready| name(ready.to_possible_value()))),
            ("BOOTSTRAP_INIT_TIMEOUT_MS", self.init_timeout_ms.map(|value| value.to_string())),
            ("BOOTSTRAP_DEADLINE_MARGIN_MS", self.deadline_margin_ms.map(|value| value.to_string())),
            ("BOOTSTRAP_MAX_RESTARTS", self.max_restarts.map(|value| value.to_string())),
            ("BOOTSTRAP_STOP_GRACE_MS", self.stop_grace_ms.map(|value| value.to_string())),
            ("BOOTSTRAP_GRACEFUL_SHUTDOWN", self.graceful_shutdown.map(|value| value.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Lambda's log formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines as they are
    Text,
    /// A JSON object a line
    Json,
}

/// The modes of the handler protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One process, many events, each with its context
    Jsonl,
    /// One process; the bare event in, the bare response out
    Filter,
    /// One process an event
    Oneshot,
}

/// When a handler counts as started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ready {
    /// When it has said so or begins to read
    Auto,
    /// When it has said so
    Message,
    /// At once
    None,
}

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The part before the first `=`.
    pub name: String,
    /// The rest.
    pub value: String,
}

/// A mistake in how the program was called: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// With a message that says what to do instead.
    pub fn new(message: impl Into<String>) -> Self {
        UsageError(message.into())
    }
}

/// Why the command line is not run.
#[derive(Debug)]
pub enum NotRun {
    /// Help or a version was asked for, or clap has an error to show; it knows the stream and the exit status.
    Clap(clap::Error),
    /// A mistake that we explain ourselves.
    Usage(UsageError),
}

/// Reads the command line.
///
/// # Errors
/// See [`NotRun`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, NotRun> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
        .map_err(|error| explain(error, &arguments))?;
    let command = cli
        .command
        .ok_or_else(|| NotRun::Usage(UsageError(format!("{NOT_LAMBDA}, and no subcommand says what to do.\n\n{WHAT_TO_DO}"))))?;
    let event = match &command {
        Command::Invoke(invoke) => invoke.source.event.as_ref().map(|event| (event, Some(RAW))),
        Command::Check(check) => Some((&check.event, None)),
        Command::Serve(_) => None,
    };
    if let Some((event, instead)) = event {
        check_event(event, instead).map_err(NotRun::Usage)?;
    }
    Ok(command)
}

/// What sends an event that is not JSON.
const RAW: &str = "\n--raw-event sends it as it is.";

const NOT_LAMBDA: &str = "AWS_LAMBDA_RUNTIME_API is not set, so this is not Lambda";

const WHAT_TO_DO: &str = "  To run a handler on this machine:
      bootstrap invoke --event '{\"name\":\"world\"}' -- ./handler
  To serve it to the AWS CLI, an SDK or curl:
      bootstrap serve -- ./handler
  In Lambda, put this file at /var/task/bootstrap or /opt/bootstrap and let the function's handler name the command:
      Lambda sets AWS_LAMBDA_RUNTIME_API and _HANDLER, and starts this file without arguments.

`bootstrap --help` tells more.";

/// `--event {"name": "world"}`, unquoted, reaches us as two arguments, of which clap would name the second one only. The first
/// one tells more.
fn explain(error: clap::Error, arguments: &[OsString]) -> NotRun {
    if error.kind() == ErrorKind::InvalidSubcommand && error.get(ContextKind::SuggestedSubcommand).is_none() {
        // An image's CMD, or a handler's name, as an emulator passes it: this was meant to be the runtime.
        let word = match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(word)) => word.as_str(),
            _ => "that",
        };
        return NotRun::Usage(UsageError(format!("{NOT_LAMBDA}, and `{word}` is no subcommand.\n\n{WHAT_TO_DO}")));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        let own = arguments.iter().take_while(|argument| *argument != "--").filter_map(|argument| argument.to_str());
        let values: Vec<&str> = own.collect();
        let event = values.windows(2).find(|pair| pair[0] == "--event").map(|pair| pair[1]);
        let unknown = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(unknown)) => unknown.as_str(),
            _ => "",
        };
        if let Some(Err(usage)) = event.filter(|_| !unknown.starts_with('-')).map(|event| check_event(event, None)) {
            return NotRun::Usage(usage);
        }
    }
    NotRun::Clap(error)
}

/// Refuses an event that is not JSON, shows the place, guesses what the shell did, and says what to do `instead`.
fn check_event(event: &str, instead: Option<&str>) -> Result<(), UsageError> {
    let Err(place) = json::check(event.as_bytes()) else { return Ok(()) };
    Err(UsageError(format!(
        "--event is not JSON: {}\n\n{}\n{}{}",
        place.message,
        place.excerpt(event.as_bytes()),
        guess(event),
        instead.unwrap_or_default(),
    )))
}

fn guess(event: &str) -> &'static str {
    let text = event.trim();
    let quoted = event.contains('"');
    if text.is_empty() {
        "It is empty. An empty object is --event '{}'."
    } else if text.starts_with('\'') || text.ends_with('\'') {
        "The single quotes have come through the shell. Where it knows no single quotes, write --event \"{\\\"name\\\":\\\"world\\\"}\"."
    } else if text.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']) {
        "There are typographic quotes in it; JSON has straight ones: \"."
    } else if text.starts_with('@') || std::path::Path::new(text).is_file() {
        "A file's event is sent with --event-file FILE."
    } else if text.starts_with(['{', '[']) && !quoted && text.contains('\'') {
        "JSON's quotes are double: --event '{\"name\":\"world\"}'."
    } else if text.starts_with(['{', '[']) && !quoted {
        "The shell has probably taken the double quotes away. Put the JSON in single quotes: --event '{\"name\":\"world\"}'."
    } else if !text.starts_with(['{', '[', '"']) && !text.contains(['{', '[']) {
        "A text is JSON with its own quotes: --event '\"text\"'."
    } else {
        "Put the JSON in single quotes, so that the shell leaves it alone: --event '{\"name\":\"world\"}'."
    }
}

fn variable(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        None => Err("it has no `=`; write NAME=VALUE".to_owned()),
        Some(("", _)) => Err("the name before the `=` is empty".to_owned()),
        Some(("AWS_LAMBDA_RUNTIME_API", _)) => Err("the local environment sets AWS_LAMBDA_RUNTIME_API itself".to_owned()),
        Some((name, value)) => Ok(Variable { name: name.to_owned(), value: value.to_owned() }),
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "it is no address with a port, such as 127.0.0.1:9000, localhost:9000 or 0.0.0.0:9000".to_owned())
}

fn function_name(text: &str) -> Result<String, String> {
    if !name::is_name(text) {
        return Err("a function's name has 1 to 64 letters, digits, `-` and `_`".to_owned());
    }
    Ok(text.to_owned())
}

/// Lambda's limit for a client context is 3,583 bytes of base64.
const MAX_CLIENT_CONTEXT: usize = 3583 / 4 * 3;

fn client_context(text: &str) -> Result<String, String> {
    if let Err(place) = json::check(text.as_bytes()) {
        return Err(format!("not JSON: {}", place.message));
    }
    if !text.trim_start().starts_with('{') {
        return Err("it must be a JSON object".to_owned());
    }
    if text.len() > MAX_CLIENT_CONTEXT {
        return Err(format!("it has {} bytes; Lambda takes {MAX_CLIENT_CONTEXT}", text.len()));
    }
    // It travels in a header. Control characters stand between tokens only, since JSON's strings escape them.
    Ok(text.replace(|c: char| c.is_ascii_control(), " "))
}

fn header_value(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') || text.trim() != text {
        return Err("it travels in a header: one or more printable ASCII characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoke(arguments: &[&str]) -> Invoke {
        match parse(["bootstrap", "invoke"].iter().chain(arguments).map(OsString::from)) {
            Ok(Command::Invoke(invoke)) => invoke,
            Ok(command) => panic!("{arguments:?}: {command:?}"),
            Err(error) => panic!("{arguments:?}: {error:?}"),
        }
    }

    fn serve(arguments: &[&str]) -> Serve {
        match parse(["bootstrap", "serve"].iter().chain(arguments).map(OsString::from)) {
            Ok(Command::Serve(serve)) => serve,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    /// What the user reads.
    fn refusal(arguments: &[&str]) -> String {
        match parse(["bootstrap"].iter().chain(arguments).map(OsString::from)) {
            Ok(command) => panic!("{arguments:?} was taken: {command:?}"),
            Err(NotRun::Usage(error)) => error.to_string(),
            Err(NotRun::Clap(error)) => {
                assert_eq!(error.exit_code(), 2, "{error}");
                error.to_string()
            }
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_lambdas() {
        let invoke = invoke(&["--", "./handler", "--flag", "a b"]);
        assert_eq!((invoke.function.timeout, invoke.function.memory, invoke.concurrency), (3, 128, 1));
        assert_eq!(invoke.function.command, ["./handler", "--flag", "a b"]);
        assert_eq!(invoke.function.settings(), [("BOOTSTRAP_COMMAND", "./handler --flag 'a b'".to_owned())]);
    }

    #[test]
    fn the_event_comes_from_one_place() {
        for event in ["-1.50", "{\n  \"a\": 1, \"a\": 2\n}"] {
            assert_eq!(invoke(&["--event", event]).source.event.as_deref(), Some(event));
        }
        assert_eq!(invoke(&["--raw-event", "-{x"]).source.raw_event.as_deref(), Some("-{x"));
        assert!(refusal(&["invoke", "--event", "1", "--event-file", "x"]).contains("cannot be used with"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flag in [
            "--timeout=0",
            "--timeout=901",
            "--timeout=3s",
            "--memory=64",
            "--memory=10241",
            "--concurrency=0",
            "--concurrency=1001",
            "--concurrency=two",
            "--init-timeout-ms=0",
            "--deadline-margin-ms=60001",
            "--max-restarts=0",
            "--stop-grace-ms=-1",
            "--mode=lines",
            "--ready=now",
            "--log-format=xml",
            "--env=NAME",
            "--env==value",
            "--env=AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001",
            "--trace-id=a\nb",
            "--tenant-id=",
            "--client-context=[1]",
            "--client-context={a:1}",
            "--graceful-shutdown=maybe",
        ] {
            let name = flag.split_once('=').map_or(flag, |(name, _)| name);
            assert!(refusal(&["invoke", flag, "--", "h"]).contains(name), "{flag}");
        }
        assert_eq!(invoke(&["--concurrency=1000"]).concurrency, 1000);
    }

    #[test]
    fn a_server_is_on_this_machine_alone_unless_it_says_otherwise() {
        let plain = serve(&["--", "./handler"]);
        assert_eq!((plain.listen.to_string().as_str(), plain.environments), ("127.0.0.1:9000", 1));
        assert_eq!((plain.function.timeout, plain.function.memory, plain.function_name), (3, 128, None));
        for (text, address) in [
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:9000", "[::1]:9000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(serve(&["--listen", text]).listen.to_string(), address);
        }
        for flag in [
            "--listen=9000",
            "--listen=127.0.0.1",
            "--listen=example.com:9000",
            "--environments=0",
            "--environments=101",
            "--function-name=a b",
            "--function-name=",
            "--timeout=0",
        ] {
            let name = flag.split_once('=').map_or(flag, |(name, _)| name);
            assert!(refusal(&["serve", flag, "--", "h"]).contains(name), "{flag}");
        }
    }

    #[test]
    fn a_client_context_fits_into_a_header() {
        let context = |text: &str| invoke(&["--client-context", text]).client_context;
        assert_eq!(context("{\n\"a\":\t\"é\"}").as_deref(), Some("{ \"a\": \"é\"}"));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_CLIENT_CONTEXT));
        assert!(refusal(&["invoke", "--client-context", &long]).contains("Lambda takes"));
    }

    #[test]
    fn what_the_shell_did_to_an_event_is_guessed() {
        for (event, place, guess) in [
            ("{name: world}", "    {name: world}\n     ^\n", "taken the double quotes away"),
            ("'{\"a\":1}'", "    '{\"a\":1}'\n    ^\n", "have come through the shell"),
            ("{'a': 1}", "    {'a': 1}\n     ^\n", "JSON's quotes are double"),
            ("{“a”: 1}", "    {“a”: 1}\n     ^\n", "typographic quotes"),
            ("@event.json", "    @event.json\n    ^\n", "--event-file"),
            ("world", "    world\n    ^\n", "with its own quotes"),
            ("", "    \n    ^\n", "It is empty"),
            ("{\"a\":1", "    {\"a\":1\n          ^\n", "in single quotes"),
        ] {
            let refusal = refusal(&["invoke", "--event", event, "--", "h"]);
            assert!(refusal.contains(place) && refusal.contains(guess), "{event}: {refusal}");
        }
    }

    #[test]
    fn an_event_that_the_shell_has_split_is_shown_and_not_its_second_half() {
        let split = refusal(&["invoke", "--event", "{name:", "world}", "--", "h"]);
        assert!(split.starts_with("--event is not JSON"), "{split}");
        let unknown = refusal(&["invoke", "--evnt", "{}", "--", "h"]);
        assert!(unknown.contains("--evnt") && unknown.contains("--event"), "{unknown}");
    }

    #[test]
    fn without_a_subcommand_it_says_what_to_do_instead() {
        let told = refusal(&[]);
        assert!(told.contains("bootstrap invoke --event") && told.contains("AWS_LAMBDA_RUNTIME_API"), "{told}");
    }
}
