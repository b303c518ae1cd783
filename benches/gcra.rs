//! What one quota decision costs: the formula, and the table under keys that stay, that flood, and under two threads.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::{
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use octroi::{
    model::{QuotaAnswer, Tick},
    quota::{Limit, decide},
    store::{MemoryQuotas, QuotaCharge, QuotaKey, QuotaStore},
};

fn limit() -> Limit {
    Limit {
        count: NonZeroU32::new(50).unwrap(),
        period: Duration::from_secs(1),
        burst: NonZeroU32::new(100).unwrap(),
    }
}

fn take(table: &MemoryQuotas, key: &QuotaKey, tick: Tick) -> Option<QuotaAnswer> {
    let charge = QuotaCharge { key: key.clone(), limit: limit(), of_site: None, observed: false };
    match pin!(table.take(&[charge], tick)).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answers) => answers.at(0).map(|answer| answer.own),
        Poll::Pending => None,
    }
}

/// A sequence that visits subjects in no order.
fn next(state: &mut u64) -> u128 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    u128::from(*state >> 20)
}

fn gcra(c: &mut Criterion) {
    let mut group = c.benchmark_group("gcra");
    let (tenant, quota) = ("acme".parse().unwrap(), "per_client".parse().unwrap());
    let tick = |step: u64| Tick::from_nanos(1_000_000_000 + step * 1000);

    group.bench_function("decide", |b| {
        let mut tat = 0;
        b.iter(|| (_, tat) = decide(black_box(tat), limit(), black_box(Tick::from_nanos(2_000_000_000))));
    });
    group.bench_function("take_one_key", |b| {
        let (table, key, mut step) = (MemoryQuotas::new(1 << 18), QuotaKey::new(&tenant, &quota, 7), 0);
        b.iter(|| {
            step += 1;
            take(&table, &key, tick(step))
        });
    });
    for (name, subjects) in [("take_1k_keys", 1000), ("take_1m_keys", 1_000_000), ("take_flood", u128::MAX)] {
        group.bench_function(name, |b| {
            let (table, mut state, mut step) = (MemoryQuotas::new(1 << 20), 1, 0);
            b.iter(|| {
                step += 1;
                take(&table, &QuotaKey::new(&tenant, &quota, next(&mut state) % subjects), tick(step))
            });
        });
    }
    group.bench_function("take_1k_keys_beside_another_thread", |b| {
        let table = MemoryQuotas::new(1 << 18);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut state, mut step) = (9, 0);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    step += 1;
                    take(&table, &QuotaKey::new(&tenant, &quota, next(&mut state) % 1000), tick(step));
                }
            });
            let (mut state, mut step) = (1, 0);
            b.iter(|| {
                step += 1;
                take(&table, &QuotaKey::new(&tenant, &quota, next(&mut state) % 1000), tick(step))
            });
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
    group.finish();
}

criterion_group!(benches, gcra);
criterion_main!(benches);
