//! From the environment to a validated [`Config`]: every error names the variable, its value and what is allowed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::Fault;
use crate::protocol::conversation::Mode;

const COMMAND: &str = "BOOTSTRAP_COMMAND";
const MODE: &str = "BOOTSTRAP_MODE";
const READY: &str = "BOOTSTRAP_READY";
const INIT_TIMEOUT_MS: &str = "BOOTSTRAP_INIT_TIMEOUT_MS";
const DEADLINE_MARGIN_MS: &str = "BOOTSTRAP_DEADLINE_MARGIN_MS";
const MAX_RESTARTS: &str = "BOOTSTRAP_MAX_RESTARTS";
const CONCURRENCY: &str = "BOOTSTRAP_CONCURRENCY";
const STOP_GRACE_MS: &str = "BOOTSTRAP_STOP_GRACE_MS";
const GRACEFUL_SHUTDOWN: &str = "BOOTSTRAP_GRACEFUL_SHUTDOWN";
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// Where a command is from that no variable names.
const ARGUMENTS: &str = "the arguments";

/// The settings of section 8 of the protocol.
pub const SETTINGS: [&str; 9] =
    [COMMAND, MODE, READY, INIT_TIMEOUT_MS, DEADLINE_MARGIN_MS, MAX_RESTARTS, CONCURRENCY, STOP_GRACE_MS, GRACEFUL_SHUTDOWN];

/// Told to the handler; what the environment held before is ignored.
pub const PROTOCOL_VERSION: &str = "BOOTSTRAP_PROTOCOL_VERSION";
/// Told to the handler; what the environment held before is ignored.
pub const REPLY_FD: &str = "BOOTSTRAP_REPLY_FD";

/// When a handler counts as started (protocol, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A ready message has come, or it has begun to read stdin.
    Auto,
    /// A ready message has come.
    Message,
    /// At once.
    None,
}

/// The command as it was given, split into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments; never empty.
    pub words: Vec<OsString>,
    /// Where it was given: a variable's name, or "the arguments".
    pub source: &'static str,
}

/// What the runtime needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What to run.
    pub command: CommandLine,
    /// How to talk to it.
    pub mode: Mode,
    /// How many invocations are in flight at once.
    pub concurrency: u32,
    /// The handler's working directory, absolute.
    pub task_root: PathBuf,
    /// Where a command without `/` is looked up after the task root.
    pub path: OsString,
    /// When the handler counts as started.
    pub readiness: Readiness,
    /// How long the first handler may take until it is ready, before `/next` is called all the same.
    pub init_timeout: Duration,
    /// How much earlier than the deadline bootstrap answers; `None` is the protocol's rule.
    pub deadline_margin: Option<Duration>,
    /// How many handlers in a row may end without an answered invocation.
    pub max_restarts: u32,
    /// How long the handler may take to end in the shutdown phase.
    pub stop_grace: Duration,
    /// Whether to register as an internal extension, which makes Lambda send SIGTERM.
    pub graceful_shutdown: bool,
    /// Whether a snapshot is taken after init.
    pub snap_start: bool,
    /// The context members that are the same for every invocation: their names in the context, and their values.
    pub function: Vec<(&'static str, String)>,
}

/// An environment to read: the process's own, or a test's.
pub trait Environment {
    /// The variable's value, if it is set.
    fn get(&self, name: &str) -> Option<OsString>;
    /// The names of all variables.
    fn names(&self) -> Vec<OsString>;
}

/// This process's environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<OsString> {
        std::env::vars_os().map(|(name, _)| name).collect()
    }
}

