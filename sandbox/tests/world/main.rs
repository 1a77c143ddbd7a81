//! The world in real namespaces: run as root. Each case makes a sandbox of its own and leaves nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ending;
mod fabric;
mod pods;
mod services;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use heddle_sandbox::fabric::Layout;

type Case = (&'static str, fn(Layout) -> Pin<Box<dyn Future<Output = ()>>>);

macro_rules! cases {
    ($($path:path),* $(,)?) => { vec![$((stringify!($path), |layout| Box::pin($path(layout)))),*] };
}

fn main() -> ExitCode {
    if let Some(code) = heddle_sandbox::internal::run(std::env::args_os().skip(1)) {
        return code;
    }
    if let [verb, name] = &std::env::args().skip(1).collect::<Vec<_>>()[..]
        && verb == "hold"
    {
        tokio::runtime::Runtime::new().unwrap().block_on(ending::hold(Layout::new(name)));
    }
    let cases: Vec<Case> = cases![
        fabric::pods_of_two_nodes_reach_each_other_in_both_families,
        pods::exec_returns_the_commands_own_status,
        pods::a_crashed_container_is_started_again_and_keeps_its_last_log,
        pods::readiness_follows_the_probe,
        pods::a_deleted_pod_ends_within_its_grace_period_and_goes,
        pods::volumes_environment_and_init_containers_reach_the_container,
        ending::a_killed_sandbox_leaves_no_process_and_cleanup_takes_the_rest,
        ending::two_nodes_and_ten_pods_are_there_within_seconds,
        ending::a_pod_of_the_mesh_waits_for_its_capture,
        ending::a_container_holds_no_mount_of_a_sandbox,
        ending::exec_passes_stdin_and_ends_with_the_container,
        ending::a_sidecar_starts_before_and_ends_after_the_others,
        services::a_cluster_ip_leads_to_every_ready_endpoint_in_both_families,
        services::names_resolve_as_in_a_cluster,
    ];
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let filter = arguments.next().unwrap_or_default();
    if std::env::args().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (number, (name, case)) in cases.iter().enumerate().filter(|(_, (name, _))| name.contains(&filter)) {
        let layout = Layout::new(&format!("world-test-{}-{number}", std::process::id()));
        let began = std::time::Instant::now();
        let result = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(case(layout.clone()));
        });
        if result.is_err() {
            heddle_sandbox::cleanup::cleanup(layout.name()).unwrap();
        }
        println!("test {name} … {} ({:?})", if result.is_ok() { "ok" } else { "FAILED" }, began.elapsed());
        failed += u8::from(result.is_err());
    }
    ExitCode::from(failed)
}
