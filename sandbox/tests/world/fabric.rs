//! The network alone: addresses, routes, and what is left afterwards.

use std::path::Path;
use std::process::Stdio;

use heddle_sandbox::fabric::{Fabric, Layout, join};

pub(crate) async fn pods_of_two_nodes_reach_each_other_in_both_families(layout: Layout) {
    let fabric = Fabric::create(&layout, 2).await.unwrap();
    let mut pods = Vec::new();
    for (uid, node) in ["aaaa", "bbbb", "cccc"].iter().zip([0, 1, 1]) {
        let node = &fabric.nodes()[node];
        pods.push((node.clone(), uid, node.attach(uid, uid, uid).await.unwrap()));
    }
    for (from_node, from_uid, from) in &pods {
        for (.., to) in &pods {
            for ip in to.address.both() {
                let cgroup = from_node.pod_cgroup(from_uid);
                let mut ping = join(&from.pause.netns(), cgroup.path(), Path::new("busybox"));
                ping.args(["ping", "-c1", "-W1", &ip.to_string()]).stdout(Stdio::null());
                assert!(ping.status().await.unwrap().success(), "{from_uid} to {ip}");
            }
        }
    }
    for (node, _, attachment) in pods {
        node.detach(attachment).await.unwrap();
    }
    fabric.destroy().await.unwrap();
}
