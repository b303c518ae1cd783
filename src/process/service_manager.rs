//! Reports the state of the process to the service manager: the protocol of `sd_notify(3)`, datagrams to
//! `NOTIFY_SOCKET`.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// The connection to the service manager; none where `NOTIFY_SOCKET` is not set.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let opened = address(&path).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // One that does not read must keep nobody waiting.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        let socket = opened
            .inspect_err(|error| tracing::warn!(%error, path, "the service manager cannot be told anything"))
            .ok();
        // A deadline that was meant for another process, a predecessor or a wrapper, is not ours.
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let watchdog = variable("WATCHDOG_USEC")
            .filter(|_| ours)
            .and_then(|text| text.parse().ok())
            .filter(|&micros| micros > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Returns the watchdog's interval, where the service manager has one for this process.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// This process is alive: to be said at half the watchdog's interval, as `sd_watchdog_enabled(3)` asks
    /// for.
    pub(crate) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// Requests are served.
    pub(crate) fn ready(&self, revision: &str) {
        self.say(&format!("READY=1\nSTATUS=serving revision {revision}"));
    }

    /// The configuration is being loaded again; [`Notifier::ready`] ends that, whatever comes of it.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=loading the configuration"));
    }

    /// No further connection is taken.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// Another process serves from now on, and is the service's main one.
    pub(crate) fn succeeded_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    fn say(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

/// A path, or a name in the abstract namespace, which begins with `@`.
fn address(path: &str) -> std::io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn notifier(pairs: &[(&str, &str)]) -> Notifier {
        let owned: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Notifier::from_environment(|name| {
            owned.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn the_service_manager_is_told_over_a_path_and_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("octroi-notify-{}", std::process::id());
        let sockets = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{name}"),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            ),
        ];

        for (address, socket) in sockets {
            let notifier = notifier(&[("NOTIFY_SOCKET", &address)]);
            notifier.ready("0123");
            notifier.reloading();
            notifier.succeeded_by(17);
            notifier.stopping();

            assert_eq!(told(&socket), "READY=1\nSTATUS=serving revision 0123");
            let reloading = told(&socket);
            let micros = reloading
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .and_then(|text| text.split('\n').next());
            assert!(micros.is_some_and(|micros| micros.parse::<u64>().is_ok()), "{reloading}");
            assert_eq!(told(&socket), "MAINPID=17");
            assert_eq!(told(&socket), "STOPPING=1\nSTATUS=draining");
        }
    }

    #[test]
    fn a_watchdog_is_fed_only_if_it_is_ours() {
        let own = std::process::id().to_string();
        let interval =
            |pairs: &[(&str, &str)]| notifier(&[&[("NOTIFY_SOCKET", "/nowhere")], pairs].concat()).watchdog;

        assert_eq!(interval(&[("WATCHDOG_USEC", "2000000")]), Some(Duration::from_secs(2)));
        assert_eq!(
            interval(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", &own)]),
            Some(Duration::from_secs(2))
        );
        for bad in [
            &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "1")][..],
            &[("WATCHDOG_USEC", "0")],
            &[("WATCHDOG_USEC", "soon")],
            &[],
        ] {
            assert_eq!(interval(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nobody_to_tell_is_fine() {
        notifier(&[]).ready("0123");
        notifier(&[("NOTIFY_SOCKET", "")]).stopping();
        notifier(&[("NOTIFY_SOCKET", "/nowhere/notify")]).stopping();
    }
}
