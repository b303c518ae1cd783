//! What Redis sends: messages, records, sessions of a user. What is read is what a node would write; and a reader that bounds it sees the
//! same however it is cut.

use std::path::Path;

use octroi::{
    cluster::fuzz::{entry, news, record, records, turn},
    redis::fuzz::reads_along,
};

use super::input::{Input, NOW, pieces};

/// Judges one input: a byte that says what it is, then its bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => {
            let Some((number, head, rest)) = news(input.0) else { return };
            let again = [format!("{number}:{head}:").as_bytes(), rest].concat();
            assert_eq!(news(&again), Some((number, head, rest)));
            assert!(input.0.ends_with(rest));
        }
        1 => {
            // Taken in once or twice is the same, one by one or together.
            let (all, is_whole) = records(input.0, NOW);
            assert!(all.iter().all(|bytes| record(bytes, NOW).as_ref() == Some(bytes)));
            assert_eq!(records(&all.concat(), NOW), (all.clone(), true));
            if let Some(one) = record(input.0, NOW) {
                assert_eq!((all, is_whole), (vec![one], true));
            }
        }
        2 => {
            let (field, value) = input.0.split_at(input.0.len().min(32));
            if let Some((read_field, read_value)) = entry(field, value) {
                assert_eq!((read_field.as_bytes(), read_value.as_bytes()), (field, value));
                assert!(value.len() <= 256);
            }
        }
        3 => {
            let Some((process, id, generation)) = turn(input.0) else { return };
            let again = format!("{process}:{}:{generation}", id.to_hex());
            assert_eq!(turn(again.as_bytes()), Some((process, id, generation)));
        }
        _ => {
            let sizes: [u8; 3] = input.array();
            let sent = input.0;
            let whole = reads_along(&[sent]);
            assert_eq!(reads_along(&pieces(sent, &sizes)), whole);
            assert_eq!(reads_along(&sent.chunks(1).collect::<Vec<_>>()), whole);
            // A value of more than it may have is noticed by its header.
            assert!(whole != Ok(true) || reads_along(&[sent, b"$1048577\r\n"]).is_err());
        }
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let time = |millis: u64| millis.to_be_bytes().to_vec();
    let (now, later) = (NOW.as_millis(), NOW.as_millis() + 3_600_000);
    let session = [&[1][..], &[7; 16], &time(now), &time(later), b"\x04acme"].concat();
    let user = [&b"\x02\x04acme\x00\x05u_812"[..], &time(now), &time(now), &time(later)].concat();
    let tenant = [&b"\x08\x04acme"[..], &time(now), &1_800_000_000_u32.to_be_bytes()].concat();
    let strange = [&b"\x03\x04acme"[..], &time(now)].concat();
    let noted = [&b"\x0d"[..], &[7; 16], &[0, 0, 0, 2], &time(now), &time(now)].concat();
    let id = "69446fa585e59c58b29935501f63dcee";
    let held = format!("{id}1 {now} {later} {now} 3 {now} 1800000000 {:032x} edge-1", 0xffff_c000_0207_u128);
    let answer = b"*3\r\n$8\r\n00000000\r\n:17\r\n%1\r\n+id\r\n*2\r\n$-1\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n";
    let kinds: [(u8, Vec<u8>); 16] = [
        (0, [&b"17:ab12:cd34:"[..], &session].concat()),
        (0, [&b"18:ab12:-:"[..], &user, &tenant].concat()),
        (0, b"99999999999999999999:a:-:".to_vec()),
        (1, session.clone()),
        (1, [&session[..], &user, &tenant].concat()),
        (1, [&tenant[..], &strange, &noted].concat()),
        (1, tenant.clone()),
        (2, held.clone().into_bytes()),
        (2, held.replace(" 3 ", " 4294967296 ").into_bytes()),
        (2, held.to_uppercase().into_bytes()),
        (3, format!("ab12:{id}:4").into_bytes()),
        (3, format!("ab12:{id}:4294967296").into_bytes()),
        (4, [&[7, 1, 40][..], answer].concat()),
        (4, [&[1, 2, 3][..], b"$1048576\r\n"].concat()),
        (4, [&[1, 2, 3][..], b"*1048577\r\n"].concat()),
        (4, [&[9, 9, 9][..], b"-ERR no\r\n|1\r\n+a\r\n:1\r\n#t\r\n"].concat()),
    ];
    kinds.into_iter().map(|(kind, bytes)| [&[kind][..], &bytes].concat()).collect()
}
