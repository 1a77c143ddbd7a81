//! DestinationRule as written. Source: Istio API `networking/v1/destination_rule.proto`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::normalised::written;
use crate::route::virtual_service::schema::{PortSelector, Texts};
use crate::security::WorkloadSelector;

written! {
    DestinationRuleSpec {
        host: Option<String>,
        traffic_policy: Option<TrafficPolicy>,
        subsets: Vec<Subset>,
        export_to: Vec<String>,
        workload_selector: Option<WorkloadSelector>,
    }
    Subset { name: Option<String>, labels: Texts, traffic_policy: Option<TrafficPolicy> }
    TrafficPolicy {
        load_balancer: Option<LoadBalancerSettings>,
        connection_pool: Option<ConnectionPoolSettings>,
        outlier_detection: Option<OutlierDetection>,
        tls: Option<ClientTlsSettings>,
        port_level_settings: Vec<PortTrafficPolicy>,
        tunnel: Option<TunnelSettings>,
        proxy_protocol: Option<ProxyProtocol>,
        retry_budget: Option<RetryBudget>,
    }
    PortTrafficPolicy {
        port: Option<PortSelector>,
        load_balancer: Option<LoadBalancerSettings>,
        connection_pool: Option<ConnectionPoolSettings>,
        outlier_detection: Option<OutlierDetection>,
        tls: Option<ClientTlsSettings>,
    }
    TunnelSettings { protocol: Option<String>, target_host: Option<String>, target_port: Option<i64> }
    ProxyProtocol { version: Option<String> }
    RetryBudget { percent: Option<f64>, min_retry_concurrency: Option<i64> }
    LoadBalancerSettings {
        simple: Option<SimpleLb>,
        consistent_hash: Option<ConsistentHash>,
        locality_lb_setting: Option<LocalityLbSetting>,
        warmup_duration_secs: Option<String>,
        warmup: Option<Warmup>,
    }
    Warmup { duration: Option<String>, minimum_percent: Option<f64>, aggression: Option<f64> }
    ConsistentHash {
        http_header_name: Option<String>,
        http_cookie: Option<HttpCookie>,
        use_source_ip: Option<bool>,
        http_query_parameter_name: Option<String>,
        ring_hash: Option<RingHash>,
        maglev: Option<MagLev>,
        minimum_ring_size: Option<i64>,
    }
    HttpCookie { name: Option<String>, path: Option<String>, ttl: Option<String>, attributes: Vec<CookieAttribute> }
    CookieAttribute { name: Option<String>, value: Option<String> }
    RingHash { minimum_ring_size: Option<i64> }
    MagLev { table_size: Option<i64> }
    LocalityLbSetting {
        distribute: Vec<Distribute>,
        failover: Vec<Failover>,
        failover_priority: Vec<String>,
        enabled: Option<bool>,
    }
    Distribute { from: Option<String>, to: BTreeMap<String, i64> }
    Failover { from: Option<String>, to: Option<String> }
    ConnectionPoolSettings { tcp: Option<TcpSettings>, http: Option<HttpSettings> }
    TcpSettings {
        max_connections: Option<i64>,
        connect_timeout: Option<String>,
        tcp_keepalive: Option<TcpKeepalive>,
        max_connection_duration: Option<String>,
        idle_timeout: Option<String>,
    }
    TcpKeepalive { probes: Option<i64>, time: Option<String>, interval: Option<String> }
    HttpSettings {
        http1_max_pending_requests: Option<i64>,
        http2_max_requests: Option<i64>,
        max_requests_per_connection: Option<i64>,
        max_retries: Option<i64>,
        idle_timeout: Option<String>,
        h2_upgrade_policy: Option<H2UpgradePolicy>,
        use_client_protocol: Option<bool>,
        max_concurrent_streams: Option<i64>,
        #[serde(rename = "http2KeepAlive")]
        http2_keep_alive: Option<Http2KeepAlive>,
    }
    Http2KeepAlive { interval: Option<String>, timeout: Option<String> }
    OutlierDetection {
        consecutive_errors: Option<i64>,
        split_external_local_origin_errors: Option<bool>,
        consecutive_local_origin_failures: Option<i64>,
        consecutive_gateway_errors: Option<i64>,
        #[serde(rename = "consecutive5xxErrors")]
        consecutive_5xx_errors: Option<i64>,
        interval: Option<String>,
        base_ejection_time: Option<String>,
        max_ejection_percent: Option<i64>,
        min_health_percent: Option<i64>,
    }
    ClientTlsSettings {
        mode: Option<TlsMode>,
        client_certificate: Option<String>,
        private_key: Option<String>,
        ca_certificates: Option<String>,
        credential_name: Option<String>,
        subject_alt_names: Vec<String>,
        sni: Option<String>,
        insecure_skip_verify: Option<bool>,
        ca_crl: Option<String>,
    }
}

/// `loadBalancer.simple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum SimpleLb {
    Unspecified,
    LeastConn,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
}

/// `http.h2UpgradePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum H2UpgradePolicy {
    Default,
    DoNotUpgrade,
    Upgrade,
}

/// `tls.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum TlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}
