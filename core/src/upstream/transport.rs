//! How an endpoint is spoken to: the mesh's tunnel, TLS of the user's own, or nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mtls::is_strict;
use crate::names::PolicyName;
use crate::policy::Policy;
use crate::snapshot::Snapshot;
use crate::upstream::endpoint::{TlsOrigination, Transport};
use crate::upstream::model::{ClientTls, TlsMode, TrafficPolicy};
use crate::workload::Workload;

/// Decides for the endpoints of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Transports {
    policies: Arc<HashMap<PolicyName, Arc<Policy>>>,
    /// The cluster's.
    policy: Arc<TrafficPolicy>,
    /// `MESH_EXTERNAL`: no tunnel unless somebody asks for one.
    external: bool,
    /// It takes a private key that is another namespace's: an agent has it for that namespace's pods alone.
    foreign_secret: bool,
    /// Made once, for modes that originate TLS.
    origination: Option<Arc<TlsOrigination>>,
}

impl Transports {
    /// `external`: `MESH_EXTERNAL`. `own_secrets`: the rule is of the client's own namespace. `entry_names`: `subjectAltNames` of the ServiceEntry, used where the DestinationRule has none.
    pub(crate) fn new(
        snapshot: &Snapshot,
        policy: &Arc<TrafficPolicy>,
        (external, own_secrets): (bool, bool),
        entry_names: &[String],
    ) -> Self {
        let originates = |tls: &&ClientTls| matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual);
        let origination = policy.tls.as_ref().filter(originates).map(|tls| {
            let own = if tls.subject_alt_names.is_empty() { entry_names } else { &tls.subject_alt_names };
            Arc::new(TlsOrigination {
                sni: tls.sni.clone().filter(|name| !name.is_empty()),
                subject_alt_names: own.to_vec(),
                settings: tls.clone(),
            })
        });
        let private = policy.tls.as_ref().is_some_and(|tls| tls.private_key.is_some());
        Self {
            policies: Arc::clone(&snapshot.policies),
            policy: Arc::clone(policy),
            external,
            foreign_secret: private && !own_secrets,
            origination,
        }
    }

    pub(crate) fn is_external(&self) -> bool {
        self.external
    }

    /// How a port of a workload, or of something that is none, is spoken to.
    pub(crate) fn of(&self, workload: Option<&Workload>, port: u16) -> Transport {
        let tunnels = workload.is_some_and(|workload| workload.tunnels(port));
        let Some(tls) = &self.policy.tls else {
            return if tunnels && !self.external { Transport::Tunnel } else { Transport::Plain };
        };
        if let Some(why) = &tls.broken {
            return Transport::Refused(why.as_str().into());
        }
        if self.foreign_secret {
            return Transport::Refused("the client certificate is for pods of the rule's namespace".into());
        }
        match tls.mode {
            TlsMode::IstioMutual if tunnels => Transport::Tunnel,
            TlsMode::IstioMutual => Transport::Refused(
                "tls mode ISTIO_MUTUAL, and the endpoint takes no tunnel on this port".into(),
            ),
            TlsMode::Disable if tunnels && workload.is_some_and(|workload| self.strict(workload, port)) => {
                Transport::Tunnel
            }
            TlsMode::Disable => Transport::Plain,
            TlsMode::Simple | TlsMode::Mutual => match &self.origination {
                Some(tls) => Transport::Tls { tls: Arc::clone(tls), tunnel: tunnels && !self.external },
                None => Transport::Refused("no TLS settings".into()),
            },
        }
    }

    /// Whether the receiver takes nothing but the tunnel there. What is not known counts as a yes.
    fn strict(&self, workload: &Workload, port: u16) -> bool {
        workload.policies.iter().filter(|name| is_strict(name.as_str())).any(|name| {
            let Some(policy) = self.policies.get(name) else { return true };
            let mut matches =
                policy.rules.iter().flat_map(|rule| &rule.clauses).flat_map(|clause| &clause.matches);
            matches.any(|asked| {
                let named = asked.destination_ports.is_empty() || asked.destination_ports.contains(&port);
                named && !asked.not_destination_ports.contains(&port)
            })
        })
    }
}
