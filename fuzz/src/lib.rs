//! What each fuzz target does with its input, and what it holds the result against.
//!
//! The oracles are slow and simple, written from the protocol and from the RFCs, and share no code with what they judge. A
//! disagreement is a panic, which the fuzzer reports with the input.

pub mod answers;
pub mod commands;
pub mod conversations;
pub mod events;
pub mod frames;
pub mod headers;
pub mod json;
pub mod lines;
pub mod logs;
pub mod messages;
pub mod names;
pub mod replies;
pub mod requests;
pub mod rfc8259;
pub mod settings;
pub mod text;
