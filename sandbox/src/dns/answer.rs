//! One query to one reply, in bytes.

use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::{Data, Found, Zone};

/// How long an answer may be kept: as long as CoreDNS says for cluster names.
const TTL: u32 = 5;
/// What a client without EDNS takes over UDP.
const SMALL: usize = 512;
const LARGE: u16 = 1232;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

/// `None` for what is no query and gets no reply.
pub(super) fn to(query: &[u8], zone: &Zone, over: Over) -> Option<Vec<u8>> {
    let request = Message::from_vec(query).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let reply = reply(&request, zone);
    let bytes = reply.to_vec().ok()?;
    let limit = match (over, &request.edns) {
        (Over::Tcp, _) => usize::from(u16::MAX),
        (Over::Udp, Some(edns)) => usize::from(edns.max_payload().min(LARGE)).max(SMALL),
        (Over::Udp, None) => SMALL,
    };
    if bytes.len() <= limit { Some(bytes) } else { reply.truncate().to_vec().ok() }
}

fn reply(request: &Message, zone: &Zone) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    reply.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGE);
        reply.set_edns(edns);
    }
    let [query] = request.queries.as_slice() else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return reply;
    };
    if request.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return reply;
    }
    let found = match zone.find(&query.name.to_ascii()) {
        Found::Nothing => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            Vec::new()
        }
        Found::Name(records) => records,
    };
    let wanted = |data: &RData| {
        let kind = data.record_type();
        kind == query.query_type || kind == RecordType::CNAME || query.query_type == RecordType::ANY
    };
    for data in found.iter().filter_map(rdata).filter(wanted) {
        if let RData::SRV(srv) = &data {
            let Found::Name(targets) = zone.find(&srv.target.to_ascii()) else { continue };
            let records = targets.iter().filter_map(rdata);
            reply.add_additionals(records.map(|data| Record::from_rdata(srv.target.clone(), TTL, data)));
        }
        reply.add_answer(Record::from_rdata(query.name.clone(), TTL, data));
    }
    if reply.answers.is_empty()
        && let Some(authority) = authority()
    {
        reply.add_authority(authority);
    }
    reply
}

fn rdata(data: &Data) -> Option<RData> {
    Some(match data {
        Data::Address(std::net::IpAddr::V4(ip)) => RData::A(A(*ip)),
        Data::Address(std::net::IpAddr::V6(ip)) => RData::AAAA(AAAA(*ip)),
        Data::Alias(name) => RData::CNAME(CNAME(Name::from_ascii(name).ok()?)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, Name::from_ascii(target).ok()?)),
    })
}

/// Who says that there is nothing, and for how long.
fn authority() -> Option<Record> {
    let zone = Name::from_str("cluster.local.").ok()?;
    let (server, mail) =
        (Name::from_str("ns.dns.cluster.local.").ok()?, Name::from_str("hostmaster.cluster.local.").ok()?);
    Some(Record::from_rdata(zone, TTL, RData::SOA(SOA::new(server, mail, 1, 7200, 1800, 86400, TTL))))
}
