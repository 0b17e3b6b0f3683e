//! `workbench seed`: tutors, students and their log-ins, the same each time, so that every right answer is known.

use std::process::ExitCode;

use system::{database, dataset, service};

use crate::cli::{DataSet, Seed};

/// Fills the database that the arguments name.
pub(crate) async fn command(arguments: &Seed) -> anyhow::Result<ExitCode> {
    seed(&arguments.database_url, arguments.data).await?;
    let DataSet { tutors, students } = arguments.data;
    println!("{tutors} tutors and {students} students are in the database");
    Ok(ExitCode::SUCCESS)
}

/// Brings the schema up to date and puts the data into the database at `url`. May run again.
pub(crate) async fn seed(url: &str, data: DataSet) -> Result<(), service::Error> {
    let pool = database::connect(url).await?;
    dataset::seed(&pool, data.tutors, data.students).await?;
    pool.close().await;
    Ok(())
}
