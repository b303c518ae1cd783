//! The vocabulary that every room shares: names, addresses, hosts, times, reasons, verdicts.
//!
//! Floor 0: std and small data crates only. Nothing here knows about YAML, sockets or rules.

mod answer;
mod ban;
mod cdn_loop;
mod certificate;
mod chain;
mod connection;
mod control;
mod distinguished_name;
mod error_chain;
mod event;
mod field_change;
mod host;
mod http2;
mod http2_error;
mod id;
mod key_text;
mod malformed;
mod net;
mod odd_path;
mod offence;
mod page_data;
mod path;
mod path_text;
mod pem;
mod printable;
mod reading;
mod reason;
mod secret;
mod session_event;
mod stream_mark;
mod time;
mod verdict;
mod view;
mod web_origin;

pub use answer::{ChallengeAnswer, QuotaAnswer, RevocationAnswer};
pub use ban::{Ban, BanCause, BanRequest};
pub use cdn_loop::{CDN_ID, CDN_LOOP};
pub use certificate::{
    Acceptance, AlternativeName, CertificateVerifier, ClientCertificate, Presented, REFUSAL_HOLDS,
};
pub use chain::{CERTIFICATE_NOTICE, ChainFault, chain_faults};
pub use connection::{
    Alpn, Connection, CutReason, Discard, Facts, HeadDeadlines, PendingAnswer, Phase, Received,
    ResetObserver, TlsFacts, Transport,
};
pub use control::{
    AcmeStatus, AcmeTrouble, AsideStatus, BEGAN, CONTROL_SOCKET, ClockStatus, Control, ControlError,
    Draining, FailingStatus, JOURNAL, KeyRole, KeySetStatus, KeyStatus, LostRevocations, MissingTenants,
    NodeStatus, Principal, RedisStatus, ReloadReport, ReloadRequest, Revocation, RevocationReport,
    RevocationTarget, Role, ServerStatus, SessionStatus, SessionsOfUser, Status, UPGRADE_SOCKET,
    UnkeptRevocations, UpgradeReport, UpstreamStatus,
};
pub use distinguished_name::{Attribute, DistinguishedName, NameFormError};
pub use error_chain::error_chain;
pub use event::{
    ConnectionChange, ConnectionChanged, EdgeRefusal, Event, EventKind, EventSink, FetchResult, NodeChanged,
    OperatorActed, OrderResult, PolicyChanged, QuotaOutcomes, QuotaVerdict, RequestCounts, RequestEnded,
    RevocationWrite, SessionChanged, UpstreamAttempted, UpstreamOutcome,
};
pub use field_change::{AppCookie, HeaderDrop};
pub use host::{Host, HostError, HostPattern, Scheme};
pub use http2::{Abuse, FIELD_TABLE_BYTES, Http2Limits, SMALL_PIECE, field_list_bytes};
pub use http2_error::Http2Error;
pub use id::{
    ListenerName, MAX_NAME_BYTES, NameError, QuotaName, RequestId, RouteId, SessionId, TenantName,
    UpstreamName, UserId,
};
pub use key_text::KeyError;
pub use malformed::Malformed;
pub use net::{ClientIp, ClientPrefix, ClientSite, NoClient, Range, RangeError, SITE_TIMES, append_address};
pub use path::{Path, PathError, PathRules, readings_of, shortened_length};
pub use pem::{
    PRIVATE_KEYS, PemBlock, PemError, PemFault, PemKind, encoding_fault, has_pem_marker, pem_blocks,
    pem_certificates, pem_chain, pem_private_key, pem_revocation_lists, pem_single,
};
pub use printable::{is_dangerous, printable, printable_lines};
pub use reading::Reading;
pub use reason::{Reason, Stage};
pub use secret::Secret;
pub use session_event::SessionEvent;
pub use stream_mark::{NO_HOST, STREAM_FIELD, StreamMark, StreamText};
pub use time::{Clock, ManualClock, SystemClock, Tick, UnixTime, signed_seconds};
pub use verdict::{Decision, Deny, Mode, Origin, RuleLocation, Step, Trail, Verdict};
pub use view::{HttpVersion, RequestView};
pub use web_origin::{WebOrigin, WebOriginError};

/// A boxed future, for the few traits that must be object safe.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
