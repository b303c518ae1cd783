//! `octroi status`: shows the status of the running octroi.

use std::{fmt::Write, path::Path};

use super::{
    control::{Client, ControlArgs},
    output::{Exit, Output, OutputFormat},
};
use crate::{
    admin::wire::{AcmeBody, RedisBody, StatusBody},
    model::printable,
};

/// Show the status of the running octroi.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

/// Runs the command. Exit 1 means that somebody must act:
///
/// * the files differ from what is in force: the last reload failed, a TLS file or a deny list was refused;
/// * somebody is shut out: a certificate is missing, a certificate, client CA or revocation list has expired,
///   an issuer has no key, tenants are missing, the wall clock is not believed, an upstream is down;
/// * revocations are at risk: the journal was lost or cannot be written, Redis has been silent for too long;
/// * a log loses lines, or an upstream does not read bodies.
///
/// What recovers by itself is shown with exit 0: one of several servers left aside, a certificate that
/// expires soon, a pattern of tenant files that matched nothing and had no tenants before.
pub(crate) fn run(args: &StatusArgs, state_dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let form = OutputFormat::from_flag(args.json);
    match Client::new(args.control.socket(state_dir)).get("/v1/status")?.read::<StatusBody>()? {
        Ok(status) => {
            output.data(form, &status, || describe(&status))?;
            let well = status.reload_error.is_none()
                && status.tls_refused.is_empty()
                && status.tls_out.is_empty()
                && status.lapsed.is_empty()
                && status.clock.is_none()
                && status.tenants_missing.as_ref().is_none_or(|missing| missing.count == 0)
                && status.revocations_lost.is_none()
                && status.revocations_unkept.is_none()
                && status.deny_refused.is_empty()
                && status.key_sets.iter().all(|set| set.keys > 0)
                && status.acme.as_ref().is_none_or(AcmeBody::is_healthy)
                && status.logs_failing.is_empty()
                && status.redis.as_ref().is_none_or(RedisBody::is_healthy)
                && !status.upstreams.iter().any(|upstream| upstream.bodies_unread || upstream.down);
            Ok(if well { Exit::Fine } else { Exit::Problem })
        }
        Err(refused) => {
            output.say(&format!("error: {}", refused.body.error.message));
            Ok(Exit::Problem)
        }
    }
}

