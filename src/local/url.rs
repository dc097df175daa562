//! Lambda function URLs: an HTTP request becomes an event, and what the handler says becomes an HTTP answer.
//!
//! Both have payload format 2.0 (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>). Where Lambda has been seen to do
//! other than its documentation says, this does as Lambda does: the place that does so names what was seen.
//!
//! Values in, values out. Whatever the handler says, an [`Answer`] can be sent: header names and values are valid by their types, and
//! the headers that the server sets are not among them.

mod answer;
mod event;
mod head;
mod members;
mod prelude;

use thiserror::Error;

pub use answer::{Answer, answer};
pub use event::{Caller, event};
pub use head::Head;
pub use prelude::{Beginning, Prelude, beginning};

/// The handler's response is no HTTP answer. Lambda's client gets [`Answer::bad_gateway`] and is not told why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the response is no HTTP answer: {0}")]
pub struct Malformed(String);
