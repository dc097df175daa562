//! `bootstrap serve`, called by AWS's own clients and curl.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Example, Served, client, output};
use crate::it_support::fixture;

#[test]
fn the_aws_cli_invokes_and_gets_the_log() {
    let served = Served::of(Example::Hello.command(), "orders");
    let invoke = |arguments: &[&str]| -> Value {
        let mut command = client("aws", served.dir());
        command.args(["lambda", "invoke", "--region", "us-east-1", "--endpoint-url", &served.endpoint()]);
        let written = output(command.args(arguments).arg("out.json"), b"");
        serde_json::from_slice(&written).unwrap_or_default()
    };
    let said = invoke(&["--function-name", "orders", "--payload", r#"{"a":1.10}"#, "--log-type", "Tail"]);
    assert_eq!((&said["StatusCode"], &said["ExecutedVersion"]), (&json!(200), &json!("$LATEST")), "{said}");
    assert!(said["LogResult"].as_str().unwrap().starts_with("U1RBUlQg"), "{said}");
    assert_eq!(std::fs::read_to_string(served.dir().join("out.json")).unwrap(), r#"{"hello":{"a":1.10}}"#);
    let said = invoke(&["--function-name", "orders", "--invocation-type", "Event"]);
    assert_eq!(said["StatusCode"], 202, "{said}");
    let said = invoke(&["--function-name", "arn:aws:lambda:eu-west-1:999999999999:function:orders:live"]);
    assert_eq!(said["StatusCode"], 200, "{said}");
    assert_eq!(std::fs::read_to_string(served.dir().join("out.json")).unwrap(), r#"{"hello":{}}"#);
    served.end();
}

#[test]
fn boto3_knows_each_answer_and_each_exception() {
    let served = Served::of(Example::Hello.command(), "orders");
    let mut command = client("python", served.dir());
    command.arg(fixture("clients/boto3_serve.py")).arg(served.endpoint()).arg("orders");
    let came: Value = serde_json::from_slice(&output(&mut command, b"")).unwrap();
    let answered = &came["answered"];
    assert_eq!((&answered["StatusCode"], &answered["payload"]), (&json!(200), &json!(r#"{"hello":{"a":1.10}}"#)), "{came}");
    assert!(answered["log"].as_str().unwrap().contains("\nREPORT RequestId: "), "{came}");
    // This handler has no JSON parser, and says so where there is a context of the caller's.
    assert!(came["with_context"]["payload"].as_str().unwrap().contains("NeedsParser"), "{came}");
    assert_eq!(came["empty"]["payload"], r#"{"hello":{}}"#, "{came}");
    let streamed = &came["streamed"];
    assert_eq!((&streamed["StatusCode"], &streamed["chunks"]), (&json!(200), &json!([r#"{"hello":{"a":1.10}}"#])), "{came}");
    assert!(streamed["complete"]["LogResult"].as_str().unwrap().starts_with("U1RBUlQg"), "{came}");
    assert_eq!(came["queued"], json!({"StatusCode": 202, "payload": ""}));
    assert_eq!(came["dry"], json!({"StatusCode": 204, "payload": ""}));
    for (call, exception) in [
        ("unknown", "ResourceNotFoundException"),
        ("no_json", "InvalidRequestContentException"),
        ("too_large", "RequestTooLargeException"),
    ] {
        assert_eq!((&came[call]["exception"], &came[call]["code"]), (&json!(exception), &json!(exception)), "{came}");
        assert!(!came[call]["message"].as_str().unwrap().is_empty(), "{came}");
    }
    served.end();
}

#[test]
fn boto3_knows_a_function_error() {
    let served = Served::of("./nowhere", "function");
    let mut command = client("python", served.dir());
    command.arg(fixture("clients/boto3_serve.py")).arg(served.endpoint()).arg("function");
    let came: Value = serde_json::from_slice(&output(&mut command, b"")).unwrap();
    assert_eq!(came["answered"]["FunctionError"], "Unhandled", "{came}");
    assert!(came["answered"]["payload"].as_str().unwrap().contains("Runtime.HandlerNotFound"), "{came}");
    assert_eq!(came["streamed"]["complete"]["ErrorCode"], "Runtime.HandlerNotFound", "{came}");
    served.end();
}

#[test]
fn curl_shows_the_page_of_the_streaming_example() {
    let served = Served::of(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python-stream/page.py"), "function");
    let mut curl = Command::new("curl");
    let answer =
        output(curl.args(["--silent", "--show-error", "--fail", "--include", &format!("{}/?n=12,91", served.endpoint())]), b"");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/html"), "{answer}");
    assert!(body.contains("91") && !body.contains('\0') && body.ends_with("\n"), "{answer}");
    served.end();
}

#[test]
fn curl_invokes_and_moves_six_megabytes() {
    let served = Served::of(Example::Hello.command(), "function");
    let url = format!("{}/2015-03-31/functions/function/invocations", served.endpoint());
    let event = format!("\"{}\"", "x".repeat((6 << 20) - 12));
    let mut curl = Command::new("curl");
    let answer = output(curl.args(["--silent", "--show-error", "--fail", "--data-binary", "@-", &url]), event.as_bytes());
    assert!(answer == format!("{{\"hello\":{event}}}").as_bytes(), "{} bytes", answer.len());
    served.end();
}
