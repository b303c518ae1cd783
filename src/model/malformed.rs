//! What is wrong with the head of an HTTP/2 request, as edge reports it to the gateway.

use super::{Deny, Reason};

macro_rules! malformed {
    ($($variant:ident $honest:literal $reason:ident $detail:literal)*) => {
        /// Why an HTTP/2 request is refused before it is processed: it is malformed (RFC 9113, section
        /// 8.1.1), or too large.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Malformed {
            $(
                #[doc = $detail]
                $variant,
            )*
        }

        impl Malformed {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the refusal. Only what no web page and no correct client can be made to send counts as
            /// an offence.
            pub fn deny(self) -> Deny {
                match self { $(Self::$variant => Deny::new(Reason::$reason, $detail).honest($honest),)* }
            }
        }
    };
}

malformed! {
    FieldLine         false HeadOctet         "NUL, CR or LF in a field"
    FieldOctet        true  HeadOctet         "a control character in a field"
    FieldBlank        true  HeadSyntax        "a value begins or ends with a blank"
    FieldName         true  HeadSyntax        "the name of a field is no token in lower case"
    ConnectionField   true  ConnectionField   "a field that belongs to one HTTP/1 connection"
    Te                true  ConnectionField   "te other than `trailers` in HTTP/2"
    TransferEncoding  true  FramingTe         "Transfer-Encoding in HTTP/2"
    Length            true  FramingCl         "Content-Length stands twice, is no number, or is not the length of the body"
    PseudoUnknown     true  HeadSyntax        "a pseudo-field that this request does not have"
    PseudoTwice       true  HeadSyntax        "a pseudo-field stands twice"
    PseudoLate        true  HeadSyntax        "a pseudo-field stands behind a field"
    PseudoMissing     true  HeadSyntax        "a pseudo-field is missing"
    Method            true  HeadSyntax        "`:method` is no token"
    Scheme            true  HeadSyntax        "`:scheme` is no scheme"
    PathForm          true  TargetForm        "`:path` does not begin with `/`"
    PathOctet         true  PathEncoding      "`:path` has a character that a URL does not have"
    PathTooLong       true  UriTooLong        "`:path` is longer than a head may be"
    AuthoritySyntax   true  HostSyntax        "`:authority` or Host has characters that a host does not have"
    AuthorityMissing  true  HostMissing       "neither `:authority` nor Host"
    AuthorityConflict true  AuthorityConflict "`:authority` and Host differ"
    HostTwice         true  HeadDuplicate     "Host stands twice"
    CookieTooLarge    true  CookieTooLarge    "cookies that are longer than a head may be"
    TooLarge          true  HeadTooLarge      "the head is far larger than `header_bytes`"
    Unread            true  Protocol          "nobody has read this head before the HTTP library did"
}

impl Malformed {
    /// Says whether the request is malformed in the protocol's terms: then its stream is reset behind the
    /// answer (RFC 9113, section 8.1.1). Other streams are unaffected, and the connection stays open.
    ///
    /// A request that is only too large is not malformed. Nor is a path with `"`: some clients send it as it
    /// was typed, and one of them retries after such a reset on a new connection, for ever.
    pub const fn resets(self) -> bool {
        !matches!(self, Self::TooLarge | Self::CookieTooLarge | Self::PathTooLong | Self::PathOctet)
    }

    /// Returns its number, for the field that edge adds.
    pub(super) fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|other| *other == self)
            .and_then(|at| u8::try_from(at).ok())
            .unwrap_or_default()
    }

    /// Looks it up by its number.
    pub(super) fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}
