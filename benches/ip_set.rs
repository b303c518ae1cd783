//! What one range look-up costs, by the number of ranges.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use octroi::{
    model::{ClientIp, Range},
    policy::IpSet,
};

/// A number that looks random.
fn mixed(number: u32) -> u32 {
    number.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519)
}

fn addr(number: u32, is_v6: bool) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from((0x2001_0db8 << 96) | (u128::from(number) << 64)).into()
    } else {
        Ipv4Addr::from(number).into()
    }
}

fn ip_set(c: &mut Criterion) {
    let mut group = c.benchmark_group("ip_set");
    for (family, is_v6, prefix) in [("v4", false, 24), ("v6", true, 56)] {
        for count in [10_u32, 1000, 100_000] {
            let ranges = (0..count).map(|number| -> Range {
                format!("{}/{prefix}", addr(mixed(number) & !0xff, is_v6)).parse().unwrap()
            });
            let set = IpSet::new(ranges);
            let mut number = 0_u32;
            group.bench_function(BenchmarkId::new(family, count), |b| {
                b.iter(|| {
                    number = number.wrapping_add(1);
                    set.find(black_box(ClientIp::from(addr(mixed(number), is_v6))))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ip_set);
criterion_main!(benches);
