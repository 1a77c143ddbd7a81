//! Startup, readiness and liveness probes of a container.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::container::{self, Target};

use super::prober::{Check, Request};
use super::runner::Place;

/// Until a probe first succeeds it is repeated this often, whatever its period: a sandbox is not kept waiting.
const EAGER: Duration = Duration::from_millis(100);

type Actions<'a> = (Option<&'a ExecAction>, Option<&'a HTTPGetAction>, Option<&'a TCPSocketAction>);

pub(super) struct Probes<'a> {
    place: &'a Place,
    container: &'a Container,
    started: Option<&'a watch::Sender<bool>>,
}

impl<'a> Probes<'a> {
    pub(super) fn new(
        place: &'a Place,
        container: &'a Container,
        started: Option<&'a watch::Sender<bool>>,
    ) -> Self {
        Self { place, container, started }
    }

    /// Keeps the container's readiness on the board; resolves when it must be restarted, with the reason.
    pub(super) async fn watch(self) -> &'static str {
        let Container { startup_probe, liveness_probe, readiness_probe, .. } = self.container;
        if let Some(probe) = startup_probe
            && !self.has_started(probe).await
        {
            return "startup probe failed";
        }
        let ready = readiness_probe.is_none();
        self.place.board.update(&self.container.name, |line| {
            line.started = true;
            line.ready = ready;
        });
        if let Some(started) = self.started {
            started.send_replace(true);
        }
        tokio::select! {
            never = self.readiness(readiness_probe.as_ref()) => never,
            reason = self.liveness(liveness_probe.as_ref()) => reason,
        }
    }

    /// The time that the probe's failures would take in Kubernetes, spent on more attempts.
    async fn has_started(&self, probe: &Probe) -> bool {
        initial_delay(probe).await;
        let deadline = Instant::now() + period(probe) * threshold(probe.failure_threshold, 3);
        loop {
            if self.check(probe).await.is_ok() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(EAGER.min(period(probe))).await;
        }
    }

    async fn readiness(&self, probe: Option<&Probe>) -> &'static str {
        let Some(probe) = probe else { return std::future::pending().await };
        initial_delay(probe).await;
        let (mut ready, mut ever, mut streak) = (false, false, 0);
        loop {
            let good = self.check(probe).await.is_ok();
            streak = if good == ready { 0 } else { streak + 1 };
            let needed = if ready {
                threshold(probe.failure_threshold, 3)
            } else {
                threshold(probe.success_threshold, 1)
            };
            if streak >= needed {
                (ready, streak) = (good, 0);
                ever |= good;
                self.place.board.update(&self.container.name, |line| line.ready = good);
            }
            sleep(if ever { period(probe) } else { EAGER.min(period(probe)) }).await;
        }
    }

    async fn liveness(&self, probe: Option<&Probe>) -> &'static str {
        let Some(probe) = probe else { return std::future::pending().await };
        initial_delay(probe).await;
        let mut failures = 0;
        loop {
            failures = if self.check(probe).await.is_ok() { 0 } else { failures + 1 };
            if failures >= threshold(probe.failure_threshold, 3) {
                return "liveness probe failed";
            }
            sleep(period(probe)).await;
        }
    }

    async fn check(&self, probe: &Probe) -> Result<(), String> {
        let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1).unsigned_abs().into());
        let actions = (probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref());
        self.act(actions, probe.grpc.as_ref(), limit).await
    }

    /// Does one action of a probe or a hook.
    pub(super) async fn act(
        &self,
        (exec, http, tcp): Actions<'_>,
        grpc: Option<&GRPCAction>,
        limit: Duration,
    ) -> Result<(), String> {
        if let Some(exec) = exec {
            return self.exec(exec.command.as_deref().unwrap_or_default(), limit).await;
        }
        let own = self.place.pod.address.unwrap_or(self.place.pod.host).v4.to_string();
        let (host, check, port) = if let Some(http) = http {
            let headers = http.http_headers.iter().flatten();
            let check = Check::Http {
                tls: http.scheme.as_deref() == Some("HTTPS"),
                path: http.path.clone().unwrap_or_else(|| "/".to_owned()),
                headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
            };
            (http.host.clone(), check, self.port(&http.port)?)
        } else if let Some(tcp) = tcp {
            (tcp.host.clone(), Check::Tcp, self.port(&tcp.port)?)
        } else if let Some(grpc) = grpc {
            let service = grpc.service.clone().unwrap_or_default();
            (None, Check::Grpc { service }, self.port(&IntOrString::Int(grpc.port))?)
        } else {
            return Ok(());
        };
        let host = host.filter(|host| !host.is_empty()).unwrap_or(own);
        self.place.shared.prober.ask(Request { host, port, check, limit }).await
    }

    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(text) => {
                let mut ports = self.container.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_deref() == Some(text)).map(|p| p.container_port);
                named.or_else(|| text.parse().ok())
            }
        };
        number.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("no port {port:?}"))
    }

    async fn exec(&self, argv: &[String], limit: Duration) -> Result<(), String> {
        let (uid, container) = (self.place.pod.uid.clone(), self.container.name.clone());
        let target = Target::Container { uid, container };
        let command = container::exec(&self.place.shared.layout, &target, argv).map_err(|e| e.to_string())?;
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let status = timeout(limit, command.status()).await.map_err(|error| error.to_string())?;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn initial_delay(probe: &Probe) {
    sleep(Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).max(0).unsigned_abs().into())).await;
}

fn period(probe: &Probe) -> Duration {
    Duration::from_secs(probe.period_seconds.unwrap_or(10).max(1).unsigned_abs().into())
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |value| value.max(1).unsigned_abs())
}
