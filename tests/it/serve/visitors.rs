//! Who may call, and clients that do not behave.

use super::served::{listen, serve, told};
use crate::it::support::{Call, Client, hello, leftovers};

#[test]
fn pages_of_other_sites_may_not_call_and_this_machines_may() {
    let served = told([]);
    let call = || Call::invoke("function", r#"[{"response":1}]"#);
    for (name, value) in
        [("Host", "evil.example"), ("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
    {
        let message = served.call(&call().header(name, value)).exception(403, "AccessDeniedException");
        assert!(message.contains(value), "{message}");
    }
    // Of two headers each counts, whichever the handler would believe.
    served.call(&call().header("Host", "localhost").header("Host", "evil.example")).exception(403, "AccessDeniedException");
    assert!(!served.running.stderr().contains("START"), "{}", served.running.story());
    for (name, value) in [("Host", "localhost:9000"), ("Host", "[::1]"), ("Origin", "http://localhost:3000")] {
        served.call(&call().header(name, value)).is(200, "1");
    }
    served.end();
}

#[test]
fn pages_of_other_sites_may_not_take_a_runtimes_events() {
    let served = told([]);
    served.invoke(r#"[{"response":1}]"#).is(200, "1");
    let runtime_api = leftovers(&served.running.mark).into_iter().find_map(|(pid, _)| {
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
        environ.split('\0').find_map(|variable| variable.strip_prefix("AWS_LAMBDA_RUNTIME_API="))?.parse().ok()
    });
    let call = |name: &str, value: &str| {
        Client::connect(runtime_api.unwrap()).call(&Call::new("GET", "/2018-06-01/ping").header(name, value))
    };
    call("Accept", "*/*").is(200, "pong");
    for (name, value) in [("Host", "evil.example"), ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        assert_eq!(call(name, value).status, 403, "{name}");
    }
    served.end();
}

#[test]
fn an_address_of_the_network_is_listened_on_with_a_warning() {
    let warning = "bootstrap: warning: whoever reaches 0.0.0.0:";
    let local = serve(["--listen", "0.0.0.0:0"]).handler(hello());
    let served = listen(local);
    served.wait_stderr(warning);
    served.call(&Call::invoke("function", "1").header("Host", "build.example")).is(200, "{\"hello\":1}");
    served.end();
    let served = told([]);
    served.invoke(r#"[{"response":1}]"#).is(200, "1");
    assert!(!served.end().stderr.contains("warning"));
}

#[test]
fn slow_and_broken_clients_hurt_nobody() {
    let served = told([]);
    let call = Call::invoke("function", r#"[{"response":1}]"#);
    let mut half_a_head = Client::connect(served.address);
    half_a_head.write("POST /2015-03-31/functions/function/invo");
    let mut half_a_body = Client::connect(served.address);
    let (begin, end) = (r#"[{"response":2"#, "}]");
    half_a_body.write(Call::invoke("function", format!("{begin}{end}")).head(served.address) + begin);
    let mut gone = Client::connect(served.address);
    gone.write(Call::invoke("function", "[1,2]").head(served.address));
    drop(gone);
    let mut no_http = Client::connect(served.address);
    no_http.write("\0\0\0\0 hello\r\n\r\n");
    assert_eq!(no_http.reply().status, 400);
    let mut bad_length = Client::connect(served.address);
    bad_length.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n");
    assert_eq!(bad_length.reply().status, 400);
    served.call(&call).is(200, "1");
    // The slow ones are served when they are ready, and so is a connection's second request.
    half_a_body.write(end);
    half_a_body.reply().is(200, "2");
    half_a_head.write(format!("cations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{}", r#"[{"response":3}]"#));
    half_a_head.reply().is(200, "3");
    half_a_head.call(&call).is(200, "1");
    served.end();
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered() {
    let served = told([]);
    let call = Call::invoke("function", r#"[{"response":1}]"#);
    let mut client = Client::connect(served.address);
    for byte in (call.head(served.address) + r#"[{"response":1}]"#).bytes() {
        client.write([byte]);
    }
    client.reply().is(200, "1");
    served.end();
}

#[test]
fn a_client_that_reads_nothing_holds_up_nobody() {
    let served = told([]);
    // More than the kernel holds for it.
    let large = r#"[{"out":"{\"id\":\"@ID@\",\"response\":\""},{"outMany":["x",6000000]},{"out":"\"}\n"},{"touch":"answered"}]"#;
    let mut slow = served.begin(&Call::invoke("function", large));
    served.running.wait_file("answered");
    for _ in 0..3 {
        served.invoke(r#"[{"response":1}]"#).is(200, "1");
    }
    assert_eq!(slow.reply().body.len(), 6_000_002);
    served.end();
}

#[test]
fn a_client_that_says_that_nothing_more_will_come_leaves_no_connection_behind() {
    let served = told([]);
    let mut client = served.begin(&Call::invoke("function", r#"[{"response":1}]"#));
    client.shut();
    // It may be taken for one that has gone.
    assert!(client.rest().len() <= 1);
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    served.end();
}

#[test]
fn a_refused_caller_of_many_bytes_sees_why() {
    let served = told([]);
    let event = format!("\"{}\"", "x".repeat(6_000_000));
    served.call(&Call::invoke("prices", &event)).exception(404, "ResourceNotFoundException");
    served.call(&Call::invoke("function", &event).header("X-Amz-Log-Type", "All")).exception(400, "ValidationException");
    served.call(&Call::invoke("function", &event).header("Origin", "null")).exception(403, "AccessDeniedException");
    served.call(&Call::new("POST", "/2015-03-31/functions").body(&event)).exception(404, "UnknownOperationException");
    // The connection is as good as before.
    let mut client = served.begin(&Call::invoke("prices", &event));
    client.reply().exception(404, "ResourceNotFoundException");
    client.call(&Call::invoke("function", r#"[{"response":1}]"#)).is(200, "1");
    served.end();
}
