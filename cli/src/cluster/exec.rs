//! A command in a pod, over `pods/exec`.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{Cluster, Trouble};

/// For one command: the admin verbs give up after ten seconds themselves.
const DEADLINE: Duration = Duration::from_secs(20);
/// 20,000 workloads print as some 10 MB.
const MOST: u64 = 256 << 20;
const PIPE: usize = 1 << 20;

/// A command, and where it is to run.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: &'static str,
    pub(crate) words: Vec<String>,
}

impl Cluster {
    /// Runs it and gives back its standard output; where it fails, what it said on standard error is the reason.
    pub(crate) async fn exec(&self, command: &Command) -> Result<Vec<u8>, Trouble> {
        match timeout(DEADLINE, self.run(command)).await {
            Ok(done) => done,
            Err(_elapsed) => Err(Trouble::Other(format!("nothing within {DEADLINE:?}"))),
        }
    }

    async fn run(&self, command: &Command) -> Result<Vec<u8>, Trouble> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &command.namespace);
        let how = AttachParams::default().container(command.container).stdin(false).stdout(true).stderr(true);
        let how = how.max_stdout_buf_size(PIPE);
        let mut process = pods.exec(&command.pod, command.words.clone(), &how).await?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let (stdout, stderr) = tokio::join!(drain(stdout), drain(stderr));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        let ended = process.join().await;
        let told = || String::from_utf8_lossy(&stderr).trim().to_owned();
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(stdout),
            Some(status) => Err(Trouble::Other(match told() {
                said if said.is_empty() => status.message.unwrap_or_default(),
                said => said,
            })),
            None => Err(Trouble::Unreachable(match ended {
                Err(error) => error.to_string(),
                Ok(()) => "the connection to the pod ended early".to_owned(),
            })),
        }
    }
}

async fn drain(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        // What was cut off is no JSON, and said to be that.
        let _end = stream.take(MOST).read_to_end(&mut read).await;
    }
    read
}
