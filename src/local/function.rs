//! The function that runs here: what its configuration would be in Lambda, and the environment its runtime starts with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use crate::cli::{FunctionOptions, UsageError};

/// The account in the function's ARN. It is the one that AWS's documentation uses.
const ACCOUNT: &str = "123456789012";

/// The runtime's own clean-up time where nothing else is set (`BOOTSTRAP_STOP_GRACE_MS`; protocol, section 8).
const DEFAULT_GRACE: Duration = Duration::from_millis(200);

/// Lambda's limit for the init phase of a function that has one event at a time, and the least one on managed instances.
const INIT_LIMIT: Duration = Duration::from_secs(10);
const MANAGED_INIT_LIMIT: Duration = Duration::from_secs(130);

/// Variables of the surrounding environment that would mislead the runtime: they belong to another environment.
const NOT_INHERITED: [&str; 5] =
    ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY", "_LAMBDA_TELEMETRY_LOG_FD", "_X_AMZN_TRACE_ID", "AWS_EXECUTION_ENV"];

/// A function as it is configured.
#[derive(Clone, Debug)]
pub struct Function {
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: String,
    /// The ARN that each invocation names.
    pub arn: String,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// How many events an execution environment may have at once.
    pub concurrency: u16,
    /// How long the runtime may take before its first `/next`. After that the first invocation's own time runs.
    pub init_limit: Duration,
    /// How long the runtime takes at most to end its handler when it is told to.
    pub grace: Duration,
    /// The handler's command as the command line has it, if it does. The runtime finds it in its environment, and is told here
    /// that it was written on the command line.
    pub command: Vec<String>,
    /// The runtime's whole environment, except `AWS_LAMBDA_RUNTIME_API`, which each execution environment sets.
    pub environment: BTreeMap<OsString, OsString>,
}

impl Function {
    /// The function that the command line describes.
    ///
    /// It has this `name`, where one is given. With a `concurrency` over 1 it is a function of Lambda Managed Instances, which are what has that. `inherited` is the
    /// environment of this process, `directory` its working directory, `now` the day of the log stream's name and `stream` the
    /// rest of it.
    ///
    /// # Errors
    /// When no command is named.
    pub fn new(
        options: &FunctionOptions,
        name: Option<&str>,
        concurrency: u16,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        directory: &OsStr,
        now: SystemTime,
        stream: &str,
    ) -> Result<Self, UsageError> {
        let mut environment: BTreeMap<OsString, OsString> = inherited.into_iter().collect();
        for name in NOT_INHERITED {
            environment.remove(OsStr::new(name));
        }
        for variable in &options.env {
            environment.insert(variable.name.clone().into(), variable.value.clone().into());
        }
        for (name, value) in options.settings() {
            environment.insert(name.into(), value.into());
        }
        if let Some(name) = name {
            environment.insert("AWS_LAMBDA_FUNCTION_NAME".into(), name.into());
        }

        if is_unset(&environment, "BOOTSTRAP_COMMAND") && is_unset(&environment, "_HANDLER") {
            return Err(UsageError::new(NO_HANDLER));
        }
        for (name, value) in [
            ("AWS_LAMBDA_FUNCTION_NAME", OsStr::new("function")),
            ("AWS_REGION", OsStr::new("us-east-1")),
            ("LAMBDA_TASK_ROOT", directory),
            ("AWS_LAMBDA_LOG_FORMAT", OsStr::new("Text")),
            ("AWS_LAMBDA_LOG_LEVEL", OsStr::new("INFO")),
        ] {
            if is_unset(&environment, name) {
                environment.insert(name.into(), value.to_owned());
            }
        }
        let name = text(&environment, "AWS_LAMBDA_FUNCTION_NAME");
        let region = text(&environment, "AWS_REGION");
        if is_unset(&environment, "AWS_DEFAULT_REGION") {
            environment.insert("AWS_DEFAULT_REGION".into(), region.clone().into());
        }
        let is_managed = concurrency > 1;
        let initialization_type = if is_managed { "lambda-managed-instances" } else { "on-demand" };
        let day = humantime::format_rfc3339_seconds(now).to_string()[..10].replace('-', "/");
        for (name, value) in [
            ("AWS_LAMBDA_FUNCTION_VERSION", Some("$LATEST".to_owned())),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some(options.memory.to_string())),
            ("AWS_LAMBDA_LOG_GROUP_NAME", Some(format!("/aws/lambda/{name}"))),
            ("AWS_LAMBDA_LOG_STREAM_NAME", Some(format!("{day}/[$LATEST]{stream}"))),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", Some(initialization_type.to_owned())),
            ("AWS_LAMBDA_MAX_CONCURRENCY", is_managed.then(|| concurrency.to_string())),
        ] {
            // What `--env` says is what the user wants to try.
            let Some(value) = value else { continue };
            if !options.env.iter().any(|variable| variable.name == name) {
                environment.insert(name.into(), value.into());
            }
        }

