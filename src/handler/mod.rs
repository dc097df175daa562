pub mod command;
pub mod process;
