//! The record of trusted roots, which outlives the controller: after a restart it trusts what peers still have certificates of,
//! and never takes the loss of an authority for its absence.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use super::secret::{Data, Place};

/// Where it is.
pub const PLACE: Place = Place { namespace: "heddle-system", name: "heddle-roots" };
const KEY: &str = "roots.json";

/// Every root that is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    roots: Vec<Recorded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    pem: String,
    /// Seconds since 1970, of one that signs no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl Record {
    /// Of roots, and for how long they are trusted; `None`: as long as they sign.
    pub(super) fn of(roots: Vec<(String, Option<Duration>)>, now: SystemTime) -> Self {
        let recorded = |(pem, left): (String, Option<Duration>)| Recorded {
            pem,
            until: left.map(|left| seconds(now) + left.as_secs()),
        };
        Self { roots: roots.into_iter().map(recorded).collect() }
    }

    /// What is trusted still, and for how long; what has signed until now for `after`.
    pub(super) fn left(&self, after: Duration, now: SystemTime) -> Vec<(String, Duration)> {
        let left = |recorded: &Recorded| match recorded.until {
            Some(until) => Duration::from_secs(until.saturating_sub(seconds(now))).min(after),
            None => after,
        };
        let all = self.roots.iter().map(|recorded| (recorded.pem.clone(), left(recorded)));
        all.filter(|(_, left)| !left.is_zero()).collect()
    }

    /// Whether there has been an authority.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    pub(super) fn read(data: &Data) -> Result<Self, String> {
        let ByteString(bytes) = data.get(KEY).ok_or_else(|| format!("key {KEY} is missing"))?;
        serde_json::from_slice(bytes).map_err(|error| format!("key {KEY}: {error}"))
    }

    pub(super) fn data(&self) -> Result<Data, String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        Ok(Data::from([(KEY.to_owned(), ByteString(bytes))]))
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_root_that_signed_is_trusted_for_a_certificates_life_and_restarts_do_not_lengthen_that() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = Duration::from_secs(100);
        let recorded = Record::of(vec![("a".into(), None), ("b".into(), Some(Duration::from_secs(60)))], now);
        let record = Record::read(&recorded.data().unwrap()).unwrap();
        assert_eq!(record, recorded);
        let later = now + Duration::from_secs(50);
        let left = record.left(after, later);
        assert_eq!(left, [("a".to_owned(), after), ("b".to_owned(), Duration::from_secs(10))]);
        assert_eq!(record.left(after, now + Duration::from_secs(60)).len(), 1);
        // A clock that was set back makes nothing last longer than a certificate does.
        assert_eq!(record.left(Duration::from_secs(30), now)[1].1, Duration::from_secs(30));
        assert!(Record::read(&Data::new()).unwrap_err().contains("roots.json is missing"));
    }
}
