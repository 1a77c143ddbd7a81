//! The flags of the conformance manifests.
#![allow(clippy::unwrap_used)]
use http_body_util::BodyExt;

use super::advanced::{flags, grpc};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn flags_name_ports_and_the_absent_ones_have_defaults() {
    let given = "--tcp=9090 --port=8080 --grpc=7070 --port=8443 --tls=8443 --crt=/cert.crt --key=/cert.key";
    let read = flags(&words(given)).unwrap();
    assert_eq!((read.http, read.tcp, read.tls), (vec![8080, 8443, 7070], vec![9090], vec![8443]));
    let read = flags(&[]).unwrap();
    assert_eq!((read.http, read.tcp, read.tls), (vec![8080, 7070], vec![9090], vec![]));
    assert_eq!(flags(&words("--port 1,2 --port 3")).unwrap().http, [1, 2, 3, 7070]);
    for wrong in ["--port", "--prot=1", "8080", "--port=x"] {
        assert!(flags(&words(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_grpc_answer_is_one_message_and_a_status() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let text = "x".repeat(300);
    let body = runtime.block_on(grpc(&text).into_body().collect()).unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let bytes = body.to_bytes();
    assert_eq!(bytes[..5], [0, 0, 0, 1, 47]);
    assert_eq!(bytes[5..8], [0x0a, 0xac, 0x02]);
    assert_eq!(&bytes[8..], text.as_bytes());
}
