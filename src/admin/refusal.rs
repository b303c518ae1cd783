//! Why a call is refused: by its status, its code and the words for it.

use super::{
    exchange::{BODY_BYTES, Fault},
    wire::HANDED_OVER,
};
use crate::model::ControlError;

/// Why a call is refused, once it is known who calls.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn refusal(status: u16, code: &'static str, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned() }
}

/// A body that is not what its call takes.
pub(super) fn bad(message: &str) -> Refusal {
    refusal(400, "body_invalid", message)
}

pub(super) fn control_refusal(error: ControlError) -> Refusal {
    match error {
        // The errors of files that the operator wrote, not of the request.
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
        Fault::Gone | Fault::Malformed => {
            refusal(400, "malformed", "this is not a request that the API takes")
        }
        Fault::Timeout => refusal(408, "timeout", "the request came too slowly"),
        Fault::HeadTooLarge => refusal(431, "head_too_large", "the head is too large"),
        Fault::BodyTooLarge => {
            refusal(413, "body_too_large", &format!("a body has at most {BODY_BYTES} bytes"))
        }
        Fault::LengthRequired => refusal(411, "length_required", "a body needs a Content-Length"),
    }
}
