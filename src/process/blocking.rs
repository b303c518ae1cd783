//! Work that blocks on files, bounded: a file system that hangs keeps a few threads, and nobody else.
//!
//! A thread that waits for a dead network file system cannot be ended. So each kind of such work has few
//! places. A place is free again when its thread returns; the caller gets an answer at the deadline. The
//! threads are not the runtime's: those are shared, and work that hangs in them would hold up everything
//! else.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// How long reading the configuration and its files may take: seconds for 100,000 tenants, on a busy machine
/// more. What takes longer is a file system that hangs.
const READING: Duration = Duration::from_secs(180);

/// How long the journal's disk, or a file of our own, may take.
const WRITING: Duration = Duration::from_secs(30);

/// How long what nobody waits for may take: the stop of octroi is one of those who do.
const NOTING: Duration = Duration::from_secs(10);

/// How long a place is waited for. Work that does not hang leaves it in this time.
const TURN: Duration = Duration::from_secs(20);

/// Why work on files has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockingError {
    /// As much of its kind hangs as may.
    #[error(
        "{work} hangs {most} times already; mend the file system, or name another one and `octroi upgrade`"
    )]
    Full {
        /// What was to be done.
        work: &'static str,
        /// How much of it may hang.
        most: usize,
    },
    /// It takes too long, and goes on in its thread.
    #[error("{work} did not end within {} s; a file system hangs", deadline.as_secs())]
    Late {
        /// What is done.
        work: &'static str,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// There is no thread for it.
    #[error("no thread can be started for {work}: {source}")]
    Thread {
        /// What was to be done.
        work: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It panicked.
    #[error("{work} broke off")]
    Panicked {
        /// What was done.
        work: &'static str,
    },
}

/// Files that changed were not read: a file system hangs, or a reload takes too long. Either is in the log
/// already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RereadError;

/// The kinds of work on files that a running octroi does. Each has its own places, so that one that hangs
/// holds up no other. A clone has the same places.
#[derive(Clone, Debug)]
pub(crate) struct BlockingWork {
    /// Reading the configuration because an operator wishes it.
    pub(crate) reload: Blocking,
    /// Reading it, or files that it names, because they changed. An operator's reload has places left when
    /// all of these hang.
    pub(crate) renewal: Blocking,
    /// Writing down which tenants are gone.
    pub(crate) journal: Blocking,
    /// Writing down how session keys are used.
    pub(crate) key_uses: Blocking,
    /// Accounts and certificates of ACME.
    pub(crate) acme: Blocking,
    /// The CAs of the system, for whom octroi asks.
    pub(crate) trust: Blocking,
}

impl Default for BlockingWork {
    fn default() -> Self {
        Self {
            reload: Blocking::new("reading the configuration's files", 3, READING),
            renewal: Blocking::new("reading the configuration's files again", 2, READING),
            journal: Blocking::new("writing the revocation journal", 1, WRITING),
            key_uses: Blocking::new("writing when session keys were used", 1, NOTING),
            acme: Blocking::new("reading and writing what ACME keeps", 2, WRITING),
            trust: Blocking::new("reading the system's CAs", 2, NOTING),
        }
    }
}

/// One kind of work, and its places. A clone has the same places.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    work: &'static str,
    most: usize,
    places: Arc<Semaphore>,
    deadline: Duration,
    turn: Duration,
}

impl Blocking {
    fn new(work: &'static str, most: usize, deadline: Duration) -> Self {
        Self { work, most, places: Arc::new(Semaphore::new(most)), deadline, turn: TURN }
    }

    /// Does something, and waits for it until the deadline.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let Self { work, most, deadline, .. } = *self;
        let Ok(Ok(place)) = timeout(self.turn, Arc::clone(&self.places).acquire_owned()).await else {
            return Err(BlockingError::Full { work, most });
        };
        let done = begin(move || {
            let _place = place;
            act()
        });
        let done = done.map_err(|source| BlockingError::Thread { work, source })?;
        match timeout(deadline, done).await {
            Ok(done) => done.map_err(|_| BlockingError::Panicked { work }),
            Err(_) => Err(BlockingError::Late { work, deadline }),
        }
    }
}

