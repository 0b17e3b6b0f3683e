//! Where the time of a request went.

pub mod critical_path;
pub mod waterfall;
