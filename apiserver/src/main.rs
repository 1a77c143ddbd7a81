//! The double as a process of its own: prints its address, and serves until it is stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use heddle_apiserver::{ADMIN, Double, Setup};

/// A double of Kubernetes' API server, for tests.
#[derive(Debug, Parser)]
#[command(name = "heddle-apiserver-double", version)]
struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Deny what no Role or ClusterRole grants.
    #[arg(long)]
    rbac: bool,
    /// Speak TLS.
    #[arg(long)]
    tls: bool,
    /// Leave out the kinds of Istio and of the Gateway API.
    #[arg(long)]
    bare: bool,
    /// File to write the kubeconfig of an administrator to.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Manifest to store, status included; may be repeated.
    #[arg(long = "file", short = 'f')]
    files: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heddle-apiserver-double: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let setup = Setup {
        listen: options.listen,
        rbac: options.rbac,
        tls: options.tls,
        mesh: !options.bare,
        ..Setup::default()
    };
    let double = Double::start(setup).await.map_err(|error| error.to_string())?;
    for path in &options.files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        for document in serde_saphyr::from_multiple::<serde_json::Value>(&text)
            .map_err(|error| format!("{name}: {error}"))?
        {
            double.try_put(document).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    if let Some(path) = &options.kubeconfig {
        std::fs::write(path, double.kubeconfig(ADMIN))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    println!("{}", double.url());
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())
}
