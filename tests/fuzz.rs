//! The fuzz targets, without a fuzzer: over their seeds, and over small changes of these.
//!
//! `make fuzz` has the seeds written where libFuzzer looks for them: `FUZZ_CORPUS=FOLDER cargo test --test fuzz`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "a target is read, not linked"
)]
#![cfg(feature = "gateway")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{ALL, Target};

/// How many changed inputs each target gets.
const CHANGES: usize = 2000;

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\r\n\t \"\\;,:=%/.\0\x7f\x80\xff09aA";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names the first input that breaks a rule of the target.
fn broken(target: &Target, inputs: impl IntoIterator<Item = Vec<u8>>) -> Option<String> {
    let mut inputs = inputs.into_iter();
    let input = inputs.find(|input| catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err())?;
    Some(format!("{}: {}", target.name, input.escape_ascii()))
}

/// Changes, cuts and joins seeds, the same way every time.
fn changed(seeds: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    // SplitMix64.
    let mut state = 0_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    (0..CHANGES).map(move |_| {
        let mut input = seeds[random(seeds.len())].clone();
        for _ in 0..=random(4) {
            let at = random(input.len() + 1);
            match random(5) {
                0 if at < input.len() => input[at] ^= 1 << random(8),
                1 if at < input.len() => input[at] = TELLING[random(TELLING.len())],
                2 => input.truncate(at),
                3 => input.insert(at, u8::try_from(random(256)).unwrap()),
                _ => {
                    let other = &seeds[random(seeds.len())];
                    let from = random(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
        input
    })
}

#[test]
fn every_target_holds_for_its_seeds() {
    for target in ALL {
        let seeds = (target.seeds)(root());
        assert!(seeds.len() > 3, "{}", target.name);
        if let Some(corpus) = std::env::var_os("FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join(target.name);
            fs::create_dir_all(&folder).unwrap();
            for (number, seed) in seeds.iter().enumerate() {
                fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
            }
        }
        assert_eq!(broken(target, seeds), None);
    }
}

#[test]
fn every_target_holds_for_small_changes_of_its_seeds() {
    for target in ALL {
        let seeds = (target.seeds)(root());
        assert_eq!(broken(target, changed(&seeds)), None);
    }
}

#[test]
fn every_target_has_its_binary() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for Target { name, .. } in ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"bin/{name}.rs\"\n")), "{name}");
        let bin = fs::read_to_string(root().join(format!("fuzz/bin/{name}.rs"))).unwrap();
        assert!(bin.contains(&format!("octroi_fuzz::{name}::run(data)")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), ALL.len());
}
