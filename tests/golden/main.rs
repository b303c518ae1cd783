//! What programs and operators read of octroi, held literally: whoever rebuilds the rooms behind it changes none of it.
//!
//! Values that differ from run to run are replaced by their kind (`<time>`, `<id>`); so is the wording of messages, which may change.
//! Everything else is compared as it is, with keys and their order. `BLESS=1 cargo test --test golden` writes the files anew.

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
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]
#![cfg(feature = "gateway")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/ocsp.rs"]
#[allow(dead_code, reason = "another test file uses the rest")]
mod ocsp;

mod acme;
mod admin;
mod client;
mod commands;
mod connections;
mod deadlines;
mod endings;
mod files;
mod golden_file;
mod json;
mod metrics;
mod redis;
mod world;

use golden_file::GoldenFiles;

/// All of one start: each ending of a request over both versions, what becomes of connections, what operators ask for, and what was
/// counted meanwhile.
#[test]
fn what_is_written_down_and_counted_stays_as_it_is() {
    let mut world = world::World::start();
    let mut golden = GoldenFiles::default();

    let tables = [
        ("endings.txt", endings::table(&world)),
        ("connections.txt", connections::table(&world)),
        ("admin.txt", admin::table(&world)),
        ("commands.txt", commands::table(&world)),
        ("metrics.txt", metrics::families(&world)),
        ("upgrade.txt", commands::upgrade(&mut world)),
    ];
    for (name, table) in tables {
        golden.file(name, &world.without_folder(&table));
    }

    golden.conclude();
}

#[test]
fn what_deadlines_end_is_written_down_and_counted_as_it_is() {
    let mut golden = GoldenFiles::default();

    golden.file("deadlines.txt", &deadlines::table());

    golden.conclude();
}

#[test]
fn what_is_kept_on_disk_stays_as_it_is() {
    let mut golden = GoldenFiles::default();

    golden.file("files.txt", &files::table(world::World::start()));

    golden.conclude();
}

#[test]
fn what_nodes_keep_and_say_in_redis_stays_as_it_is() {
    let mut golden = GoldenFiles::default();

    golden.file("redis.txt", &redis::table());

    golden.conclude();
}

#[test]
fn what_comes_of_acme_stays_as_it_is() {
    let mut golden = GoldenFiles::default();

    golden.file("acme.txt", &acme::table());

    golden.conclude();
}
