//! Lambda on a laptop: execution environments, and the commands that run a handler in one.
//!
//! ```text
//!                                                   state   which call is due when: pure
//!                                                     |
//!     invoke ---> session ---> environment ---> runtime ---> api   the Runtime API's server side
//!                  |    |                           |         ^
//!              events  console                   process      | HTTP on 127.0.0.1, the only thing the two have in common
//!                                                   '---------'-- this same binary as the runtime, which runs the handler
//! ```
//!
//! Nothing here knows JSON lines or handlers, and nothing of the runtime is called. The one exception is [`check`], which also
//! talks to a handler itself: it is to see what the runtime hides, or mends.

pub mod answer;
pub mod api;
pub mod check;
pub mod console;
pub mod environment;
pub mod events;
pub mod extensions;
pub mod function;
pub mod id;
pub mod invoke;
pub mod json;
pub mod logs;
pub mod process;
pub mod refusal;
pub mod runtime;
pub mod session;
pub mod state;
pub mod summary;
