//! `workbench seed`: writes the deterministic tutors, students and log-ins, from which the expected replies follow.

use std::process::ExitCode;

use clap::Args;
use system::database::ClientVariables;

use crate::stack::{DataSet, seed};
use crate::terminal;

/// The arguments of `workbench seed`.
#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// URL of the PostgreSQL database
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    #[command(flatten)]
    pub(crate) data: DataSet,
    #[command(flatten)]
    client_variables: ClientVariables,
}

/// Writes the data set.
pub(crate) async fn command(arguments: &Seed) -> anyhow::Result<ExitCode> {
    let url = &arguments.database_url;
    seed(url, arguments.data).await.map_err(|error| arguments.client_variables.explain(url, error))?;
    let DataSet { tutors, students } = arguments.data;
    terminal::print(&format!("the database has {tutors} tutors and {students} students\n"))?;
    Ok(ExitCode::SUCCESS)
}