impl Config {
    /// Reads and validates everything. `arguments` are bootstrap's own, the command where no variable names one.
    ///
    /// # Errors
    /// `Runtime.InvalidConfiguration` or `Runtime.HandlerNotFound`.
    pub fn new(environment: &impl Environment, arguments: &[OsString]) -> Result<Self, Fault> {
        let text = |name: &'static str| text(environment, name);
        let choice = |name, allowed: &[&'static str]| -> Result<Option<&'static str>, Fault> {
            let Some(value) = text(name)? else { return Ok(None) };
            match allowed.iter().find(|candidate| **candidate == value) {
                Some(found) => Ok(Some(*found)),
                None => Err(invalid(name, &value, &format!("allowed are {}", allowed.join(", ")))),
            }
        };
        let number = |name, least: u32, most: u32| -> Result<Option<u32>, Fault> {
            let Some(value) = text(name)? else { return Ok(None) };
            match value.parse::<u32>() {
                Ok(number) if (least..=most).contains(&number) && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Ok(Some(number))
                }
                _ => Err(invalid(name, &value, &format!("allowed is a whole number from {least} to {most}"))),
            }
        };
        let milliseconds = |name, least, most| Ok(number(name, least, most)?.map(|number| Duration::from_millis(number.into())));

        let mode = match choice(MODE, &["jsonl", "filter", "oneshot"])? {
            Some("filter") => Mode::Filter,
            Some("oneshot") => Mode::OneShot,
            _ => Mode::JsonLines,
        };
        let readiness = match (choice(READY, &["auto", "message", "none"])?, mode) {
            // There is nothing to wait for.
            (_, Mode::OneShot) => Readiness::None,
            (Some("message"), _) => Readiness::Message,
            (Some("none"), _) | (None, Mode::Filter) => Readiness::None,
            _ => Readiness::Auto,
        };
        // Lambda's own variables are read leniently: what makes no sense is as good as missing.
        let platform = |name| environment.get(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
        let initialization = platform("AWS_LAMBDA_INITIALIZATION_TYPE");
        let init_limit = match initialization.as_deref() {
            None | Some("on-demand") => Duration::from_millis(9_000),
            Some(_) => Duration::from_millis(120_000),
        };
        let init_timeout = milliseconds(INIT_TIMEOUT_MS, 1, 900_000)?.unwrap_or(init_limit);
        let deadline_margin = milliseconds(DEADLINE_MARGIN_MS, 0, 60_000)?;
        let max_restarts = number(MAX_RESTARTS, 1, 1000)?.unwrap_or(10);
        // What is no number from 1 up means 1, and no function has thousands of slots, let alone more than a number holds.
        let slots = || {
            let digits = platform(MAX_CONCURRENCY).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?;
            Some(digits.parse().unwrap_or(u64::MAX).clamp(1, 1000))
        };
        let concurrency = match number(CONCURRENCY, 1, 1000)? {
            Some(concurrency) => concurrency,
            None => slots().and_then(|slots| u32::try_from(slots).ok()).unwrap_or(1),
        };
        let stop_grace = milliseconds(STOP_GRACE_MS, 0, 60_000)?.unwrap_or(Duration::from_millis(200));
        let graceful_shutdown = choice(GRACEFUL_SHUTDOWN, &["true", "false"])? == Some("true");
        let command = command(environment, arguments)?;

        let working_directory = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let task_root = match environment.get("LAMBDA_TASK_ROOT").filter(|value| !value.is_empty()) {
            Some(root) => std::path::absolute(&root).unwrap_or_else(|_| PathBuf::from(root)),
            None => working_directory(),
        };
        let function = [
            ("functionName", "AWS_LAMBDA_FUNCTION_NAME"),
            ("functionVersion", "AWS_LAMBDA_FUNCTION_VERSION"),
            ("memoryLimitInMB", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            ("logGroupName", "AWS_LAMBDA_LOG_GROUP_NAME"),
            ("logStreamName", "AWS_LAMBDA_LOG_STREAM_NAME"),
        ];
        let function = function.into_iter().filter_map(|(member, variable)| {
            let value = environment.get(variable).filter(|value| !value.is_empty())?;
            Some((member, value.to_string_lossy().into_owned()))
        });
        Ok(Self {
            command,
            mode,
            concurrency,
            task_root,
            path: environment.get("PATH").unwrap_or_default(),
            readiness,
            init_timeout,
            deadline_margin,
            max_restarts,
            stop_grace,
            graceful_shutdown,
            snap_start: initialization.as_deref() == Some("snap-start"),
            function: function.collect(),
        })
    }
}

/// The variable as text. Empty means unset.
fn text(environment: &impl Environment, name: &'static str) -> Result<Option<String>, Fault> {
    match environment.get(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
        Some(Err(value)) => Err(invalid(name, &value.to_string_lossy(), "allowed is UTF-8 text")),
    }
}

fn invalid(name: &str, value: &str, allowed: &str) -> Fault {
    Fault::InvalidConfiguration(format!("{name}=\"{value}\" is not valid: {allowed}"))
}

fn command(environment: &impl Environment, arguments: &[OsString]) -> Result<CommandLine, Fault> {
    for source in [COMMAND, "_HANDLER"] {
        let Some(value) = text(environment, source)? else { continue };
        let words = shell_words::split(&value).map_err(|_| invalid(source, &value, "its quotes don't close"))?;
        // The splitter takes a backslash at the very end as itself; a shell would wait for more. It is one that quotes what follows,
        // unless all of that is a comment.
        let is_unpaired = value.len() % 2 != value.trim_end_matches('\\').len() % 2;
        if is_unpaired && shell_words::split(&format!("{value}x")).is_ok_and(|more| more != words) {
            return Err(invalid(source, &value, "it ends in a backslash that quotes nothing"));
        }
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        // White space alone splits into nothing: not set, as far as a command goes.
        if !words.is_empty() {
            // The commands for a laptop say what they were given both ways: the variable is what counts, and the arguments are
            // what the user has written.
            let source = if words == arguments { ARGUMENTS } else { source };
            return Ok(CommandLine { words, source });
        }
    }
    if arguments.is_empty() {
        return Err(Fault::HandlerNotFound(format!(
            "no command is set: name the handler in _HANDLER (the function's Handler), a whole command line in {COMMAND}, \
             or give it as arguments (an image's CMD)"
        )));
    }
    Ok(CommandLine { words: arguments.to_vec(), source: ARGUMENTS })
}

/// A warning for each variable whose name is a letter or two away from a setting's.
pub fn near_misses(environment: &impl Environment) -> Vec<String> {
    let known = |name: &str| SETTINGS.contains(&name) || [PROTOCOL_VERSION, REPLY_FD].contains(&name);
    let mut names: Vec<String> = environment.names().into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    let near = names.into_iter().filter(|name| name.starts_with("BOOTSTRAP_") && !known(name)).filter_map(|name| {
        let (distance, setting) = SETTINGS.iter().map(|setting| (strsim::damerau_levenshtein(&name, setting), setting)).min()?;
        (distance <= 2)
            .then(|| format!("{name} is not a setting of bootstrap; did you mean {setting}? It is passed to the handler"))
    });
    near.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Fake(HashMap<&'static str, &'static str>);

    impl Environment for Fake {
        fn get(&self, name: &str) -> Option<OsString> {
            self.0.get(name).map(OsString::from)
        }

        fn names(&self) -> Vec<OsString> {
            self.0.keys().map(OsString::from).collect()
        }
    }

    fn of(variables: &[(&'static str, &'static str)]) -> Result<Config, Fault> {
        let mut environment = HashMap::from([("_HANDLER", "handler")]);
        environment.extend(variables.iter().copied());
        Config::new(&Fake(environment), &[])
    }

    #[test]
    fn the_defaults_are_the_protocols() {
        let config = of(&[]).unwrap();
        assert_eq!(config.readiness, Readiness::Auto);
        assert_eq!(config.init_timeout, Duration::from_millis(9000));
        assert_eq!(config.deadline_margin, None);
        assert_eq!(config.max_restarts, 10);
        assert_eq!(config.stop_grace, Duration::from_millis(200));
        assert!(!config.graceful_shutdown && !config.snap_start);
        let empty: Vec<(&str, &str)> = SETTINGS.iter().map(|name| (*name, "")).collect();
        assert_eq!(of(&empty).unwrap(), config, "an empty value is the default");
    }

    #[test]
    fn the_init_timeout_depends_on_the_initialization_type() {
        for (initialization, milliseconds) in
            [("on-demand", 9000), ("", 9000), ("provisioned-concurrency", 120_000), ("snap-start", 120_000)]
        {
            let config = of(&[("AWS_LAMBDA_INITIALIZATION_TYPE", initialization)]).unwrap();
            assert_eq!(config.init_timeout, Duration::from_millis(milliseconds), "{initialization}");
            assert_eq!(config.snap_start, initialization == "snap-start");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (name, value, allowed) in [
            (MODE, "json", "jsonl, filter, oneshot"),
            (READY, "yes", "auto, message, none"),
            (INIT_TIMEOUT_MS, "0", "from 1 to 900000"),
            (INIT_TIMEOUT_MS, "900001", "from 1 to 900000"),
            (INIT_TIMEOUT_MS, "9s", "from 1 to 900000"),
            (DEADLINE_MARGIN_MS, "-1", "from 0 to 60000"),
            (DEADLINE_MARGIN_MS, "60001", "from 0 to 60000"),
            (MAX_RESTARTS, "0", "from 1 to 1000"),
            (MAX_RESTARTS, "+5", "from 1 to 1000"),
            (CONCURRENCY, "1001", "from 1 to 1000"),
            (STOP_GRACE_MS, "1e3", "from 0 to 60000"),
            (GRACEFUL_SHUTDOWN, "yes", "true, false"),
            (GRACEFUL_SHUTDOWN, "TRUE", "true, false"),
            (COMMAND, "jq '.a", "quotes"),
            ("_HANDLER", "\"a", "quotes"),
            ("_HANDLER", "a\\", "backslash"),
            ("_HANDLER", "a\\\\\\", "backslash"),
        ] {
            let Err(Fault::InvalidConfiguration(message)) = of(&[(name, value)]) else { panic!("{name}={value} was taken") };
            assert!(message.starts_with(&format!("{name}=\"{value}\" is not valid")) && message.contains(allowed), "{message}");
        }
    }

    #[test]
    fn a_backslash_at_the_end_of_a_comment_quotes_nothing() {
        for (command, words) in [("a #b\\", &["a"][..]), ("a '#'\\\\", &["a", "#\\"]), ("a#b\\\\", &["a#b\\"])] {
            assert_eq!(of(&[(COMMAND, command)]).unwrap().command.words, words, "{command}");
        }
    }

    #[test]
    fn the_mode_decides_what_readiness_means_by_default() {
        for (mode, ready, means) in [
            ("jsonl", "", Readiness::Auto),
            ("filter", "", Readiness::None),
            ("oneshot", "", Readiness::None),
            ("filter", "auto", Readiness::Auto),
            ("filter", "message", Readiness::Message),
            ("oneshot", "message", Readiness::None),
            ("jsonl", "none", Readiness::None),
        ] {
            assert_eq!(of(&[(MODE, mode), (READY, ready)]).unwrap().readiness, means, "{mode} {ready}");
        }
    }

    #[test]
    fn concurrency_is_the_settings_then_the_platforms_then_1() {
        for (setting, platform, concurrency) in [
            ("", "", 1),
            ("", "8", 8),
            ("2", "8", 2),
            ("1", "8", 1),
            ("1000", "", 1000),
            ("", "0", 1),
            ("", "-3", 1),
            ("", "many", 1),
            ("", "5000", 1000),
            ("", "99999999999999999999999", 1000),
            ("", "+8", 1),
        ] {
            let config = of(&[(CONCURRENCY, setting), (MAX_CONCURRENCY, platform)]).unwrap();
            assert_eq!(config.concurrency, concurrency, "{setting} {platform}");
        }
    }

    #[test]
    fn the_command_comes_from_the_first_that_names_one() {
        let words =
            |config: Config| config.command.words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
        assert_eq!(words(of(&[]).unwrap()), ["handler"]);
        assert_eq!(words(of(&[(COMMAND, "jq -c '{a: .b}' \"x y\" z\\ w")]).unwrap()), ["jq", "-c", "{a: .b}", "x y", "z w"]);
        assert_eq!(words(of(&[(COMMAND, r"a b\\")]).unwrap()), ["a", r"b\"]);
        let arguments = [OsString::from("a b"), OsString::from("c")];
        let config = Config::new(&Fake(HashMap::from([("_HANDLER", "")])), &arguments).unwrap();
        assert_eq!(config.command, CommandLine { words: arguments.to_vec(), source: "the arguments" });
        for (command, source) in [("'a b' c", "the arguments"), ("a b c", COMMAND)] {
            let config = Config::new(&Fake(HashMap::from([(COMMAND, command)])), &arguments).unwrap();
            assert_eq!(config.command.source, source, "{command}");
        }
        let Err(Fault::HandlerNotFound(message)) = Config::new(&Fake(HashMap::new()), &[]) else { panic!() };
        assert!(message.contains("_HANDLER") && message.contains(COMMAND));
    }

    #[test]
    fn only_a_near_miss_of_a_setting_is_warned_of() {
        let environment = Fake(HashMap::from([
            ("BOOTSTRAP_SERVERS", ""),
            ("BOOTSTRAP_REDY", "auto"),
            ("BOOTSTRAP_STOP_GRACE_SM", "1"),
            ("BOOTSTRAP_PROTOCOL_VERSION", "7"),
            ("BOOTSTRAP_READY", "auto"),
            ("BOOTSTRA_READY", "auto"),
        ]));
        let warnings = near_misses(&environment);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("BOOTSTRAP_REDY") && warnings[0].contains("did you mean BOOTSTRAP_READY"));
        assert!(warnings[1].contains("did you mean BOOTSTRAP_STOP_GRACE_MS"));
    }
}
