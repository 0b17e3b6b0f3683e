//! `workbench seed`: writes the deterministic tutors, students and log-ins, from which the expected replies follow.

use std::process::ExitCode;

use clap::Args;

use crate::stack::{DataSet, seed};

/// The arguments of `workbench seed`.
#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// URL of the PostgreSQL database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    #[command(flatten)]
    pub(crate) data: DataSet,
}

/// Writes the data set.
pub(crate) async fn command(arguments: &Seed) -> anyhow::Result<ExitCode> {
    seed(&arguments.database_url, arguments.data).await?;
    let DataSet { tutors, students } = arguments.data;
    println!("the database has {tutors} tutors and {students} students");
    Ok(ExitCode::SUCCESS)
}