fn describe(status: &StatusBody) -> String {
    let mut text = String::new();
    let state = if status.draining { "draining" } else { "serving" };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "octroi {} on {}: {state}, process {}, since {}",
        status.version, status.node, status.pid, status.started
    );
    let _ = writeln!(
        text,
        "policy      revision {}, loaded {}, {} tenants",
        status.revision, status.loaded, status.tenants
    );
    if let Some(missing) = &status.tenants_missing {
        let patterns = missing
            .patterns
            .iter()
            .map(|pattern| format!("`{}`", printable(pattern)))
            .collect::<Vec<_>>()
            .join(", ");
        let what = if patterns.is_empty() {
            "tenants were not there".to_owned()
        } else {
            format!("no file matched {patterns}")
        };
        let _ = writeln!(text, "missing     {what} at the start, {}", missing.since);
        if missing.count > 0 {
            let who = if missing.count == 1 {
                "tenant from before is not served, and keeps its"
            } else {
                "tenants from before are not served, and keep their"
            };
            let _ = writeln!(text, "            {} {who} sessions: {}", missing.count, missing.named);
            let _ = writeln!(
                text,
                "            to bring them back, restore all their files and `octroi reload`; to remove them for good, `octroi reload --allow-removal`"
            );
        }
    }
    let _ = writeln!(
        text,
        "open        {} connections, {} revocations in force",
        status.connections, status.revocations
    );
    if let Some(lost) = &status.revocations_lost {
        let until = status.revocations_lost_until.as_deref().unwrap_or("an operator says otherwise");
        let _ = writeln!(
            text,
            "lost        the revocation journal, found at {lost}: sessions from before are refused until {until}"
        );
        let _ = writeln!(
            text,
            "            by then all of them have expired, and nothing is left to do; until then, users can sign in again"
        );
        let _ = writeln!(
            text,
            "            repeat revocations with a future date (`session revoke --at`): they are lost"
        );
        let _ = writeln!(
            text,
            "            `octroi run --accept-old-sessions` accepts old sessions now, those that were revoked before included"
        );
    }
    if let Some(unkept) = &status.revocations_unkept {
        let _ = match unkept.count {
            0 => writeln!(
                text,
                "unkept      no revocation yet, but the journal cannot be written: {}",
                unkept.error
            ),
            1 => writeln!(text, "unkept      1 revocation is in force and not on the disk: {}", unkept.error),
            more => writeln!(
                text,
                "unkept      {more} revocations are in force and not on the disk: {}",
                unkept.error
            ),
        };
        let _ = writeln!(
            text,
            "            do not restart: a restart loses them. Repair the disk of the state directory; octroi then writes them within 30 seconds"
        );
    }
    for log in &status.logs_failing {
        let _ = writeln!(text, "log         {log}");
    }
    let _ = writeln!(text, "generation  {}", status.generation);
    if let Some(draining) = &status.predecessor {
        let _ = writeln!(
            text,
            "draining    predecessor, process {}, {} connections",
            draining.pid, draining.connections
        );
    }
    if let Some(pid) = status.successor {
        let _ = writeln!(text, "waiting     successor, process {pid}; `octroi upgrade` hands over to it");
    }
    for listener in &status.listeners {
        let _ = writeln!(text, "listener    {} {}", listener.name, listener.address);
    }
    if let Some(redis) = &status.redis {
        let state = if redis.connected { "connected" } else { "away" };
        let synced = redis.synced.as_deref().map_or_else(|| "never".to_owned(), |at| format!("at {at}"));
        let stale = if redis.fresh { "" } else { " (stale)" };
        let shares = if redis.shared {
            format!(", last sync {synced}{stale}, {} pending", redis.pending)
        } else {
            String::new()
        };
        let _ = writeln!(text, "redis       {state}{shares}");
        if let Some(trouble) = &redis.trouble {
            let _ = writeln!(text, "            {}", printable(trouble));
        }
        describe_nodes(redis, &status.node, &mut text);
    }
    if let Some(acme) = &status.acme {
        let counts = format!(
            "{} wanted, {} missing, {} failing; next order {}",
            acme.wanted, acme.missing, acme.failing, acme.next
        );
        let _ = writeln!(text, "acme        {counts}");
        for one in &acme.troubles {
            let state = if one.missing { "missing" } else { "in use" };
            let error = one.error.as_deref().unwrap_or("not tried yet");
            let _ = writeln!(text, "            {} ({state}, next {}): {error}", one.certificate, one.next);
        }
    }
    for set in &status.key_sets {
        let had =
            set.fetched.as_ref().map_or_else(|| "never fetched".to_owned(), |at| format!("fetched {at}"));
        let _ = writeln!(
            text,
            "keys        {}: {} in force, {} ignored, {had}, next {}",
            set.set, set.keys, set.ignored, set.next
        );
        if let Some(error) = &set.error {
            let _ = writeln!(text, "            {}", printable(error));
        }
        if set.keys == 0 {
            let _ = writeln!(text, "            its tokens are refused until it has keys");
        }
    }
    for upstream in &status.upstreams {
        for one in &upstream.aside {
            let tried = format!("since {}, {} failed attempts, next {}", one.since, one.failures, one.next);
            let _ = writeln!(text, "aside       {} {}: {tried}: {}", upstream.name, one.server, one.error);
        }
        if let Some(failing) = &upstream.failing {
            let last = failing.last.as_ref().map(|last| format!(", last {last}")).unwrap_or_default();
            let tried = format!("since {}, {} failed attempts{last}", failing.since, failing.failures);
            let _ = writeln!(
                text,
                "down        {} {}: {tried}: {}",
                upstream.name, failing.server, failing.error
            );
        } else if upstream.down {
            let _ = writeln!(text, "down        {}: none of its servers takes connections", upstream.name);
        }
        if upstream.bodies_unread {
            let _ = writeln!(
                text,
                "unread      upstream {} does not read bodies: each goes over a connection of its own",
                upstream.name
            );
            let _ = writeln!(
                text,
                "            remove its `reads_bodies: true` and `octroi reload`; or fix the app and restart octroi"
            );
        }
    }
    if let Some(clock) = &status.clock {
        let set = if clock.step_seconds < 0.0 { "back" } else { "ahead" };
        let by = clock.step_seconds.abs();
        let _ = writeln!(
            text,
            "clock       set {set} by {by:.1} s at {}, not believed: nobody signs in; believed is {}",
            clock.since, clock.now
        );
        let _ = writeln!(
            text,
            "            if the clock is right now: `octroi reload`, or wait until {}; if not: correct it",
            clock.until
        );
    }
    if let Some(error) = &status.reload_error {
        let _ = writeln!(text, "last reload failed, nothing was changed:\n{error}");
    }
    for out in &status.tls_out {
        let _ = writeln!(text, "out         {}", printable(out));
    }
    for refused in &status.tls_refused {
        let _ = writeln!(text, "refused     {}", printable(refused));
    }
    for refused in &status.deny_refused {
        let _ = writeln!(text, "deny        {}", printable(refused));
    }
    for lapsed in &status.lapsed {
        let _ = writeln!(text, "lapsed      {}", printable(lapsed));
    }
    for ending in &status.tls_ending {
        let _ = writeln!(text, "ends        {}", printable(ending));
    }
    for chain in &status.chains {
        let _ = writeln!(text, "chain       {}", printable(chain));
    }
    text
}

