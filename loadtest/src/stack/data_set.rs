//! The deterministic data of the system: its size, and its insertion into a database.

use clap::Args;
use system::{app, database, dataset};

/// Maximum number of tutors and of students. The load generator keeps the expected replies in memory, about 0.75 kB for each
/// tutor.
pub(crate) const MAX_ROWS: i64 = 100_000;

/// Size of the deterministic data set.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DataSet {
    /// Number of tutors in the database
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=MAX_ROWS))]
    pub(crate) tutors: u32,
    /// Number of students in the database, each with a log-in
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=MAX_ROWS))]
    pub(crate) students: u32,
}

/// Migrates the schema and writes the data set to the database at `url`. Idempotent.
pub(crate) async fn seed(url: &str, data: DataSet) -> Result<(), app::Error> {
    let pool = database::connect(url).await?;
    dataset::seed(&pool, data.tutors, data.students).await?;
    pool.close().await;
    Ok(())
}
