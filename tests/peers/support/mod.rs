//! Peers that are started, asked and ended, and the examples that they drive.
//!
//! A peer that is dropped is ended and checked: no process of its run may be left. When a test panics, it prints
//! everything that it, bootstrap and the handler wrote.

mod browser;
mod cargo_lambda;
mod client;
mod emulator;
mod example;
mod image;
mod peer;
mod run;
mod scenario;
mod served;
mod template;
mod tool;
mod unpacked;

pub(crate) use browser::Browser;
pub(crate) use cargo_lambda::CargoLambda;
pub(crate) use client::{client, output, with_clients};
pub(crate) use emulator::Emulator;
pub(crate) use example::{Example, MOST};
pub(crate) use image::{Container, Image};
pub(crate) use peer::{Answer, Peer};
pub(crate) use run::Setup;
pub(crate) use scenario::{answers, crashes, goes_on_after, moves_megabytes, times_out};
pub(crate) use served::Served;
pub(crate) use template::{Template, architecture, sam};
pub(crate) use tool::{binary, naive_runtime, of_the_project, released, suite, tool};
pub(crate) use unpacked::Unpacked;
