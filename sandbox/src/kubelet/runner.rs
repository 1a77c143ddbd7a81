//! One container of a pod: started, probed, restarted with back-off, ended within its grace period.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cgroup::Cgroup;
use crate::container::{Entry, Exit, Mount, Process};
use crate::pod::{PodContext, Volumes, environment};
use crate::store;

use super::board::{Board, Ended, Role, State};
use super::probe::Probes;
use super::{Shared, Stop, stopped};

/// Kubernetes waits 10 s, 20 s … 5 min between restarts; a sandbox is looked at by somebody who waits.
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
const LAST_BACK_OFF: Duration = Duration::from_secs(8);
/// A run of this length starts the back-off anew.
const HEALTHY_RUN: Duration = Duration::from_secs(20);
/// From the deletion of a pod to its SIGTERM, as long as a kubelet needs at the least for its own loop and the runtime's: what
/// watches pods hears of the end before the pod does.
const NOTICE: Duration = Duration::from_millis(100);
/// How long to wait before a container that could not be made is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What the containers of a pod share.
pub(super) struct Place {
    pub shared: Shared,
    pub pod: PodContext,
    pub board: Arc<Board>,
    pub volumes: Volumes,
    pub netns: PathBuf,
    pub uts: PathBuf,
    pub cgroup: Cgroup,
    pub mounts: Vec<Mount>,
}

pub(super) struct Runner {
    place: Arc<Place>,
    container: Container,
    role: Role,
    started: Option<watch::Sender<bool>>,
}

/// How one run of the container ended.
enum Run {
    Exited(Exit),
    Stopped,
}

impl Runner {
    pub(super) fn new(place: Arc<Place>, container: &Container, role: Role) -> Self {
        Self { place, container: container.clone(), role, started: None }
    }

    /// Says when the container has started, its startup probe passed.
    pub(super) fn announcing(mut self, started: watch::Sender<bool>) -> Self {
        self.started = Some(started);
        self
    }

