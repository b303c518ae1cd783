//! What a start needs of the machine, for `octroi check`: folders that can be written, sockets whose paths
//! fit, addresses that are there.
//!
//! `check` may run as another user than the gateway, or on another machine. So what that could change is a
//! warning, and what no start can get past is an error. Nothing is made, written or bound.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf, absolute},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
    process::geteuid,
};

use super::{
    Context,
    address::{SOCKET_PATH_BYTES, is_of_this_machine},
};
use crate::{
    config::{
        error::Severity,
        history::History,
        parse::FilePath,
        reader::{HasSpan, Spanned},
        similar_path,
        source::Span,
        wire::{LogWire, Root, Sink},
    },
    model::CONTROL_SOCKET,
    policy::Policy,
};

/// Where what depends on the machine is written.
#[derive(Debug)]
pub(in crate::config) struct Places {
    /// The key `server.state_dir`, or the top of the file.
    state_dir: Span,
    /// Folders of certificates for development.
    dev: Vec<Spanned<FilePath>>,
    logs: Vec<Spanned<FilePath>>,
    addresses: Vec<Spanned<SocketAddr>>,
}

impl Places {
    /// Notes them before the wire types are gone.
    pub(in crate::config) fn of(root: &Root) -> Self {
        let written = root.server.as_ref().and_then(|server| server.state_dir.as_ref());
        let to_file = |wire: &LogWire| wire.path.clone().filter(|_| matches!(wire.to.value, Sink::File));
        let certificates = root.tls.iter().flat_map(|tls| &tls.certificates.0);
        let listeners = root.listeners.0.iter().flat_map(|list| &list.0).map(|wire| wire.address.clone());
        let metrics = root.metrics.iter().map(|wire| wire.address.clone());
        let admin = root.admin.iter().map(|wire| wire.address.clone());
        Self {
            state_dir: written.map_or_else(|| root.span(), |at| at.span),
            dev: certificates
                .filter_map(|wire| wire.dev.as_ref().filter(|at| at.value).and(wire.dir.clone()))
                .collect(),
            logs: root.access_log.iter().flatten().filter_map(to_file).collect(),
            addresses: listeners.chain(metrics).chain(admin).collect(),
        }
    }
}

/// Validates a policy against this machine.
pub(in crate::config) fn validate(cx: &mut Context<'_>, places: &Places, policy: &Policy) {
    state_dir(cx, places.state_dir, &policy.state_dir);
    for dir in &places.dev {
        let path = cx.resolve(dir);
        made(cx, At::value(dir.span), &path, "certificates for development");
    }
    for path in &places.logs {
        log(cx, path);
    }
    for Spanned { value, span } in &places.addresses {
        if !is_of_this_machine(value.ip().to_canonical()) {
            let message =
                format!("{} is no address of this machine, and a start needs one that is", value.ip());
            cx.warn(*span, message).hint("on the machine that has it, all is well");
        }
    }
}

/// How a folder is that something is to be made in.
#[derive(Debug, PartialEq, Eq)]
enum Folder {
    /// It is there, and this user may write.
    Fine,
    /// This user may not write there, and another one may.
    Closed,
    /// Nobody may: its file system is read-only, or not even its owner may write, who asks.
    Shut(&'static str),
    /// It is not there; what is nearest to it is.
    Missing(PathBuf),
    /// A file is where it, or one that it lies in, would have to be.
    File(PathBuf),
    /// Nothing can be said.
    Unknown(String),
}

fn folder(path: &Path) -> Folder {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => writable(path, &found, Access::WRITE_OK | Access::EXEC_OK),
        Ok(_) => Folder::File(path.to_owned()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            let here = Path::new(".");
            let mut above =
                path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { here } else { above });
            match above.find_map(|above| Some((above, fs::metadata(above).ok()?))) {
                Some((above, found)) if found.is_dir() => Folder::Missing(above.to_owned()),
                Some((above, _)) => Folder::File(above.to_owned()),
                None => Folder::Unknown(error.to_string()),
            }
        }
        Err(error) => Folder::Unknown(error.to_string()),
    }
}

/// Says whether this user may write, and whether another one might.
fn writable(path: &Path, found: &fs::Metadata, wanted: Access) -> Folder {
    match access(path, wanted) {
        Ok(()) => Folder::Fine,
        Err(Errno::ROFS) => Folder::Shut("its file system is read-only"),
        Err(_) if found.uid() == geteuid().as_raw() => Folder::Shut("not even its owner may write there"),
        Err(_) => Folder::Closed,
    }
}

/// How bad it is that a start cannot go on here: an error where octroi has served, for then it is this
/// machine that serves. Elsewhere, in CI or in an image, what is mounted or made before a start may not be
/// there yet.
fn severity(cx: &Context<'_>) -> Severity {
    if cx.history == History::Served { Severity::Error } else { Severity::Warning }
}

/// A hint for what another user or machine could change.
const ELSEWHERE: &str = "this user on this machine; where octroi runs, it may be otherwise";

fn state_dir(cx: &mut Context<'_>, span: Span, path: &Path) {
    let at = At { span, key: Some("server.state_dir") };
    made(cx, at, path, "what must survive it");
    // What a start refuses as well: others could put their own journal there.
    if fs::metadata(path).is_ok_and(|found| found.is_dir() && found.mode() & 0o022 != 0) {
        let shown = path.display();
        say(cx, Severity::Error, at, format!("others may write to {shown}"), &format!("chmod go-w {shown}"));
    }
    socket(cx, span, path);
}

