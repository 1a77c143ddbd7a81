//! The gRPC health check (grpc.health.v1.Health/Check) of the kubelet, on h2 alone.

use h2::client;
use hyper::body::Bytes;
use tokio::net::TcpStream;

/// `HealthCheckResponse.status` SERVING, as the whole message: field 1, varint 1.
const SERVING: [u8; 2] = [0x08, 0x01];

pub(super) async fn healthy(stream: TcpStream, service: &str) -> Result<(), String> {
    let say = |error: h2::Error| error.to_string();
    let (mut sender, connection) = client::handshake(stream).await.map_err(say)?;
    let task = tokio::spawn(connection);
    let request = hyper::Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| error.to_string())?;
    let (response, mut body) = sender.send_request(request, false).map_err(say)?;
    body.send_data(message(service)?, true).map_err(say)?;
    let response = response.await.map_err(say)?;
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk.map_err(say)?);
        if bytes.len() > 1024 {
            return Err("reply too long".to_owned());
        }
    }
    task.abort();
    match bytes.get(5..) {
        Some(status) if status == SERVING => Ok(()),
        Some(_) => Err("not serving".to_owned()),
        None => Err("no reply".to_owned()),
    }
}

/// A length-prefixed `HealthCheckRequest`: field 1, the service's name.
fn message(service: &str) -> Result<Bytes, String> {
    let length = u8::try_from(service.len()).ok().filter(|n| *n < 126).ok_or("service name too long")?;
    let mut bytes = vec![0, 0, 0, 0];
    if length == 0 {
        bytes.push(0);
    } else {
        bytes.extend([length + 2, 0x0a, length]);
        bytes.extend(service.as_bytes());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A health server that answers every check with `reply`, once.
    async fn server(reply: &'static [u8]) -> TcpStream {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut stream = respond.send_response(hyper::Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(reply), false).unwrap();
                let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                stream.send_trailers(trailers.into_iter().collect()).unwrap();
            }
        });
        client
    }

    #[tokio::test]
    async fn only_serving_is_healthy() {
        assert_eq!(healthy(server(&[0, 0, 0, 0, 2, 8, 1]).await, "").await, Ok(()));
        let not_serving = healthy(server(&[0, 0, 0, 0, 2, 8, 2]).await, "shop").await;
        assert_eq!(not_serving, Err("not serving".to_owned()));
        assert_eq!(healthy(server(&[]).await, "").await, Err("no reply".to_owned()));
    }

    #[test]
    fn the_request_is_the_services_name_length_prefixed() {
        assert_eq!(message("").unwrap().as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").unwrap().as_ref(), [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
    }
}
