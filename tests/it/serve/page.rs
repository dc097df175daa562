//! The function URL: requests as events, answers as HTTP.

use serde_json::Value;

use super::served::{Served, listen, serve};
use crate::it::support::{Call, Reply, handler};

fn served() -> Served {
    listen(serve([]).handler(handler("does_as_its_body_tells.py")))
}

/// A request whose body has these steps.
fn page(steps: &str) -> Call {
    Call::new("POST", "/some/page").header("Content-Type", "application/json").body(steps)
}

/// What the handler gets.
fn event(served: &Served, call: &Call) -> (Reply, Value) {
    let reply = served.call(call);
    assert_eq!(reply.status, 200, "{reply}");
    let event = reply.json();
    (reply, event)
}

#[test]
fn a_request_is_an_event_of_format_2() {
    let served = served();
    let call = Call::new("GET", "/a%20b/c?x=1&x=2&y=%2F")
        .header("Cookie", "a=1; b=2")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1")
        .header("X-Amzn-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700");
    let (reply, event) = event(&served, &call);
    assert_eq!((&event["version"], &event["rawPath"]), (&"2.0".into(), &"/a%20b/c".into()), "{event}");
    assert_eq!(event["rawQueryString"], "x=1&x=2&y=%2F");
    assert_eq!(event["queryStringParameters"], serde_json::json!({"x": "1,2", "y": "/"}));
    assert_eq!(event["cookies"], serde_json::json!(["a=1", "b=2"]));
    assert_eq!(event["headers"]["x-amzn-trace-id"], "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "{event}");
    for name in ["connection", "x-hop"] {
        assert_eq!(event["headers"].get(name), None, "it is between the client and the server: {event}");
    }
    let context = &event["requestContext"];
    assert_eq!((&context["http"]["method"], &context["http"]["sourceIp"]), (&"GET".into(), &"127.0.0.1".into()), "{event}");
    assert_eq!(context["requestId"], reply.header("x-amzn-requestid").unwrap(), "{event}");
    assert_eq!(reply.header("x-amzn-trace-id"), Some("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"));
    served.end();
}

#[test]
fn a_response_is_an_http_answer() {
    let served = served();
    let response = r#"{"statusCode":201,"headers":{"content-type":"text/plain","x-own":"1"},"cookies":["a=1"],"body":"Zoë"}"#;
    let reply = served.call(&page(&format!("[{{\"response\":{response}}}]")));
    reply.is(201, "Zoë");
    assert_eq!((reply.header("content-type"), reply.header("x-own")), (Some("text/plain"), Some("1")), "{reply}");
    assert_eq!(reply.header("set-cookie"), Some("a=1"), "{reply}");
    let reply = served.call(&page(r#"[{"response":{"a":1}}]"#));
    reply.is(200, r#"{"a": 1}"#);
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply}");
    served.end();
}

#[test]
fn a_page_is_shown_as_it_comes() {
    let served = served();
    let steps = r#"[{"stream":{"statusCode":203,"contentType":"text/html","headers":{"x-own":"1"}}},{"chunk":"<p>first"},
                    {"await":"go"},{"chunk":"<p>second"},{"end":true}]"#;
    let mut coming = served.begin(&page(steps)).coming();
    assert_eq!((coming.reply.status, coming.reply.header("x-own")), (203, Some("1")), "{}", coming.reply);
    assert_eq!(coming.reply.header("content-type"), Some("text/html"));
    coming.until("<p>first");
    served.running.touch("go");
    coming.end().unwrap().is(203, "<p>first<p>second");
    // Without a prelude the content type is all of the head.
    let reply = served.call(&page(r#"[{"stream":{"contentType":"text/plain"}},{"chunk":"plain"},{"end":true}]"#));
    reply.is(200, "plain");
    assert_eq!(reply.header("content-type"), Some("text/plain"), "{reply}");
    served.end();
}

#[test]
fn an_error_in_the_middle_cuts_the_connection() {
    let served = served();
    let mut coming = served.begin(&page(r#"[{"stream":{"statusCode":200}},{"chunk":"first"},{"error":"no more"}]"#)).coming();
    coming.until("first");
    assert!(coming.end().is_none(), "it ended as if it were whole");
    served.end();
}

#[test]
fn what_is_no_answer_is_a_bad_gateway_and_the_log_says_why() {
    let served = served();
    let bad =
        |steps: &str| served.call(&page(steps)).is(502, "Internal Server Error").header("x-amzn-requestid").map(str::to_owned);
    bad(r#"[{"error":"no such order"}]"#);
    bad(r#"[{"exit":1}]"#);
    let id = bad(r#"[{"response":{"statusCode":"many"}}]"#).unwrap();
    served.wait_stderr(&format!("bootstrap: request {id}: the response is no HTTP answer: "));
    served.end();
}

#[test]
fn bytes_go_in_and_out_as_they_are() {
    let served = listen(serve(["--mode", "oneshot", "--", "cat"]));
    let (_, event) = event(&served, &Call::new("PUT", "/").header("Content-Type", "image/png").body(b"\x89PNG\0"));
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&"iVBORwA=".into(), &true.into()), "{event}");
    let served_bytes = served.call(&Call::new("POST", "/").header("Content-Type", "image/png").body(vec![0; 5 * 1024 * 1024]));
    // Base64 makes more than 6 MiB of it.
    served_bytes.exception(413, "RequestTooLargeException");
    served.end();
}
