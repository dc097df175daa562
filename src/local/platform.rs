//! The platform's own log lines about an invocation, START, END and REPORT, in Lambda's words: text or JSON.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::answer::Answer;

/// What the platform knows of an invocation that is over.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// From the delivery of the event to the answer.
    pub duration: Duration,
    /// How long the runtime took to start, where this was its first invocation.
    pub init: Option<Duration>,
    /// The memory size of the function, in MB.
    pub memory_size: u64,
    /// The most memory that the environment's processes have had, in bytes, where that can be told.
    pub peak_memory: Option<u64>,
    /// How it ended.
    pub status: Status,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The function has answered.
    Success,
    /// The function has answered with an error, of this type.
    Error(String),
    /// The platform has ended it.
    Timeout,
}

impl Status {
    /// What an answer means.
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Response(_) | Answer::Streamed => Status::Success,
            Answer::Error(document) | Answer::InitError(document) | Answer::PlatformError(document) => {
                match Answer::told(document).error_type {
                    error_type if error_type == "Sandbox.Timedout" => Status::Timeout,
                    error_type => Status::Error(error_type),
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Error(_) => "error",
            Status::Timeout => "timeout",
        }
    }
}

/// Lambda's log formats for these lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `START RequestId: …`
    Text,
    /// `{"type":"platform.start",…}`
    Json,
}

/// What is logged when the init phase has reached its limit, without its last newline.
pub fn init_overran(format: Format, now: SystemTime, limit: Duration) -> String {
    let duration_ms = milliseconds(limit);
    match format {
        Format::Text => format!("INIT_REPORT Init Duration: {duration_ms:.2} ms\tPhase: init\tStatus: timeout\t"),
        Format::Json => line(
            now,
            "platform.initReport",
            &InitRecord {
                initialization_type: "on-demand",
                phase: "init",
                status: "timeout",
                metrics: InitMetrics { duration_ms },
            },
        ),
    }
}

/// What is logged when the function gets an event, without its last newline.
pub fn start(format: Format, now: SystemTime, request_id: &str, version: &str) -> String {
    match format {
        Format::Text => format!("START RequestId: {request_id} Version: {version}"),
        Format::Json => line(now, "platform.start", &StartRecord { request_id, version }),
    }
}

/// What is logged when the invocation is over, without its last newline.
pub fn end(format: Format, now: SystemTime, request_id: &str, conclusion: &Conclusion) -> String {
    // The init phase is billed, and each begun millisecond counts.
    let billed_ms = (conclusion.duration + conclusion.init.unwrap_or_default()).as_micros().div_ceil(1000);
    let duration_ms = milliseconds(conclusion.duration);
    let max_memory_used = conclusion.peak_memory.map(|bytes| bytes.div_ceil(1024 * 1024));
    let error_type = match &conclusion.status {
        Status::Error(error_type) => Some(error_type.as_str()).filter(|error_type| !error_type.is_empty()),
        Status::Success | Status::Timeout => None,
    };
    if format == Format::Json {
        let metrics = Metrics {
            duration_ms,
            billed_duration_ms: billed_ms,
            memory_size_mb: conclusion.memory_size,
            max_memory_used_mb: max_memory_used,
            init_duration_ms: conclusion.init.map(milliseconds),
        };
        return line(now, "platform.report", &ReportRecord { request_id, status: conclusion.status.name(), error_type, metrics });
    }
    let mut text = format!("END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {duration_ms:.2} ms\t");
    let _ = write!(text, "Billed Duration: {billed_ms} ms\tMemory Size: {} MB\t", conclusion.memory_size);
    if let Some(megabytes) = max_memory_used {
        let _ = write!(text, "Max Memory Used: {megabytes} MB\t");
    }
    if let Some(init) = conclusion.init {
        let _ = write!(text, "Init Duration: {:.2} ms\t", milliseconds(init));
    }
    if conclusion.status != Status::Success {
        let _ = write!(text, "Status: {}\t", conclusion.status.name());
    }
    if let Some(error_type) = error_type {
        // It is the function's own, and one line has to stay one line.
        let _ = write!(text, "Error Type: {}\t", error_type.replace(|c: char| c.is_control(), " "));
    }
    text
}

