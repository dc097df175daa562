//! Lambda on a laptop: execution environments, and the commands that run a handler in one.
//!
//! ```text
//!                                                   state   which call is due when: pure
//!                                                     |
//!     invoke ---> session ---> environment ---> runtime ---> api   the Runtime API's server side
//!     serve  ---> fleet ----------^  |              |         ^
//!                                 journal        process      | HTTP on 127.0.0.1, the only thing the two have in common
//!                                    |              '---------'-- this same binary as the runtime, which runs the handler
//!                                 console
//! ```
//!
//! `invoke` reads its [events] and prints their answers; [`serve`] has clients of Lambda's.
//!
//! Nothing here knows JSON lines or handlers, and nothing of the runtime is called. The one exception is [`check`], which also
//! talks to a handler itself: it is to see what the runtime hides, or mends.

pub mod answer;
pub mod api;
pub mod check;
pub mod console;
pub mod environment;
pub mod event_stream;
pub mod events;
pub mod extensions;
pub mod function;
pub mod guard;
pub mod id;
pub mod invoke;
pub mod journal;
pub mod json;
pub mod logs;
pub mod platform;
pub mod process;
pub mod refusal;
pub mod runtime;
pub mod serve;
pub mod session;
pub mod state;
pub mod summary;
pub mod tree;
pub mod url;
