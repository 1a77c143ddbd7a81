//! The network settings of the namespaces.

use std::io;

type Settings = Vec<(String, String)>;

/// Lets network namespaces choose cubic. The kernel allows a namespace only what the host's list names, and on a
/// host whose default is another algorithm cubic is not in it. The addition is the one setting of the host that
/// a sandbox touches; it changes no default, and stays, as other sandboxes may rely on it by then.
pub(super) fn allow_cubic() -> io::Result<()> {
    let path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
    let allowed = std::fs::read_to_string(path)?;
    if allowed.split_whitespace().any(|name| name == "cubic") {
        return Ok(());
    }
    std::fs::write(path, format!("{} cubic", allowed.trim()))
}

/// What every namespace gets: one congestion control for comparable figures, addresses usable at once.
fn every() -> Settings {
    own(&[
        ("ipv4/tcp_congestion_control", "cubic"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ])
}

/// The wire: a bridge and nothing else.
pub(super) fn wire() -> Settings {
    every()
}

/// A host on the wire that forwards nothing.
pub(super) fn host() -> Settings {
    every()
}

/// A node: forwards between its pods and the wire. No reverse path filter: who may send as whom is the
/// guard's business, at each pod's interface.
pub(super) fn router() -> Settings {
    let mut settings = every();
    settings.extend(own(&[
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
    ]));
    settings
}

/// A pod, as container runtimes set it: low ports and ping for everybody inside.
pub(super) fn pod() -> Settings {
    let mut settings = every();
    settings.extend(own(&[
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
    ]));
    settings
}

fn own(settings: &[(&str, &str)]) -> Settings {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
