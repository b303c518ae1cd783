//! The service manager: what it is told, and the sockets that it passes.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    config,
    harness::{Octroi, Upstream, program::BINARY},
    upgrade,
};

/// Listens where the service manager would.
fn manager(octroi: &mut Octroi) -> UnixDatagram {
    let path = octroi.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    octroi.env.push(("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()));
    socket
}

/// Returns the next message that is not the watchdog's.
fn told(socket: &UnixDatagram) -> String {
    loop {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

#[test]
fn the_service_manager_is_told_of_every_turn() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ""));
    let socket = manager(&mut octroi);
    octroi.run();
    assert!(told(&socket).starts_with("READY=1\nSTATUS=serving revision "));

    octroi.ok(&["reload"]);
    assert!(told(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(told(&socket).starts_with("READY=1\n"));
    octroi.configure(&config(&upstream, "  - {name: nonsense}"));
    assert_eq!(octroi.code(&["reload"]), 1);
    assert!(told(&socket).starts_with("RELOADING=1\n"));
    assert!(told(&socket).starts_with("READY=1\n"), "a reload that failed ends too");
    octroi.configure(&config(&upstream, ""));

    let (_, new) = upgrade(&mut octroi);
    let both = [told(&socket), told(&socket)];
    assert!(both.contains(&format!("MAINPID={new}")), "{both:?}");
    assert!(both.iter().any(|text| text.starts_with("READY=1\n")), "{both:?}");
    assert_eq!(octroi.wait(), 0);
    crate::harness::program::signal(new, "TERM");
    assert_eq!(told(&socket), "STOPPING=1\nSTATUS=draining");
}

#[test]
fn the_watchdog_is_fed_at_half_its_interval() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ""));
    let socket = manager(&mut octroi);
    octroi.env.push(("WATCHDOG_USEC", "400000".to_owned()));
    octroi.run();
    let start = std::time::Instant::now();
    let mut fed = 0;
    let mut buffer = [0; 512];
    while fed < 8 {
        let length = socket.recv(&mut buffer).unwrap();
        fed += usize::from(&buffer[..length] == b"WATCHDOG=1");
    }
    let took = start.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");

    // One that does not get the processor is not fed.
    octroi.signal("STOP");
    socket.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    while socket.recv(&mut buffer).is_ok() {}
    octroi.signal("CONT");
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(socket.recv(&mut buffer).is_ok());

    // The next process is fed for too.
    let (old, _) = upgrade(&mut octroi);
    octroi.wait();
    assert!(!crate::harness::program::lives(old));
    while socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] != b"WATCHDOG=1") {}
}

/// Starts the program with two sockets, as a service manager does: the shell keeps its number, and puts them to 3 and 4.
fn activated(octroi: &Octroi, sockets: [TcpListener; 2], names: &str, pid: &str) -> Command {
    let [a, b] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
    let mut command = Command::new("sh");
    let script =
        format!("exec 3<&0 4<&1 </dev/null >&2; export LISTEN_PID={pid}; exec \"$0\" run --config \"$1\"");
    command.arg("-c").arg(script).arg(BINARY).arg(octroi.config()).stdin(a).stdout(b);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command
}

fn socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn sockets_of_the_service_manager_are_used_by_name_and_by_address() {
    let upstream = Upstream::start();
    let (named, other) = (socket(), socket());
    let (named_at, other_at) = (named.local_addr().unwrap(), other.local_addr().unwrap());
    let plain = format!("name: plain, address: \"{other_at}\"");
    let mut octroi =
        Octroi::prepared(&config(&upstream, "").replace("name: plain, address: \"127.0.0.1:0\"", &plain));

    let child =
        activated(&octroi, [named, other], "public:whatever", "$$").stderr(Stdio::null()).spawn().unwrap();
    octroi.adopt(child);

    assert_eq!((octroi.addr("public"), octroi.addr("plain")), (named_at, other_at));
    assert_eq!(octroi.curl("acme.test", "/public/x").status(), 200);
    assert_eq!(octroi.plain("plain", "acme.test", "/public/x").status(), 200);
    // They go over like any other, and the successor does not take their numbers for sockets of its own.
    upgrade(&mut octroi);
    assert_eq!((octroi.addr("public"), octroi.addr("plain")), (named_at, other_at));
    assert_eq!(octroi.wait(), 0);
    assert_eq!(octroi.curl("acme.test", "/public/x").status(), 200);
}

#[test]
fn sockets_that_are_not_for_us_or_no_listeners_are_not_taken() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ""));
    let named = socket();
    let named_at = named.local_addr().unwrap();

    let child = activated(&octroi, [named, socket()], "public:x", "1").stderr(Stdio::null()).spawn().unwrap();
    octroi.adopt(child);
    assert_ne!(octroi.addr("public"), named_at);

    // A connection is a TCP socket too.
    let other = Octroi::prepared(&config(&upstream, ""));
    let listener = socket();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let output =
        activated(&other, [TcpListener::from(OwnedFd::from(connection)), socket()], "public:x", "$$")
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("socket 0 (`public`): it does not listen"),
        "{output:?}"
    );
}