/// In milliseconds, to the hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    r#type: &'static str,
    record: &'a T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitRecord {
    initialization_type: &'static str,
    phase: &'static str,
    status: &'static str,
    metrics: InitMetrics,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitMetrics {
    duration_ms: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartRecord<'a> {
    request_id: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportRecord<'a> {
    request_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Metrics {
    #[serde(rename = "durationMs")]
    duration_ms: f64,
    #[serde(rename = "billedDurationMs")]
    billed_duration_ms: u128,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: u64,
    #[serde(rename = "maxMemoryUsedMB", skip_serializing_if = "Option::is_none")]
    max_memory_used_mb: Option<u64>,
    #[serde(rename = "initDurationMs", skip_serializing_if = "Option::is_none")]
    init_duration_ms: Option<f64>,
}

fn line<T: Serialize>(now: SystemTime, r#type: &'static str, record: &T) -> String {
    let time = humantime::format_rfc3339_millis(now).to_string();
    // Strings and numbers can't fail to serialise.
    serde_json::to_string(&Line { time, r#type, record }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn conclusion(status: Status) -> Conclusion {
        Conclusion {
            duration: Duration::from_micros(12_345),
            init: None,
            memory_size: 128,
            peak_memory: Some(30 * 1024 * 1024 + 1),
            status,
        }
    }

    #[test]
    fn the_lines_are_lambdas() {
        assert_eq!(start(Format::Text, UNIX_EPOCH, "r1", "$LATEST"), "START RequestId: r1 Version: $LATEST");
        let limit = Duration::from_secs(10);
        assert_eq!(
            init_overran(Format::Text, UNIX_EPOCH, limit),
            "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout\t"
        );
        let record: serde_json::Value = serde_json::from_str(&init_overran(Format::Json, UNIX_EPOCH, limit)).unwrap();
        assert_eq!(record["type"], "platform.initReport");
        assert_eq!((&record["record"]["status"], &record["record"]["metrics"]["durationMs"]), (&"timeout".into(), &10000.0.into()));
        let first = Conclusion { init: Some(Duration::from_micros(100_700)), ..conclusion(Status::Success) };
        assert_eq!(
            end(Format::Text, UNIX_EPOCH, "r1", &first),
            "END RequestId: r1\nREPORT RequestId: r1\tDuration: 12.35 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 31 MB\tInit Duration: 100.70 ms\t"
        );
        let unknown = Conclusion { peak_memory: None, ..conclusion(Status::Error("a\nb".to_owned())) };
        assert_eq!(
            end(Format::Text, UNIX_EPOCH, "r1", &unknown),
            "END RequestId: r1\nREPORT RequestId: r1\tDuration: 12.35 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\t\
             Status: error\tError Type: a b\t"
        );
        assert!(end(Format::Text, UNIX_EPOCH, "r1", &conclusion(Status::Timeout)).ends_with("\tStatus: timeout\t"));
    }

    #[test]
    fn the_records_are_lambdas() {
        assert_eq!(
            start(Format::Json, UNIX_EPOCH, "r1", "$LATEST"),
            r#"{"time":"1970-01-01T00:00:00.000Z","type":"platform.start","record":{"requestId":"r1","version":"$LATEST"}}"#
        );
        assert_eq!(
            end(Format::Json, UNIX_EPOCH, "r1", &conclusion(Status::Error("E".to_owned()))),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","type":"platform.report","record":{"requestId":"r1","status":"error","#,
                r#""errorType":"E","metrics":{"durationMs":12.35,"billedDurationMs":13,"memorySizeMB":128,"maxMemoryUsedMB":31}}}"#
            )
        );
    }

    #[test]
    fn a_timeout_of_the_platforms_is_no_error_of_the_functions() {
        assert_eq!(Status::of(&Answer::platform_error("Sandbox.Timedout", "")), Status::Timeout);
        assert_eq!(Status::of(&Answer::platform_error("Runtime.ExitError", "")), Status::Error("Runtime.ExitError".to_owned()));
        assert_eq!(Status::of(&Answer::Streamed), Status::Success);
    }
}