        let grace = text(&environment, "BOOTSTRAP_STOP_GRACE_MS").parse().map_or(DEFAULT_GRACE, Duration::from_millis);
        let timeout = Duration::from_secs(options.timeout.into());
        Ok(Function {
            arn: format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"),
            name,
            timeout,
            concurrency,
            init_limit: if is_managed { MANAGED_INIT_LIMIT.max(timeout) } else { INIT_LIMIT },
            // A value out of range is the runtime's to refuse; it must not make us wait for an hour.
            grace: grace.min(Duration::from_secs(60)),
            command: options.command.clone(),
            environment,
        })
    }

    /// A variable of the runtime's environment; empty where it is unset.
    pub fn variable(&self, name: &str) -> &str {
        self.environment.get(OsStr::new(name)).and_then(|value| value.to_str()).unwrap_or_default()
    }
}

const NO_HANDLER: &str = "no handler to run. Name its command after `--`, as in `-- ./handler --flag`,
or set BOOTSTRAP_COMMAND or _HANDLER.";

fn is_unset(environment: &BTreeMap<OsString, OsString>, name: &str) -> bool {
    environment.get(OsStr::new(name)).is_none_or(|value| value.is_empty())
}

/// A variable's text; empty where it is unset or none.
fn text(environment: &BTreeMap<OsString, OsString>, name: &str) -> String {
    environment.get(OsStr::new(name)).and_then(|value| value.to_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::cli::{Command, parse};

    fn function(arguments: &[&str], inherited: &[(&str, &str)]) -> Function {
        let arguments = ["bootstrap", "invoke"].iter().chain(arguments).map(OsString::from);
        let Command::Invoke(invoke) = parse(arguments).expect("the command line is good") else { panic!("not invoke") };
        let inherited = inherited.iter().map(|(name, value)| (name.into(), value.into()));
        Function::new(&invoke.function, None, invoke.concurrency, inherited, OsStr::new("/here"), UNIX_EPOCH, "0123")
            .expect("a handler is named")
    }

    #[test]
    fn the_runtime_gets_lambdas_variables() {
        let function = function(&["--memory", "512", "--", "a b", "c"], &[("HOME", "/root")]);
        let environment: Vec<String> =
            function.environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        assert_eq!(
            environment,
            [
                "AWS_DEFAULT_REGION=us-east-1",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512",
                "AWS_LAMBDA_FUNCTION_NAME=function",
                "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
                "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
                "AWS_LAMBDA_LOG_FORMAT=Text",
                "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/function",
                "AWS_LAMBDA_LOG_LEVEL=INFO",
                "AWS_LAMBDA_LOG_STREAM_NAME=1970/01/01/[$LATEST]0123",
                "AWS_REGION=us-east-1",
                "BOOTSTRAP_COMMAND='a b' c",
                "HOME=/root",
                "LAMBDA_TASK_ROOT=/here",
            ]
        );
        assert_eq!(function.arn, "arn:aws:lambda:us-east-1:123456789012:function:function");
    }

    #[test]
    fn several_events_at_a_time_are_what_managed_instances_have() {
        let variables = |arguments: &[&str]| {
            let function = function(arguments, &[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]);
            let variable = |name| function.variable(name).to_owned();
            (variable("AWS_LAMBDA_MAX_CONCURRENCY"), variable("AWS_LAMBDA_INITIALIZATION_TYPE"), function.init_limit.as_secs())
        };
        let told = |concurrency: &str, init: &str, limit| (concurrency.to_owned(), init.to_owned(), limit);
        assert_eq!(variables(&["--concurrency", "1", "--", "h"]), told("", "on-demand", 10));
        assert_eq!(variables(&["--concurrency", "2", "--", "h"]), told("2", "lambda-managed-instances", 130));
        let own = ["--concurrency", "2", "--timeout", "900", "--env", "AWS_LAMBDA_MAX_CONCURRENCY=3", "--", "h"];
        assert_eq!(variables(&own), told("3", "lambda-managed-instances", 900));
    }

    #[test]
    fn a_flag_goes_before_env_and_env_before_what_is_inherited() {
        let inherited = [("BOOTSTRAP_MODE", "x"), ("BOOTSTRAP_READY", "x"), ("_HANDLER", "./h"), ("LAMBDA_TASK_ROOT", "/task")];
        let function = function(&["--mode", "jsonl", "--env", "BOOTSTRAP_MODE=y", "--env", "BOOTSTRAP_READY=none"], &inherited);
        for (name, value) in
            [("BOOTSTRAP_MODE", "jsonl"), ("BOOTSTRAP_READY", "none"), ("LAMBDA_TASK_ROOT", "/task"), ("BOOTSTRAP_COMMAND", "")]
        {
            assert_eq!(function.variable(name), value, "{name}");
        }
    }

    #[test]
    fn each_setting_has_a_flag() {
        let flags = [
            ("--mode=oneshot", "BOOTSTRAP_MODE", "oneshot"),
            ("--ready=message", "BOOTSTRAP_READY", "message"),
            ("--init-timeout-ms=1", "BOOTSTRAP_INIT_TIMEOUT_MS", "1"),
            ("--deadline-margin-ms=0", "BOOTSTRAP_DEADLINE_MARGIN_MS", "0"),
            ("--max-restarts=3", "BOOTSTRAP_MAX_RESTARTS", "3"),
            ("--stop-grace-ms=1500", "BOOTSTRAP_STOP_GRACE_MS", "1500"),
            ("--graceful-shutdown", "BOOTSTRAP_GRACEFUL_SHUTDOWN", "true"),
            ("--graceful-shutdown=false", "BOOTSTRAP_GRACEFUL_SHUTDOWN", "false"),
            ("--log-format=json", "AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        for (flag, name, value) in flags {
            assert_eq!(function(&[flag, "--", "h"], &[]).variable(name), value, "{flag}");
        }
        assert_eq!(function(&["--stop-grace-ms=1500", "--", "h"], &[]).grace, Duration::from_millis(1500));
        assert_eq!(function(&["--", "h"], &[("BOOTSTRAP_STOP_GRACE_MS", "nonsense")]).grace, DEFAULT_GRACE);
    }

    #[test]
    fn what_belongs_to_another_environment_is_not_inherited() {
        let inherited = [("AWS_LAMBDA_MAX_CONCURRENCY", "8"), ("_X_AMZN_TRACE_ID", "Root=1"), ("_LAMBDA_TELEMETRY_LOG_FD", "62")];
        let function = function(&["--", "h"], &inherited);
        for (name, _) in inherited {
            assert_eq!(function.variable(name), "", "{name}");
        }
    }
}
