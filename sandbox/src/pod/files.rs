//! The files that every pod gets: resolv.conf, hosts, /tmp.

use std::fs;
use std::io;
use std::path::Path;

use crate::container::Mount;
use crate::fabric::address;

use super::PodContext;

/// Writes them below `directory` and says where they show.
pub(super) fn write(directory: &Path, pod: &PodContext) -> io::Result<Vec<Mount>> {
    use std::os::unix::fs::PermissionsExt as _;
    let tmp = directory.join("tmp");
    fs::create_dir_all(&tmp)?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
    fs::write(directory.join("resolv.conf"), resolv_conf(pod))?;
    fs::write(directory.join("hosts"), hosts(pod))?;
    fs::write(directory.join("hostname"), format!("{}\n", pod.hostname()))?;
    let shown = [
        ("tmp", "/tmp"),
        ("resolv.conf", "/etc/resolv.conf"),
        ("hosts", "/etc/hosts"),
        ("hostname", "/etc/hostname"),
    ];
    let mount = |(file, target): (&str, &str)| Mount {
        source: directory.join(file),
        target: target.into(),
        read_only: false,
    };
    Ok(shown.map(mount).into())
}

fn resolv_conf(pod: &PodContext) -> String {
    let own = pod.spec.dns_policy.as_deref() != Some("None");
    let config = pod.spec.dns_config.clone().unwrap_or_default();
    let mut servers: Vec<String> = own.then(|| address::DNS.v4.to_string()).into_iter().collect();
    let mut search: Vec<String> = Vec::new();
    let mut options: Vec<String> = Vec::new();
    if own {
        let namespace = &pod.namespace;
        search.extend([
            format!("{namespace}.svc.cluster.local"),
            "svc.cluster.local".into(),
            "cluster.local".into(),
        ]);
        options.push("ndots:5".into());
    }
    servers.extend(config.nameservers.into_iter().flatten());
    search.extend(config.searches.into_iter().flatten());
    for option in config.options.into_iter().flatten() {
        let name = option.name.unwrap_or_default();
        options.retain(|known| known.split(':').next() != Some(&name));
        options.push(option.value.map_or(name.clone(), |value| format!("{name}:{value}")));
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (key, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            text += &format!("{key} {}\n", values.join(" "));
        }
    }
    text
}

fn hosts(pod: &PodContext) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    let hostname = pod.hostname();
    let names = match &pod.spec.subdomain {
        Some(subdomain) => {
            format!("{hostname}.{subdomain}.{}.svc.cluster.local\t{hostname}", pod.namespace)
        }
        None => hostname,
    };
    for ip in pod.address.unwrap_or(pod.host).both() {
        text += &format!("{ip}\t{names}\n");
    }
    for alias in pod.spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text += &format!("{}\t{names}\n", alias.ip);
    }
    text
}
