//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::serve::Serve;
use crate::load::{Load, Report};
use crate::run::Shape;
use crate::stack::postgres::{Binaries, Cluster};
use crate::stack::{Options, PortChoice, keeper};
use crate::transfer::Transfer;

/// Starts the tutoring system, loads it, checks every reply, and says where the time went.
#[derive(Debug, Parser)]
#[command(name = "workbench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything, load it, print where the time went, and stop
    Demo(Demo),
    /// Start everything and stay, until Ctrl-C
    Up(Up),
    /// Run one role in this process; the environment tells it where the others are
    Serve(Serve),
    /// Load a system that runs already, and check every reply
    Load(Load),
    /// Print the report of a run again
    Report(Report),
    /// Move kept traces between a running collector and files
    #[command(subcommand)]
    Traces(Transfer),
    /// Put tutors and students into a database
    Seed(Seed),
    /// Write random secrets for the roles to share into a folder, unless they are there
    Secrets {
        /// Gets the token key and PostgreSQL's password file
        folder: PathBuf,
    },
    /// Succeed if a role is ready
    Health {
        /// Where the role listens
        #[arg(value_name = "HOST:PORT", env = "LISTEN")]
        address: String,
    },
    /// Keep a stack's folder and its database until stdin ends
    #[command(hide = true)]
    Keep(Keep),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// Listen on free ports instead of the usual ones
    #[arg(long, conflicts_with = "port_base")]
    pub(crate) free_ports: bool,
    /// Send spans to this OTLP/gRPC endpoint, not to the stack's own collector; empty turns the export off
    #[arg(long, value_name = "URL")]
    export_to: Option<String>,
    /// Print one JSON object instead of the table when all is ready
    #[arg(long)]
    pub(crate) json: bool,
}

impl Up {
    pub(crate) fn options(&self) -> Options {
        let ports = if self.free_ports { PortChoice::Free } else { PortChoice::Table };
        Options { export_to: self.export_to.clone(), ..self.stack.options(ports) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) stack: StackArgs,
    /// Leave everything running after the load, until Ctrl-C
    #[arg(long)]
    pub(crate) keep_up: bool,
}

impl Demo {
    pub(crate) fn options(&self) -> Options {
        self.stack.options(PortChoice::Free)
    }
}

/// What `up` and `demo` have in common.
#[derive(Debug, Args)]
pub(crate) struct StackArgs {
    /// Listen on the twelve ports from N on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=65524))]
    port_base: Option<u16>,
    /// Use this PostgreSQL instead of starting one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Take initdb and postgres from this folder instead of searching for them
    #[arg(long, value_name = "FOLDER")]
    postgres_bin: Option<PathBuf>,
    /// Sign tokens with this secret, of at least 32 bytes, instead of a random one
    #[arg(long, value_name = "SECRET", env = "JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataSet,
}

impl StackArgs {
    /// `ports` unless a base was given.
    pub(crate) fn options(&self, ports: PortChoice) -> Options {
        Options {
            ports: self.port_base.map_or(ports, PortChoice::Base),
            database_url: self.database_url.clone(),
            postgres_bin: self.postgres_bin.clone(),
            jwt_secret: self.jwt_secret.clone(),
            export_to: None,
            data: self.data,
        }
    }
}

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

#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// The PostgreSQL to fill
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    #[command(flatten)]
    pub(crate) data: DataSet,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Removed at the end, with all that is in it
    pub(crate) folder: PathBuf,
    /// Run a PostgreSQL on this port
    #[arg(long, requires = "password")]
    port: Option<u16>,
    #[arg(long)]
    postgres_bin: Option<PathBuf>,
    #[arg(long, env = keeper::PASSWORD, hide_env_values = true)]
    password: Option<String>,
}

impl Keep {
    /// The server to run, if any.
    pub(crate) fn cluster(&self) -> Option<Cluster> {
        Some(Cluster {
            binaries: self.postgres_bin.clone().map_or(Binaries::OnPath, Binaries::In),
            folder: self.folder.clone(),
            port: self.port?,
            password: self.password.clone()?,
        })
    }
}
