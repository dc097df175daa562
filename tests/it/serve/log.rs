//! What is logged: the platform's lines, the handler's between them, and the end of both for the caller.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::served::told;
use crate::it::support::{Call, Reply};

fn tail(reply: &Reply) -> String {
    String::from_utf8(BASE64.decode(reply.header("x-amz-log-result").unwrap()).unwrap()).unwrap()
}

fn wants_log(event: &str) -> Call {
    Call::invoke("function", event).header("X-Amz-Log-Type", "Tail")
}

#[test]
fn the_log_of_an_invocation_stands_between_its_start_and_its_end() {
    let served = told(["--memory", "256"]);
    let reply = served.call(&wants_log(r#"[{"err":"first\n"},{"out":"second\n"},{"response":1}]"#));
    let id = reply.header("x-amzn-requestid").unwrap();
    let log = tail(&reply);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {id} Version: $LATEST"), "{log}");
    let mut handlers = lines[1..3].to_vec();
    handlers.sort_unstable();
    assert_eq!(handlers, ["first", "second"], "{log}");
    assert_eq!(lines[3], format!("END RequestId: {id}"), "{log}");
    let report: Vec<&str> = lines[4].split('\t').collect();
    assert_eq!(report[0], format!("REPORT RequestId: {id}"), "{log}");
    let number = |n: usize, name: &str, unit: &str| -> f64 {
        report[n].strip_prefix(name).unwrap_or_else(|| panic!("{n}: {log}")).strip_suffix(unit).unwrap().parse().unwrap()
    };
    let (duration, billed, init) =
        (number(1, "Duration: ", " ms"), number(2, "Billed Duration: ", " ms"), number(5, "Init Duration: ", " ms"));
    assert_eq!(number(3, "Memory Size: ", " MB"), 256.0);
    // The runtime alone has a megabyte, and the handler is Python.
    assert!(number(4, "Max Memory Used: ", " MB") > 5.0, "{log}");
    assert!(duration > 0.0 && init > 0.0 && billed >= duration && billed + 0.01 >= duration + init, "{log}");
    // Nothing of it is another invocation's, and the runtime starts once.
    let reply = served.call(&wants_log(r#"[{"response":1}]"#));
    let log = tail(&reply);
    assert!(log.starts_with("START ") && log.lines().count() == 3 && !log.contains("Init Duration"), "{log}");
    let ended = served.end();
    assert!(ended.stderr.contains(&log), "{}", ended.story());
}

#[test]
fn a_caller_gets_the_last_four_kilobytes() {
    let served = told([]);
    let reply = served.call(&wants_log(r#"[{"errMany":["0123456789abcde\n",1000]},{"response":1}]"#));
    let log = tail(&reply);
    assert_eq!(log.len(), 4096, "{log}");
    assert!(log.contains("0123456789abcde\nEND RequestId: "), "{log}");
    served.end();
}

#[test]
fn an_error_is_in_the_report() {
    let served = told([]);
    let log = tail(&served.call(&wants_log(r#"[{"error":{"errorType":"NotFound","errorMessage":""}}]"#)));
    assert!(log.ends_with("\tStatus: error\tError Type: NotFound\t\n"), "{log}");
    served.end();
}

#[test]
fn in_json_the_platform_speaks_json_too() {
    let served = told(["--log-format", "json"]);
    let reply = served.call(&wants_log(r#"[{"err":"plain\n"},{"response":1}]"#));
    let id = reply.header("x-amzn-requestid").unwrap();
    let log = tail(&reply);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["record"]["requestId"]), (&"platform.start".into(), &id.into()), "{log}");
    assert_eq!((&lines[1]["message"], &lines[1]["requestId"]), (&"plain".into(), &id.into()), "{log}");
    let record = &lines[2]["record"];
    assert_eq!((&lines[2]["type"], &record["status"]), (&"platform.report".into(), &"success".into()), "{log}");
    for metric in ["durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"] {
        assert!(record["metrics"][metric].is_number(), "{metric}: {log}");
    }
    served.end();
}