    /// Runs the container until it is told to end or has come to its end; true when it ended well.
    pub(super) async fn run(self, mut stop: Stop) -> bool {
        let name = self.container.name.as_str();
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let Some(process) = self.start(&mut stop).await else { return false };
            let began = Instant::now();
            let exit = match self.attend(process, &mut stop).await {
                Run::Stopped => return false,
                Run::Exited(exit) => exit,
            };
            if !self.again(exit) {
                return exit.code == 0;
            }
            if began.elapsed() > HEALTHY_RUN {
                back_off = FIRST_BACK_OFF;
            }
            let message = format!("back-off {back_off:?} restarting failed container={name}");
            self.place.board.update(name, |line| {
                if let State::Ended(ended) = &line.state {
                    line.last = Some(ended.clone());
                }
                line.state = State::waiting("CrashLoopBackOff", &message);
            });
            tokio::select! {
                _ = stopped(&mut stop) => {
                    self.place.board.update(name, |line| {
                        if let Some(ended) = line.last.clone() { line.state = State::Ended(ended) }
                    });
                    return false;
                }
                () = sleep(back_off) => {}
            }
            back_off = (back_off * 2).min(LAST_BACK_OFF);
            self.place.board.update(name, |line| line.restarts += 1);
            self.keep_log();
        }
    }

    fn again(&self, exit: Exit) -> bool {
        let policy = self.place.pod.spec.restart_policy.as_deref().unwrap_or("Always");
        match (self.role, policy) {
            (Role::Sidecar, _) => true,
            (_, "Never") => false,
            (Role::Init, _) | (_, "OnFailure") => exit.code != 0,
            _ => true,
        }
    }

    /// The log of the run that is over becomes the previous one.
    fn keep_log(&self) {
        let log = self.place.shared.layout.container_log(&self.place.pod.uid, &self.container.name);
        if let Err(error) = std::fs::rename(&log, log.with_extension("log.1")) {
            tracing::debug!(%error, log = %log.display(), "previous log not kept");
        }
    }

    /// Starts the process, however long what it refers to takes to appear; `None` when it is to end before.
    async fn start(&self, stop: &mut Stop) -> Option<Process> {
        let place = &self.place;
        let name = &self.container.name;
        let mut changes = place.shared.store.changed();
        loop {
            if stop.borrow().is_some() {
                return None;
            }
            changes.mark_unchanged();
            let layout = &place.shared.layout;
            let (file, log) =
                (layout.container_entry(&place.pod.uid, name), layout.container_log(&place.pod.uid, name));
            let made = self.entry().and_then(|entry| {
                Process::start(&entry, &file, &log).map_err(|error| ("RunContainerError", error.to_string()))
            });
            match made {
                Ok(process) => return Some(process),
                Err((reason, message)) => {
                    place.board.update(name, |line| line.state = State::waiting(reason, &message));
                }
            }
            tokio::select! {
                _ = stopped(stop) => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    fn entry(&self) -> Result<Entry, (&'static str, String)> {
        let Place { shared, pod, cgroup, .. } = &*self.place;
        let (layout, container) = (&shared.layout, &self.container);
        let config = |error: crate::pod::Missing| ("CreateContainerConfigError", error.to_string());
        let env = environment::variables(container, pod, &shared.store).map_err(config)?;
        let image = container.image.as_deref().unwrap_or_default();
        let image = (shared.images)(image).map_err(|error| ("ErrImagePull", error))?;
        let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
            words.iter().flatten().map(|word| environment::expand(word, &env)).collect()
        };
        let security = container.security_context.as_ref();
        let of_pod = pod.spec.security_context.as_ref();
        let user = security.and_then(|s| s.run_as_user).or(of_pod.and_then(|s| s.run_as_user));
        let group = security.and_then(|s| s.run_as_group).or(of_pod.and_then(|s| s.run_as_group));
        Ok(Entry {
            cgroup: cgroup.child(&container.name).path().to_owned(),
            netns: self.place.netns.clone(),
            uts: self.place.uts.clone(),
            root: layout.pod(&pod.uid).join("roots").join(&container.name),
            mounts: self.mounts().map_err(|error| ("CreateContainerConfigError", error))?,
            pid_file: layout.container_pid(&pod.uid, &container.name),
            argv: image.argv(&expanded(&container.command), &expanded(&container.args)),
            cwd: container.working_dir.clone().unwrap_or_else(|| "/".to_owned()),
            user: user.and_then(|id| id.try_into().ok()),
            group: group.and_then(|id| id.try_into().ok()),
            env,
        })
    }

    fn mounts(&self) -> Result<Vec<Mount>, String> {
        let mut mounts = self.place.mounts.clone();
        for mount in self.container.volume_mounts.iter().flatten() {
            let volume = self.place.volumes.get(&mount.name);
            let mut source = volume.ok_or_else(|| format!("no volume {:?}", mount.name))?.to_owned();
            if let Some(part) = &mount.sub_path {
                source.push(part.trim_start_matches('/'));
                if !source.exists() {
                    std::fs::create_dir_all(&source).map_err(|error| error.to_string())?;
                }
            }
            let read_only = mount.read_only.unwrap_or(false);
            mounts.push(Mount { source, target: mount.mount_path.clone().into(), read_only });
        }
        Ok(mounts)
    }

    /// Watches over a started process until it has ended.
    async fn attend(&self, mut process: Process, stop: &mut Stop) -> Run {
        let name = &self.container.name;
        let since = store::now();
        self.place.board.update(name, |line| line.state = State::Running { since: since.clone() });
        let probes = Probes::new(&self.place, &self.container, self.started.as_ref());
        let (exit, run): (_, fn(Exit) -> Run) = tokio::select! {
            exit = process.wait() => (exit, Run::Exited),
            reason = self.hook_then(probes) => {
                tracing::info!(pod = self.place.pod.name, container = name, reason, "container is restarted");
                let grace = self.place.pod.spec.termination_grace_period_seconds.unwrap_or(30);
                let grace = Duration::from_secs(grace.try_into().unwrap_or(0));
                (self.end(&mut process, grace).await, Run::Exited)
            }
            grace = stopped(stop) => {
                sleep(NOTICE.min(grace)).await;
                (self.end(&mut process, grace).await, |_| Run::Stopped)
            }
        };
        let exit = exit.unwrap_or_else(|error| {
            tracing::warn!(%error, container = name, "container was lost");
            Exit { code: 137, signal: None }
        });
        self.place.board.update(name, |line| {
            line.ready = self.role == Role::Init && exit.code == 0;
            line.started = false;
            let reason = if exit.code == 0 { "Completed" } else { "Error" };
            line.state = State::Ended(Ended { exit, reason, started: since.clone(), finished: store::now() });
        });
        run(exit)
    }

    /// The postStart hook, then the probes; resolves when the container must be restarted.
    async fn hook_then(&self, probes: Probes<'_>) -> &'static str {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        if let Some(hook) = hook
            && !self.hook(hook).await
        {
            return "postStart hook failed";
        }
        probes.watch().await
    }

    /// preStop, SIGTERM, and at the end of the grace period SIGKILL to everything in the container.
    async fn end(&self, process: &mut Process, grace: Duration) -> std::io::Result<Exit> {
        let deadline = Instant::now() + grace;
        let name = &self.container.name;
        self.place.board.update(name, |line| line.ready = false);
        if !grace.is_zero() {
            let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
            if let Some(hook) = hook {
                // What the hook has not done by the deadline is not waited for.
                let _ = timeout_at(deadline, self.hook(hook)).await;
            }
            process.terminate()?;
            if let Ok(exit) = timeout_at(deadline, process.wait()).await {
                return exit;
            }
        }
        process.kill()?;
        process.wait().await
    }

    async fn hook(&self, hook: &LifecycleHandler) -> bool {
        if let Some(nap) = &hook.sleep {
            sleep(Duration::from_secs(nap.seconds.try_into().unwrap_or(0))).await;
        }
        let actions = (hook.exec.as_ref(), hook.http_get.as_ref(), hook.tcp_socket.as_ref());
        let unlimited = Duration::from_secs(3600);
        Probes::new(&self.place, &self.container, None).act(actions, None, unlimited).await.is_ok()
    }
}
