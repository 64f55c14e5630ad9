//! The `wasmount` command: reads what is to be mounted, puts the parts together, and watches over the mount.

mod background;
mod cgroup;
mod cli;
mod commands;
mod config;
mod dirs;
mod disk_cache;
mod failing;
mod fluid;
mod limits;
mod live;
mod logging;
mod memory;
mod plugins;
mod scheduling;
mod show;
mod supervise;
mod telemetry;
mod userns;
mod wire;

use clap::Parser;
use cli::{Cli, Command, PluginCommand};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = commands::mount_helper::by_name(std::env::args_os()) {
        return code;
    }
    if let Some(code) = commands::umount::by_name(std::env::args_os()) {
        return code;
    }
    let cli = match background::arguments(std::env::args_os(), std::io::stdin()) {
        Ok(arguments) => Cli::parse_from(arguments),
        Err(error) => {
            report(&anyhow::Error::new(error).context("the arguments of a mount in the background"));
            return ExitCode::FAILURE;
        }
    };
    limits::raise();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits::workers())
        .thread_name("wasmount")
        .on_thread_start(scheduling::wake_up_quietly)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(execute(cli.command));
            // Requests in flight are of no use to anybody once the mount is gone.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => commands::run::run(args).await,
        Command::Mount(args) => commands::mount::run(args).await,
        Command::Cache { command } => {
            tokio::task::spawn_blocking(move || commands::cache::run(command)).await?
        }
        Command::Warm(args) => commands::warm::run(args).await,
        Command::Probe(args) => commands::probe::run(args).await,
        Command::Plugin { command: PluginCommand::Inspect(args) } => {
            tokio::task::spawn_blocking(move || commands::plugin_inspect::run(&args)).await?
        }
        Command::Plugin { command: PluginCommand::Test(args) } => commands::plugin_test::run(args).await,
        Command::Plugin { command: PluginCommand::Pull(args) } => {
            tokio::task::spawn_blocking(move || commands::plugin_pull::run(&args)).await?
        }
        Command::Plugin { command: PluginCommand::Push(args) } => {
            tokio::task::spawn_blocking(move || commands::plugin_push::run(&args)).await?
        }
        Command::Plugin { command: PluginCommand::Verify(args) } => {
            tokio::task::spawn_blocking(move || commands::plugin_verify::run(&args)).await?
        }
    }
}

/// One clear line, in the form of all other log lines if there are any.
fn report(error: &anyhow::Error) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error:#}");
    } else {
        // Not `eprintln!`, which panics where nobody reads it.
        let text = format!("{error:#}");
        let _ = writeln!(std::io::stderr(), "wasmount: {}", logging::redactor().redact(&text));
    }
}