/// Describes which nodes are alive, and when the others were last seen.
fn describe_nodes(redis: &RedisBody, own: &str, text: &mut String) {
    let living: Vec<&str> =
        redis.nodes.iter().filter(|node| node.lives).map(|node| node.name.as_str()).collect();
    let of = redis.replicas.map(|replicas| format!(" of {replicas}")).unwrap_or_default();
    let alive = format!("{}{of} alive: {}", living.len(), living.join(", "));
    let _ = match redis.nodes_unknown_since.as_deref().filter(|_| redis.shared) {
        Some(since) if redis.nodes.is_empty() => {
            writeln!(text, "nodes       unknown since {since}: Redis cannot be asked")
        }
        Some(since) => {
            writeln!(text, "nodes       unknown since {since}: Redis cannot be asked; then {alive}")
        }
        None if redis.nodes.is_empty() => Ok(()),
        None => writeln!(text, "nodes       {alive}"),
    };
    for node in redis.nodes.iter().filter(|node| !node.lives) {
        let _ = writeln!(text, "            {} is gone, last seen at {}", node.name, node.heard);
    }
    if redis.namesake {
        let _ =
            writeln!(text, "            another octroi uses the name `{own}`: give each node its own `node`");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        admin::fixture::{FakeControl, NOW},
        cli::fixture::{run_captured, running},
        model::{
            AcmeStatus, AcmeTrouble, AsideStatus, ClockStatus, FailingStatus, KeySetStatus, LostRevocations,
            MissingTenants, NodeStatus, RedisStatus, ServerStatus, UnkeptRevocations, UpstreamStatus,
        },
    };

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_clock_that_is_not_believed_is_a_problem() {
        let running = running();
        let status = ClockStatus {
            step_millis: -3_600_200,
            now: NOW,
            since: NOW.minus(MINUTE),
            until: NOW.plus(9 * MINUTE),
        };
        *running.bench.control.clock.lock().unwrap() = Some(status);

        let (exit, text, _) =
            run_captured(running.dir.path(), |dir, output| run(&StatusArgs::default(), dir, output)).await;
        let args = StatusArgs { json: true, ..StatusArgs::default() };
        let (_, json, _) = run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!(exit, Exit::Problem);
        let expected = "clock       set back by 3600.2 s at 2026-11-23T21:59:00Z, not believed: nobody signs in; \
                        believed is 2026-11-23T22:00:00Z\n            if the clock is right now: `octroi reload`, or \
                        wait until 2026-11-23T22:09:00Z; if not: correct it\n";
        assert!(text.ends_with(expected), "{text}");
        let clock = serde_json::from_str::<StatusBody>(&json).unwrap().clock.unwrap();
        assert_eq!((clock.step_seconds, clock.until.as_str()), (-3600.2, "2026-11-23T22:09:00Z"));
    }

    #[tokio::test]
    async fn tenants_that_a_start_did_not_find_are_a_problem_and_a_pattern_that_misses_nobody_is_none() {
        for (count, expected) in [(0, Exit::Fine), (2, Exit::Problem)] {
            let running = running();
            let named = "`acme`, `globex`".to_owned();
            *running.bench.control.missing.lock().unwrap() = Some(MissingTenants {
                patterns: vec!["tenants.d/*.yaml".to_owned()],
                since: NOW,
                count,
                named,
            });

            let (exit, text, _) =
                run_captured(running.dir.path(), |dir, output| run(&StatusArgs::default(), dir, output))
                    .await;

            assert_eq!(exit, expected);
            assert!(
                text.contains(
                    "\nmissing     no file matched `tenants.d/*.yaml` at the start, 2026-11-23T22:00:00Z\n"
                ),
                "{text}"
            );
            let line = "\n            2 tenants from before are not served, and keep their sessions: `acme`, `globex`\n";
            assert_eq!(text.contains(line), count > 0, "{text}");
        }
    }

    #[tokio::test]
    async fn servers_that_are_aside_and_bodies_that_nobody_reads_are_told() {
        for (bodies_unread, expected) in [(false, Exit::Fine), (true, Exit::Problem)] {
            let running = running();
            let aside = AsideStatus {
                since: NOW.minus(MINUTE),
                next: NOW.plus(MINUTE),
                failures: 3,
                error: "refused".to_owned(),
            };
            let server =
                ServerStatus { address: "192.0.2.1:80".to_owned(), aside: Some(aside), failing: None };
            let other = ServerStatus { address: "192.0.2.2:80".to_owned(), aside: None, failing: None };
            *running.bench.control.upstreams.lock().unwrap() = vec![UpstreamStatus {
                name: "app".parse().unwrap(),
                bodies_unread,
                servers: vec![server, other],
            }];

            let (exit, text, _) =
                run_captured(running.dir.path(), |dir, output| run(&StatusArgs::default(), dir, output))
                    .await;

            assert_eq!(exit, expected);
            let line = "aside       app 192.0.2.1:80: since 2026-11-23T21:59:00Z, 3 failed attempts, next 2026-11-23T22:01:00Z: refused\n";
            let unread = "unread      upstream app does not read bodies: each goes over a connection of its own\n            \
                          remove its `reads_bodies: true` and `octroi reload`; or fix the app and restart octroi\n";
            assert!(text.ends_with(&format!("{line}{}", if bodies_unread { unread } else { "" })), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_serious_is_told_and_is_a_problem() {
        let redis = |is_shared, is_fresh| RedisStatus {
            is_connected: false,
            trouble: None,
            is_shared,
            is_fresh,
            synced: None,
            pending: 0,
            nodes_unknown: None,
            nodes: [("edge-1", true), ("edge-2", false)]
                .map(|(name, lives)| NodeStatus { name: name.to_owned(), heard: NOW, lives })
                .to_vec(),
            replicas: None,
            is_namesake: false,
        };
        let down = |failing: bool| {
            let aside = AsideStatus { since: NOW, next: NOW, failures: 3, error: "refused".to_owned() };
            let fails = FailingStatus { since: NOW, last: NOW, failures: 6, error: "refused".to_owned() };
            let server = |address: &str| ServerStatus {
                address: address.to_owned(),
                aside: (!failing).then(|| aside.clone()),
                failing: failing.then(|| fails.clone()),
            };
            let servers = if failing {
                vec![server("192.0.2.1:80")]
            } else {
                vec![server("192.0.2.1:80"), server("192.0.2.2:80")]
            };
            vec![UpstreamStatus { name: "app".parse().unwrap(), bodies_unread: false, servers }]
        };
        type Case<'a> = (Box<dyn Fn(&FakeControl) + 'a>, Exit, &'static str);
        let keys = |keys| KeySetStatus {
            set: "idp".to_owned(),
            keys,
            ignored: 0,
            fetched: None,
            error: None,
            next: NOW,
        };
        let acme = |error: Option<&str>, missing| {
            let error = error.map(str::to_owned);
            let one = AcmeTrouble { certificate: "tenants/acme".to_owned(), missing, error, next: NOW };
            AcmeStatus {
                wanted: 1,
                missing: usize::from(missing),
                failing: 1,
                next: NOW,
                troubles: vec![one],
            }
        };
        let unknown = RedisStatus { nodes_unknown: Some(NOW), replicas: Some(1), ..redis(true, true) };
        let set: [Case<'_>; 19] = [
            (
                Box::new(|control| control.tls_ending.lock().unwrap().push("acme.test: soon".to_owned())),
                Exit::Fine,
                "\nends        acme.test: soon\n",
            ),
            (
                Box::new(|control| {
                    *control.lost.lock().unwrap() =
                        Some(LostRevocations { found: NOW.minus(MINUTE), until: NOW })
                }),
                Exit::Problem,
                "\nlost        the revocation journal, found at 2026-11-23T21:59:00Z: sessions from before are refused until \
                 2026-11-23T22:00:00Z\n            by then all of them have expired",
            ),
            (
                Box::new(|control| {
                    *control.unkept.lock().unwrap() =
                        Some(UnkeptRevocations { count: 0, error: "full".to_owned() })
                }),
                Exit::Problem,
                "\nunkept      no revocation yet, but the journal cannot be written: full\n            do not restart: ",
            ),
            (
                Box::new(|control| {
                    control.deny_refused.lock().unwrap().push("blocklist.txt: bad".to_owned())
                }),
                Exit::Problem,
                "\ndeny        blocklist.txt: bad\n",
            ),
            (
                Box::new(|control| *control.key_sets.lock().unwrap() = vec![keys(1), keys(0)]),
                Exit::Problem,
                ", next 2026-11-23T22:00:00Z\n            its tokens are refused until it has keys\n",
            ),
            (
                Box::new(|control| *control.key_sets.lock().unwrap() = vec![keys(1)]),
                Exit::Fine,
                "\nkeys        idp: 1 in force",
            ),
            (
                Box::new(|control| *control.acme.lock().unwrap() = Some(acme(Some("down"), true))),
                Exit::Problem,
                "(missing, next ",
            ),
            (
                Box::new(|control| *control.acme.lock().unwrap() = Some(acme(None, true))),
                Exit::Fine,
                ": not tried yet\n",
            ),
            (
                Box::new(|control| *control.acme.lock().unwrap() = Some(acme(Some("down"), false))),
                Exit::Fine,
                "(in use, next ",
            ),
            (
                Box::new(|control| *control.redis.lock().unwrap() = Some(unknown.clone())),
                Exit::Fine,
                "\nnodes       unknown since 2026-11-23T22:00:00Z: Redis cannot be asked; then 1 of 1 alive: edge-1\n",
            ),
            (
                Box::new(|control| {
                    *control.unkept.lock().unwrap() =
                        Some(UnkeptRevocations { count: 2, error: "full".to_owned() })
                }),
                Exit::Problem,
                "\nunkept      2 revocations are in force and not on the disk: full\n",
            ),
            (
                Box::new(|control| control.logs_failing.lock().unwrap().push("access log: full".to_owned())),
                Exit::Problem,
                "\nlog         access log: full\n",
            ),
            (
                Box::new(|control| *control.redis.lock().unwrap() = Some(redis(true, false))),
                Exit::Problem,
                "(stale)",
            ),
            (
                Box::new(|control| *control.redis.lock().unwrap() = Some(redis(true, true))),
                Exit::Fine,
                "redis       away",
            ),
            (
                Box::new(|control| {
                    *control.redis.lock().unwrap() =
                        Some(RedisStatus { replicas: Some(1), ..redis(true, true) })
                }),
                Exit::Fine,
                "\nnodes       1 of 1 alive: edge-1\n            edge-2 is gone, last seen at 2026-11-23T22:00:00Z\n",
            ),
            (
                Box::new(|control| {
                    *control.redis.lock().unwrap() =
                        Some(RedisStatus { replicas: Some(2), ..redis(true, true) })
                }),
                Exit::Problem,
                "\nnodes       1 of 2 alive: edge-1\n",
            ),
            (
                Box::new(|control| {
                    *control.redis.lock().unwrap() =
                        Some(RedisStatus { is_namesake: true, ..redis(true, true) })
                }),
                Exit::Problem,
                "\n            another octroi uses the name `edge-1`: give each node its own `node`\n",
            ),
            (
                Box::new(|control| *control.upstreams.lock().unwrap() = down(true)),
                Exit::Problem,
                "\ndown        app 192.0.2.1:80: since 2026-11-23T22:00:00Z, 6 failed attempts, last 2026-11-23T22:00:00Z: refused\n",
            ),
            (
                Box::new(|control| *control.upstreams.lock().unwrap() = down(false)),
                Exit::Problem,
                "\ndown        app: none of its servers takes connections\n",
            ),
        ];
        for (set, expected, line) in set {
            let running = running();
            set(&running.bench.control);

            let (exit, text, _) =
                run_captured(running.dir.path(), |dir, output| run(&StatusArgs::default(), dir, output))
                    .await;

            assert_eq!(exit, expected, "{text}");
            assert!(text.contains(line), "{text}");
        }
    }

    #[tokio::test]
    async fn a_status_is_told_to_people_and_programs() {
        let running = running();

        let (exit, text, _) =
            run_captured(running.dir.path(), |dir, output| run(&StatusArgs::default(), dir, output)).await;
        let args = StatusArgs { json: true, ..StatusArgs::default() };
        let (_, json, _) = run_captured(running.dir.path(), move |dir, output| run(&args, dir, output)).await;

        assert_eq!(exit, Exit::Fine);
        assert!(
            text.starts_with("octroi 0.1.0 on edge-1: serving, process 7, since 2026-11-23T21:40:00Z\n"),
            "{text}"
        );
        assert!(text.ends_with("listener    public 127.0.0.1:8443\n"), "{text}");
        assert_eq!(serde_json::from_str::<StatusBody>(&json).unwrap().tenants, 3);
    }
}
