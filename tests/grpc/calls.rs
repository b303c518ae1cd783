//! Calls as their clients make them.

use super::{
    config,
    harness::{
        Octroi,
        http2_client::{Http2Client, block_on},
        http2_server::Http2Server,
    },
    sign_in,
};
use crate::harness::wait;

fn started(rules: &str) -> (Octroi, Http2Server) {
    let server = Http2Server::start();
    (Octroi::start(&config(&[server.addr], "", rules)), server)
}

#[test]
fn a_call_passes_with_its_head_its_message_and_its_trailers() {
    let (octroi, server) = started("");
    let cookie = sign_in(&octroi, "acme.test", "u_1");
    server.take();

    let got = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let fields = [
            ("cookie", &*cookie),
            ("cookie", "theme=dark"),
            ("grpc-timeout", "5S"),
            ("x-key-bin", "AAE="),
            ("octroi-user", "root"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        client.unary("/echo.Echo/Unary?a=b", &fields, b"hello").await
    });

    assert_eq!((got.status.as_u16(), &got.body[..], got.field("x-init")), (200, &b"hello"[..], Some("1")));
    assert_eq!((got.trailer("grpc-status"), got.trailer("x-trail")), (Some("0"), Some("2")));
    assert_eq!(got.field("strict-transport-security"), Some("max-age=63072000"));
    let call = server.take().remove(0);
    let field = |name: &str| {
        call.fields.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (&*call.method, &*call.scheme, &*call.authority, &*call.target),
        ("POST", "http", "acme.test", "/echo.Echo/Unary?a=b")
    );
    for (name, value) in [
        ("te", "trailers"),
        ("grpc-timeout", "5S"),
        ("x-key-bin", "AAE="),
        ("octroi-user", "u_1"),
        ("octroi-tenant", "acme"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("cookie", "theme=dark"),
    ] {
        assert_eq!(field(name), [value], "{name}");
    }
    assert!(!call.fields.contains_key("host"), "the authority says it");
    let line = octroi.access_line(|line| line["path"] == "/echo.Echo/Unary");
    assert_eq!(
        (&line["status"], &line["upstream.status"], &line["bytes.in"], &line["bytes.out"]),
        (&200.into(), &200.into(), &5.into(), &5.into())
    );
}

#[test]
fn messages_pass_both_ways_as_they_come() {
    let (octroi, _server) = started("");
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    // A server that says its head at once, and one that says it with its first message.
    for path in ["/echo.Echo/Bidi", "/echo.Echo/Lazy"] {
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            let mut call = client.call(path, &[("cookie", &cookie)]).await;
            call.say(b"m0", false);
            let mut answering = call.head().await;
            for n in 1..5 {
                assert_eq!(answering.piece().await.unwrap().unwrap(), format!("m{}", n - 1));
                answering.out.send_data(format!("m{n}").into(), false).unwrap();
            }
            answering.out.send_data(bytes::Bytes::new(), true).unwrap();
            let got = answering.end().await;
            assert_eq!(
                (&got.body[..], got.trailer("grpc-status"), got.reset),
                (&b"m4"[..], Some("0"), None),
                "{path}"
            );
        });
    }
}

#[test]
fn a_failed_call_is_trailers_only() {
    let (octroi, _server) = started("");
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    let got = block_on(async {
        Http2Client::connect(&octroi, "acme.test")
            .await
            .unary("/echo.Echo/Fail", &[("cookie", &cookie)], b"x")
            .await
    });

    assert_eq!(
        (got.status.as_u16(), got.field("grpc-status"), got.field("grpc-message")),
        (200, Some("8"), Some("no%20more"))
    );
    assert_eq!(
        (got.body.len(), got.trailers, got.reset, got.head.contains_key("content-length")),
        (0, None, None, false)
    );
}

#[test]
fn a_refused_call_has_the_status_that_clients_read() {
    let (octroi, server) = started("");

    let got = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        client.unary("/echo.Echo/Unary", &[("accept", "text/html")], b"x").await
    });

    assert_eq!(
        (got.status.as_u16(), got.field("location"), got.field("www-authenticate")),
        (401, None, Some("Bearer"))
    );
    assert_eq!(server.take().len(), 0);
}

