//! `wasmount run`: the FUSE container of a Fluid ThinRuntime.

use crate::cli::RunArgs;
use crate::commands::dry_run;
use crate::config::host_volumes::Reserved;
use crate::config::sources::{ArgOption, MOUNT_OPTIONS, Shared};
use crate::fluid::{discover, target};
use crate::logging;
use crate::wire::{self, Plan};
use anyhow::Context;

/// Reads config.json, mounts, and serves until the end.
///
/// # Errors
/// Whatever keeps the whole mount from working.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    logging::init(&args.common.log)?;
    let (file, config) = discover::load(args.config.as_deref())?;
    tracing::info!(file = %file.display(), mounts = config.mounts.len(), "configuration is read");
    let target = target::choose(args.target.as_deref(), config.target_path.as_deref(), &file)?;
    let options = operator_options(&args.common.option)?;
    let reserved = Reserved::new(&args.common, &options, &file);
    // Before anything is read that such a volume may have brought.
    reserved.check(&config).with_context(|| file.display().to_string())?;
    let environment = std::env::var_os(MOUNT_OPTIONS).map(|text| text.to_string_lossy().into_owned());
    let shared = Shared::new(environment.as_deref(), &config.runtime_options, options);
    let plan = Plan {
        config,
        file: Some(file),
        target,
        layout: args.layout.into(),
        shared,
        reserved,
        implied_rules: Vec::new(),
        background: None,
    };
    match args.common.dry_run {
        Some(format) => dry_run::run(plan, args.common, format).await,
        None => wire::serve(plan, args.common).await,
    }
}

/// The `--option` arguments.
///
/// # Errors
/// Name the argument by its position, not by its text, which may be a secret.
pub(crate) fn operator_options(texts: &[String]) -> anyhow::Result<Vec<ArgOption>> {
    let parse = |(index, text): (usize, &String)| {
        ArgOption::parse(text)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("--option number {}", index + 1))
    };
    texts.iter().enumerate().map(parse).collect()
}