/// Validates a folder that a start makes where it is missing, and writes to.
fn made(cx: &mut Context<'_>, at: At<'_>, path: &Path, what: &str) {
    let shown = path.display();
    match folder(path) {
        Folder::Fine => {}
        Folder::Closed => {
            say(
                cx,
                Severity::Warning,
                at,
                format!("{shown} cannot be written, and a start keeps {what} there"),
                ELSEWHERE,
            );
        }
        Folder::Shut(why) => {
            let message = format!("{shown} cannot be written, and a start keeps {what} there: {why}");
            say(cx, severity(cx), at, message, "a start ends with exit 74; octroi's user writes there");
        }
        Folder::Missing(above) => {
            if folder(&above) != Folder::Fine {
                let message = format!("{shown} is not there, and cannot be made in {}", above.display());
                say(cx, Severity::Warning, at, message, ELSEWHERE);
            }
        }
        Folder::File(file) => {
            let message = format!("{} is a file, and a folder is needed", file.display());
            say(cx, Severity::Error, at, message, "name a folder; a start makes it where it is missing");
        }
        Folder::Unknown(why) => {
            say(cx, Severity::Warning, at, format!("{shown} cannot be looked at: {why}"), ELSEWHERE)
        }
    }
}

/// Where a finding stands, and the key that it is about where the place alone does not say it.
#[derive(Clone, Copy)]
struct At<'a> {
    span: Span,
    key: Option<&'a str>,
}

impl At<'_> {
    /// A value that is written: its place says which key it is.
    const fn value(span: Span) -> Self {
        Self { span, key: None }
    }
}

/// Reports what is wrong with a folder or a file on this machine.
fn say(cx: &mut Context<'_>, severity: Severity, at: At<'_>, message: String, hint: &str) {
    let finding = match severity {
        Severity::Error => cx.error(at.span, message),
        Severity::Warning => cx.warn(at.span, message),
    };
    finding.hint(hint);
    if let Some(key) = at.key {
        finding.path(key.to_owned());
    }
}

/// Validates the paths of the sockets. They are bound with the number of the process behind the name, and the
/// two names have one length.
fn socket(cx: &mut Context<'_>, span: Span, state_dir: &Path) {
    let bytes = |dir: &Path, process: &str| dir.join(format!("{CONTROL_SOCKET}.{process}")).as_os_str().len();
    let hint =
        format!("the system takes {SOCKET_PATH_BYTES} bytes for the path of a socket; name a shorter folder");
    let longest = bytes(&absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()), LAST_PROCESS);
    if bytes(state_dir, "1") > SOCKET_PATH_BYTES {
        let message = format!("this folder's path is too long for a socket in it, {CONTROL_SOCKET}");
        cx.error(span, message).path("server.state_dir".to_owned()).hint(hint);
    } else if longest > SOCKET_PATH_BYTES {
        let message = format!(
            "with a high process number, the path of {CONTROL_SOCKET} in this folder has {longest} bytes"
        );
        cx.warn(span, message).path("server.state_dir".to_owned()).hint(hint);
    }
}

/// The highest number of a process on Linux (`PID_MAX_LIMIT`).
const LAST_PROCESS: &str = "4194304";

fn log(cx: &mut Context<'_>, at: &Spanned<FilePath>) {
    let path = cx.resolve(at);
    let shown = path.display();
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => {
            cx.error(at.span, format!("{shown} is a folder, and a log is a file"))
                .hint(format!("write `{shown}/access.log`"));
            return;
        }
        Ok(found) => {
            match writable(&path, &found, Access::WRITE_OK) {
                Folder::Closed => {
                    cx.warn(at.span, format!("{shown} cannot be written, and a start opens it"))
                        .hint(ELSEWHERE);
                }
                Folder::Shut(why) => {
                    let message = format!("{shown} cannot be written, and a start opens it: {why}");
                    say(
                        cx,
                        severity(cx),
                        At::value(at.span),
                        message,
                        "a start ends with exit 74; octroi's user writes to it",
                    );
                }
                Folder::Fine | Folder::Missing(_) | Folder::File(_) | Folder::Unknown(_) => {}
            }
            return;
        }
        Err(_) => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = parent.display();
    match folder(parent) {
        Folder::Fine => {}
        Folder::Closed => {
            cx.warn(at.span, format!("no file can be made in {dir}, and a start makes {shown}"))
                .hint(ELSEWHERE);
        }
        Folder::Shut(why) => {
            let message = format!("no file can be made in {dir}, and a start makes {shown}: {why}");
            say(
                cx,
                severity(cx),
                At::value(at.span),
                message,
                "a start ends with exit 74; octroi's user writes there",
            );
        }
        Folder::Missing(_) => {
            let hint = similar_path::hint(parent).unwrap_or_else(|| {
                format!("make it: `mkdir -p {dir}`, owned by the user that octroi runs as")
            });
            let message = format!("there is no folder {dir} on this machine, and a start does not make it");
            say(cx, severity(cx), At::value(at.span), message, &hint);
        }
        Folder::File(file) => {
            cx.error(at.span, format!("{} is a file, and a folder is needed", file.display()))
                .hint("name a file in a folder");
        }
        Folder::Unknown(why) => {
            cx.warn(at.span, format!("{dir} cannot be looked at: {why}")).hint(ELSEWHERE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_judged_by_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "").unwrap();

        assert_eq!(folder(root.path()), Folder::Fine);
        assert_eq!(folder(&at("none/below")), Folder::Missing(root.path().to_owned()));
        assert_eq!(folder(&at("file")), Folder::File(at("file")));
        assert_eq!(folder(&at("file/below")), Folder::File(at("file")));
    }
}
