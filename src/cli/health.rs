//! `octroi health`: asks the metrics listener whether the gateway accepts requests, where no HTTP client is
//! installed.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use clap::Args;

use super::output::{Exit, Output};
use crate::{app, config};

/// The deadline of each step. The answer takes a few milliseconds; a health check that hangs has failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Enough for the status line and the reason; the rest is not read.
const ANSWER_BYTES: u64 = 1024;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HealthArgs {
    /// The address of the metrics listener. Default: the one in the configuration.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

/// Runs the command. Exit 0: ready. Exit 1: not ready, such as draining. Exit 69: no answer.
pub(crate) fn run(config: &Path, args: &HealthArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let Some(address) = args.address.or_else(|| config::metrics_address(config, &app::variable)) else {
        output.say(&format!(
            "error: {} sets no `metrics.address`, so there is no listener to ask; name one with --address",
            config.display()
        ));
        return Ok(Exit::Problem);
    };
    let address = reachable(address);
    let answer = match ask(address) {
        Ok(answer) => answer,
        Err(error) => {
            output.say(&format!("error: no answer from http://{address}/readyz: {error}"));
            return Ok(Exit::Unreachable);
        }
    };
    match status(&answer) {
        Some("200") => {
            output.text("ready")?;
            Ok(Exit::Fine)
        }
        Some(status) => {
            let why = why(&answer).map(|why| format!(": {why}")).unwrap_or_default();
            output.say(&format!("not ready: http://{address}/readyz answers {status}{why}"));
            Ok(Exit::Problem)
        }
        None => {
            output.say(&format!("error: http://{address}/readyz does not answer in HTTP"));
            Ok(Exit::Unreachable)
        }
    }
}

/// Replaces an unspecified address by loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        });
    }
    address
}

fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Returns the reason in the answer of an octroi that is not ready.
fn why(answer: &[u8]) -> Option<String> {
    let body = memchr::memmem::find(answer, b"\r\n\r\n").and_then(|end| answer.get(end + 4..))?;
    let why = std::str::from_utf8(body).ok()?.trim_end().strip_prefix("not ready: ")?;
    why.chars().all(|character| !character.is_control()).then(|| why.to_owned())
}

/// Returns the status of an HTTP/1 answer.
fn status(answer: &[u8]) -> Option<&str> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead, io::BufReader, net::TcpListener, thread};

    use super::*;

    /// Serves one connection with these bytes, after reading a head. Returns the address and the request line
    /// to come.
    fn serve(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            head[0].clone()
        });
        (address, serving)
    }

    fn health(config: &Path, address: Option<SocketAddr>) -> (Exit, String, String) {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let exit = run(config, &HealthArgs { address }, &mut Output::to(&mut out, &mut talk)).unwrap();
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    #[test]
    fn ready_is_0() {
        let (address, serving) = serve("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");

        let told = health(Path::new("/nowhere"), Some(address));

        assert_eq!(told, (Exit::Fine, "ready\n".to_owned(), String::new()));
        assert_eq!(serving.join().unwrap(), "GET /readyz HTTP/1.1");
    }

    #[test]
    fn draining_is_1() {
        let (address, serving) =
            serve("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\nnot ready\n");

        let (exit, out, talk) = health(Path::new("/nowhere"), Some(address));

        assert_eq!((exit, out), (Exit::Problem, String::new()));
        assert_eq!(talk, format!("not ready: http://{address}/readyz answers 503\n"));
        serving.join().unwrap();
        let (address, _serving) = serve("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: it drains\n");
        assert_eq!(
            health(Path::new("/nowhere"), Some(address)).2,
            format!("not ready: http://{address}/readyz answers 503: it drains\n")
        );
    }

    #[test]
    fn nobody_there_is_69() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

        assert_eq!(health(Path::new("/nowhere"), Some(address)).0, Exit::Unreachable);
    }

    #[test]
    fn somebody_else_on_the_port_is_69() {
        let (address, serving) = serve("SSH-2.0-OpenSSH_9.2\r\n");

        assert_eq!(health(Path::new("/nowhere"), Some(address)).0, Exit::Unreachable);
        serving.join().unwrap();
    }

    #[test]
    fn the_address_comes_from_the_configuration() {
        let (address, serving) = serve("HTTP/1.1 200 OK\r\n\r\n");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("octroi.yaml");
        std::fs::write(&path, format!("version: 1\nmetrics: {{address: \"{address}\"}}\n")).unwrap();

        assert_eq!(health(&path, None).0, Exit::Fine);
        serving.join().unwrap();
    }

    #[test]
    fn a_configuration_without_metrics_is_a_problem() {
        let (exit, _, talk) = health(Path::new("/nowhere/octroi.yaml"), None);

        assert_eq!(exit, Exit::Problem);
        assert!(talk.contains("sets no `metrics.address`"), "{talk}");
    }

    #[test]
    fn every_address_is_asked_over_loopback() {
        assert_eq!(reachable("0.0.0.0:9902".parse().unwrap()), "127.0.0.1:9902".parse().unwrap());
        assert_eq!(reachable("[::]:9902".parse().unwrap()), "[::1]:9902".parse().unwrap());
        assert_eq!(reachable("192.0.2.1:9902".parse().unwrap()), "192.0.2.1:9902".parse().unwrap());
    }
}
