//! Requests that two readers would take for different ones, and what hides behind them: to `serve`, and to the Runtime API that it opens.
//!
//! Each holds a second request that only a reader sees that is misled about the first one's end. It is answered by nobody, and the
//! connection is closed, so that what is left in it can't be taken for a request.

use std::net::SocketAddr;

use super::served::{Served, told};
use crate::it::support::{Call, Client, leftovers};

const EVENT: &str = r#"[{"response":1}]"#;
const HIDDEN: &str = r#"[{"touch":"smuggled"},{"response":2}]"#;

/// Where the Runtime API of the served function listens. Its runtime has started.
fn runtime_api(served: &Served) -> SocketAddr {
    let found = leftovers(&served.running.mark).into_iter().find_map(|(pid, _)| {
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
        environ.split('\0').find_map(|variable| variable.strip_prefix("AWS_LAMBDA_RUNTIME_API="))?.parse().ok()
    });
    found.expect("a runtime runs")
}

/// The statuses of all answers on a connection that has been sent this, once the server has closed it.
#[track_caller]
fn answers(address: SocketAddr, bytes: &str) -> Vec<u16> {
    let mut client = Client::connect(address);
    client.write(bytes);
    client.rest().into_iter().map(|reply| reply.status).collect()
}

/// What comes between the request line and the hidden request: headers, an empty line and perhaps a body.
fn misleading(hidden: &str) -> Vec<(&'static str, String)> {
    let length = EVENT.len();
    let chunk = format!("{length:x}\r\n{EVENT}\r\n0\r\n\r\n");
    let both = chunk.len() + hidden.len();
    let with = |headers: String, body: &str| format!("{headers}\r\n{body}");
    vec![
        ("a length and chunks", with(format!("Content-Length: {both}\r\nTransfer-Encoding: chunked\r\n"), &chunk)),
        ("chunks and a length", with(format!("Transfer-Encoding: chunked\r\nContent-Length: {both}\r\n"), &chunk)),
        ("chunks and a short length", with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n".to_owned(), &chunk)),
        ("two lengths", with(format!("Content-Length: {length}\r\nContent-Length: {both}\r\n"), EVENT)),
        ("two lengths in one", with(format!("Content-Length: {length}, {length}\r\n"), EVENT)),
        ("a length with a sign", with(format!("Content-Length: +{length}\r\n"), EVENT)),
        ("a length in hexadecimal", with(format!("Content-Length: 0x{length:x}\r\n"), EVENT)),
        ("a length beyond 64 bits", with("Content-Length: 18446744073709551632\r\n".to_owned(), EVENT)),
        ("chunks that are not the last coding", with("Transfer-Encoding: chunked, identity\r\n".to_owned(), &chunk)),
        ("two codings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(), &chunk)),
        ("a coding that there is not", with("Transfer-Encoding: xchunked\r\n".to_owned(), &chunk)),
        ("a coding with a tab of another kind", with("Transfer-Encoding: \u{b}chunked\r\n".to_owned(), &chunk)),
        ("a space before the colon", with("Transfer-Encoding : chunked\r\n".to_owned(), &chunk)),
        ("a folded header", with(format!("X: a\r\n Content-Length: 0\r\nContent-Length: {length}\r\n"), EVENT)),
        ("a carriage return alone", with(format!("X: a\rContent-Length: 0\r\nContent-Length: {length}\r\n"), EVENT)),
        ("a NUL in a header", with(format!("X: a\0\r\nContent-Length: {length}\r\n"), EVENT)),
        (
            "a newline in a chunk's extension",
            with("Transfer-Encoding: chunked\r\n".to_owned(), &format!("{length:x};a\n{EVENT}\r\n0\r\n\r\n")),
        ),
        ("a chunk longer than it says", with("Transfer-Encoding: chunked\r\n".to_owned(), &format!("1\r\n{EVENT}\r\n0\r\n\r\n"))),
        (
            "a chunk's size with a prefix",
            with("Transfer-Encoding: chunked\r\n".to_owned(), &format!("0x{length:x}\r\n{EVENT}\r\n0\r\n\r\n")),
        ),
        (
            "a chunk's size beyond 64 bits",
            with("Transfer-Encoding: chunked\r\n".to_owned(), &format!("1000000000000000{length:x}\r\n{EVENT}\r\n0\r\n\r\n")),
        ),
    ]
}

#[test]
fn a_request_that_hides_another_is_refused_or_ends_its_connection() {
    let served = told([]);
    let call = Call::invoke("function", HIDDEN);
    let hidden = call.head(served.address) + HIDDEN;
    for (what, middle) in misleading(&hidden) {
        let first = format!("POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nHost: localhost\r\n{middle}{hidden}");
        // Chunks count where there are both, and then nothing behind them does.
        let expected = if what.contains("chunks and") || what.contains("and chunks") { 200 } else { 400 };
        assert_eq!(answers(served.address, &first), [expected], "{what}");
    }
    served.call(&Call::invoke("function", EVENT)).is(200, "1");
    assert!(!served.end().dir.path().join("smuggled").exists());
}

#[test]
fn nothing_hides_from_the_local_runtime_api_either() {
    let served = told([]);
    served.invoke(EVENT).is(200, "1");
    let address = runtime_api(&served);
    let hidden = "GET /2018-06-01/ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (what, middle) in misleading(hidden) {
        let first = format!("GET /2018-06-01/ping HTTP/1.1\r\nHost: localhost\r\n{middle}{hidden}");
        assert_eq!(answers(address, &first).len(), 1, "{what}");
    }
    served.invoke(EVENT).is(200, "1");
    served.end();
}

#[test]
fn an_old_version_has_no_chunks() {
    let served = told([]);
    let request = "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(answers(served.address, request), [400]);
    served.end();
}

#[test]
fn the_body_of_a_refused_request_is_no_request() {
    let served = told([]);
    let hidden = Call::invoke("function", HIDDEN).head(served.address) + HIDDEN;
    let refused = [
        (Call::invoke("prices", &hidden), 404),
        (Call::invoke("function", &hidden).header("Origin", "null"), 403),
        (Call::invoke("function", &hidden).header("X-Amz-Log-Type", "All"), 400),
        (Call::invoke("function", &hidden), 400),
        (Call::new("POST", "/2015-03-31/functions").body(&hidden), 404),
    ];
    for (call, status) in refused {
        let mut client = served.begin(&call);
        // The next request is on its way before the first one is answered.
        client.send(&Call::invoke("function", EVENT));
        assert_eq!(client.reply().status, status);
        client.reply().is(200, "1");
    }
    assert!(!served.end().dir.path().join("smuggled").exists());
}

#[test]
fn the_host_in_the_request_line_counts_too() {
    let served = told([]);
    for (target, host, status) in [
        ("http://localhost", "localhost", 200),
        ("http://evil.example", "localhost", 403),
        ("http://localhost", "evil.example", 403),
        ("http://localhost@evil.example", "localhost", 403),
        ("", "evil.example", 403),
    ] {
        let path = format!("{target}/2015-03-31/functions/function/invocations");
        let reply = served.call(&Call::new("POST", &path).header("Host", host).body(EVENT));
        assert_eq!(reply.status, status, "{target} {host}: {reply}");
    }
    served.end();
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    let served = told([]);
    let mut client = Client::connect(served.address);
    let mut all = String::new();
    for n in 0..20 {
        let event = format!("[{{\"response\":{n}}}]");
        all += &(Call::invoke("function", &event).head(served.address) + &event);
    }
    client.write(all);
    for n in 0..20 {
        client.reply().is(200, n.to_string());
    }
    served.end();
}