#[test]
fn a_client_that_cancels_cancels_at_the_server() {
    let (octroi, server) = started("");
    let cookie = sign_in(&octroi, "acme.test", "u_1");

    block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut answering = client.call("/echo.Echo/Hold", &[("cookie", &cookie)]).await.head().await;
        answering.out.send_reset(h2::Reason::CANCEL);
        wait::eventually_async("the call is reset at the server", || !server.resets().is_empty()).await;
    });

    assert_eq!(server.resets(), [("/echo.Echo/Hold".to_owned(), 8)]);
    let line = octroi.access_line(|line| line["path"] == "/echo.Echo/Hold");
    assert_eq!(line["reason"], "client_closed");
}

#[test]
fn trailers_are_bounded_and_say_nothing_that_belongs_into_a_head() {
    let (octroi, _server) = started(", headers: {response: {x-tenant: ours}}");
    let cookie = sign_in(&octroi, "acme.test", "u_1");
    let ask = |query: &str| {
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            client.unary(&format!("/echo.Echo/Trailers?{query}"), &[("cookie", &cookie)], b"").await
        })
    };

    let odd = ask("odd=1");
    assert_eq!(
        odd.trailers.unwrap().keys().map(http::HeaderName::as_str).collect::<Vec<_>>(),
        ["grpc-status"]
    );
    assert_eq!(
        (odd.head["x-tenant"].to_str().unwrap(), odd.head.contains_key("set-cookie")),
        ("ours", false)
    );

    // With `grpc-status: 0`, which is one of them and takes 16 octets.
    for (inside, outside) in [("many=63", "many=64"), ("long=16363", "long=16364")] {
        assert_eq!(ask(inside).trailer("grpc-status"), Some("0"), "{inside}");
        // What has not left by then goes with the stream.
        let reset = block_on(async {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            let mut call =
                client.call(&format!("/echo.Echo/Trailers?{outside}"), &[("cookie", &cookie)]).await;
            call.say(b"", true);
            match call.answer.await {
                Ok(answer) => {
                    let mut body = answer.into_body();
                    loop {
                        match body.data().await {
                            Some(Ok(_)) => {}
                            Some(Err(error)) => break error.is_reset(),
                            None => break body.trailers().await.is_err_and(|error| error.is_reset()),
                        }
                    }
                }
                Err(error) => error.is_reset(),
            }
        });
        assert!(reset, "{outside}");
        let line = octroi.access_line(|line| line["reason"] == "upstream_protocol");
        assert!(line["detail"].as_str().unwrap().contains("trailers"), "{line}");
    }
}

#[test]
fn what_a_call_may_send_is_bounded() {
    let (octroi, _server) = started("");
    let cookie = sign_in(&octroi, "acme.test", "u_1");
    let ask = |bytes: usize| {
        block_on(async {
            let mut client = Http2Client::connect(&octroi, "acme.test").await;
            let mut call = client.call("/echo.Echo/Unary", &[("cookie", &cookie)]).await;
            let sent = crate::harness::http2_server::send(&mut call.out, vec![b'x'; bytes].into());
            let (sent, answer) = tokio::join!(sent, call.answer);
            if sent {
                let _ = call.out.send_data(bytes::Bytes::new(), true);
            }
            answer.unwrap().status().as_u16()
        })
    };

    // The answer comes with the end of the request, so this one has to be said as a whole.
    let whole = block_on(async {
        let mut client = Http2Client::connect(&octroi, "acme.test").await;
        let mut call = client.call("/echo.Echo/Unary", &[("cookie", &cookie)]).await;
        assert!(crate::harness::http2_server::send(&mut call.out, vec![b'x'; 1 << 20].into()).await);
        call.say(b"", true);
        call.end().await
    });

    assert_eq!((whole.body.len(), whole.trailer("grpc-status")), (1 << 20, Some("0")));
    assert_eq!(ask((1 << 20) + 1), 413);
}
