//! The JSON of the admin API, as it is sent; the command line reads it with the same types.

mod ban;
mod error;
mod key;
mod process;
mod redis;
mod session;
mod status;
mod time;
mod upstream;

pub use ban::{BanBody, BansBody, ClientBody, LISTED_BANS, LiftBanBody, MakeBanBody};
pub use error::{ErrorBody, ErrorDetail, HANDED_OVER};
pub use key::{KeyBody, KeysBody};
pub use process::{ReloadBody, ReloadedBody, UpgradeBody, UpgradedBody};
pub use redis::{NodeBody, RedisBody};
pub use session::{ListSessionsBody, RevokeBody, RevokedBody, SessionBody, SessionsBody, TenantBody};
pub use status::{
    AcmeBody, AcmeTroubleBody, ClockBody, DrainingBody, KeySetBody, ListenerBody, StatusBody, UnkeptBody,
};
pub use time::{read_time, write_time};
pub use upstream::{AsideBody, FailingBody, UpstreamBody};
