//! The JSON lines between bootstrap and a handler: values in, values out, no I/O and no clock.

mod block;
pub mod conversation;
mod envelope;
pub mod lines;
pub mod message;
pub mod reply;
mod scanner;
pub mod stream;
pub mod structure;
mod text;
pub mod whole;
