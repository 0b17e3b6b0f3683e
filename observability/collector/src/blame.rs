//! Where the time of a request went: critical path, self time, attribution to hops, the rows of a waterfall, and the
//! skew of the clocks.

pub mod critical_path;
pub mod attribution;
pub mod waterfall;
pub mod clock_skew;
