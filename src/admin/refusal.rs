//! A refused call: its status, code and message.

use super::{
    exchange::{BODY_BYTES, Fault},
    wire::HANDED_OVER,
};
use crate::model::ControlError;

/// A refused call of an authenticated caller.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn refusal(status: u16, code: &'static str, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned() }
}

/// Refuses a body that is not what its call expects.
pub(super) fn bad(message: &str) -> Refusal {
    refusal(400, "body_invalid", message)
}

pub(super) fn control_refusal(error: ControlError) -> Refusal {
    match error {
        // The errors are in the operator's files, not in the request.
        ControlError::Config(text) => refusal(422, "config_invalid", &text),
        ControlError::Upgrade(text) => refusal(409, "not_upgraded", &text),
        ControlError::Unknown(_) => refusal(404, "unknown", "the policy has no such tenant"),
        ControlError::Useless(text) => refusal(409, "useless", &text),
        ControlError::NotShared(text) => refusal(503, "revocation_unavailable", &text),
        ControlError::Unavailable(text) => refusal(503, "unavailable", &text),
        error @ ControlError::HandedOver => refusal(503, HANDED_OVER, &error.to_string()),
    }
}

pub(super) fn fault_refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Gone | Fault::Malformed => refusal(400, "malformed", "the request is malformed"),
        Fault::Timeout => refusal(408, "timeout", "the request took too long"),
        Fault::HeadTooLarge => refusal(431, "head_too_large", "the head is too large"),
        Fault::BodyTooLarge => {
            refusal(413, "body_too_large", &format!("the body may have at most {BODY_BYTES} bytes"))
        }
        Fault::LengthRequired => refusal(411, "length_required", "a body requires a Content-Length"),
    }
}
