//! How many revocations a second the journal makes durable, one waiter each: printed, for people.
//!
//! `cargo bench --bench journal`. The file is under the build's own folder, so that the disk is a real one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly, measures, and prints"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use octroi::{
    model::{RevocationTarget, SessionId, UnixTime},
    sessions::SessionLedger,
};

const LENGTH: Duration = Duration::from_secs(3);

fn main() {
    println!("\n{:>7} {:>15} {:>16}", "waiters", "revocations/s", "each waits");
    for waiters in [1_u64, 8, 64, 256] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (now, end) = (UnixTime::from_secs(1_800_000_000), UnixTime::from_secs(1_800_043_200));
        let journal = Arc::new(SessionLedger::open(dir.path(), now).unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (done, began) = (AtomicU64::new(0), Instant::now());
        std::thread::scope(|scope| {
            for waiter in 0..waiters {
                let (journal, runtime, done) = (&journal, &runtime, &done);
                scope.spawn(move || {
                    let mut number = 0_u64;
                    while began.elapsed() < LENGTH {
                        let id =
                            SessionId::new((u128::from(waiter) << 64 | u128::from(number)).to_be_bytes());
                        runtime.block_on(journal.end(&RevocationTarget::Session(id), now, end)).unwrap();
                        number += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let (done, took) = (done.load(Ordering::Relaxed), began.elapsed());
        println!(
            "{waiters:>7} {:>15} {:>13} µs",
            u128::from(done) * 1000 / took.as_millis(),
            took.as_micros() * u128::from(waiters) / u128::from(done)
        );
    }
}
