//! AWS's own clients call the emulator, as users do.

use super::support::{Answer, Emulator, Example, MOST, Peer, Setup, client, goes_on_after, output};
use crate::it_support::fixture;

/// `aws lambda invoke`, with the arguments that give the event; gives the file that it wrote.
#[track_caller]
fn aws_invoke(emulator: &mut Emulator, payload: &str) -> Answer {
    let endpoint = emulator.endpoint();
    let mut command = client("aws", emulator.run().dir());
    command.args(["lambda", "invoke", "--region", "us-east-1", "--cli-read-timeout", "120", "--endpoint-url", &endpoint]);
    command.args(["--function-name", "function", "--payload", payload, "out.json"]);
    let said: serde_json::Value = serde_json::from_slice(&output(&mut command, b"")).unwrap();
    assert_eq!(said["StatusCode"], 200, "{said}");
    Answer { status: 200, body: std::fs::read(emulator.run().dir().join("out.json")).unwrap() }
}

#[track_caller]
fn boto3_invoke(emulator: &mut Emulator, event: &[u8], client_context: Option<&str>) -> Answer {
    let endpoint = emulator.endpoint();
    let mut command = client("python", emulator.run().dir());
    command.arg(fixture("clients/boto3_invoke.py")).arg(endpoint).args(client_context);
    Answer { status: 200, body: output(&mut command, event) }
}

#[test]
fn the_aws_cli_invokes_the_java_example() {
    let mut emulator = Emulator::of(Example::Java.command());
    let answer = aws_invoke(&mut emulator, Example::Java.event());
    Example::Java.answered(&answer);

    let (event, error_type, _) = Example::Java.wrong_event().unwrap();
    let answer = aws_invoke(&mut emulator, event);
    let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error["errorType"], error_type, "{error}");

    let (event, response) = Example::Java.event_with_response_of(MOST);
    std::fs::write(emulator.run().dir().join("event.json"), event).unwrap();
    aws_invoke(&mut emulator, "fileb://event.json").is(response.unwrap());
    goes_on_after(&mut emulator, Example::Java);
}

#[test]
fn boto3_invokes_the_java_example() {
    let mut emulator = Emulator::of(Example::Java.command());
    let answer = boto3_invoke(&mut emulator, Example::Java.event().as_bytes(), None);
    Example::Java.answered(&answer);
    // What is no JSON, as a client may send it.
    let answer = boto3_invoke(&mut emulator, b"\xff", None);
    let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error["errorMessage"], "the event is not JSON in UTF-8", "{error}");
    goes_on_after(&mut emulator, Example::Java);
}

#[test]
fn what_the_emulator_knows_is_in_the_context() {
    let setup = Setup::new().env("AWS_LAMBDA_FUNCTION_NAME", "greeter");
    let mut emulator = Emulator::start(setup, fixture("handlers/saves_messages.py"));
    let event = r#"{"big":123456789012345678901234567890,"price":1.10,"twice":1,"twice":2,"half":"\ud800"}"#;
    boto3_invoke(&mut emulator, event.as_bytes(), Some(r#"{"custom":{"n":1.10}}"#)).is("null");

    let message = String::from_utf8(std::fs::read(emulator.run().dir().join("message.0")).unwrap()).unwrap();
    assert!(message.ends_with(&format!(r#","event":{event}}}{}"#, "\n")), "{message}");
    assert!(message.contains(r#""clientContext":{"custom":{"n":1.10}}"#), "{message}");
    let message: serde_json::Value = serde_json::from_str(&message.replace(r"\ud800", "")).unwrap();
    let context = &message["context"];
    assert_eq!(context["functionName"], "greeter", "{context}");
    assert_eq!(context["functionVersion"], "$LATEST", "{context}");
    assert!(context["invokedFunctionArn"].as_str().unwrap().starts_with("arn:aws:lambda:"), "{context}");
    assert!(context["deadlineMs"].is_u64(), "{context}");
    assert!(message["id"].as_str().unwrap().len() == 36, "{message}");
}
