//! `heddle.v1.TrafficObject`.

use heddle_core::object::TrafficObject;
use heddle_proto::heddle::v1 as wire;

use super::Change;

pub(super) fn decode(wire: &wire::TrafficObject) -> Result<(String, Change), String> {
    let object: TrafficObject =
        serde_json::from_slice(&wire.json).map_err(|error| format!("it cannot be read: {error}"))?;
    Ok((object.wire_name(), Change::Traffic(Box::new(object))))
}
