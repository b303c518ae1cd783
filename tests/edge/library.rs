//! The stream under the real HTTP library: HTTP/1, HTTP/2, and what the library refuses by itself.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use octroi::{
    edge::Handler,
    model::{BoxFuture, Connection},
    policy::ListenerKind,
};
use pingora::{
    apps::ServerApp,
    http::ResponseHeader,
    protocols::Stream,
    proxy::{HttpProxy, ProxyHttp, Session, http_proxy},
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};

use crate::test_listener::{GET, TestListener, plan, rest, shake};

/// Answers everything itself, and tells the connection where it stands as the gateway does.
struct Gate;

fn connection(session: &Session) -> Arc<Connection> {
    let digest = session.digest().unwrap().proxy_digest.as_ref().unwrap();
    Arc::clone(digest.user_data.as_ref().unwrap().downcast_ref::<Arc<Connection>>().unwrap())
}

#[async_trait]
impl ProxyHttp for Gate {
    type CTX = Option<Vec<u8>>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<()> {
        *ctx = connection(session).request_begins();
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<bool> {
        let client = session.client_addr().unwrap().to_string();
        let head = String::from_utf8_lossy(ctx.as_deref().unwrap_or_default()).into_owned();
        let body = Bytes::from(format!("client={client} head={head:?} end"));
        let mut header = ResponseHeader::build(200, None)?;
        header.insert_header("content-length", body.len().to_string())?;
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        unreachable!("everything is answered before")
    }

    async fn logging(&self, session: &mut Session, _: Option<&pingora::Error>, _: &mut Self::CTX) {
        connection(session).request_ends();
    }
}

struct Library(Arc<HttpProxy<Gate>>);

impl Handler for Library {
    fn serve(
        self: Arc<Self>,
        mut stream: Stream,
        _: Arc<Connection>,
        shutdown: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(again) = self.0.process_new(stream, &shutdown).await {
                stream = again;
            }
        })
    }
}

async fn test_listener(kind: ListenerKind) -> TestListener {
    let library = Library(Arc::new(http_proxy(&Arc::new(ServerConf::default()), Gate)));
    TestListener::open_for(plan(kind), &[("a", &["a.test"])], Arc::new(library)).await
}

/// Reads what comes in one piece of an answer that is there already.
async fn one_read(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = vec![0; 16 * 1024];
    let read = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn one_answer_of_the_library_is_one_write() {
    let test_listener = test_listener(ListenerKind::Plaintext).await;
    let mut client = test_listener.connect().await;

    for _ in 0..20 {
        client.write_all(GET.as_bytes()).await.unwrap();
        let answer = one_read(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(" end"), "{answer}");
        // The head as received, byte for byte.
        assert!(
            answer
                .contains(&format!("client=127.0.0.1:{} head={GET:?}", client.local_addr().unwrap().port())),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn http2_requests_find_their_connection() {
    let test_listener = test_listener(ListenerKind::Tls).await;
    let mut config = test_listener.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = shake(test_listener.connect().await, config, "a.test").await.unwrap();
    let (mut client, driver) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(driver);

    for _ in 0..3 {
        let request = http::Request::get("https://a.test/").body(()).unwrap();
        let response = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        assert!(String::from_utf8(bytes).unwrap().starts_with("client=127.0.0.1:"));
    }
    drop(client);

    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
    assert_eq!(test_listener.seen.count("early"), 0);
}

#[tokio::test]
async fn an_http2_connection_that_says_nothing_is_closed() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.header_timeout = Duration::from_millis(100);
    let library = Library(Arc::new(http_proxy(&Arc::new(ServerConf::default()), Gate)));
    let test_listener = TestListener::open_for(plan, &[("a", &["a.test"])], Arc::new(library)).await;
    let mut config = test_listener.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = shake(test_listener.connect().await, config, "a.test").await.unwrap();

    rest(&mut stream).await;

    test_listener.seen.line("cut timeout_no_request").await;
    assert_eq!(test_listener.connections.drained(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn what_the_library_refuses_by_itself_is_told_and_answered_by_us() {
    let test_listener = test_listener(ListenerKind::Plaintext).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\nno colon\r\n\r\n", 400),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
    ] {
        let mut client = test_listener.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert_eq!(
            answer,
            format!("HTTP/1.1 {status} Ours\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            "{request}"
        );
        test_listener.seen.line(&format!("early Library({status})")).await;
    }
    assert_eq!(test_listener.seen.count("early"), 4);
}

#[tokio::test]
async fn the_limits_of_the_head_hold_under_the_library() {
    let mut plan = plan(ListenerKind::Tls);
    plan.limits.header_timeout = Duration::from_millis(150);
    let library = Library(Arc::new(http_proxy(&Arc::new(ServerConf::default()), Gate)));
    let test_listener = TestListener::open_for(plan, &[("a", &["a.test"])], Arc::new(library)).await;

    let mut slow = test_listener.handshake("a.test").await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 408 Ours"));

    let mut large = test_listener.handshake("a.test").await.unwrap();
    large.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000)).as_bytes()).await.unwrap();
    assert!(rest(&mut large).await.starts_with("HTTP/1.1 431 Ours"));
}

#[tokio::test]
async fn the_library_sees_the_protocol_that_was_agreed_on() {
    let test_listener = test_listener(ListenerKind::Tls).await;
    let mut config = test_listener.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = shake(test_listener.connect().await, config, "a.test").await.unwrap();

    stream.write_all(GET.as_bytes()).await.unwrap();

    assert!(one_read(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}
