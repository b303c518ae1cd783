//! What predecessor and successor say. One packet is one message: a byte for its kind, and what belongs to
//! it; integers are big-endian.

use std::net::SocketAddr;

/// The longest reason that is sent, in bytes: the errors of a large configuration are cut there.
const REASON_BYTES: usize = 32 * 1024;

/// One message. The order in which they come stands in the module above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A successor that speaks this version.
    Hello(u16),
    /// It may wait. The predecessor is of this generation.
    Welcome(u32),
    /// Nothing is handed over, and why.
    Refused(String),
    /// All is prepared.
    Ready,
    /// A listening socket, as a descriptor: of a listener by name and configured address, or the control
    /// socket, without an address.
    Socket { name: String, address: Option<SocketAddr> },
    /// So many sockets came.
    Sockets(u32),
    /// All listeners are bound.
    Bound,
    /// The journal is closed. For so many milliseconds more it is known what other nodes ended, by the Redis
    /// that is named so.
    Journal { fresh: u64, redis: String },
    /// The journal is open.
    Taken,
    /// The predecessor sends its revocations from now on.
    Go,
    /// The successor accepts connections.
    Serves,
    /// A record that the predecessor asks for.
    Write { id: u64, record: Vec<u8> },
    /// What became of it.
    Written { id: u64, outcome: Outcome },
    /// Changes of the journal, up to a number.
    Follow { number: u64, records: Vec<u8> },
    /// They are in force.
    Followed(u64),
    /// So many connections the predecessor still has.
    Connections(u64),
}

/// What became of a record that the predecessor asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Done,
    /// It could not be written, and why.
    Failed(String),
    /// The user has so many sessions already.
    TooMany(u64),
    /// Nobody can tell how many the user has, and why.
    Uncounted(String),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |kind: u8, parts: &[&[u8]]| {
            out.push(kind);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        match self {
            Self::Hello(version) => put(1, &[&version.to_be_bytes()]),
            Self::Welcome(generation) => put(2, &[&generation.to_be_bytes()]),
            Self::Refused(why) => put(3, &[cut(why)]),
            Self::Ready => put(4, &[]),
            Self::Socket { name, address } => {
                let address = address.map_or_else(String::new, |address| address.to_string());
                let length = u8::try_from(address.len()).unwrap_or(u8::MAX);
                put(5, &[&[length], address.as_bytes(), name.as_bytes()]);
            }
            Self::Sockets(count) => put(6, &[&count.to_be_bytes()]),
            Self::Bound => put(7, &[]),
            Self::Journal { fresh, redis } => put(8, &[&fresh.to_be_bytes(), redis.as_bytes()]),
            Self::Taken => put(9, &[]),
            Self::Go => put(10, &[]),
            Self::Serves => put(11, &[]),
            Self::Write { id, record } => put(12, &[&id.to_be_bytes(), record]),
            Self::Written { id, outcome } => match outcome {
                Outcome::Done => put(13, &[&id.to_be_bytes()]),
                Outcome::Failed(why) => put(14, &[&id.to_be_bytes(), cut(why)]),
                Outcome::TooMany(count) => put(18, &[&id.to_be_bytes(), &count.to_be_bytes()]),
                Outcome::Uncounted(why) => put(19, &[&id.to_be_bytes(), cut(why)]),
            },
            Self::Follow { number, records } => put(15, &[&number.to_be_bytes(), records]),
            Self::Followed(number) => put(16, &[&number.to_be_bytes()]),
            Self::Connections(count) => put(17, &[&count.to_be_bytes()]),
        }
        out
    }

    /// Reads a packet; nothing for what is no message.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let (&kind, mut rest) = packet.split_first()?;
        let message = match kind {
            1 => Self::Hello(u16::from_be_bytes(take(&mut rest)?)),
            2 => Self::Welcome(u32::from_be_bytes(take(&mut rest)?)),
            3 => Self::Refused(text(&mut rest)?),
            4 => Self::Ready,
            5 => {
                let [length] = take(&mut rest)?;
                let (address, name) = rest.split_at_checked(usize::from(length))?;
                rest = name;
                let address = match std::str::from_utf8(address).ok()? {
                    "" => None,
                    address => Some(address.parse().ok()?),
                };
                Self::Socket { name: text(&mut rest)?, address }
            }
            6 => Self::Sockets(u32::from_be_bytes(take(&mut rest)?)),
            7 => Self::Bound,
            8 => Self::Journal { fresh: number(&mut rest)?, redis: text(&mut rest)? },
            9 => Self::Taken,
            10 => Self::Go,
            11 => Self::Serves,
            12 => Self::Write { id: number(&mut rest)?, record: std::mem::take(&mut rest).to_vec() },
            13 => Self::Written { id: number(&mut rest)?, outcome: Outcome::Done },
            14 => Self::Written { id: number(&mut rest)?, outcome: Outcome::Failed(text(&mut rest)?) },
            18 => Self::Written { id: number(&mut rest)?, outcome: Outcome::TooMany(number(&mut rest)?) },
            19 => Self::Written { id: number(&mut rest)?, outcome: Outcome::Uncounted(text(&mut rest)?) },
            15 => Self::Follow { number: number(&mut rest)?, records: std::mem::take(&mut rest).to_vec() },
            16 => Self::Followed(number(&mut rest)?),
            17 => Self::Connections(number(&mut rest)?),
            _ => return None,
        };
        rest.is_empty().then_some(message)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(std::mem::take(rest).to_vec()).ok()
}

