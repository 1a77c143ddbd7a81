//! The binary: options, log, runtime, signals.

use std::process::ExitCode;

use heddle_controlplane::controller::Controller;
use heddle_controlplane::options::{Call, Options};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = match Options::of_command_line() {
        Call::Run(options) => *options,
        Call::Verb(verb) => return verb.run(),
    };
    let Ok(filter) = EnvFilter::try_new(&options.log) else {
        eprintln!("heddle-controller: --log {:?} is not a log filter", options.log);
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(options));
    runtime.shutdown_background();
    code
}

async fn run(options: Options) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be handled");
        return ExitCode::FAILURE;
    };
    let controller = match Controller::start(options).await {
        Ok(controller) => controller,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    controller.stop().await;
    ExitCode::SUCCESS
}