/// Work that is done again and again, one at a time. While it hangs nothing more of it is begun, and nothing
/// that it found is lost.
#[derive(Debug)]
pub(crate) struct Repeated<T> {
    work: &'static str,
    under_way: Option<oneshot::Receiver<T>>,
}

impl<T: Send + 'static> Repeated<T> {
    /// Begins with nothing under way.
    pub(crate) const fn new(work: &'static str) -> Self {
        Self { work, under_way: None }
    }

    /// Does something, or goes on waiting for what was begun before: then `act` is dropped.
    pub(crate) async fn run(
        &mut self,
        deadline: Duration,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let work = self.work;
        let mut under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => begin(act).map_err(|source| BlockingError::Thread { work, source })?,
        };
        if let Ok(done) = timeout(deadline, &mut under_way).await {
            return done.map_err(|_| BlockingError::Panicked { work });
        }
        self.under_way = Some(under_way);
        Err(BlockingError::Late { work, deadline })
    }
}

/// Does something in a thread of its own, within the runtime as if it were one of its threads.
fn begin<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (done, asked) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("octroi-files".to_owned()).spawn(move || {
        let _within = runtime.enter();
        // Who asked may have gone.
        let _ = done.send(act());
    })?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn places(most: usize) -> Blocking {
        Blocking { turn: SOON, ..Blocking::new("reading", most, SOON) }
    }

    /// Work that hangs until the other end is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() -> &'static str + Send + 'static) {
        let (release, held) = mpsc::channel();
        (release, move || {
            let _ = held.recv();
            "late"
        })
    }

    fn said<T>(outcome: Result<T, BlockingError>) -> String {
        outcome.map(drop).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_hangs_is_answered_at_the_deadline_and_keeps_its_place_until_it_comes_back() {
        let reading = places(2);
        let [(first, one), (second, other)] = [hanging(), hanging()];

        assert_eq!(said(reading.run(one).await), "reading did not end within 0 s; a file system hangs");
        assert_eq!(reading.run(|| "fine").await.unwrap(), "fine", "there is one more place");
        assert_eq!(said(reading.run(other).await), "reading did not end within 0 s; a file system hangs");
        let full =
            "reading hangs 2 times already; mend the file system, or name another one and `octroi upgrade`";
        assert_eq!(said(reading.run(|| unreachable!("no thread is left for it")).await), full);
        drop(first);
        let patient = Blocking { turn: TURN, deadline: TURN, ..reading.clone() };
        assert_eq!(patient.run(|| "fine").await.unwrap(), "fine", "its place is free again");
        drop(second);
    }

    #[tokio::test]
    async fn what_panics_gives_its_place_back() {
        let reading = Blocking { turn: TURN, deadline: TURN, ..places(1) };

        assert_eq!(said(reading.run(|| panic!("a test's")).await), "reading broke off");
        assert_eq!(reading.run(|| 1).await.unwrap(), 1);
    }

    #[test]
    fn it_needs_no_thread_of_the_runtime_and_is_within_it_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (release, act) = hanging();
        let reading = Blocking { turn: TURN, deadline: TURN, ..places(1) };

        let found = runtime.block_on(async {
            tokio::task::spawn_blocking(act);
            reading.run(|| Handle::current().block_on(async { 7 })).await
        });

        assert_eq!(found.unwrap(), 7);
        drop(release);
    }

    #[tokio::test]
    async fn what_is_repeated_is_begun_once_and_its_find_is_had_late() {
        let mut look = Repeated::new("looking");
        let (release, act) = hanging();
        let nothing = || unreachable!("the first is under way");

        assert_eq!(said(look.run(SOON, act).await), "looking did not end within 0 s; a file system hangs");
        assert_eq!(
            said(look.run(SOON, nothing).await),
            "looking did not end within 0 s; a file system hangs"
        );
        drop(release);
        assert_eq!(look.run(TURN, nothing).await.unwrap(), "late");
        assert_eq!(look.run(TURN, || "fine").await.unwrap(), "fine");
        assert_eq!(said(look.run(TURN, || panic!("a test's")).await), "looking broke off");
        assert_eq!(look.run(TURN, || "fine").await.unwrap(), "fine");
    }
}
