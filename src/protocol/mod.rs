//! The JSON lines between bootstrap and a handler: values in, values out, no I/O and no clock.

pub mod lines;
pub mod message;
pub mod reply;
pub mod structure;
