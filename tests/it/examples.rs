//! The examples, which others will copy: each answers, says an error, and gets over an event that it can't read.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{Event, Report, Run, Setup, Shell, commands, patience, stack_of};

/// A run of an example, in its own directory.
fn example(file: &str) -> Setup {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let name = file.file_name().unwrap();
    Setup::new().env("LAMBDA_TASK_ROOT", file.parent().unwrap()).env("_HANDLER", name)
}

/// The processes of the handler.
fn handlers(run: &Run) -> Vec<i32> {
    run.processes().into_iter().map(|(pid, _)| pid).collect()
}

/// The example's file, whose comments have commands to try.
fn text_of(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file)).unwrap()
}

#[test]
fn the_shell_examples_do_what_their_page_says() {
    Shell::new().check_all(
        &text_of("shell/README.md"),
        &[
            ("{\"hello\":{\"name\":\"world\"}}\n", 0),
            ("{\"greeting\":\"Hello, Zoë!\",\"lines\":1,\"totalCents\":700,\"timeLeftMs\":", 0),
            ("{\"errorType\":\"InvalidOrder\",\"errorMessage\":\"line 1: quantity must be a whole number, 1 to 10000, not 0\"", 1),
            ("{\"records\":[{\"recordId\":\"1\",\"result\":\"Ok\",\"data\":\"eyJsZXZlbCI6IldBUk4ifQo=\"}]}\n", 0),
            ("{\"statusCode\":200,\"headers\":{\"cache-control\":\"no-store\",", 0),
            ("{\"lines\":1,\"words\":3,\"bytes\":15,\"sha256\":\"031716eccbf5ea98a7ce0f044b18aac7", 0),
        ],
    );
}

/// firehose.jq as its first lines say.
fn firehose() -> Run {
    let text = text_of("shell/firehose.jq");
    let setting = |name: &str| text.split_once(&format!("{name}=")).unwrap().1.split_once('\n').unwrap().0.trim_matches('"');
    let setup = example("shell/firehose.jq").env("BOOTSTRAP_MODE", setting("BOOTSTRAP_MODE"));
    setup.env("BOOTSTRAP_COMMAND", setting("BOOTSTRAP_COMMAND")).start()
}

/// An event of Firehose, with these records.
fn records(records: &[&str]) -> Value {
    let record = |(number, data): (usize, &&str)| json!({"recordId": number.to_string(), "data": STANDARD.encode(data)});
    json!({"records": records.iter().enumerate().map(record).collect::<Vec<_>>()})
}

