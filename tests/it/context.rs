use serde_json::{Value, json};

use super::support::{Event, Run, Setup};

/// The context that the handler got with its message number `number`.
#[track_caller]
fn context_of(run: &Run, number: usize, event: Event) -> Value {
    run.invoke(event);
    let line = run.wait_file(&format!("message.{number}"));
    let message: Value = serde_json::from_slice(&line).unwrap();
    message["context"].clone()
}

#[test]
fn the_context_holds_what_headers_and_environment_say() {
    let run = Setup::of("saves_messages.py")
        .env("AWS_LAMBDA_FUNCTION_NAME", "my-function")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/my-function")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/24/[$LATEST]abc")
        .start();
    let event = Event::new("1")
        .deadline("1542409706888")
        .header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:f:live")
        .header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
        .header("Lambda-Runtime-Client-Context", r#"{"client":{"app_title":"t"},"n":1.10}"#)
        .header("Lambda-Runtime-Cognito-Identity", r#"{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}"#)
        .header("Lambda-Runtime-Aws-Tenant-Id", "tenant \"7\"")
        .invocation_id("not for the handler");
    assert_eq!(
        context_of(&run, 0, event),
        json!({
            "deadlineMs": 1542409706888_u64,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f:live",
            "traceId": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
            "traceparent": "00-5bef4de7ad49b0e87f6ef6c87fc2e700-9a9197af755a6419-01",
            "tenantId": "tenant \"7\"",
            "clientContext": { "client": { "app_title": "t" }, "n": 1.10 },
            "identity": { "cognitoIdentityId": "i", "cognitoIdentityPoolId": "p" },
            "functionName": "my-function",
            "functionVersion": "$LATEST",
            "memoryLimitInMB": "128",
            "logGroupName": "/aws/lambda/my-function",
            "logStreamName": "2026/11/24/[$LATEST]abc",
        })
    );
    // Spliced, not re-serialised.
    assert!(
        String::from_utf8(run.wait_file("message.0")).unwrap().contains(r#""clientContext":{"client":{"app_title":"t"},"n":1.10}"#)
    );
    // What one event had the next one has not.
    assert_eq!(context_of(&run, 1, Event::new("1").no_deadline()).get("tenantId"), None);
}

#[test]
fn unknown_members_are_absent() {
    let run = Run::of("saves_messages.py");
    assert_eq!(context_of(&run, 0, Event::new("1").no_deadline()), json!({}));
}

#[test]
fn an_empty_header_is_a_missing_one() {
    let run = Run::of("saves_messages.py");
    let mut event = Event::new("1").deadline("");
    for name in [
        "Lambda-Runtime-Invoked-Function-Arn",
        "Lambda-Runtime-Trace-Id",
        "Lambda-Runtime-Client-Context",
        "Lambda-Runtime-Cognito-Identity",
        "Lambda-Runtime-Aws-Tenant-Id",
    ] {
        event = event.header(name, "");
    }
    // An empty invocation id is none either: the report has no such header, which the Runtime API here checks.
    event = event.header("Lambda-Runtime-Invocation-Id", "");
    assert_eq!(context_of(&run, 0, event), json!({}));
    assert_eq!(run.log(), "", "nothing to say about it");
}

#[test]
fn traceparent_is_made_of_a_well_formed_root_and_parent() {
    const ROOT: &str = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700";
    const PARENT: &str = "Parent=9a9197af755a6419";
    const MADE: &str = "00-5bef4de7ad49b0e87f6ef6c87fc2e700-9a9197af755a6419-0";
    let run = Run::of("saves_messages.py");
    let cases: &[(String, Option<&str>)] = &[
        (format!("{ROOT};{PARENT};Sampled=1"), Some("1")),
        (format!("{ROOT};{PARENT};Sampled=0"), Some("0")),
        (format!("{ROOT};{PARENT}"), Some("0")),
        (format!("{ROOT};{PARENT};Sampled=?"), Some("0")),
        (format!("{ROOT};{PARENT};Sampled="), Some("0")),
        (format!("{ROOT};{PARENT};Sampled=11"), Some("0")),
        (format!("Sampled=1;{PARENT};{ROOT}"), Some("1")),
        (format!("{ROOT};{PARENT};Sampled=1;Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2"), Some("1")),
        (format!("Self=1-67891234-12456789abcdef012345678;{ROOT};{PARENT};Sampled=1"), Some("1")),
        (format!("{ROOT};Sampled=1"), None),
        (format!("{PARENT};Sampled=1"), None),
        (ROOT.to_owned(), None),
        (format!("{ROOT}0;{PARENT};Sampled=1"), None),
        (format!("{};{PARENT};Sampled=1", &ROOT[..ROOT.len() - 1]), None),
        (format!("{ROOT};{PARENT}0;Sampled=1"), None),
        (format!("{ROOT};Parent=9a9197af755a641;Sampled=1"), None),
        (format!("{ROOT};Parent=;Sampled=1"), None),
        (format!("{ROOT};Parent=9a9197af755a641g;Sampled=1"), None),
        (format!("Root=2-5bef4de7-ad49b0e87f6ef6c87fc2e700;{PARENT};Sampled=1"), None),
        (format!("Root=1-5bef4de7ad49-b0e87f6ef6c87fc2e700;{PARENT};Sampled=1"), None),
        (format!("Root=1-5bef4de7ad49b0e87f6ef6c87fc2e700;{PARENT};Sampled=1"), None),
        (format!("Root=1-5bef4de+-ad49b0e87f6ef6c87fc2e700;{PARENT};Sampled=1"), None),
        ("Root".to_owned(), None),
        (";;;=;=1".to_owned(), None),
        ("1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned(), None),
    ];
    for (number, (header, flag)) in cases.iter().enumerate() {
        let context = context_of(&run, number, Event::new("1").no_deadline().header("Lambda-Runtime-Trace-Id", header.as_str()));
        let expected = match flag {
            Some(flag) => json!({ "traceId": header, "traceparent": format!("{MADE}{flag}") }),
            None => json!({ "traceId": header }),
        };
        assert_eq!(context, expected, "for {header}");
    }
}

#[test]
fn client_context_and_identity_that_are_not_json_are_strings() {
    let run = Run::of("saves_messages.py");
    for (number, header) in
        ["not json", "{", "{\"a\":1},\"event\":2", "{\"a\":1}}", "{} {}", "[1,]x", "\"open", "a\\\"b"].iter().enumerate()
    {
        let event = Event::new("1").no_deadline();
        let event = event.header("Lambda-Runtime-Client-Context", *header).header("Lambda-Runtime-Cognito-Identity", *header);
        assert_eq!(context_of(&run, number, event), json!({ "clientContext": header, "identity": header }));
    }
}

#[test]
fn a_client_context_may_hold_any_unicode() {
    let run = Run::of("saves_messages.py");
    let event = Event::new("1").no_deadline().header("Lambda-Runtime-Client-Context", "{\"custom\":{\"k\":\"é漢🦀\"}}");
    assert_eq!(context_of(&run, 0, event), json!({ "clientContext": { "custom": { "k": "é漢🦀" } } }));
}

#[test]
fn a_malformed_header_is_logged_and_missing() {
    let run = Run::of("saves_messages.py");
    let mut number = 0;
    for deadline in ["soon", "99999999999999999999999999", "1e3", "12 34", "0x10", "-"] {
        let context = context_of(&run, number, Event::new("1").deadline(deadline));
        assert_eq!(context, json!({}), "for the deadline {deadline}");
        let log = run.log().to_lowercase();
        assert!(log.contains("lambda-runtime-deadline-ms"), "the header is named in {log}");
        number += 1;
    }
    for name in [
        "Lambda-Runtime-Trace-Id",
        "Lambda-Runtime-Aws-Tenant-Id",
        "Lambda-Runtime-Invoked-Function-Arn",
        "Lambda-Runtime-Client-Context",
    ] {
        // Not UTF-8.
        let context = context_of(&run, number, Event::new("1").no_deadline().header(name, b"a\xff\xfeb".as_slice()));
        assert_eq!(context, json!({}), "for {name}");
        let log = run.log().to_lowercase();
        assert!(log.contains(&name.to_lowercase()), "{name} is named in {log}");
        number += 1;
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_past_deadline_is_in_the_context_as_it_is() {
    let run = Run::of("saves_messages.py");
    // The constant that cargo-lambda sends, and a real one of long ago.
    assert_eq!(context_of(&run, 0, Event::new("1").deadline("600000")), json!({ "deadlineMs": 600000 }));
    assert_eq!(context_of(&run, 1, Event::new("1").deadline("1542409706888")), json!({ "deadlineMs": 1542409706888_u64 }));
}

#[test]
fn the_environment_cannot_break_the_message() {
    let run = Setup::of("saves_messages.py")
        .env("AWS_LAMBDA_FUNCTION_NAME", "a\"},\"event\":1}\n\r\t\\ é")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "not a number")
        .start();
    let context = context_of(&run, 0, Event::new("1").no_deadline());
    assert_eq!(context, json!({ "functionName": "a\"},\"event\":1}\n\r\t\\ é", "memoryLimitInMB": "not a number" }));
}
