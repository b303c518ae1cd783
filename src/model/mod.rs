//! The words everyone shares: names, addresses, hosts, times, reasons, verdicts.
//!
//! Floor 0: std and small data crates only. Nothing here knows YAML, sockets or rules.

mod answer;
mod ban;
mod certificate;
mod chain;
mod chunk;
mod connection;
mod control;
mod distinguished_name;
mod fault;
mod frame;
mod host;
mod http2;
mod http2_error;
mod id;
mod key_text;
mod malformed;
mod net;
mod ocsp;
mod offence;
mod path;
mod pem;
mod reading;
mod reason;
mod secret;
mod stream_mark;
mod time;
mod verdict;
mod view;
mod web_origin;

pub use answer::{ChallengeAnswer, QuotaAnswer, RevocationAnswer};
pub use ban::{Ban, BanCause, BanWish};
pub use certificate::{Acceptance, AlternativeName, CertificateJudge, ClientCertificate, Presented, REFUSAL_HOLDS};
pub use chain::{ChainFault, chain_faults};
pub use connection::{
    Alpn, AnswerWaits, Connection, Cut, Discard, Facts, HeadDeadlines, Phase, Received, TellsOfResets, TlsFacts, Transport,
};
pub use control::{
    AcmeStatus, AcmeTrouble, AsideStatus, CONTROL_SOCKET, ClockStatus, Control, ControlError, Draining, FailingStatus, KeyRole,
    KeySetStatus, KeyStatus, MissingTenants, NodeStatus, Principal, RedisStatus, ReloadReport, ReloadWish, Revocation, RevocationReport,
    Revoked, Role, ServerStatus, SessionStatus, SessionsOfUser, Status, UPGRADE_SOCKET, UnkeptRevocations, UpgradeReport, UpstreamStatus,
};
pub use distinguished_name::{Attribute, DistinguishedName, NameFormError};
pub use fault::told;
pub use frame::{Frame, FrameKind, Frames, PREFACE, Passed};
pub use host::{Host, HostError, HostPattern, Scheme};
pub use http2::{Abuse, FIELD_OVERHEAD, FIELD_TABLE_BYTES, FRAME_BYTES, Http2Limits, field_list_bytes, interim_frame, literal};
pub use http2_error::Http2Error;
pub use id::{ListenerName, NameError, QuotaName, RequestId, RouteId, SessionId, TenantName, UpstreamName, UserId};
pub use key_text::KeyError;
pub use malformed::Malformed;
pub use net::{ClientIp, ClientPrefix, ClientSite, NoClient, Range, RangeError, SITE_TIMES, append_address};
pub use ocsp::{OcspError, judge_ocsp};
pub use path::{Path, PathError, PathRules, readings_of, shortened_length};
pub use pem::{
    PRIVATE_KEYS, PemBlock, PemError, PemFault, PemKind, encoding_fault, has_pem_marker, pem_blocks, pem_certificates, pem_chain,
    pem_private_key, pem_revocation_lists, pem_single,
};
pub use reading::Reading;
pub use reason::{Reason, Stage};
pub use secret::Secret;
pub use stream_mark::{NO_HOST, STREAM_FIELD, StreamMark, StreamText};
pub use time::{Clock, ManualClock, SystemClock, Tick, UnixTime, signed_seconds};
pub use verdict::{Decision, Deny, Mode, Origin, Step, Trail, Verdict};
pub use view::{HttpVersion, RequestView};
pub use web_origin::{WebOrigin, WebOriginError};

/// A boxed future, for the few traits that must be object safe.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
