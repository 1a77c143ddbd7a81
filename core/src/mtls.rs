//! Effective PeerAuthentication of one workload: a mode, and exceptions by port.

use crate::names::PolicyName;
use crate::object::ObjectRef;
use crate::policy::{Action, Clause, Match, Policy, Rule, StringMatch};

/// What a workload takes. Source: Istio `PeerAuthentication.MutualTLS.Mode`, after inheritance (no UNSET here).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MtlsMode {
    /// Plaintext; clients do not tunnel.
    Disable,
    /// Both.
    Permissive,
    /// The tunnel only.
    Strict,
}

/// Names of the policies that STRICT is sent as to receivers that know policies only, without their namespace; of the
/// second the object's name follows. Istio's.
const CONVERTED: [&str; 2] = ["istio_converted_static_strict", "converted_peer_authentication_"];

/// Whether a policy of this name (`<namespace>/<name>`) stands for STRICT.
pub fn is_strict(policy: &str) -> bool {
    let own = policy.rsplit('/').next().unwrap_or(policy);
    CONVERTED.iter().any(|known| own.starts_with(known))
}

/// The mode of every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtlsPolicy {
    default: MtlsMode,
    /// Sorted by port; few.
    ports: Box<[(u16, MtlsMode)]>,
}

impl MtlsPolicy {
    /// A default and its exceptions; of two for one port the later wins.
    pub fn new(default: MtlsMode, exceptions: impl IntoIterator<Item = (u16, MtlsMode)>) -> Self {
        let sorted: std::collections::BTreeMap<u16, MtlsMode> = exceptions.into_iter().collect();
        Self { default, ports: sorted.into_iter().collect() }
    }

    /// The mode of a destination port of the workload.
    pub fn mode(&self, port: u16) -> MtlsMode {
        match self.ports.binary_search_by_key(&port, |entry| entry.0) {
            Ok(at) => self.ports[at].1,
            Err(_) => self.default,
        }
    }

    /// The mode where no exception applies.
    pub fn default_mode(&self) -> MtlsMode {
        self.default
    }

    /// Exceptions, sorted by port.
    pub fn exceptions(&self) -> &[(u16, MtlsMode)] {
        &self.ports
    }

    /// The same refusals as a policy, for receivers that know policies only: DENY whoever has no identity where the mode
    /// is STRICT. `None` where it is so nowhere.
    pub fn denial(&self, name: PolicyName) -> Option<Policy> {
        let strict = self.default == MtlsMode::Strict;
        let others = self.ports.iter().filter(|(_, mode)| (*mode == MtlsMode::Strict) != strict);
        let others: Box<[u16]> = others.map(|(port, _)| *port).collect();
        if !strict && others.is_empty() {
            return None;
        }
        let mut nobody = Match { not_principals: [StringMatch::Presence].into(), ..Match::default() };
        if strict {
            nobody.not_destination_ports = others;
        } else {
            nobody.destination_ports = others;
        }
        let clauses = [Clause { matches: [nobody].into() }].into();
        let source = ObjectRef::named("PeerAuthentication", name.as_str());
        Some(Policy { source, name, action: Action::Deny, rules: [Rule { clauses }].into() })
    }
}
