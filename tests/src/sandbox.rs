//! One sandbox, driven through the `heddle` binary, taken down when dropped.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    keep: bool,
}

impl Sandbox {
    /// `heddle sandbox up --name NAME ARGS…`; an older one of that name goes first.
    ///
    /// # Errors
    /// The command's own error output.
    pub fn up(name: &str, args: &[&str]) -> Result<Self> {
        let sandbox = Self { name: name.into(), keep: false };
        sandbox.output(&["sandbox", "down"])?;
        let mut all = vec!["sandbox", "up"];
        all.extend_from_slice(args);
        sandbox.run(&all)?;
        Ok(sandbox)
    }

    /// Leaves it running when dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `/run/heddle/NAME`.
    pub fn directory(&self) -> PathBuf {
        Path::new("/run/heddle").join(&self.name)
    }

    /// Runs `heddle ARGS…` against this sandbox and returns what it printed.
    ///
    /// # Errors
    /// Exit status other than 0, with the error output.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.output(args)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("heddle {}: {}: {}", args.join(" "), output.status, text.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Self::run`], whatever the exit status.
    ///
    /// # Errors
    /// The binary cannot be started.
    pub fn output(&self, args: &[&str]) -> Result<Output> {
        self.command(args)?.output().context("heddle does not start")
    }

    /// The command itself, for long-running ones.
    ///
    /// # Errors
    /// The binaries are not built.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("heddle")?);
        // A sandbox verb names it with --name, the others with --sandbox; what follows `--` is not ours.
        let flag = if args.first() == Some(&"sandbox") { "--name" } else { "--sandbox" };
        let end = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        command.args(&args[..end]).args([flag, &self.name]).args(&args[end..]);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a program in a pod (`deploy/NAME` too) or on a node (`node/NAME`).
    ///
    /// # Errors
    /// The binary cannot be started; the program's own status is in the output.
    pub fn exec<S: AsRef<OsStr>>(&self, namespace: &str, target: &str, argv: &[S]) -> Result<Output> {
        self.exec_command(namespace, target, argv)?.output().context("heddle does not start")
    }

    /// As [`Self::exec`], not started yet.
    ///
    /// # Errors
    /// The binaries are not built.
    pub fn exec_command<S: AsRef<OsStr>>(
        &self,
        namespace: &str,
        target: &str,
        argv: &[S],
    ) -> Result<Command> {
        let mut command = self.command(&["sandbox", "exec", "-n", namespace, target, "--"])?;
        command.args(argv);
        Ok(command)
    }

    /// `get KIND -o json` as a list of objects.
    ///
    /// # Errors
    /// The command failed or printed something else.
    pub fn list(&self, namespace: &str, kind: &str) -> Result<Vec<Value>> {
        let text = self.run(&["sandbox", "get", "-n", namespace, kind, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).with_context(|| format!("get {kind}: not JSON"))?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The one running pod whose label `app` is this.
    ///
    /// # Errors
    /// There is none.
    pub fn pod(&self, namespace: &str, app: &str) -> Result<Value> {
        let pods = self.list(namespace, "pods")?;
        let found = pods.into_iter().find(|pod| {
            pod["metadata"]["labels"]["app"] == app && pod["metadata"]["deletionTimestamp"].is_null()
        });
        found.ok_or_else(|| anyhow!("no pod with label app={app} in {namespace}"))
    }

    /// Pod addresses, v4 first.
    ///
    /// # Errors
    /// As [`Self::pod`].
    pub fn pod_addresses(&self, namespace: &str, app: &str) -> Result<Vec<String>> {
        let pod = self.pod(namespace, app)?;
        let addresses = pod["status"]["podIPs"].as_array().cloned().unwrap_or_default();
        let mut addresses: Vec<String> =
            addresses.iter().filter_map(|each| each["ip"].as_str().map(String::from)).collect();
        addresses.sort_by_key(|address| address.contains(':'));
        ensure!(!addresses.is_empty(), "pod {app} has no address");
        Ok(addresses)
    }

    /// Process ids of a pod's containers.
    ///
    /// # Errors
    /// The pod has no cgroup.
    pub fn pids(&self, pod: &Value) -> Result<Vec<u32>> {
        let node = pod["spec"]["nodeName"].as_str().context("pod has no node")?;
        let uid = pod["metadata"]["uid"].as_str().context("pod has no uid")?;
        let root = cgroup_root()?.join(format!("heddle-{}/{node}/pods/{uid}", self.name));
        let mut pids = Vec::new();
        collect_pids(&root, &mut pids)?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// Process ids of a node's agent.
    ///
    /// # Errors
    /// It has no cgroup.
    pub fn agent_pids(&self, node: &str) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        collect_pids(&cgroup_root()?.join(format!("heddle-{}/{node}/agent", self.name)), &mut pids)?;
        Ok(pids)
    }

    /// The agent's metrics page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self, node: &str) -> Result<String> {
        let argv = ["curl", "-sS", "-m", "5", "http://127.0.0.1:15020/metrics"];
        let output = self.exec("default", &format!("node/{node}"), &argv)?;
        ensure!(output.status.success(), "metrics of {node}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until every agent has applied all that was said before.
    ///
    /// # Errors
    /// It does not within a minute.
    pub fn synced(&self) -> Result<()> {
        self.run(&["sandbox", "wait", "--for", "synced", "--timeout", "60s"]).map(drop)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !self.keep {
            drop(self.output(&["sandbox", "down"]));
        }
    }
}

/// Asks until the answer is yes; how long that took.
///
/// # Errors
/// The last error, or "not within".
pub fn eventually(limit: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if matches!(answer, Ok(true)) {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            answer?;
            bail!("not within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds since the epoch, as in a capture.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A built binary: below `HEDDLE_BIN_DIR`, else beside the running one.
///
/// # Errors
/// It is not there.
pub fn binary(name: &str) -> Result<PathBuf> {
    let directory = match std::env::var_os("HEDDLE_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = std::env::current_exe()?;
            let beside = own.parent().context("no folder")?;
            // Integration tests run from deps/, one level below the binaries.
            if beside.ends_with("deps") { beside.join("..").canonicalize()? } else { beside.to_path_buf() }
        }
    };
    let path = directory.join(name);
    ensure!(path.exists(), "{} is not built: run `cargo xtask build`", path.display());
    Ok(path)
}

/// Mount point of cgroup2.
///
/// # Errors
/// None is mounted.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let path = line.and_then(|line| line.split(' ').nth(1)).context("no cgroup2 is mounted")?;
    Ok(PathBuf::from(path))
}

fn collect_pids(directory: &Path, into: &mut Vec<u32>) -> Result<()> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))
        .with_context(|| format!("{} is not a cgroup", directory.display()))?;
    into.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_pids(&entry.path(), into)?;
        }
    }
    Ok(())
}
