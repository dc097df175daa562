use serde_json::{Value, json};

use super::support::{Event, Run, Setup};

const SECRET: &str = "a-secret-of-the-environment";

#[track_caller]
fn tells_no_secret(run: &Run) {
    assert!(!run.log().contains(SECRET), "in the log");
    for request in run.api().requests() {
        assert!(!request.to_string().contains(SECRET), "in a request");
    }
}

fn with_secret(setup: Setup) -> Setup {
    setup.env("DATABASE_PASSWORD", SECRET).env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_LAMBDA_LOG_LEVEL", "TRACE")
}

#[test]
fn no_fault_tells_a_secret_of_the_environment() {
    let run = with_secret(Setup::told()).start();
    for steps in [
        json!([{ "response": 1 }, { "exit": 0 }]),
        json!([{ "exit": 3 }]),
        json!([{ "signal": 11 }]),
        json!([{ "out": "{\"id\":\"@ID@\",\"response\":}\n" }]),
        json!([{ "close": 1 }, { "close": 3 }, { "hang": true }]),
        json!([{ "error": "no" }]),
        json!([{ "stream": {} }, { "chunk": 1 }]),
    ] {
        let before = run.api().report_count();
        run.push(steps);
        run.report(before);
    }
    run.invoke(Event::new("[{\"hang\":true}]").deadline_in(400));
    tells_no_secret(&run);
}

#[test]
fn no_init_error_tells_a_secret_of_the_environment() {
    for setup in [
        Setup::new(),
        Setup::new().env("_HANDLER", "not-there"),
        Setup::new().env("_HANDLER", "/etc/passwd"),
        Setup::new().env("_HANDLER", "cat").env("BOOTSTRAP_MODE", "json"),
        Setup::new().env("_HANDLER", "not-there").env("BOOTSTRAP_MODUS", SECRET),
        Setup::new().env("BOOTSTRAP_COMMAND", "sh -c 'exit 3'"),
    ] {
        let mut run = with_secret(setup).start();
        run.init_error();
        tells_no_secret(&run);
    }
}

#[test]
fn a_line_of_bootstraps_own_that_quotes_the_handler_stays_one_line() {
    let forged = "x\\n[ERROR] bootstrap: RequestId: another\\r\\u001b[2K\\u2028";
    let run = Run::told();
    run.invoke(
        json!([{ "out": format!("{{\"id\":\"@ID@\",\"error\":{{\"errorType\":\"{forged}\",\"errorMessage\":\"{forged}\"}}}}\n") }]),
    );
    let log = run.wait_log("[ERROR] bootstrap: RequestId: ");
    assert_eq!(log.lines().filter(|line| line.starts_with("[ERROR] bootstrap")).count(), 1, "{log:?}");
    assert!(!log.contains(['\r', '\u{1b}', '\u{2028}']), "{log:?}");
}

#[test]
fn in_json_a_line_that_poses_as_another_is_the_message_of_one_record() {
    let run = Setup::told().env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    let posing = "REPORT RequestId: another\tDuration: 1.00 ms\u{1b}[2K\r\u{0}\u{7f}\u{85}\u{9b}2K\u{2028}\u{2029}";
    let id = run.push(json!([{ "err": format!("{posing}\n") }, { "response": 1 }]));
    run.report_of(&id);
    let log = run.log();
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let record = records.iter().find(|record| record["message"].as_str().is_some_and(|m| m.starts_with("REPORT"))).unwrap();
    assert_eq!((record["requestId"].as_str(), record["level"].as_str()), (Some(id.as_str()), Some("INFO")));
    let raw = |character: char| character != '\n' && (character.is_control() || ['\u{2028}', '\u{2029}'].contains(&character));
    assert!(!log.contains(raw), "{log:?}");
    assert_eq!(record["message"], posing, "and nothing of it is lost");
}
