//! Where the time of a request went: critical path, self time, attribution to hops, and the rows of a waterfall.

pub mod critical_path;
pub mod attribution;
pub mod waterfall;
