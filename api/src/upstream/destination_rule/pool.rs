//! `connectionPool` and `outlierDetection`: bounds, and when an endpoint is set aside.

use heddle_core::upstream::model::{ConnectionPool, OutlierDetection};

use super::schema::{self, ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, TcpSettings};
use crate::duration;
use crate::report::{At, Notes};

pub(super) fn read(written: &ConnectionPoolSettings, at: &At<'_>, notes: &mut Notes) -> ConnectionPool {
    if written.tcp.is_none() && written.http.is_none() {
        notes.error(at, "names neither tcp nor http: write one, or remove the field");
    }
    let mut pool = ConnectionPool::default();
    if let Some(written) = &written.tcp {
        tcp(written, &mut pool, &at.field("tcp"), notes);
    }
    if let Some(written) = &written.http {
        http(written, &mut pool, &at.field("http"), notes);
    }
    pool
}

fn tcp(written: &TcpSettings, pool: &mut ConnectionPool, at: &At<'_>, notes: &mut Notes) {
    pool.max_connections = bound(written.max_connections, &at.field("maxConnections"), notes);
    pool.connect_timeout =
        duration::istio(written.connect_timeout.as_deref(), &at.field("connectTimeout"), notes);
    pool.max_connection_duration = duration::istio(
        written.max_connection_duration.as_deref(),
        &at.field("maxConnectionDuration"),
        notes,
    );
    pool.tcp_idle_timeout =
        duration::istio_or_zero(written.idle_timeout.as_deref(), &at.field("idleTimeout"), notes);
    pool.keepalive = written.tcp_keepalive.as_ref().map(|written| {
        let at = at.field("tcpKeepalive");
        (
            duration::istio(written.time.as_deref(), &at.field("time"), notes),
            duration::istio(written.interval.as_deref(), &at.field("interval"), notes),
            bound(written.probes, &at.field("probes"), notes),
        )
    });
}

fn http(written: &HttpSettings, pool: &mut ConnectionPool, at: &At<'_>, notes: &mut Notes) {
    pool.max_pending_requests =
        bound(written.http1_max_pending_requests, &at.field("http1MaxPendingRequests"), notes);
    pool.max_requests = bound(written.http2_max_requests, &at.field("http2MaxRequests"), notes);
    pool.max_requests_per_connection =
        exact(written.max_requests_per_connection, 1 << 29, &at.field("maxRequestsPerConnection"), notes);
    pool.max_retries = bound(written.max_retries, &at.field("maxRetries"), notes);
    pool.http_idle_timeout =
        duration::istio_or_zero(written.idle_timeout.as_deref(), &at.field("idleTimeout"), notes);
    pool.h2_upgrade = match written.h2_upgrade_policy {
        None | Some(H2UpgradePolicy::Default) => None,
        Some(policy) => Some(policy == H2UpgradePolicy::Upgrade),
    };
    pool.use_client_protocol = written.use_client_protocol.unwrap_or(false);
    if pool.use_client_protocol && pool.h2_upgrade == Some(true) {
        notes.error(
            &at.field("useClientProtocol"),
            "cannot stand beside `h2UpgradePolicy: UPGRADE`: remove one of them",
        );
    }
    pool.max_concurrent_streams =
        bound(written.max_concurrent_streams, &at.field("maxConcurrentStreams"), notes);
    if written.http2_keep_alive.is_some() {
        notes.unserved(
            &at.field("http2KeepAlive"),
            "is not served: connections are kept as the agent keeps all of them",
        );
    }
}

/// A bound of Istio's: 0, which an absent field reads as there, is none.
fn bound(written: Option<i64>, at: &At<'_>, notes: &mut Notes) -> Option<u32> {
    exact(written, i64::from(u32::MAX), at, notes).filter(|bound| *bound != 0)
}

fn exact(written: Option<i64>, most: i64, at: &At<'_>, notes: &mut Notes) -> Option<u32> {
    let number = written?;
    let read = u32::try_from(number).ok().filter(|_| number <= most);
    if read.is_none() {
        notes.error(at, format!("is {number}, expected 0 to {most}"));
    }
    read
}

pub(super) fn outliers(
    written: &schema::OutlierDetection,
    at: &At<'_>,
    notes: &mut Notes,
) -> OutlierDetection {
    let most = i64::from(u32::MAX);
    let mut gateway =
        exact(written.consecutive_gateway_errors, most, &at.field("consecutiveGatewayErrors"), notes);
    if let Some(errors) = written.consecutive_errors {
        let at = at.field("consecutiveErrors");
        notes.warning(&at, format!("is deprecated: write `consecutiveGatewayErrors: {errors}`, or `consecutive5xxErrors` for every 5xx"));
        gateway = gateway.or(exact(Some(errors), most, &at, notes));
    }
    let split = written.split_external_local_origin_errors.unwrap_or(false);
    let local_at = at.field("consecutiveLocalOriginFailures");
    if !split && written.consecutive_local_origin_failures.is_some_and(|failures| failures > 0) {
        notes.error(
            &local_at,
            "has no effect by itself: write `splitExternalLocalOriginErrors: true` beside it",
        );
    }
    OutlierDetection {
        consecutive_5xx: exact(
            written.consecutive_5xx_errors,
            most,
            &at.field("consecutive5xxErrors"),
            notes,
        ),
        consecutive_gateway_errors: gateway,
        split_local_origin: split,
        consecutive_local_origin: exact(written.consecutive_local_origin_failures, most, &local_at, notes),
        interval: duration::istio(written.interval.as_deref(), &at.field("interval"), notes),
        base_ejection_time: duration::istio(
            written.base_ejection_time.as_deref(),
            &at.field("baseEjectionTime"),
            notes,
        ),
        max_ejection_percent: exact(
            written.max_ejection_percent,
            100,
            &at.field("maxEjectionPercent"),
            notes,
        ),
        min_health_percent: exact(written.min_health_percent, 100, &at.field("minHealthPercent"), notes),
    }
}