#[test]
fn the_filter_cleans_records() {
    let run = firehose();
    let entries = [r#"{"level":"warn","message":"é","password":"x"}"#, r#"{"level":"debug"}"#, "no JSON", "[]", r#"{"level":1}"#];
    let response = run.invoke(records(&entries)).response();
    let response: Value = serde_json::from_str(&response).unwrap();
    let results: Vec<_> = response["records"].as_array().unwrap().iter().map(|record| record["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["Ok", "Dropped", "ProcessingFailed", "ProcessingFailed", "ProcessingFailed"]);
    let data = STANDARD.decode(response["records"][0]["data"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(data).unwrap(), "{\"level\":\"WARN\",\"message\":\"é\"}\n");
    assert_eq!(response["records"][2]["data"], STANDARD.encode("no JSON"), "what can't be read is handed back");
}

#[test]
fn the_filter_ends_at_an_event_that_is_none_of_its_own() {
    let run = firehose();
    for event in ["{}", "[{\"records\":[]}]", "null"] {
        let document = run.invoke(event).is_error("Runtime.ExitError", &["exit status 5"]);
        assert!(stack_of(&document).concat().contains("it has no list of records"), "{document}");
        assert_eq!(run.invoke(records(&[])).response(), "{\"records\":[]}");
    }
    // What is wrong in its details is JSON enough for bootstrap, and for jq it is the end.
    run.invoke("{\"records\":[1,]}").is_error("Runtime.ExitError", &["exit status"]);
    assert_eq!(run.invoke(records(&[])).response(), "{\"records\":[]}");
}

#[test]
fn the_filter_never_sees_what_is_not_json() {
    let run = firehose();
    run.invoke(records(&[]));
    let before = handlers(&run);
    run.invoke("records").is_error("Function.InvalidEvent", &["not one JSON value"]);
    assert_eq!(run.invoke(records(&[])).response(), "{\"records\":[]}");
    assert_eq!(handlers(&run), before);
}

#[test]
fn the_one_shot_script_answers_and_logs() {
    let run = example("shell/words.sh").env("BOOTSTRAP_MODE", "oneshot").start();
    for (text, lines, words, bytes) in [("Guten Tag,\nZoë", 1, 3, 15), ("", 0, 0, 0), (" %s \\n $(id)\n", 1, 3, 13)] {
        let report = run.invoke(json!({ "text": text }));
        let response: Value = serde_json::from_str(&report.response()).unwrap();
        assert_eq!((&response["lines"], &response["words"], &response["bytes"]), (&json!(lines), &json!(words), &json!(bytes)));
        let log = run.log_before(&report);
        assert!(log.contains(&format!("{}: begins, an event of ", report.id)), "{log}");
        assert!(log.contains(", seconds left: ") && !log.contains("seconds left: unknown"), "{log}");
    }
    let report = run.invoke(Event::new("{\"text\":\"x\"}").no_deadline());
    assert!(run.log_before(&report).contains("seconds left: unknown"));
}

#[test]
fn the_one_shot_script_fails_at_a_wrong_event() {
    let run = example("shell/words.sh").env("BOOTSTRAP_MODE", "oneshot").start();
    for (event, reason) in [
        ("{\"text\":5}", "the event must be an object whose text is a string, not number"),
        ("[\"text\"]", "the event must be an object whose text is a string, not array"),
        ("{\"text\":", "the event is not JSON"),
        ("", "the event must be an object whose text is a string, not "),
    ] {
        let report = run.invoke(event);
        let document = report.is_error("Runtime.ExitError", &["exit status 65"]);
        assert!(stack_of(&document).concat().contains(reason), "{document}");
        assert!(run.invoke("{\"text\":\"\"}").response().contains("\"bytes\":0"));
    }
}

/// The prelude of a streamed response of HTTP, and the body behind it.
#[track_caller]
fn page(report: &Report) -> (Value, String) {
    assert_eq!(report.header("lambda-runtime-function-response-mode"), Some("streaming"));
    assert_eq!(report.header("content-type"), Some("application/vnd.awslambda.http-integration-response"));
    let body = &report.request.body;
    let end = body.iter().position(|byte| *byte == 0).unwrap();
    let page = body[end..].strip_prefix(&[0; 8]).unwrap();
    (serde_json::from_slice(&body[..end]).unwrap(), String::from_utf8(page.to_vec()).unwrap())
}

fn numbers(numbers: &str) -> Value {
    json!({"rawPath": "/", "queryStringParameters": {"n": numbers}})
}

#[test]
fn the_streamed_page_is_whole() {
    let run = example("python-stream/page.py").start();
    let report = run.invoke(numbers("12,91,1000003"));
    let (prelude, body) = page(&report);
    assert_eq!(prelude["statusCode"], 200);
    assert_eq!(prelude["headers"], json!({"content-type": "text/html; charset=utf-8", "cache-control": "no-store"}));
    assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</table>\n"), "{body}");
    for row in ["<tr><td>12<td>2 × 2 × 3\n", "<tr><td>91<td>7 × 13\n", "<tr><td>1000003<td>1000003\n"] {
        assert!(body.contains(row), "{body}");
    }
    assert!(run.log_before(&report).contains("91 is done\n"));
    report.streamed();
}

#[test]
fn the_streamed_page_ends_with_an_error_in_its_middle() {
    let run = example("python-stream/page.py").start();
    run.invoke(numbers("2"));
    let before = handlers(&run);
    let report = run.invoke(numbers("12,<b>,91"));
    let (prelude, body) = page(&report);
    assert_eq!(prelude["statusCode"], 200);
    assert!(body.ends_with("<tr><td>12<td>2 × 2 × 3\n"), "{body}");
    let document = report.breaks_off("ValueError", &["invalid literal for int() with base 10: '<b>'"]);
    assert!(stack_of(&document).concat().contains("in factors"), "{document}");
    assert!(page(&run.invoke(numbers("7"))).1.contains("<td>7\n"));
    assert_eq!(handlers(&run), before);
}

#[test]
fn the_streamed_page_gets_over_bad_events() {
    let run = example("python-stream/page.py").start();
    run.invoke(numbers("2"));
    let before = handlers(&run);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for (event, error_type) in [("n=12", "ValueError"), ("[1,]", "JSONDecodeError"), (&*deep, "RecursionError")] {
        run.invoke(event).is_error(error_type, &[]);
    }
    for event in ["{}", "[]", "null", "{\"queryStringParameters\":null}", "{\"queryStringParameters\":{\"n\":5}}"] {
        let (prelude, body) = page(&run.invoke(event));
        assert_eq!(prelude["statusCode"], 400);
        assert!(body.contains("Ask for numbers"), "{body}");
    }
    assert!(page(&run.invoke(numbers("7"))).1.contains("<td>7\n"));
    assert_eq!(handlers(&run), before);
}

#[test]
fn the_streamed_page_is_printed_on_a_laptop() {
    let output = Shell::new().run(&commands(&text_of("python-stream/page.py"))[0]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let (prelude, body) = printed.split_once("\0\0\0\0\0\0\0\0").unwrap();
    let prelude: Value = serde_json::from_str(prelude).unwrap();
    assert!(prelude["statusCode"] == 200 && body.contains("<tr><td>91<td>7 × 13\n") && output.status.success(), "{output:?}");
}

/// In both shells that are called sh: Debian's, and Amazon Linux's.
#[test]
fn the_page_in_shell_is_whole_and_refuses_what_it_can_not_answer() {
    for shell in ["dash", "bash"] {
        let run = example("shell/page.sh").env("_HANDLER", "").env("BOOTSTRAP_COMMAND", format!("{shell} page.sh")).start();
        let asked =
            |query: &str| run.invoke(json!({"rawPath": "/", "rawQueryString": query, "body": "\"rawQueryString\":\"n=7\""}));
        let report = asked("n=12,91%2C1000003");
        let (prelude, body) = page(&report);
        let headers = json!({"content-type": "text/html; charset=utf-8", "cache-control": "no-store"});
        assert_eq!(prelude, json!({"statusCode": 200, "headers": headers, "cookies": []}));
        let rows = "<tr><td>12<td>2 × 2 × 3\n<tr><td>91<td>7 × 13\n<tr><td>1000003<td>1000003\n";
        assert_eq!(body, format!("<!DOCTYPE html><title>Factors</title><h1>Factors</h1><table>\n{rows}</table>\n"));
        assert!(run.log_before(&report).contains(&format!("{}: 91 is done\n", report.id)));
        let before = handlers(&run);
        let (most, more) = ("2,".repeat(100), "2,".repeat(101));
        assert_eq!(page(&asked(&format!("n={}2", &most[..198]))).0["statusCode"], 200);
        for query in [
            "",
            "n=",
            "m=2",
            "n=1",
            "n=0",
            "n=02",
            "n=2,",
            "n=2,,3",
            "n=12345678901",
            "n=<b>",
            "n=2&n=3",
            "n=%32",
            &*format!("n={more}2"),
        ] {
            let (prelude, body) = page(&asked(query));
            assert_eq!(prelude["statusCode"], 400, "{query}");
            assert!(body.contains("Ask for numbers"), "{body}");
        }
        for event in ["null", "[]", "{}", "n=2", "\"rawQueryString\"", "{\"rawQueryString\":5}"] {
            assert_eq!(page(&run.invoke(event)).0["statusCode"], 400, "{event}");
        }
        let report = run.invoke(Event::new("{\"rawQueryString\":\"n=2\"}").header("Lambda-Runtime-Client-Context", "{\"a\":1}"));
        assert_eq!(page(&report).0["statusCode"], 400, "where a caller's own JSON stands before the event, nothing is cut out");
        assert_eq!(handlers(&run), before);
    }
}

/// A service that knows prices: an item `held-…` costs 100 cents once it is released, one that is `gone` is not there, any other
/// costs 350 at once.
#[derive(Clone)]
struct Prices(Arc<(Mutex<Asked>, Condvar)>, String);

#[derive(Default)]
struct Asked {
    waiting: HashSet<String>,
    released: HashSet<String>,
    /// The caller has gone away meanwhile.
    given_up: HashSet<String>,
}

impl Prices {
    fn start() -> Prices {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let prices = Prices(Arc::default(), format!("http://{}/SKU", listener.local_addr().unwrap()));
        let service = prices.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = service.clone();
                std::thread::spawn(move || service.serve(stream));
            }
        });
        prices
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(first)) = lines.next() {
            let item = first.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            lines.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
            let held = item.starts_with("held-");
            if held && !self.wait_for(&item, &stream) {
                return;
            }
            let body = if held { "{\"cents\":100}" } else { "{\"cents\":350}" };
            let status = if item == "gone" { "404 Not Found" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Waits until the item is released; `false` where the caller gives up before.
    fn wait_for(&self, item: &str, stream: &TcpStream) -> bool {
        let tick = std::time::Duration::from_millis(5);
        let _ = stream.set_read_timeout(Some(tick));
        let end = std::time::Instant::now() + patience() * 2;
        self.0.0.lock().unwrap().waiting.insert(item.to_owned());
        let mut stream = stream;
        let released = loop {
            let asked = self.0.1.wait_timeout(self.0.0.lock().unwrap(), tick).unwrap().0;
            if asked.released.contains(item) || std::time::Instant::now() > end {
                break true;
            }
            drop(asked);
            if matches!(stream.read(&mut [0]), Ok(0)) {
                break false;
            }
        };
        let mut asked = self.0.0.lock().unwrap();
        asked.waiting.remove(item);
        if !released {
            asked.given_up.insert(item.to_owned());
        }
        let _ = stream.set_read_timeout(None);
        released
    }

    fn release(&self, item: &str) {
        self.0.0.lock().unwrap().released.insert(item.to_owned());
        self.0.1.notify_all();
    }

    fn ask<T>(&self, look: impl Fn(&Asked) -> T) -> T {
        look(&self.0.0.lock().unwrap())
    }
}

/// A run of the concurrent example, with so many events at a time.
fn prices(concurrency: usize, service: &Prices) -> Run {
    let setup = example("node-concurrent/prices.mjs").env("PRICE_URL", &service.1).concurrency(concurrency);
    setup.env("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string()).start()
}

fn order(sku: &str) -> Value {
    json!({"lines": [{"sku": sku, "quantity": 2}]})
}

#[test]
fn the_concurrent_example_answers_many_events_in_any_order() {
    const EVENTS: usize = 16;
    let service = Prices::start();
    let run = prices(EVENTS, &service);
    let ids: Vec<String> = (0..EVENTS).map(|n| run.push(order(&format!("held-{n}")))).collect();
    run.wait("all events in flight", || service.ask(|asked| asked.waiting.len() == EVENTS).then_some(()));
    assert_eq!(handlers(&run).len(), 1);
    for n in (0..EVENTS).rev() {
        service.release(&format!("held-{n}"));
        let report = run.report_of(&ids[n]);
        assert_eq!(report.response(), "{\"total\":200}");
        assert!(run.log_before(&report).contains(&format!("{}: an order of 1 lines for 200 cents\n", ids[n])));
        assert_eq!(run.api().report_count(), EVENTS - n);
    }
}

#[test]
fn the_concurrent_example_says_what_went_wrong() {
    let service = Prices::start();
    let run = prices(4, &service);
    run.invoke(order("tea"));
    let before = handlers(&run);
    for (event, error_type, message) in [
        ("{}", "InvalidOrder", "lines must be a list"),
        ("{\"lines\":[{\"sku\":\"tea\",\"quantity\":0}]}", "InvalidOrder", "line 1: quantity must be a whole number"),
        ("{\"lines\":[{\"sku\":\"tea\",\"quantity\":1},{\"sku\":\"gone\",\"quantity\":1}]}", "Error", "the service says 404"),
        ("tea", "SyntaxError", "the event is not JSON"),
        ("[1,]", "SyntaxError", ""),
        ("null", "InvalidOrder", "lines must be a list"),
    ] {
        let document = run.invoke(event).is_error(error_type, &[message]);
        assert!(stack_of(&document).iter().all(|line| line.starts_with("    at ")), "{document}");
        assert_eq!(run.invoke(order("tea")).response(), "{\"total\":700}");
    }
    assert_eq!(handlers(&run), before);
}

#[test]
fn the_concurrent_example_drops_what_is_out_of_time_and_goes_on() {
    let service = Prices::start();
    let run = prices(2, &service);
    run.invoke(order("tea"));
    let before = handlers(&run);
    let kept = run.push(order("held-kept"));
    let late = run.push(Event::from(order("held-late")).deadline_in(4000));
    run.report_of(&late).is_error("Function.Timeout", &[]);
    run.wait("the request to be cancelled", || service.ask(|asked| asked.given_up.contains("held-late")).then_some(()));
    // With the late reply the place is free again.
    run.wait_log("its invocation is over");
    assert_eq!(run.report_of(&run.push(order("tea"))).response(), "{\"total\":700}");
    service.release("held-kept");
    assert_eq!(run.report_of(&kept).response(), "{\"total\":200}");
    assert_eq!(handlers(&run), before);
}

#[test]
fn the_concurrent_example_ends_when_its_answers_are_out() {
    use rustix::process::Signal;
    let service = Prices::start();
    let mut run = example("node-concurrent/prices.mjs")
        .env("PRICE_URL", &service.1)
        .env("BOOTSTRAP_STOP_GRACE_MS", "60000")
        .event(order("held-last"))
        .start();
    run.wait("the event in flight", || service.ask(|asked| !asked.waiting.is_empty()).then_some(()));
    run.signal(Signal::TERM);
    service.release("held-last");
    run.exits_with(0);
    assert_eq!(run.report(0).response(), "{\"total\":200}");
}

#[test]
fn the_concurrent_example_runs_on_a_laptop() {
    let text = text_of("node-concurrent/prices.mjs");
    let order = text.split_once("each line of orders.jsonl is an order: ").unwrap().1.lines().next().unwrap();
    let orders = format!("{order}\n").repeat(30) + "{}\n" + order;
    let shell = Shell::new().file("orders.jsonl", &orders);
    let expected = "{\"total\":700}\n".repeat(30) + "{\"errorType\":\"InvalidOrder\"";
    shell.check_all(&text, &[(&expected, 1)]);
}
