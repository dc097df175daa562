//! The handlers in `examples/`, and what they do with an event.

use std::path::PathBuf;

use super::peer::Answer;
use super::tool;

/// The most bytes that an event or a response may have: 6 MiB and 100.
pub(crate) const MOST: usize = 6_291_556;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Example {
    /// `examples/java-jlink`, which prices an order.
    Java,
    /// `examples/shell/greet.sh`, which uses jq.
    Greet,
    /// `examples/shell/hello.sh`, which uses nothing and has nothing to complain of.
    Hello,
}

impl Example {
    pub(crate) fn command(self) -> PathBuf {
        tool::example(match self {
            Example::Java => "java-jlink/dist/bin/executable",
            Example::Greet => "shell/greet.sh",
            Example::Hello => "shell/hello.sh",
        })
    }

    /// An event like those in its documentation.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Example::Java => r#"{"customer":"Zoë","taxRate":0.19,"lines":[{"sku":"tea","quantity":12,"unitPrice":3.50}]}"#,
            Example::Greet => r#"{"name":"Zoë","lines":[{"item":"tea","quantity":2,"cents":350}]}"#,
            Example::Hello => r#"{"name": "Zoë", "n": [1.10, 12345678901234567890]}"#,
        }
    }

    /// The answer to that event.
    #[track_caller]
    pub(crate) fn answered(self, answer: &Answer) {
        match self {
            Example::Java => answer.is(concat!(
                r#"{"customer":"Zoë","lines":[{"sku":"tea","quantity":12,"amount":42.00}],"#,
                r#""subtotal":42.00,"discount":2.10,"tax":7.58,"total":47.48}"#
            )),
            Example::Greet => {
                // The time that is left follows; under cargo-lambda it ended in 1970.
                let body = String::from_utf8_lossy(&answer.body);
                let right = body.starts_with(r#"{"greeting":"Hello, Zoë!","lines":1,"totalCents":700,"timeLeftMs":"#);
                assert!(right && answer.status == 200, "{}", answer.text());
            }
            Example::Hello => answer.is(format!(r#"{{"hello":{}}}"#, self.event())),
        }
    }

    /// An event that it refuses, the error's type, and words of its message.
    pub(crate) fn wrong_event(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Example::Java => Some((
                r#"{"lines":[{"sku":"tea","quantity":1.5,"unitPrice":3.50}]}"#,
                "com.example.orders.InvalidOrder",
                "line 1: quantity must be a whole number",
            )),
            Example::Greet => Some((
                r#"{"name":"Zoë","lines":[{"item":"tea","quantity":-2,"cents":350}]}"#,
                "InvalidOrder",
                "line 1: quantity must be a whole number",
            )),
            Example::Hello => None,
        }
    }

    /// An event, no longer than allowed, whose response has so many bytes, and the response where it is known to the byte.
    pub(crate) fn event_with_response_of(self, size: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        let text = |fixed: usize| "x".repeat(size - fixed);
        let (event, response) = match self {
            Example::Java => {
                let rest = concat!(
                    r#"","lines":[{"sku":"tea","quantity":1,"amount":3.50}],"#,
                    r#""subtotal":3.50,"discount":0.00,"tax":0.00,"total":3.50}"#
                );
                let customer = text(r#"{"customer":""#.len() + rest.len());
                let event = format!(r#"{{"customer":"{customer}","lines":[{{"sku":"tea","quantity":1,"unitPrice":3.5}}]}}"#);
                (event, Some(format!(r#"{{"customer":"{customer}{rest}"#)))
            }
            Example::Greet => {
                // How many digits the time that is left has is not known; the error is less than a dozen bytes.
                let name = text(r#"{"greeting":"Hello, !","lines":0,"totalCents":0,"timeLeftMs":123456}"#.len());
                (format!(r#"{{"name":"{name}"}}"#), None)
            }
            Example::Hello => {
                let event = format!(r#""{}""#, text(r#"{"hello":""}"#.len()));
                let response = format!(r#"{{"hello":{event}}}"#);
                (event, Some(response))
            }
        };
        assert!(event.len() <= MOST);
        (event.into_bytes(), response.map(String::into_bytes))
    }

    /// How far from `size` that response may be.
    pub(crate) fn error_of_size(self) -> usize {
        if matches!(self, Example::Greet) { 12 } else { 0 }
    }

    /// [`Example::event`] with a member of so many bytes that the event is as long as may be. The answer is the same.
    pub(crate) fn longest_event(self) -> Vec<u8> {
        let event = self.event();
        let fixed = event.len() + r#""note":"","#.len();
        format!(r#"{{"note":"{}",{}"#, "x".repeat(MOST - fixed), &event[1..]).into_bytes()
    }
}
