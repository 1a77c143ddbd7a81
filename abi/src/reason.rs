//! Why the kernel refused something; every reason has a counter and a name for people.

/// Where a refusal happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In `bind(2)`.
    Bind,
    /// In `connect(2)`, before anything leaves.
    Connect,
    /// In the lookup of a listener for a new inbound connection.
    Lookup,
    /// At the guard, towards the pod.
    ToPod,
    /// At the guard, from the pod.
    FromPod,
}

impl Direction {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
            Self::Lookup => "lookup",
            Self::ToPod => "to-pod",
            Self::FromPod => "from-pod",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $direction:ident, $name:literal;)+) => {
        /// Why something was refused; also the index of its counter.
        #[must_use]
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $variant = $number,)+ }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reason] = &[$(Self::$variant,)+];

            /// As printed: lower case, hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Where it happens.
            pub const fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)+ }
            }
        }
    };
}

reasons! {
    /// The pod has no listener of the family that it dials.
    NoFamily = 0, Connect, "no-listener-of-family";
    /// The socket could not be given its storage.
    NoStorage = 1, Connect, "no-socket-storage";
    /// No agent serves the pod.
    NoListener = 2, Lookup, "no-listener";
    /// A port of the agent that only the agent's own steering reaches.
    AgentPort = 3, Lookup, "agent-port";
    /// The guard stands at an interface that it knows nothing about.
    ToUnknownPod = 4, ToPod, "unknown-pod";
    /// A packet from outside claims the pod's own address.
    OwnSource = 5, ToPod, "own-source";
    /// A plaintext connection to a STRICT port.
    PlaintextToStrict = 6, ToPod, "plaintext-to-strict";
    /// UDP to a STRICT port that is no reply.
    UdpToStrict = 7, ToPod, "udp-to-strict";
    /// ICMP that is neither an error nor neighbour discovery, to a STRICT pod.
    EchoToStrict = 8, ToPod, "icmp-to-strict";
    /// A later fragment, to a STRICT pod.
    FragmentToStrict = 9, ToPod, "fragment-to-strict";
    /// A protocol that nothing can authenticate.
    ToUnknownProtocol = 10, ToPod, "unknown-protocol";
    /// Too short, too deeply nested, or not IP.
    ToUnclassifiable = 11, ToPod, "unclassifiable";
    /// The guard stands at an interface that it knows nothing about.
    FromUnknownPod = 12, FromPod, "unknown-pod";
    /// A source that is not the pod's.
    SpoofedSource = 13, FromPod, "spoofed-source";
    /// A connection that neither the agent nor a verdict began.
    UnpublishedSyn = 14, FromPod, "uncaptured-connection";
    /// ICMP that is neither an error nor neighbour discovery, from a STRICT pod.
    EchoFromStrict = 15, FromPod, "icmp-from-strict";
    /// A later fragment, from a STRICT pod.
    FragmentFromStrict = 16, FromPod, "fragment-from-strict";
    /// A protocol that nothing can authenticate.
    FromUnknownProtocol = 17, FromPod, "unknown-protocol";
    /// Too short, too deeply nested, or not IP.
    FromUnclassifiable = 18, FromPod, "unclassifiable";
    /// A process of the pod wants a port that is the agent's.
    AgentPortBind = 19, Bind, "agent-port";
    /// What is known of the pod was being replaced, each time that it was read.
    ConnectUnsettled = 20, Connect, "unsettled";
    /// The same, at the guard.
    ToUnsettled = 21, ToPod, "unsettled";
    /// The same, at the guard.
    FromUnsettled = 22, FromPod, "unsettled";
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason of a counter.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}
