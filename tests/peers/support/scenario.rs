//! What each example is put through under each peer.

use super::example::{Example, MOST};
use super::peer::Peer;

/// After whatever was: an event is answered as always.
#[track_caller]
pub(crate) fn goes_on_after(peer: &mut dyn Peer, example: Example) {
    let answer = peer.invoke(example.event().as_bytes());
    example.answered(&answer);
}

/// Events are answered, also after one that the handler refuses, by one and the same process.
#[track_caller]
pub(crate) fn answers(peer: &mut dyn Peer, example: Example) {
    goes_on_after(peer, example);
    let process = peer.run().handler();
    if let Some((event, error_type, message)) = example.wrong_event() {
        let error = peer.fails(event.as_bytes(), error_type);
        assert!(error["errorMessage"].as_str().unwrap().contains(message), "{error}");
    }
    goes_on_after(peer, example);
    assert_eq!(peer.run().handler(), process, "the handler was replaced");
}

/// Where the handler ends instead of answering, the caller is told how, and the next event has a fresh one.
#[track_caller]
pub(crate) fn crashes(peer: &mut dyn Peer, example: Example, event: &[u8], how: &str) {
    goes_on_after(peer, example);
    let process = peer.run().handler();
    let error = peer.fails(event, "Runtime.ExitError");
    assert!(error["errorMessage"].as_str().unwrap().contains(how), "{error}");
    goes_on_after(peer, example);
    assert_ne!(peer.run().handler(), process);
}

/// Where the handler, alive as it may be, does not answer, bootstrap does so before the emulator's own time-out.
#[track_caller]
pub(crate) fn times_out(peer: &mut dyn Peer, example: Example, event: &[u8]) {
    goes_on_after(peer, example);
    let process = peer.run().handler();
    peer.fails(event, "Function.Timeout");
    goes_on_after(peer, example);
    assert_ne!(peer.run().handler(), process);
}

/// The longest event and the longest response pass whole, and a longer response is refused, by the same process.
#[track_caller]
pub(crate) fn moves_megabytes(peer: &mut dyn Peer, example: Example) {
    goes_on_after(peer, example);
    let process = peer.run().handler();
    if !matches!(example, Example::Hello) {
        let answer = peer.invoke(&example.longest_event());
        example.answered(&answer);
    }
    let (event, response) = example.event_with_response_of(MOST - example.error_of_size());
    let answer = peer.invoke(&event);
    assert_eq!(answer.status, 200, "{}", answer.text());
    match response {
        Some(response) => answer.is(response),
        None => assert!(answer.body.len() > MOST - 2 * example.error_of_size(), "{}", answer.text()),
    }
    goes_on_after(peer, example);
    let (event, _) = example.event_with_response_of(MOST + 1 + example.error_of_size());
    peer.fails(&event, "Function.ResponseSizeTooLarge");
    goes_on_after(peer, example);
    assert_eq!(peer.run().handler(), process, "the handler was replaced");
}
