//! Analysis of a run: objectives, the hops table, where the time went.

pub(crate) mod blame;
pub(crate) mod hops;
pub(crate) mod slo;
pub(crate) mod traces;
