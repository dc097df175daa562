//! `InvokeWithResponseStream`: the frames that SDKs read, as the response comes.

use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes};
use serde_json::{Value, json};

use super::served::told;
use crate::it::support::{Call, Reply};

fn stream(name: &str, event: &str) -> Call {
    Call::new("POST", &format!("/2021-11-15/functions/{name}/response-streaming-invocations")).body(event)
}

/// The payload that came, and the last frame.
#[track_caller]
fn read(reply: &Reply) -> (String, Value) {
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(reply.header("content-type"), Some("application/vnd.amazon.eventstream"), "{reply}");
    let (mut frames, mut payload) = (Bytes::from(reply.body.clone()), Vec::new());
    loop {
        let message = read_message_from(&mut frames).unwrap();
        let event = message.headers().iter().find(|header| header.name().as_str() == ":event-type").unwrap();
        match event.value().as_string().unwrap().as_str() {
            "PayloadChunk" => payload.extend_from_slice(message.payload()),
            "InvokeComplete" => {
                assert!(!frames.has_remaining(), "{reply}");
                return (String::from_utf8(payload).unwrap(), serde_json::from_slice(message.payload()).unwrap());
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_stream_comes_as_it_is_written() {
    let served = told([]);
    let steps = r#"[{"stream":{"contentType":"text/plain"}},{"chunk":"first"},{"await":"go"},{"chunk":"second"},{"end":true}]"#;
    let mut coming = served.begin(&stream("function", steps)).coming();
    assert_eq!(coming.reply.header("x-amz-executed-version"), Some("$LATEST"));
    coming.until("first");
    served.running.touch("go");
    let reply = coming.end().unwrap();
    assert_eq!(read(&reply), ("firstsecond".to_owned(), json!({})));
    served.end();
}

#[test]
fn a_whole_response_is_a_stream_too_and_the_log_comes_last() {
    let served = told([]);
    let call = stream("arn:aws:lambda:eu-west-1:123456789012:function:function", r#"[{"response":1.10}]"#);
    let (payload, complete) = read(&served.call(&call.header("X-Amz-Log-Type", "Tail")));
    assert_eq!(payload, "1.1");
    let log = BASE64.decode(complete["LogResult"].as_str().unwrap()).unwrap();
    assert!(log.starts_with(b"START RequestId: "), "{complete}");
    served.end();
}

#[test]
fn an_error_is_in_the_last_frame_whatever_came_before() {
    let served = told([]);
    let error = r#"{"error":{"errorType":"Broken","errorMessage":"in the middle"}}"#;
    let details = r#"{"errorType": "Broken", "errorMessage": "in the middle"}"#;
    for (steps, came) in [(format!(r#"[{{"stream":{{}}}},{{"chunk":"first"}},{error}]"#), "first"), (format!("[{error}]"), "")] {
        let (payload, complete) = read(&served.call(&stream("function", &steps)));
        assert_eq!((payload.as_str(), &complete["ErrorCode"]), (came, &json!("Broken")), "{complete}");
        let told: Value = serde_json::from_str(complete["ErrorDetails"].as_str().unwrap()).unwrap();
        assert_eq!(told, serde_json::from_str::<Value>(details).unwrap());
    }
    served.end();
}

#[test]
fn what_can_not_be_run_is_refused_before_any_frame() {
    let served = told([]);
    served.call(&stream("prices", "[]")).exception(404, "ResourceNotFoundException");
    served.call(&stream("function", "{")).exception(400, "InvalidRequestContentException");
    let event = stream("function", "[]").header("X-Amz-Invocation-Type", "Event");
    served.call(&event).exception(400, "ValidationException");
    served.call(&stream("function", "[]").header("X-Amz-Invocation-Type", "DryRun")).is(204, "");
    assert!(!served.end().stderr.contains("START"));
}

#[test]
fn a_client_that_goes_away_in_the_middle_ends_nothing() {
    let served = told([]);
    let steps = r#"[{"stream":{}},{"chunk":"first"},{"await":"go"},{"chunk":"second"},{"end":true},{"touch":"done"}]"#;
    let mut coming = served.begin(&stream("function", steps)).coming();
    coming.until("first");
    drop(coming);
    served.running.touch("go");
    served.running.wait_file("done");
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    served.end();
}
