//! TLS that the agent originates for its pods.

use std::net::TcpStream;
use std::sync::Arc;

use heddle_core::object::{ExportTo, ObjectRef, TrafficObject};
use heddle_core::upstream::model::{ClientTls, DestinationRule, TlsMode, TrafficPolicy};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::world::World;
use crate::{ask, bare_service, web};

const HOST: &str = "web.shop.svc.cluster.local";

/// An HTTPS server; the PEM that it is known by.
fn https(world: &World) -> String {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let (chain, key) = (vec![made.cert.der().clone()], made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    world.serve(8080, move |connection: TcpStream| {
        connection.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(connection).unwrap();
            let Ok(mut tls) = acceptor.accept(stream).await else { return };
            let name = tls.get_ref().1.server_name().unwrap_or("none").to_owned();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tls.read_u8().await else { return };
                head.push(byte);
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            tls.write_all(answer.as_bytes()).await.unwrap();
            drop(tls.read_u8().await);
        });
    });
    made.cert.pem()
}

fn originate(world: &World, tls: ClientTls) {
    let rule = DestinationRule {
        source: ObjectRef::named("DestinationRule", "shop/web"),
        created: 0,
        host: HOST.into(),
        export_to: ExportTo::All,
        workload_selector: None,
        policy: TrafficPolicy { tls: Some(tls), ..TrafficPolicy::default() },
        ports: Default::default(),
        subsets: Vec::new(),
    };
    world.change(|store| store.put_traffic(TrafficObject::DestinationRule(rule)));
}

fn get(world: &World) -> (String, String) {
    ask(&mut world.connect(web()), "GET / HTTP/1.1\r\nHost: web\r\n\r\n")
}

#[test]
fn a_request_leaves_in_tls_and_only_to_who_it_should_be() {
    let world = World::new();
    bare_service(&world);
    let ca = https(&world);
    let simple = |ca: Option<String>| ClientTls { mode: TlsMode::Simple, ca, ..ClientTls::default() };
    originate(&world, ClientTls { sni: Some(HOST.into()), ..simple(Some(ca.clone())) });
    let (head, body) = get(&world);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}{body}");
    assert_eq!(body, HOST, "the server name that was asked for");

    // Roots of the system do not know it.
    originate(&world, ClientTls { sni: Some(HOST.into()), ..simple(None) });
    assert!(get(&world).0.starts_with("HTTP/1.1 503"));
    // It is somebody else than was wanted.
    let names = vec!["spiffe://cluster.local/ns/shop/sa/other".to_owned()];
    originate(&world, ClientTls { sni: Some(HOST.into()), subject_alt_names: names, ..simple(Some(ca)) });
    assert!(get(&world).0.starts_with("HTTP/1.1 503"));
    // Nobody asked for verification.
    originate(&world, ClientTls { insecure_skip_verify: true, ..simple(None) });
    assert!(get(&world).0.starts_with("HTTP/1.1 200"));
}
