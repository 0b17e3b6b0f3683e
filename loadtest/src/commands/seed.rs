//! `workbench seed`: tutors, students and their log-ins, the same each time, so that every right answer is known.

use std::process::ExitCode;

use clap::Args;

use crate::stack::{DataSet, seed};

/// The arguments of `workbench seed`.
#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// The PostgreSQL to fill
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    #[command(flatten)]
    pub(crate) data: DataSet,
}

/// Fills the database that the arguments name.
pub(crate) async fn command(arguments: &Seed) -> anyhow::Result<ExitCode> {
    seed(&arguments.database_url, arguments.data).await?;
    let DataSet { tutors, students } = arguments.data;
    println!("{tutors} tutors and {students} students are in the database");
    Ok(ExitCode::SUCCESS)
}
