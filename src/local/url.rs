//! Lambda function URLs: an HTTP request becomes an event.
//!
//! It has payload format 2.0 (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>). Where Lambda has been seen to do
//! other than its documentation says, this does as Lambda does: the place that does so names what was seen.

mod event;

pub use event::{Caller, event};
