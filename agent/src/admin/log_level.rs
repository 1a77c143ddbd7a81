//! The level of the log, changed while the agent runs.

use tracing_subscriber::{EnvFilter, Registry, reload};

/// Sets what is logged.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Starts the log on stderr; stdout is the access log's.
    ///
    /// # Errors
    /// The directives are malformed.
    pub fn start(directives: &str) -> Result<Self, String> {
        use tracing_subscriber::prelude::*;
        let (filter, handle) = reload::Layer::new(parse(directives)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
        started.map_err(|error| error.to_string())?;
        Ok(Self(handle))
    }

    /// Another level, or directives such as `info,heddle_agent::control=debug`.
    ///
    /// # Errors
    /// The directives are malformed.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        self.0.reload(parse(directives)?).map_err(|error| error.to_string())
    }
}

fn parse(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(directives).map_err(|error| {
        format!("'{directives}' is not a log level such as info or info,heddle_agent=debug: {error}")
    })
}
