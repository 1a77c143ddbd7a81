//! Where requests are seen: `heddle.dev/l7` of a pod or service, else of its namespace, else of the mesh.

use heddle_core::workload::L7Mode;
use heddle_proto::heddle::v1::L7Mode as Wire;

use super::input::Labels;

/// The label, and the field of the mesh config.
pub const LABEL: &str = "heddle.dev/l7";

/// What the labels of one object say; a value that nobody knows says nothing.
pub fn of(labels: &Labels) -> Option<L7Mode> {
    match labels.get(LABEL)?.as_str() {
        "auto" => Some(L7Mode::Auto),
        "rules" => Some(L7Mode::Rules),
        "never" => Some(L7Mode::Never),
        _ => None,
    }
}

pub(super) fn wire(mode: L7Mode) -> Wire {
    match mode {
        L7Mode::Auto => Wire::L7Auto,
        L7Mode::Rules => Wire::L7Rules,
        L7Mode::Never => Wire::L7Never,
    }
}
