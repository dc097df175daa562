//! `bootstrap serve`: Lambda's Invoke API, as clients call it.

mod environments;
mod frames;
mod freezing;
mod log;
mod page;
mod served;
mod smuggling;
mod visitors;
mod watching;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};

use self::served::{listen, serve, told};
use super::support::{Call, handler, hello};

/// Lambda's limit for an event whose caller waits, and for one whose caller doesn't.
const MOST: usize = 6 * 1024 * 1024;
const MOST_QUEUED: usize = 1024 * 1024;

#[test]
fn an_event_and_its_response_pass_byte_for_byte() {
    let served = listen(serve([]).handler(hello()));
    let event = r#"{"n":123456789012345678901234567890, "m":1.10,"m":1.10,"lone":"\ud800","é":"\u00e9"}"#;
    let reply = served.invoke(event);
    reply.is(200, format!("{{\"hello\":{event}}}"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(reply.header("x-amz-function-error"), None);
    assert_eq!(reply.header("x-amz-log-result"), None);
    assert_eq!(reply.header("x-amzn-requestid").map(str::len), Some(36));
    assert!(reply.header("x-amzn-trace-id").unwrap().starts_with("Root=1-"), "{reply}");
    let ended = served.end();
    assert!(ended.stdout.is_empty(), "{}", ended.story());
}

#[test]
fn the_first_lines_tell_how_to_call_it_and_that_is_so() {
    let served = listen(serve(["--function-name", "orders"]).handler(hello()));
    let stderr = served.running.stderr();
    let command = stderr.lines().find(|line| line.trim().starts_with("curl ")).unwrap().trim().to_owned();
    let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"hello\":{}}", "{command}\n{output:?}");
    assert!(
        stderr.contains(&format!("aws lambda invoke --endpoint-url http://{} --function-name orders out.json", served.address))
    );
    served.end();
}

#[test]
fn a_body_of_nothing_is_an_empty_object_and_what_is_not_json_is_refused() {
    let served = listen(serve([]).handler(hello()));
    served.invoke("").is(200, "{\"hello\":{}}");
    for (body, place) in
        [(&b"{name: world}"[..], "column 2"), (b"\xff", "0xff is not UTF-8"), (b" ", "it is empty"), (b"{} {}", "column 4")]
    {
        let message = served.invoke(body).exception(400, "InvalidRequestContentException");
        assert!(message.starts_with("Could not parse request body into json: ") && message.contains(place), "{message}");
    }
    served.end();
}

#[test]
fn names_and_arns_and_qualifiers_name_the_function() {
    let served = listen(serve(["--function-name", "orders"]).handler(hello()));
    for name in [
        "orders",
        "orders:live",
        "orders:$LATEST",
        "orders?Qualifier=7",
        "orders:7?Qualifier=7",
        "123456789012:function:orders",
        "arn:aws:lambda:eu-west-1:999999999999:function:orders:live",
        "arn%3Aaws%3Alambda%3Aeu-west-1%3A999999999999%3Afunction%3Aorders",
        "function",
    ] {
        let (name, query) = name.split_once('?').map_or((name, String::new()), |(name, query)| (name, format!("?{query}")));
        let call = Call::new("POST", &format!("/2015-03-31/functions/{name}/invocations{query}"));
        served.call(&call).is(200, "{\"hello\":{}}");
    }
    let message = served.call(&Call::invoke("prices", "{}")).exception(404, "ResourceNotFoundException");
    assert_eq!(message, "Function not found: arn:aws:lambda:us-east-1:123456789012:function:prices");
    served.wait_stderr("--function-name prices serves it\n");
    let message = served.call(&Call::invoke("a%20b", "{}")).exception(400, "ValidationException");
    assert!(message.starts_with("1 validation error detected: Value 'a b' at 'functionName' failed to satisfy "), "{message}");
    let unequal = Call::new("POST", "/2015-03-31/functions/orders:1/invocations?Qualifier=2");
    let message = served.call(&unequal).exception(400, "InvalidParameterValueException");
    assert_eq!(message, "The derived qualifier from the function name does not match the specified qualifier.");
    served.end();
}

#[test]
fn a_dry_run_runs_nothing() {
    let served = told([]);
    let reply = served.call(&Call::invoke("function", r#"[{"touch":"ran"}]"#).header("X-Amz-Invocation-Type", "DryRun"));
    reply.is(204, "");
    let dry = Call::invoke("prices", "{}").header("X-Amz-Invocation-Type", "DryRun");
    served.call(&dry).exception(404, "ResourceNotFoundException");
    let ended = served.end();
    assert!(!ended.dir.path().join("ran").exists() && !ended.stderr.contains("START"), "{}", ended.story());
}

#[test]
fn an_event_whose_caller_does_not_wait_is_run_afterwards() {
    let served = told([]);
    let event = r#"[{"touch":"begun"},{"await":"go"},{"touch":"done"},{"response":1}]"#;
    let reply = served.call(&Call::invoke("function", event).header("X-Amz-Invocation-Type", "Event"));
    reply.is(202, "");
    assert_eq!(reply.header("x-amzn-requestid").map(str::len), Some(36));
    served.running.wait_file("begun");
    served.running.touch("go");
    served.running.wait_file("done");
    served.end();
}

#[test]
fn an_event_that_fails_is_tried_twice_more_with_its_request_id() {
    let script = "echo $AWS_LAMBDA_REQUEST_ID >> $TEST_DIR/attempts; exit 1";
    let served = listen(serve(["--mode", "oneshot", "--", "sh", "-c", script]));
    let reply = served.call(&Call::invoke("function", "{}").header("X-Amz-Invocation-Type", "Event"));
    let request_id = reply.header("x-amzn-requestid").unwrap().to_owned();
    served.wait_stderr("is dropped after 3 attempts: Runtime.ExitError\n");
    let ended = served.end();
    ended.says("is tried again in 1 s (in Lambda after 1 min)").says("is tried again in 2 s (in Lambda after 2 min)");
    assert_eq!(ended.file("attempts"), format!("{request_id}\n").repeat(3));
}

#[test]
fn queued_events_that_are_not_run_are_counted_at_the_end() {
    let served = told([]);
    let hang = Call::invoke("function", r#"[{"touch":"begun"},{"hang":true}]"#).header("X-Amz-Invocation-Type", "Event");
    served.call(&hang);
    served.call(&hang);
    served.running.wait_file("begun");
    served.end().says("bootstrap: 2 queued events were not run to their end\n");
}

#[test]
fn function_errors_are_answers() {
    let served = told([]);
    let error = r#"[{"error":{"errorType":"NotFound","errorMessage":"no such order"}}]"#;
    assert_eq!(served.invoke(error).function_error("NotFound"), "no such order");
    let message = served.invoke(r#"[{"exit":3}]"#).function_error("Runtime.ExitError");
    assert!(message.contains("exit status 3"), "{message}");
    served.invoke(r#"[{"response":"next"}]"#).is(200, "\"next\"");
    served.end();
}

#[test]
fn an_init_error_is_an_answer_and_each_call_tries_again() {
    let served = listen(serve([]).handler("./late"));
    let message = served.invoke("{}").function_error("Runtime.HandlerNotFound");
    assert!(message.contains("the handler \"./late\" (the arguments) was not found"), "{message}");
    std::os::unix::fs::symlink(hello(), served.running.dir.path().join("late")).unwrap();
    served.invoke("{}").is(200, "{\"hello\":{}}");
    served.end();
}

#[test]
fn a_runtime_that_does_not_answer_times_out_in_lambdas_words() {
    let served = listen(serve(["--timeout", "1"]).handler(handler("signals_its_runtime.sh")));
    let reply = served.invoke("\"STOP\"");
    let request_id = reply.header("x-amzn-requestid").unwrap();
    let message = reply.function_error("Sandbox.Timedout");
    assert_eq!(message, format!("RequestId: {request_id} Error: Task timed out after 1.00 seconds"));
    served.invoke("1").is(200, "1");
    served.end().says("\tStatus: timeout\t\n");
}

#[test]
fn what_the_caller_tells_of_itself_reaches_the_context() {
    let served = listen(serve([]).handler(handler("saves_messages.py")));
    let trace_id = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1";
    let call = Call::invoke("function", "{}")
        .header("X-Amz-Client-Context", &BASE64.encode("{\"custom\":{\"n\":1.10}}"))
        .header("X-Amz-Tenant-Id", "blue")
        .header("X-Amzn-Trace-Id", trace_id);
    let reply = served.call(&call);
    reply.is(200, "null");
    assert_eq!(reply.header("x-amzn-trace-id"), Some(trace_id));
    let ended = served.end();
    let message = ended.file("message.0");
    assert!(message.contains(r#""clientContext":{"custom":{"n":1.10}}"#), "{message}");
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["id"], reply.header("x-amzn-requestid").unwrap());
    assert_eq!((&message["context"]["tenantId"], &message["context"]["traceId"]), (&json!("blue"), &json!(trace_id)));
    assert_eq!(message["context"]["invokedFunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:function");
}

#[test]
fn bad_headers_are_refused_and_nothing_is_run() {
    let served = told([]);
    for (name, value, error_type) in [
        ("X-Amz-Invocation-Type", "event", "ValidationException"),
        ("X-Amz-Log-Type", "All", "ValidationException"),
        ("X-Amz-Tenant-Id", "a,b", "ValidationException"),
        ("X-Amz-Client-Context", "{}", "InvalidRequestContentException"),
    ] {
        served.call(&Call::invoke("function", "[]").header(name, value)).exception(400, error_type);
    }
    assert!(!served.end().stderr.contains("START"));
}

#[test]
fn other_paths_and_methods_are_no_calls() {
    let served = told([]);
    for call in [
        Call::new("GET", "/2015-03-31/functions/function/invocations"),
        Call::new("POST", "/2015-03-31/functions"),
        Call::new("GET", "/2021-11-15/x"),
        Call::new("CONNECT", "localhost:80"),
    ] {
        served.call(&call).exception(404, "UnknownOperationException");
    }
    served.end();
}

#[test]
fn the_largest_event_is_taken_and_a_larger_one_is_refused() {
    let served = listen(serve(["--mode", "oneshot", "--", "wc", "-c"]));
    let text = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    served.invoke(text(MOST)).is(200, format!("{MOST}\n"));
    let message = served.invoke(text(MOST + 1)).exception(413, "RequestTooLargeException");
    assert_eq!(message, "Request must be smaller than 6291456 bytes for the InvokeFunction operation");
    let queued = |size| Call::invoke("function", text(size)).header("X-Amz-Invocation-Type", "Event");
    served.call(&queued(MOST_QUEUED)).is(202, "");
    let message = served.call(&queued(MOST_QUEUED + 1)).exception(413, "RequestTooLargeException");
    assert!(message.contains("1048576"), "{message}");
    served.end();
}

#[test]
fn each_signal_ends_everything_in_the_middle_of_an_invocation() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let served = told(["--environments", "2"]);
        let _first = served.begin(&Call::invoke("function", r#"[{"touch":"first"},{"hang":true}]"#));
        let _second = served.begin(&Call::invoke("function", r#"[{"touch":"second"},{"hang":true}]"#));
        served.running.wait_file("first");
        served.running.wait_file("second");
        served.running.signal(signal);
        served.running.end().code(status);
    }
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let served = told([]);
    let address = served.address.to_string();
    let ended = serve(["--listen", &address]).handler(hello()).run();
    ended.code(1).says(&format!("bootstrap: can't listen on {address}; --listen ADDRESS names another address"));
    served.end();
}

#[test]
fn without_a_handler_it_does_not_start() {
    serve([]).run().code(2).says("no handler to run");
}
