//! The subcommands: one thin file each.

pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod keep;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod restart;
pub(crate) mod secrets;
pub(crate) mod seed;
pub(crate) mod serve;
mod stack_arguments;
pub(crate) mod traces;
pub(crate) mod up;
