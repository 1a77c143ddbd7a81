//! The certificate service: authenticate, judge, prove the key, sign, log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heddle_proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use heddle_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use prost_types::value::Kind;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status};

use super::csr::ProvenKey;
use super::issue::{self, Subject};

use super::pem;
use super::trust::LatestTrust;
use crate::auth::{Caller, Callers, Presented};
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::published::Latest;
use crate::xds::agents::AgentEvent;

/// The service.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Who may call.
    pub callers: Arc<Callers>,
    /// Which pods there are.
    pub published: Latest,
    /// Signs.
    pub trust: LatestTrust,
    /// First part of identities.
    pub trust_domain: Arc<str>,
    /// Lifetime where none is asked for.
    pub ttl: Duration,
    /// Longest lifetime.
    pub max_ttl: Duration,
    /// How many a node may ask for.
    pub limiter: Arc<Mutex<Limiter>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where issuance is counted by node.
    pub events: mpsc::Sender<AgentEvent>,
}

#[tonic::async_trait]
impl IstioCertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let presented = Presented::of(&request);
        let authenticated = self.callers.authenticate(&presented).await;
        let caller = authenticated.inspect_err(|status| match status.code() {
            Code::Unavailable => self.count("unavailable"),
            _ => self.count("unauthenticated"),
        })?;
        let response = self.create(&caller, &request.into_inner())?;
        // A full queue costs a count, not a certificate.
        let _ = self.events.try_send(AgentEvent::Certificate { node: caller.node });
        Ok(Response::new(response))
    }
}

impl Authority {
    fn create(
        &self,
        caller: &Caller,
        request: &IstioCertificateRequest,
    ) -> Result<IstioCertificateResponse, Status> {
        let node = &caller.node;
        if !self.limiter.lock().unwrap_or_else(PoisonError::into_inner).take(node, Instant::now()) {
            self.count("rate_limited");
            return Err(Status::resource_exhausted("too many certificates for this node; try again later"));
        }
        let subject = subject(request).ok_or_else(|| {
            self.count("no_subject");
            Status::invalid_argument("metadata must name a pod: {\"PodUID\": \"<uid>\"}")
        })?;
        let published = self.published.borrow().clone().ok_or_else(|| {
            self.count("not_ready");
            Status::unavailable("pods are not known yet")
        })?;
        let trust = self.trust.borrow().clone().ok_or_else(|| {
            self.count("not_ready");
            Status::unavailable("there is no certificate authority yet")
        })?;
        let judged = issue::judge(&published.output, &self.trust_domain, node, &subject);
        let (identity, uid) = judged.map_err(|refusal| {
            self.count(refusal.label());
            tracing::warn!(%node, ?subject, %refusal, "certificate refused");
            Status::permission_denied(refusal.to_string())
        })?;
        let key = ProvenKey::from_pem(&request.csr).map_err(|error| {
            self.count("bad_request");
            tracing::warn!(%node, pod = %uid, %error, "certificate refused");
            Status::invalid_argument(error.to_string())
        })?;
        let ttl = lifetime(request.validity_duration, self.ttl, self.max_ttl);
        let issued = trust.signer.sign(&key, &identity, ttl, OffsetDateTime::now_utc()).map_err(|error| {
            self.count("failed");
            tracing::error!(%error, "cannot sign");
            Status::internal("the certificate could not be signed")
        })?;
        self.count("issued");
        tracing::info!(
            serial = issued.serial, %node, requester = caller.pod(), pod = %uid, %identity, until = %issued.not_after,
            "certificate issued"
        );
        // As Istio has it: the leaf, what is between, and all roots in one.
        let between = trust.signer.chain().iter().map(pem::of);
        let cert_chain = std::iter::once(issued.pem).chain(between).chain([trust.bundle()]);
        Ok(IstioCertificateResponse { cert_chain: cert_chain.collect() })
    }

    fn count(&self, result: &str) {
        self.metrics.certificates.with_label_values(&[result]).inc();
    }
}

/// What is asked for, capped; the default where nothing sensible is asked for.
fn lifetime(asked: i64, default: Duration, most: Duration) -> Duration {
    let asked = u64::try_from(asked).ok().filter(|seconds| *seconds > 0);
    asked.map_or(default, Duration::from_secs).min(most)
}

fn subject(request: &IstioCertificateRequest) -> Option<Subject> {
    let fields = &request.metadata.as_ref()?.fields;
    let text = |key: &str| match fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() && text.len() <= 2048 => Some(text.clone()),
        _ => None,
    };
    text("PodUID").map(Subject::Pod).or_else(|| text("ImpersonatedIdentity").map(Subject::Identity))
}
