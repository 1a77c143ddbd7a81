//! Steps 6 and 8: what breaks, and what does not, when an agent or the controller is gone.

use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::capture::Capture;
use heddle_tests::report::Report;
use heddle_tests::sandbox::{eventually, now};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::enrol::opens;
use crate::stage::{Stage, finish};

pub(crate) const KILL_NAMES: &[&str] = &["dead-agent-leaks-nothing", "recovery-after-restart"];
pub(crate) const CONTROLLER_NAMES: &[&str] = &["traffic-without-controller", "agent-starts-from-snapshot"];
const CANARY: &str = "canary-while-the-agent-is-dead-0";

pub(crate) fn kill_agent(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    let node = stage.server_node.clone();
    let capture = Capture::start(sandbox, &stage.client_node)?;
    let load = stage.start_load(
        sandbox,
        &["--seconds", "8", "--rate", "100", "--connections", "new", "--canary", CANARY],
    )?;
    std::thread::sleep(Duration::from_secs(2));
    for pid in sandbox.agent_pids(&node)? {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    }
    let killed = now();
    std::thread::sleep(Duration::from_secs(2));
    let started = now();
    sandbox.run(&["sandbox", "agent", "start", &node])?;
    let load = finish(load)?;
    let wire = capture.stop()?;

    let seen = wire.count(CANARY.as_bytes());
    let (tunnelled, direct) = opens(stage, &wire, killed)?;
    let note = format!(
        "{seen} canaries on the wire, {direct} connections around the tunnel ({tunnelled} to 15008); {}",
        load.sentence()
    );
    report.check("dead-agent-leaks-nothing", seen == 0 && direct == 0 && load.failed > 0, note);

    let recovered = load.recovered.context("no request succeeded after the restart")?;
    let took = (recovered - started).max(0.0);
    report.figure(
        "recovery-after-restart",
        took < 1.0,
        (took, "s"),
        "from the agent's start to the first request that succeeded",
    );
    Ok(())
}

pub(crate) fn stop_controller(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sandbox = stage.sandbox()?;
    sandbox.run(&["sandbox", "controller", "stop"])?;
    let load = stage.load(sandbox, &["--seconds", "2", "--rate", "100"])?;
    report.check("traffic-without-controller", load.failed == 0, load.sentence());
    let result = restarted_agent(stage);
    // Whatever came of it, the next step needs a controller.
    sandbox.run(&["sandbox", "controller", "start"])?;
    let note = result?;
    report.check("agent-starts-from-snapshot", true, note);
    Ok(())
}

fn restarted_agent(stage: &Stage) -> Result<String> {
    let sandbox = stage.sandbox()?;
    sandbox.run(&["sandbox", "agent", "restart", &stage.client_node])?;
    eventually(Duration::from_secs(5), || {
        let probe = stage.load(sandbox, &["--seconds", "0.1", "--rate", "10", "--connections", "new"])?;
        Ok(probe.ok > 0 && probe.failed == 0)
    })?;
    let load = stage.load(sandbox, &["--seconds", "2", "--rate", "100", "--connections", "new"])?;
    anyhow::ensure!(load.failed == 0, "{}", load.sentence());
    Ok(format!("restarted without a controller: {}", load.sentence()))
}
