//! Log lines on standard error: for people on a terminal, JSON for machines.

use crate::redact::{Redact, RedactingWriter, Spelling};
use std::io::{self, IsTerminal};
use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Environment variable with a filter, in the syntax of `tracing_subscriber::EnvFilter`: `debug`, or
/// `info,wasmount_net=trace`.
pub const FILTER_VARIABLE: &str = "WASMOUNT_LOG";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [`Format::Human`] on a terminal, [`Format::Json`] otherwise, as in a container.
    #[default]
    Auto,
    /// One readable line.
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such format.
    #[error("log format {0:?} is none of auto, human, json")]
    Format(String),
    /// The filter is malformed.
    #[error("{origin}: {filter:?} is no log filter ({cause}); examples: debug, info,wasmount_net=trace")]
    Filter {
        /// Where it was given.
        origin: &'static str,
        /// What was given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Logging was set up before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sends everything that is logged from now on to standard error.
///
/// `level` (from the command line) wins over [`FILTER_VARIABLE`]; without both it is `info`. `redact` sees each
/// line before it is written.
///
/// # Errors
/// For a malformed filter, or when called twice.
pub fn init(format: Format, level: Option<&str>, redact: Redact) -> Result<(), LogError> {
    let variable = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = match (level, variable) {
        (Some(level), _) => parse_filter("--log-level", level)?,
        (None, Some(text)) => parse_filter(FILTER_VARIABLE, &text)?,
        (None, None) => parse_filter("", "info")?,
    };
    let terminal = io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if json {
        let writer = RedactingWriter::new(io::stderr, redact, Spelling::Json);
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .finish()
            .try_init()?;
    } else {
        let writer = RedactingWriter::new(io::stderr, redact, Spelling::Plain);
        builder.with_ansi(terminal).with_target(false).with_writer(writer).finish().try_init()?;
    }
    Ok(())
}

fn parse_filter(origin: &'static str, text: &str) -> Result<EnvFilter, LogError> {
    // The FUSE library complains about each reply nobody waits for any more, and the compiler of plugins tells the
    // story of its life: both only when asked for by name.
    let full = format!("fuser=off,cranelift_codegen=warn,wasmtime=warn,hyper=info,rustls=info,{text}");
    EnvFilter::builder().parse(full).map_err(|error| LogError::Filter {
        origin,
        filter: text.to_owned(),
        cause: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
        assert_eq!("auto".parse::<Format>().unwrap(), Format::Auto);
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("human"));
    }

    #[test]
    fn filters() {
        assert!(parse_filter("--log-level", "debug").is_ok());
        assert!(parse_filter("--log-level", "info,wasmount_net=trace").is_ok());
        let error = parse_filter("--log-level", "loud=very").unwrap_err().to_string();
        assert!(error.contains("--log-level") && error.contains("loud=very"), "{error}");
    }
}
