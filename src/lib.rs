//! x
pub mod cli;
pub mod config;
pub mod deadline;
pub mod document;
pub mod fault;
pub mod handler;
pub mod local;
pub mod log;
pub mod protocol;
pub mod runtime;
pub mod signal;
pub mod trace;
