//! `heddle-agent`: reads its options, prepares the process, and runs the agent until SIGTERM; or does what a subcommand says.

use std::process::ExitCode;

use heddle_agent::admin::LogLevel;
use heddle_agent::options::{Call, Options};
use heddle_agent::{node, process, run};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Freed memory goes back to the system within seconds, by a thread that is not a worker.
// SAFETY: jemalloc declares this symbol as `const char *`; a reference to a static, NUL-terminated array is that.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_OPTIONS: &[u8; 63] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:1000\0";

fn main() -> ExitCode {
    let options = match Options::of_command_line() {
        Call::Run(options) => options,
        Call::Verb(verb) => return verb.run(),
    };
    let log_level = match LogLevel::start(&options.log) {
        Ok(log_level) => log_level,
        Err(error) => {
            eprintln!("heddle-agent: --log: {error}");
            return ExitCode::from(2);
        }
    };
    let node = match prepare(&options) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("heddle-agent: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run::run(&options, node, log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the agent stops");
            eprintln!("heddle-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Before there are threads: they would keep what they were started with.
fn prepare(options: &Options) -> Result<node::Detected, Box<dyn std::error::Error>> {
    process::require_root()?;
    let node = options.detect()?;
    process::check(&node.cgroup)?;
    process::harden()?;
    Ok(node)
}
