//! Step 1: the tutorial without a mesh, and the positive control: what is sent is seen on the wire.

use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::capture::Capture;
use heddle_tests::report::Report;
use heddle_tests::sandbox::eventually;

use crate::stage::{NAMESPACE, Stage};

pub(crate) const NAMES: &[&str] = &["sandbox-up", "frontend-gets-reply", "wire-shows-clear-text"];
const CANARY: &str = "canary-in-the-clear-0123456789ab";

pub(crate) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let start = Instant::now();
    let sandbox = stage.up("demo", &[])?;
    let took = start.elapsed().as_secs_f64();
    stage.populate(&sandbox)?;
    stage.set_sandbox(sandbox);
    let sandbox = stage.sandbox()?;
    let note = format!("two nodes; backend on {}", stage.server_node);
    report.figure("sandbox-up", true, (took, "s"), note);

    let waited = eventually(Duration::from_secs(15), || {
        Ok(sandbox
            .run(&["sandbox", "logs", "-n", NAMESPACE, "deploy/frontend"])?
            .contains("Hello from Backend v1"))
    });
    report.check("frontend-gets-reply", waited.is_ok(), "frontend prints \"Hello from Backend v1\"");

    let capture = Capture::start(sandbox, &stage.client_node)?;
    let load = stage.load(sandbox, &["--seconds", "0.5", "--rate", "100", "--canary", CANARY])?;
    let wire = capture.stop()?;
    let (canaries, replies) = (wire.count(CANARY.as_bytes()), wire.count(b"Hello from Backend v1"));
    let ok = load.failed == 0 && canaries >= 50 && replies >= 50;
    report.check(
        "wire-shows-clear-text",
        ok,
        format!("{}; the wire shows {canaries} canaries and {replies} replies", load.sentence()),
    );
    Ok(())
}