fn cut(text: &str) -> &[u8] {
    text.get(..text.floor_char_boundary(REASON_BYTES)).unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Done),
            any::<String>().prop_map(Outcome::Failed),
            any::<u64>().prop_map(Outcome::TooMany),
            any::<String>().prop_map(Outcome::Uncounted),
        ]
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..50);
        prop_oneof![
            any::<u16>().prop_map(Message::Hello),
            any::<u32>().prop_map(Message::Welcome),
            any::<String>().prop_map(Message::Refused),
            Just(Message::Ready),
            (any::<String>(), any::<Option<std::net::SocketAddrV4>>())
                .prop_map(|(name, address)| Message::Socket { name, address: address.map(Into::into) }),
            Just(Message::Socket {
                name: "v6".to_owned(),
                address: Some("[2001:db8::1]:443".parse().unwrap())
            }),
            any::<u32>().prop_map(Message::Sockets),
            Just(Message::Bound),
            (any::<u64>(), any::<String>()).prop_map(|(fresh, redis)| Message::Journal { fresh, redis }),
            Just(Message::Taken),
            Just(Message::Go),
            Just(Message::Serves),
            (any::<u64>(), bytes()).prop_map(|(id, record)| Message::Write { id, record }),
            (any::<u64>(), any_outcome()).prop_map(|(id, outcome)| Message::Written { id, outcome }),
            (any::<u64>(), bytes()).prop_map(|(number, records)| Message::Follow { number, records }),
            any::<u64>().prop_map(Message::Followed),
            any::<u64>().prop_map(Message::Connections),
        ]
    }

    proptest! {
        #[test]
        fn messages_read_back(message in any_message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Message::decode(&bytes);
        }
    }

    /// Two programs speak them, an old one and a new one: other bytes are another version.
    #[test]
    fn each_packet_has_its_bytes() {
        let packets = [
            (Message::Hello(2), "010002"),
            (Message::Welcome(7), "0200000007"),
            (Message::Refused("no".to_owned()), "036e6f"),
            (Message::Ready, "04"),
            (
                Message::Socket {
                    name: "public".to_owned(),
                    address: Some("[2001:db8::1]:443".parse().unwrap()),
                },
                "05115b323030313a6462383a3a315d3a3434337075626c6963",
            ),
            (Message::Socket { name: "control".to_owned(), address: None }, "0500636f6e74726f6c"),
            (Message::Sockets(3), "0600000003"),
            (Message::Bound, "07"),
            (Message::Journal { fresh: 30_000, redis: "r".to_owned() }, "08000000000000753072"),
            (Message::Taken, "09"),
            (Message::Go, "0a"),
            (Message::Serves, "0b"),
            (Message::Write { id: 5, record: vec![1, 2] }, "0c00000000000000050102"),
            (Message::Written { id: 5, outcome: Outcome::Done }, "0d0000000000000005"),
            (
                Message::Written { id: 5, outcome: Outcome::Failed("full".to_owned()) },
                "0e000000000000000566756c6c",
            ),
            (Message::Follow { number: 6, records: vec![3, 4] }, "0f00000000000000060304"),
            (Message::Followed(6), "100000000000000006"),
            (Message::Connections(9), "110000000000000009"),
            (Message::Written { id: 5, outcome: Outcome::TooMany(8) }, "1200000000000000050000000000000008"),
            (
                Message::Written { id: 5, outcome: Outcome::Uncounted("away".to_owned()) },
                "13000000000000000561776179",
            ),
        ];

        for (message, hex) in packets {
            let packet = message.encode();
            assert_eq!(
                packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                hex,
                "{message:?}"
            );
            assert_eq!(Message::decode(&packet), Some(message));
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let Some(Message::Refused(why)) = Message::decode(&Message::Refused("é".repeat(40_000)).encode())
        else {
            panic!("no reason")
        };

        assert_eq!(why.len(), REASON_BYTES);
    }
}
