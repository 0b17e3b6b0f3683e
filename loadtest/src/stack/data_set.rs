//! The deterministic data of the system: how much of it there is, and writing it into a database.

use clap::Args;
use system::{app, database, dataset};

/// How much of the deterministic data there is.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DataSet {
    /// How many tutors are in the database
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) tutors: u32,
    /// How many students are in the database, each with a log-in
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) students: u32,
}

/// Brings the schema up to date and puts the data into the database at `url`. May run again.
pub(crate) async fn seed(url: &str, data: DataSet) -> Result<(), app::Error> {
    let pool = database::connect(url).await?;
    dataset::seed(&pool, data.tutors, data.students).await?;
    pool.close().await;
    Ok(())
}
