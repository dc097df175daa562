//! What must hold after a script, whatever was in it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::super::support::{Kind, Report, Run};
use super::script::{Act, Expected, Queued, Script, Shape, token};

/// Everything that is wrong with a run in which each event of the script has been reported. So many processes had started before it.
pub(super) fn judge(script: &Script, queued: &[Queued], run: &Run, started_before: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut reports: HashMap<(String, Option<String>), Report> = HashMap::new();
    for report in run.api().reports() {
        // A second attempt says the same, which the referee has seen to.
        reports.entry((report.id.clone(), report.invocation_id.clone())).or_insert(report);
    }
    if reports.len() != queued.len() {
        wrong.push(format!("{} reports on {} events", reports.len(), queued.len()));
    }
    for event in queued {
        let Some(report) = reports.get(&(event.id.clone(), event.invocation_id.clone())) else {
            wrong.push(format!("no report on event {}", event.turn));
            continue;
        };
        let complaints = [outcome(script, event, report), others(script, event, report), logged_before(script, event, report, run)];
        wrong.extend(
            complaints.into_iter().filter_map(Result::err).map(|e| format!("event {}: {e}: {}", event.turn, report.request)),
        );
    }
    if script.json_log {
        wrong.extend(records(script, queued, &reports, run));
    }
    let started = run.starts().len() - started_before;
    if started > script.most_starts() {
        wrong.push(format!("{started} processes were started, {} at most were needed", script.most_starts()));
    }
    wrong
}

fn trailer_document(report: &Report) -> Option<Value> {
    let body = report.request.trailer("lambda-runtime-function-error-body")?;
    serde_json::from_slice(&BASE64_STANDARD.decode(body).ok()?).ok()
}

/// The error that a report ends in.
fn error_of(report: &Report) -> Option<Value> {
    if report.kind == Kind::Error { serde_json::from_slice(&report.request.body).ok() } else { trailer_document(report) }
}

/// The report says what the handler's doing comes to.
fn outcome(script: &Script, event: &Queued, report: &Report) -> Result<(), String> {
    let body = String::from_utf8_lossy(&report.request.body);
    let error = error_of(report);
    let error_type = error.as_ref().and_then(|document| document["errorType"].as_str());
    let innocent = error_type.is_some_and(|found| script.innocent_errors().contains(&found));
    let is_stream = report.request.header("transfer-encoding").is_some();
    let right = match &event.expected {
        Expected::Response(expected) => report.kind == Kind::Response && !is_stream && *expected == body,
        Expected::Error(kind, message) => {
            let said = error.as_ref().and_then(|document| document["errorMessage"].as_str());
            report.kind == Kind::Error
                && error_type == Some(*kind)
                && message.as_deref().is_none_or(|message| said == Some(message))
        }
        Expected::Stream(expected, end) => is_stream && *expected == body && error_type == *end,
    };
    let cut_short = match &event.expected {
        Expected::Stream(expected, _) if is_stream => expected.starts_with(&*body),
        _ => report.kind == Kind::Error,
    };
    if right || (innocent && cut_short) { Ok(()) } else { Err(format!("{:?} was expected", event.expected)) }
}

/// Nothing of another event's is in the report.
fn others(script: &Script, event: &Queued, report: &Report) -> Result<(), String> {
    let trailers = trailer_document(report).map(|document| document.to_string()).unwrap_or_default();
    let headers: String = report.request.headers.iter().map(|(_, value)| value.as_str()).collect();
    let said = format!("{}{trailers}{headers}", String::from_utf8_lossy(&report.request.body));
    // What several events in one process have logged can't be told apart, and the last lines stand in an error's stackTrace.
    let shared = script.shape == Shape::AtOnce && error_of(report).is_some();
    let found = (0..script.turns.len()).find(|n| *n != event.turn && !shared && said.contains(&token(*n)));
    found.map_or(Ok(()), |n| Err(format!("something of event {n} is in it")))
}

/// What the handler has logged before its reply or its end was out when the report came.
fn logged_before(script: &Script, event: &Queued, report: &Report, run: &Run) -> Result<(), String> {
    // One that was killed may not have come to it, nor one that hangs by its deadline, which is short.
    // Where others flood the same stderr, its report does not wait for all of that.
    if !script.innocent_errors().is_empty() || script.turns[event.turn].act == Act::Hang {
        return Ok(());
    }
    let log = run.log_before_head(report);
    let found = log.matches(&format!("noise {}", token(event.turn))).count();
    let expected = script.turns[event.turn].lines_of_noise();
    if found < expected { Err(format!("{found} of {expected} log lines were out before the report")) } else { Ok(()) }
}

/// Each line of the log is a record, under the right request id, and each error is in one.
fn records(script: &Script, queued: &[Queued], reports: &HashMap<(String, Option<String>), Report>, run: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut errors: HashMap<String, usize> = HashMap::new();
    for line in run.log().lines() {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            wrong.push(format!("no record: {line}"));
            continue;
        };
        let id = record["requestId"].as_str();
        if record["level"] == "ERROR" && record["errorType"].is_string() {
            *errors.entry(id.unwrap_or_default().to_owned()).or_default() += 1;
        }
        let message = record["message"].as_str().unwrap_or_default();
        let Some(event) = queued.iter().find(|event| message.starts_with(&format!("noise {}", token(event.turn)))) else {
            continue;
        };
        let unnamed = id.is_none() && script.shape == Shape::AtOnce;
        if !unnamed && id != Some(event.id.as_str()) {
            wrong.push(format!("a log line of event {} is under the request id {id:?}", event.turn));
        }
    }
    for event in queued {
        let failed = reports.values().filter(|report| report.id == event.id && error_of(report).is_some()).count();
        let found = errors.get(&event.id).copied().unwrap_or_default();
        if failed != found {
            wrong.push(format!("event {}: {found} ERROR lines for {failed} errors", event.turn));
        }
    }
    wrong
}
