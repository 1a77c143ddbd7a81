//! The Secrets in which a cluster keeps an authority: where they are, and what they hold.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use time::OffsetDateTime;

use super::material::{CERT, CHAIN, KEY, Material, MaterialError, ROOTS};
use super::root::Made;
use super::signer::Signer;

/// As `managedFields` tell our part from others'.
const MANAGER: &str = "heddle-controller";
/// Type of the Secrets that we make: lists of Secrets leave it out by it.
pub const TYPE: &str = "heddle.dev/ca";

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Namespace.
    pub namespace: &'static str,
    /// Name.
    pub name: &'static str,
}

/// Where an authority that somebody plugs in may be, and then our own: the first that is there counts.
pub const PLACES: [Place; 3] = [
    Place { namespace: "heddle-system", name: "cacerts" },
    Place { namespace: "istio-system", name: "cacerts" },
    OWN,
];
/// The one that we make where there is none.
pub const OWN: Place = Place { namespace: "heddle-system", name: "heddle-ca" };

/// What a Secret holds.
pub(super) type Data = BTreeMap<String, ByteString>;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

impl Place {
    /// What is there, if anything is.
    pub(super) async fn read(self, client: &Client) -> Result<Option<Data>, kube::Error> {
        let request = Request::new(self.path()).get(self.name, &GetParams::default());
        // As text: where kube cannot read an answer it logs it.
        match client.request_text(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(text) => Ok(Some(data(&text).map_err(kube::Error::SerdeError)?)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes it. Says whether it is ours: else somebody was faster.
    pub(super) async fn create(self, client: &Client, data: Data) -> Result<bool, kube::Error> {
        let body = serde_json::to_vec(&self.secret(data)).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(self.path()).create(&params, body);
        match client.request_text(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes it so, whatever is there.
    pub(super) async fn apply(self, client: &Client, data: Data) -> Result<(), kube::Error> {
        let params = PatchParams::apply(MANAGER).force();
        let request = Request::new(self.path()).patch(self.name, &params, &Patch::Apply(self.secret(data)));
        client.request_text(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
    }

    fn secret(self, data: Data) -> Secret {
        let label = |key: &str| (format!("app.kubernetes.io/{key}"), "heddle".to_owned());
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                namespace: Some(self.namespace.to_owned()),
                labels: Some([label("managed-by"), label("part-of")].into()),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(data),
            ..Secret::default()
        }
    }

    /// The signer that a Secret holds.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(super) fn load(self, data: &Data, trust_domain: &str) -> Result<Signer, MaterialError> {
        let text = |key: &'static str, needed: bool| match data.get(key) {
            Some(ByteString(bytes)) => std::str::from_utf8(bytes)
                .map_err(|error| MaterialError { at: key, what: format!("is no text: {error}") }),
            None if needed => Err(MaterialError { at: key, what: "is missing".to_owned() }),
            None => Ok(""),
        };
        let plugged = self != OWN;
        let material = Material {
            cert: text(CERT, true)?,
            key: text(KEY, true)?,
            chain: text(CHAIN, false)?,
            roots: text(ROOTS, plugged)?,
        };
        Signer::load(material, trust_domain, OffsetDateTime::now_utc())
    }

    fn path(self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }
}

/// What we put into ours.
pub(super) fn of(made: &Made) -> Data {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Data::from([
        (CERT.to_owned(), bytes(&made.cert)),
        (KEY.to_owned(), bytes(&made.key)),
        (ROOTS.to_owned(), bytes(&made.cert)),
    ])
}

fn data(text: &str) -> serde_json::Result<Data> {
    Ok(serde_json::from_str::<Secret>(text)?.data.unwrap_or_default())
}
