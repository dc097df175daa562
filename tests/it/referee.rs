use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::support::{Answer, Event, Gate, Route, RuntimeApi, eventually};

const AGENT: &str = concat!("User-Agent: lambda-bootstrap/", env!("CARGO_PKG_VERSION"));

/// A client that says what it is told to.
struct Client {
    stream: TcpStream,
    address: String,
}

impl Client {
    fn of(api: &RuntimeApi) -> Client {
        let stream = TcpStream::connect(api.address()).unwrap();
        // A wait that ends in vain ends the test.
        stream.set_read_timeout(Some(super::support::patience())).unwrap();
        Client { stream, address: api.address() }
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The status of the next answer, all of which is read.
    fn status(&mut self) -> u16 {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
        self.stream.read_exact(&mut vec![0; length]).unwrap();
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn next(&mut self) {
        let address = &self.address;
        let request = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {address}\r\n{AGENT}\r\n\r\n");
        self.say(&request);
    }

    fn respond(&mut self, id: &str) {
        let head = self.head(id, "response");
        self.say(&format!("{head}Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1"));
    }

    fn open(&mut self, id: &str) {
        let head = self.head(id, "response");
        self.say(&format!(
            "{head}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\
             Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
        ));
    }

    fn chunk(&mut self, text: &str) {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len()));
    }

    fn head(&self, id: &str, kind: &str) -> String {
        format!("POST /2018-06-01/runtime/invocation/{id}/{kind} HTTP/1.1\r\nHost: {}\r\n{AGENT}\r\n", self.address)
    }
}

/// An API with this many events in flight at most, some of which it has, called a, b and so on.
fn api(concurrency: usize, events: &[&str]) -> RuntimeApi {
    let api = RuntimeApi::start("", true, concurrency);
    for id in events {
        api.push(Route::Next, Event::new("1").id(id).answer());
    }
    api
}

#[track_caller]
fn arrived(api: &RuntimeApi, text: &str) {
    let found = eventually(|| (api.nth_streamed(0)?.request.body == text.as_bytes()).then_some(()));
    assert!(found.is_some(), "{text:?} has not arrived: {}", api.story());
}

#[track_caller]
fn violated(api: &RuntimeApi, what: &str) {
    let violations = api.violations();
    assert!(violations.len() == 1 && violations[0].contains(what), "{violations:?}");
}

#[test]
fn a_stream_is_seen_as_it_comes_with_its_trailers() {
    let api = api(1, &["a"]);
    let mut client = Client::of(&api);
    client.next();
    assert_eq!(client.status(), 200);
    client.open("a");
    arrived(&api, "");
    client.chunk("one");
    arrived(&api, "one");
    client.chunk("two");
    arrived(&api, "onetwo");
    assert!(api.report_count() == 0 && !api.all_reported());
    // {"errorType":"A","errorMessage":"m"}
    client.say(
        "0\r\nlambda-runtime-function-error-type: Function.Xy\r\n\
         lambda-runtime-function-error-body: eyJlcnJvclR5cGUiOiJBIiwiZXJyb3JNZXNzYWdlIjoibSJ9\r\n\r\n",
    );
    assert_eq!(client.status(), 202);
    api.nth_report(0).unwrap().breaks_off("A", &["m"]);
    assert!(api.all_reported());
    assert_eq!(api.violations(), [""; 0]);
    client.respond("a");
    client.status();
    violated(&api, "a second report");
}

#[test]
fn a_stream_without_what_announces_its_trailers_is_a_violation() {
    let api = api(1, &["a"]);
    let mut client = Client::of(&api);
    client.next();
    client.status();
    let head = client.head("a", "response");
    client.say(&format!(
        "{head}Content-Type: a/b\r\nTransfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\r\n0\r\n\r\n"
    ));
    client.status();
    violated(&api, "the header Trailer names");
}

#[test]
fn a_second_report_while_a_stream_is_open_is_a_violation() {
    let api = api(1, &["a"]);
    let (mut client, mut other) = (Client::of(&api), Client::of(&api));
    client.next();
    client.status();
    client.open("a");
    arrived(&api, "");
    other.respond("a");
    other.status();
    violated(&api, "under way");
}

#[test]
fn a_stream_that_was_refused_or_reset_may_not_be_sent_again() {
    for answer in [Answer::status(500).after(1), Answer::reset().after(1), Answer::status(413).after(1).then_close()] {
        let api = api(1, &["a"]);
        let mut client = Client::of(&api);
        client.next();
        client.status();
        api.push(Route::Report, answer);
        client.open("a");
        client.chunk("first");
        assert!(eventually(|| api.nth_report(0)).is_some());
        let mut other = Client::of(&api);
        other.respond("a");
        other.status();
        violated(&api, "a second report");
    }
}

#[test]
fn a_stream_that_breaks_off_is_a_violation() {
    let api = api(1, &["a"]);
    let mut client = Client::of(&api);
    client.next();
    client.status();
    client.open("a");
    client.chunk("half");
    arrived(&api, "half");
    drop(client);
    assert!(eventually(|| (!api.violations().is_empty()).then_some(())).is_some());
    violated(&api, "broke off");
}

#[test]
fn a_stalled_stream_goes_on_when_its_gate_opens() {
    let api = api(1, &["a"]);
    let gate = Gate::default();
    let mut client = Client::of(&api);
    client.next();
    client.status();
    api.push(Route::Report, Answer::accepted().stalls_at(3, &gate));
    client.open("a");
    client.chunk("one");
    client.chunk("two");
    arrived(&api, "one");
    gate.open();
    arrived(&api, "onetwo");
    client.say("0\r\n\r\n");
    assert_eq!(client.status(), 202);
    assert_eq!(api.nth_report(0).unwrap().streamed(), "onetwo");
}

#[test]
fn an_early_answer_may_let_the_connection_go_on() {
    let api = api(1, &["a", "b"]);
    let mut client = Client::of(&api);
    client.next();
    client.status();
    api.push(Route::Report, Answer::status(413).after(2));
    client.open("a");
    client.chunk("one");
    assert_eq!(client.status(), 413);
    client.chunk("two");
    client.say("0\r\n\r\n");
    client.next();
    assert_eq!(client.status(), 200);
    assert_eq!(api.nth_report(0).unwrap().request.body, b"on");
    assert_eq!(api.violations(), [""; 0]);
}

#[test]
fn as_many_calls_to_next_are_allowed_as_were_agreed_on() {
    let api = api(2, &["a"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::of(&api)).collect();
    clients[0].next();
    assert_eq!(clients[0].status(), 200);
    // One is unanswered, one waits.
    clients[1].next();
    assert!(eventually(|| (api.waiting() == 1).then_some(())).is_some());
    assert_eq!(api.violations(), [""; 0]);
    clients[2].next();
    assert_eq!(clients[2].status(), 403);
    violated(&api, "/next while");
    clients[0].respond("a");
    assert_eq!(clients[0].status(), 202);
    clients[0].next();
    assert!(eventually(|| (api.waiting() == 2).then_some(())).is_some());
}
