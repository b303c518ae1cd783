//! What callers do with the sessions of this node: grant, end, look up.
//!
//! Waiting for the journal's disk happens on the blocking pool. A grant or an end that has begun is completed
//! even if its caller is dropped, because a cancelled request must not leave a session half ended.

use std::{sync::Arc, time::Duration};

use super::{
    SessionLedger, StoreError,
    admission::GrantStep,
    grant_request::GrantRequest,
    peers::{AckLevel, AckReport},
    record::Record,
    session_list::{ListError, union},
    write::Local,
    writer_hand_over::WriterRequest,
};
use crate::{
    model::{RevocationTarget, SessionId, SessionStatus, TenantName, UnixTime, UserId},
    session::Admission,
};

impl SessionLedger {
    /// Notes a session that is about to begin, and says which of its user's must end before its token leaves;
    /// what it replaces ends with it.
    ///
    /// Durable on return where the user's sessions are limited. A refused one is not noted.
    pub async fn grant(
        self: &Arc<Self>,
        request: GrantRequest,
        now: UnixTime,
    ) -> Result<Admission, StoreError> {
        self.to_its_end(Arc::clone(self).grant_steps(request, now)).await
    }

    /// Ends sessions at a time; durable on return, in force at once or from `at` on if that lies ahead. Other
    /// nodes are told, and the store that they share has it on return.
    ///
    /// `keep_until` is when the last token that it ends reaches its absolute end; a tenant's revocation is
    /// kept for good. Where the session's tenant is known, [`SessionLedger::end_session`] says more. An error
    /// means that it is in force, but would not survive a restart, or that other nodes do not know it; only
    /// after [`StoreError::Full`] it is not in force.
    pub async fn end(
        self: &Arc<Self>,
        whose: &RevocationTarget,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreError> {
        let record = Self::record_of(whose, at, keep_until);
        self.to_its_end(Arc::clone(self).end_steps(record, AckLevel::Store)).await.map(drop)
    }

    /// Ends one session of a tenant, as [`SessionLedger::end`] does.
    pub async fn end_session(
        self: &Arc<Self>,
        tenant: &TenantName,
        id: SessionId,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<(), StoreError> {
        let record = Self::record_of_session(tenant, id, at, keep_until);
        self.to_its_end(Arc::clone(self).end_steps(record, AckLevel::Store)).await.map(drop)
    }

    /// Ends sessions as [`SessionLedger::end`] does, and waits a little for every node that lives to have it
    /// in force.
    pub async fn end_everywhere(
        self: &Arc<Self>,
        whose: &RevocationTarget,
        at: UnixTime,
        keep_until: UnixTime,
    ) -> Result<AckReport, StoreError> {
        let record = Self::record_of(whose, at, keep_until);
        self.to_its_end(Arc::clone(self).end_steps(record, AckLevel::Nodes)).await
    }

    /// Lists the sessions of a user that this node and the others know, the oldest first. `node` is this
    /// node's name. The error beside the list says why those of other nodes are missing.
    pub async fn list(
        &self,
        tenant: &TenantName,
        user: &UserId,
        idle: Duration,
        now: UnixTime,
        node: &str,
    ) -> (Vec<SessionStatus>, Option<ListError>) {
        let (elsewhere, silence) = match self.peers.get() {
            Some(peers) => match peers.sessions_of(tenant, user, idle).await {
                Ok(elsewhere) => (elsewhere, None),
                Err(error) => (Vec::new(), Some(error)),
            },
            None => (Vec::new(), None),
        };
        (union(self.sessions_of(tenant, user, idle, now), elsewhere, node), silence)
    }

    /// Waits until every grant and end that has begun has ended, also those whose caller is gone: a process
    /// that stops before would leave other nodes unaware of it.
    pub async fn settled(&self) {
        self.under_way.none_left().await;
    }

    /// Completes `work` even if the caller is dropped.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let under_way = self.under_way.begin();
        let work = async move {
            let outcome = work.await;
            drop(under_way);
            outcome
        };
        tokio::spawn(work).await.unwrap_or_else(|error| Err(StoreError::BrokenOff(error.to_string())))
    }

    /// Serves a predecessor's request.
    pub async fn write_for(self: Arc<Self>, bytes: Vec<u8>) -> Result<(), StoreError> {
        match Self::read_request(&bytes)? {
            WriterRequest::End(record) => self.end_steps(record, AckLevel::Store).await.map(drop),
            WriterRequest::Grant(request) => self.grant_for(request).await,
            WriterRequest::Notes(first, rest) => {
                let rest = rest.to_vec();
                blocking(move || self.take_pending_writes(first, &rest)).await
            }
        }
    }

    /// Grants for a predecessor: what must end for it is ended here.
    async fn grant_for(self: Arc<Self>, request: GrantRequest) -> Result<(), StoreError> {
        let (tenant, now, absolute) =
            (request.record.tenant.clone(), request.record.granted, request.limits.absolute);
        let surplus = match Arc::clone(&self).grant_steps(request, now).await? {
            Admission::Refused(count) => return Err(StoreError::TooMany(count)),
            Admission::Granted(surplus) => surplus,
        };
        for held in surplus {
            let keep_until = held.ends.max(now.plus(absolute));
            let record = Self::record_of_session(&tenant, held.id, now, keep_until);
            Arc::clone(&self).end_steps(record, AckLevel::Store).await?;
        }
        Ok(())
    }

    async fn grant_steps(
        self: Arc<Self>,
        request: GrantRequest,
        now: UnixTime,
    ) -> Result<Admission, StoreError> {
        let ledger = Arc::clone(&self);
        let request = match blocking(move || ledger.begin_grant(request, now)).await? {
            GrantStep::Done(admission) => return Ok(admission),
            GrantStep::AskNodes(request) => request,
        };
        let counted = self.count_over_nodes(&request).await?;
        if let Some(refused @ Admission::Refused(_)) = counted {
            return Ok(refused);
        }
        blocking(move || self.admit_session(request, counted, now)).await
    }

    async fn end_steps(self: Arc<Self>, record: Record, level: AckLevel) -> Result<AckReport, StoreError> {
        let ledger = Arc::clone(&self);
        let Local { durable, news } = blocking(move || Ok(ledger.write_here(record))).await?;
        // Others learn of it even if it could not be written here.
        let spread = self.spread(news, level).await;
        durable.and(spread)
    }
}

/// Runs work that waits for the disk or a hand-over on the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreError::BrokenOff(error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        num::NonZeroU8,
        pin::pin,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        task::Poll,
    };

    use tokio::sync::{Notify, Semaphore};

    use super::*;
    use crate::sessions::SessionRef;
    use crate::{
        model::{BoxFuture, ClientPrefix, RevocationAnswer},
        policy::OnStale,
        session::{LimitAction, UserLimit},
        sessions::{GrantLimits, GrantRecord, JournalSnapshot, Peers, RemoteSession, RevocationStore},
    };

    const NOW: UnixTime = UnixTime::from_secs(100);
    const END: UnixTime = UnixTime::from_secs(900);
    const ID: SessionId = SessionId::new([1; 16]);

    /// Other nodes that answer when they are let.
    struct Gated {
        asked: Notify,
        answers: Semaphore,
        spread: Mutex<Vec<Record>>,
        noted: AtomicUsize,
    }

    impl Gated {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                asked: Notify::new(),
                answers: Semaphore::new(0),
                spread: Mutex::default(),
                noted: AtomicUsize::new(0),
            })
        }

        async fn answer(&self) {
            self.asked.notify_one();
            self.answers.acquire().await.unwrap().forget();
        }
    }

    impl Peers for Gated {
        fn spread(&self, news: Vec<Record>, _: AckLevel) -> BoxFuture<'_, Result<AckReport, StoreError>> {
            Box::pin(async move {
                self.answer().await;
                self.spread.lock().unwrap().extend(news);
                Ok(AckReport::default())
            })
        }

        fn spread_later(&self, _: Vec<Record>) {}

        fn count<'a>(
            &'a self,
            _: &'a GrantRecord,
            _: UserLimit,
            _: Duration,
            _: Option<SessionId>,
        ) -> BoxFuture<'a, Result<Admission, StoreError>> {
            Box::pin(async {
                self.answer().await;
                Ok(Admission::Granted(Vec::new()))
            })
        }

        fn sessions_of<'a>(
            &'a self,
            tenant: &'a TenantName,
            user: &'a UserId,
            _: Duration,
        ) -> BoxFuture<'a, Result<Vec<RemoteSession>, ListError>> {
            let GrantRecord { granted, ends, client, .. } = request().record;
            let (id, tenant, user) = (SessionId::new([2; 16]), tenant.clone(), user.clone());
            let note = GrantRecord { id, tenant, user, granted, ends, epoch: 0, client };
            let found = RemoteSession { note, seen: NOW, generation: 3, node: "edge-2".to_owned() };
            let answer =
                if self.answers.is_closed() { Err(ListError("gone".to_owned())) } else { Ok(vec![found]) };
            Box::pin(async { answer })
        }

        fn counted_alone(&self) {}

        fn noted(&self, _: &SessionId) {
            self.noted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn request() -> GrantRequest {
        let user = "u_1".parse().unwrap();
        let client = ClientPrefix::default();
        GrantRequest {
            record: GrantRecord { id: ID, tenant: acme(), user, granted: NOW, ends: END, epoch: 0, client },
            limits: GrantLimits {
                limit: Some(UserLimit { limit: NonZeroU8::MIN, over: LimitAction::Refuse }),
                idle: Duration::from_secs(60),
                absolute: Duration::from_secs(800),
                on_stale: OnStale::Deny,
            },
            replaces: None,
        }
    }

    /// Begins something, drops it where it waits, and lets the other nodes answer. `waits_for_nodes` says
    /// whether it is dropped while they are asked, or before.
    async fn begin_and_drop(work: impl Future, nodes: &Gated, waits_for_nodes: bool) {
        {
            let mut work = pin!(work);
            let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await;
            assert!(first, "it waits");
            if waits_for_nodes {
                nodes.asked.notified().await;
            }
        }
        nodes.answers.add_permits(8);
    }

    async fn timeout<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), work).await.unwrap()
    }

    #[tokio::test]
    async fn a_list_has_the_sessions_of_all_nodes_or_says_why_not() {
        let (dir, nodes) = (tempfile::tempdir().unwrap(), Gated::new());
        let ledger = Arc::new(SessionLedger::open(dir.path(), NOW).unwrap());
        let (tenant, user) = (acme(), "u_1".parse().unwrap());
        let idle = Duration::from_secs(60);
        timeout(ledger.grant(request(), NOW)).await.unwrap();
        let list = async || {
            let (sessions, silence) = ledger.list(&tenant, &user, idle, NOW, "edge-1").await;
            let nodes: Vec<_> = sessions.into_iter().map(|session| session.node).collect();
            (nodes.join(" "), silence.map(|error| error.to_string()))
        };

        let alone = list().await;
        ledger.share_with(nodes.clone());
        let shared = list().await;
        nodes.answers.close();
        let silent = list().await;

        assert_eq!(alone, ("edge-1".to_owned(), None));
        assert_eq!(shared, ("edge-1 edge-2".to_owned(), None));
        assert_eq!(silent, ("edge-1".to_owned(), Some("gone".to_owned())));
    }

    #[tokio::test]
    async fn a_stop_waits_for_an_end_whose_caller_is_gone() {
        let (dir, nodes) = (tempfile::tempdir().unwrap(), Gated::new());
        let ledger = Arc::new(SessionLedger::open(dir.path(), NOW).unwrap());
        ledger.share_with(nodes.clone());
        timeout(ledger.settled()).await;
        {
            let tenant = acme();
            let mut end = pin!(ledger.end_session(&tenant, ID, NOW, END));
            assert!(poll_fn(|context| Poll::Ready(end.as_mut().poll(context).is_pending())).await);
            timeout(nodes.asked.notified()).await;
        }

        let mut settled = pin!(ledger.settled());
        assert!(poll_fn(|context| Poll::Ready(settled.as_mut().poll(context).is_pending())).await);
        nodes.answers.add_permits(1);
        timeout(settled).await;
        assert_eq!(nodes.spread.lock().unwrap().len(), 1);
    }

    async fn until(mut is_done: impl FnMut() -> bool) {
        let wait = async {
            while !is_done() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(wait).await;
    }

    #[tokio::test]
    async fn an_end_is_durable_and_told_wherever_its_caller_is_dropped() {
        for waits_for_nodes in [false, true] {
            let (dir, nodes) = (tempfile::tempdir().unwrap(), Gated::new());
            let ledger = Arc::new(SessionLedger::open(dir.path(), NOW).unwrap());
            ledger.share_with(nodes.clone());

            begin_and_drop(ledger.end_session(&acme(), ID, NOW, END), &nodes, waits_for_nodes).await;

            // What a stop waits for, too.
            timeout(ledger.settled()).await;
            assert_eq!(nodes.spread.lock().unwrap().len(), 1);
            let read = JournalSnapshot::read(dir.path()).unwrap();
            let answer = read.lookup(
                SessionRef {
                    tenant: &acme(),
                    user: &"u_1".parse().unwrap(),
                    id: &ID,
                    auth_time: NOW,
                    epoch: 0,
                },
                NOW,
            );
            assert_eq!(answer, RevocationAnswer::Session, "{waits_for_nodes}");
        }
    }

    #[tokio::test]
    async fn a_grant_is_counted_and_durable_wherever_its_caller_is_dropped() {
        for waits_for_nodes in [false, true] {
            let (dir, nodes) = (tempfile::tempdir().unwrap(), Gated::new());
            let ledger = Arc::new(SessionLedger::open(dir.path(), NOW).unwrap());
            ledger.share_with(nodes.clone());

            begin_and_drop(ledger.grant(request(), NOW), &nodes, waits_for_nodes).await;

            timeout(ledger.settled()).await;
            until(|| ledger.commits() == 1 && ledger.unkept().is_none()).await;
            assert_eq!((ledger.known_sessions(), nodes.noted.load(Ordering::Relaxed)), (1, 1));
            drop(ledger);
            let reopened = || SessionLedger::open(dir.path(), NOW).ok();
            let mut found = None;
            until(|| {
                found = reopened().map(|ledger| ledger.known_sessions());
                found.is_some()
            })
            .await;
            assert_eq!(found, Some(1), "{waits_for_nodes}");
        }
    }
}
