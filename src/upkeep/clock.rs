//! The wall clock, as long as it is steady.
//!
//! Sessions end by the wall clock. Set ahead, it signs everybody out, and what is kept until a time is
//! forgotten; set back, it revives what has ended. So it is compared with the clock that nobody sets. Within
//! [`MOST`] it is believed, and followed. Beyond, time goes on as before: sessions are judged by that, and
//! nobody signs in, until the wall clock is back, has been steady for a while, or an operator says that it is
//! right.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    gateway::Shared,
    model::{
        Clock, ClockStatus, EventKind, EventSink, NodeChanged, SystemClock, Tick, UnixTime, signed_seconds,
    },
};

/// How far the wall clock may be from the time that is believed (`threat-model.md` 2.6), in milliseconds.
const MOST: i64 = 30_000;

/// How far a steady clock may drift from one look to the next: chrony slews by up to a twelfth.
const DRIFT: i64 = 100;

/// How often the clocks are compared, so that drift is followed. A step is seen at once, by whoever reads the
/// clock.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the two clocks of the machine, in milliseconds.
pub(crate) trait Readings: Send + Sync {
    /// Since 1970; somebody may set it.
    fn wall(&self) -> i64;
    /// Since the machine was started, sleep counted; nobody sets it.
    fn boot(&self) -> i64;
}

/// The machine's own.
#[derive(Debug)]
pub(crate) struct Machine(SystemClock);

impl Readings for Machine {
    fn wall(&self) -> i64 {
        i64::try_from(self.0.now().as_millis()).unwrap_or(i64::MAX)
    }

    fn boot(&self) -> i64 {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
    }
}

/// A clock that does not follow steps.
#[derive(Debug)]
pub(crate) struct GuardedClock<R = Machine> {
    readings: R,
    ticks: SystemClock,
    /// What the believed time is ahead of the boot clock.
    offset: AtomicI64,
    /// The same for what is forgotten by: no step ahead moves it, only drift.
    lasting: AtomicI64,
    /// The step as it was last seen, and since when, in ticks; 0: the clock is believed.
    step: AtomicI64,
    since: AtomicU64,
}

/// What a look at the clocks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockCheck {
    /// The wall clock is believed, as before.
    Steady,
    /// It was set by so many milliseconds.
    Stepped(i64),
    /// It still is elsewhere.
    Held,
    /// It is back where it was.
    Back,
    /// It was steady for long enough, and is believed from now on.
    Accepted(i64),
}

impl GuardedClock {
    /// Believes the wall clock as it is now.
    pub(crate) fn new() -> Self {
        Self::over(Machine(SystemClock::new()))
    }
}

impl<R: Readings> GuardedClock<R> {
    fn over(readings: R) -> Self {
        let offset = readings.wall().saturating_sub(readings.boot());
        Self {
            readings,
            ticks: SystemClock::new(),
            offset: offset.into(),
            lasting: offset.into(),
            step: AtomicI64::default(),
            since: AtomicU64::default(),
        }
    }

    /// Returns the believed time, and what the wall clock is ahead of it.
    fn read(&self) -> (i64, i64) {
        let wall = self.readings.wall();
        let believed = self.readings.boot().saturating_add(self.offset.load(Ordering::Relaxed));
        (believed, wall.saturating_sub(believed))
    }

    /// Returns what the wall clock is ahead of the believed time, in milliseconds; 0 while it is believed.
    pub(crate) fn step(&self) -> i64 {
        let (_, step) = self.read();
        if step.abs() > MOST { step } else { 0 }
    }

    /// Returns since when a step is seen; nothing if it is another one than the last look found.
    fn seen(&self, step: i64) -> Option<Tick> {
        let since = self.since.load(Ordering::Relaxed);
        // It goes on at the pace of the other clock, or was it set once more?
        let as_before = since != 0 && step.saturating_sub(self.step.load(Ordering::Relaxed)).abs() <= MOST;
        as_before.then(|| Tick::from_nanos(since))
    }

    /// Tells of a step that is not believed, for those who ask how all is.
    pub(crate) fn status(&self, hold: Duration, tick: Tick) -> Option<ClockStatus> {
        let step = self.step();
        if step == 0 {
            return None;
        }
        let now = self.now();
        // What nobody has looked at yet was set just now.
        let since = now.minus(self.seen(step).map_or(Duration::ZERO, |seen| tick.since(seen)));
        Some(ClockStatus { step_millis: step, now, since, until: since.plus(hold) })
    }

    /// Believes the wall clock. Says what it was ahead, if it was not believed.
    pub(crate) fn accept(&self) -> Option<i64> {
        let step = self.step();
        self.since.store(0, Ordering::Relaxed);
        if step == 0 {
            return None;
        }
        self.offset.fetch_add(step, Ordering::Relaxed);
        Some(step)
    }

    /// Compares the clocks: follows drift, and believes a step once it has been steady for `hold`.
    fn look(&self, hold: Duration, tick: Tick) -> ClockCheck {
        let (_, step) = self.read();
        if step.abs() <= MOST {
            self.offset.fetch_add(step.clamp(-DRIFT, DRIFT), Ordering::Relaxed);
            let lasting = self.lasting.load(Ordering::Relaxed);
            let ahead = self.offset.load(Ordering::Relaxed).saturating_sub(lasting);
            // Back at once, ahead slowly: what is forgotten too late does no harm.
            self.lasting.fetch_add(ahead.min(DRIFT), Ordering::Relaxed);
            return if self.since.swap(0, Ordering::Relaxed) == 0 {
                ClockCheck::Steady
            } else {
                ClockCheck::Back
            };
        }
        let Some(since) = self.seen(step) else {
            self.step.store(step, Ordering::Relaxed);
            self.since.store(tick.as_nanos().max(1), Ordering::Relaxed);
            return ClockCheck::Stepped(step);
        };
        if tick.since(since) < hold {
            return ClockCheck::Held;
        }
        self.accept().map_or(ClockCheck::Back, ClockCheck::Accepted)
    }
}

impl<R: Readings> Clock for GuardedClock<R> {
    fn now(&self) -> UnixTime {
        let (believed, step) = self.read();
        let millis = if step.abs() > MOST { believed } else { believed.saturating_add(step) };
        UnixTime::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn tick(&self) -> Tick {
        self.ticks.tick()
    }

    fn is_steady(&self) -> bool {
        self.step() == 0
    }

    fn unsteady_for(&self, hold: Duration) -> Option<Duration> {
        let step = self.step();
        // What nobody has looked at yet was set just now.
        (step != 0).then(|| {
            hold.saturating_sub(self.seen(step).map_or(Duration::ZERO, |seen| self.tick().since(seen)))
        })
    }

    fn lasting(&self) -> UnixTime {
        let millis = self.readings.boot().saturating_add(self.lasting.load(Ordering::Relaxed));
        UnixTime::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// Watches the clock for ever.
pub(crate) async fn watch(clock: Arc<GuardedClock>, shared: Arc<Shared>) {
    loop {
        let hold = shared.snapshot.load().policy.clock_hold;
        match clock.look(hold, clock.tick()) {
            ClockCheck::Steady | ClockCheck::Held => {}
            ClockCheck::Stepped(step) => {
                shared.emit(EventKind::Node(NodeChanged::ClockStepped));
                tracing::error!(
                    step_seconds = signed_seconds(step),
                    hold_seconds = hold.as_secs(),
                    "the wall clock was set; sessions are judged by the time before, and nobody signs in until it is back, steady for \
                     `server.clock_hold`, or confirmed by `octroi reload`"
                );
            }
            ClockCheck::Back => tracing::info!("the wall clock is back where it was; users sign in again"),
            ClockCheck::Accepted(step) => {
                tracing::warn!(
                    step_seconds = signed_seconds(step),
                    "the wall clock was steady for `server.clock_hold` and is believed from now on"
                );
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Set {
        wall: AtomicI64,
        boot: AtomicI64,
    }

    impl Readings for Arc<Set> {
        fn wall(&self) -> i64 {
            self.wall.load(Ordering::Relaxed)
        }

        fn boot(&self) -> i64 {
            self.boot.load(Ordering::Relaxed)
        }
    }

    const HOLD: Duration = Duration::from_secs(600);
    const START: i64 = 1_795_471_200_000;
    const HOUR: i64 = 3_600_000;

    struct Bench {
        set: Arc<Set>,
        clock: GuardedClock<Arc<Set>>,
    }

    impl Bench {
        fn new() -> Self {
            let set = Arc::new(Set { wall: START.into(), boot: 5_000.into() });
            Self { clock: GuardedClock::over(Arc::clone(&set)), set }
        }

        /// Lets both clocks go on, and looks each second.
        fn run(&self, seconds: i64) -> Vec<ClockCheck> {
            let mut found = Vec::new();
            for _ in 0..seconds {
                self.set.wall.fetch_add(1000, Ordering::Relaxed);
                self.set.boot.fetch_add(1000, Ordering::Relaxed);
                let tick = u64::try_from(self.set.boot.load(Ordering::Relaxed)).unwrap() * 1_000_000;
                found.push(self.clock.look(HOLD, Tick::from_nanos(tick)));
            }
            found.dedup();
            found
        }

        fn step(&self, millis: i64) {
            self.set.wall.fetch_add(millis, Ordering::Relaxed);
        }

        fn now(&self) -> i64 {
            i64::try_from(self.clock.now().as_millis()).unwrap() - START
        }

        fn lasting(&self) -> i64 {
            i64::try_from(self.clock.lasting().as_millis()).unwrap() - START
        }
    }

    #[test]
    fn a_steady_clock_is_followed() {
        let bench = Bench::new();

        assert_eq!(bench.run(10), [ClockCheck::Steady]);
        bench.step(20_000);
        assert_eq!((bench.now(), bench.clock.is_steady()), (30_000, true));
        // Slewed by a twelfth for an hour, and by little steps: it drifts, and nobody minds.
        for _ in 0..3600 {
            bench.step(83);
            assert_eq!(bench.run(1), [ClockCheck::Steady]);
        }
        assert_eq!(bench.now(), 30_000 + 3_600_000 + 3600 * 83);
    }

    #[test]
    fn a_step_is_not_followed_from_the_first_moment_on() {
        for step in [HOUR, -HOUR, 30_001, -30_001] {
            let bench = Bench::new();
            bench.run(10);

            bench.step(step);

            assert_eq!((bench.now(), bench.clock.is_steady(), bench.clock.step()), (10_000, false, step));
            assert_eq!(bench.run(599), [ClockCheck::Stepped(step), ClockCheck::Held]);
            assert_eq!((bench.now(), bench.clock.is_steady()), (609_000, false));
            assert_eq!(bench.run(3), [ClockCheck::Held, ClockCheck::Accepted(step), ClockCheck::Steady]);
            assert_eq!((bench.now(), bench.clock.is_steady()), (612_000 + step, true));
        }
        let bench = Bench::new();
        bench.step(30_000);
        assert!(bench.clock.is_steady());
    }

    #[test]
    fn a_clock_that_is_set_back_to_where_it_was_is_believed_at_once() {
        let bench = Bench::new();
        bench.step(HOUR);
        bench.run(100);

        bench.step(-HOUR);

        assert!(bench.clock.is_steady());
        assert_eq!(bench.run(2), [ClockCheck::Back, ClockCheck::Steady]);
        assert_eq!(bench.now(), 102_000);
    }

    #[test]
    fn another_step_begins_the_wait_anew() {
        let bench = Bench::new();
        bench.step(HOUR);
        bench.run(500);
        bench.step(HOUR);

        assert_eq!(bench.run(600), [ClockCheck::Stepped(2 * HOUR), ClockCheck::Held]);
        assert_eq!(bench.run(1), [ClockCheck::Accepted(2 * HOUR)]);
    }

    #[test]
    fn a_step_is_told_since_when_and_until_when() {
        let bench = Bench::new();
        let tick =
            || Tick::from_nanos(u64::try_from(bench.set.boot.load(Ordering::Relaxed)).unwrap() * 1_000_000);
        let told = || bench.clock.status(HOLD, tick());
        let at = |seconds: u64| {
            UnixTime::from_millis(u64::try_from(START).unwrap()).plus(Duration::from_secs(seconds))
        };
        bench.run(10);
        bench.step(30_000);
        assert_eq!((told(), bench.clock.unsteady_for(HOLD)), (None, None));

        bench.step(-HOUR);
        let status = ClockStatus { step_millis: 30_000 - HOUR, now: at(10), since: at(10), until: at(610) };
        assert_eq!(told(), Some(status), "whoever asks sees it before it was looked at");
        assert_eq!(bench.clock.unsteady_for(HOLD), Some(HOLD));
        bench.run(100);
        assert_eq!(told(), Some(ClockStatus { now: at(110), since: at(11), until: at(611), ..status }));
        // Set once more: the wait begins anew.
        bench.step(-HOUR);
        let status =
            ClockStatus { step_millis: 30_000 - 2 * HOUR, now: at(110), since: at(110), until: at(710) };
        assert_eq!(told(), Some(status));
        bench.clock.accept();
        assert_eq!(told(), None);
    }

    #[test]
    fn an_operator_says_that_it_is_right() {
        let bench = Bench::new();
        assert_eq!(bench.clock.accept(), None);
        bench.step(-HOUR);
        bench.run(5);

        assert_eq!(bench.clock.accept(), Some(-HOUR));
        assert_eq!((bench.now(), bench.clock.is_steady()), (5_000 - HOUR, true));
        assert_eq!(bench.run(2), [ClockCheck::Steady]);
    }

    #[test]
    fn nothing_is_forgotten_by_a_step_ahead() {
        let bench = Bench::new();
        bench.step(HOUR);
        bench.clock.accept();

        assert_eq!((bench.now(), bench.lasting()), (HOUR, 0));
        bench.run(60);
        assert_eq!((bench.now(), bench.lasting()), (HOUR + 60_000, 66_000));
        // Set back, nothing is remembered longer than it must be.
        bench.step(-2 * HOUR);
        bench.clock.accept();
        bench.run(1);
        assert_eq!((bench.now(), bench.lasting()), (61_000 - HOUR, 61_000 - HOUR));
    }

    #[test]
    fn the_machine_s_clocks_are_read() {
        let clock = GuardedClock::new();
        let plain = SystemClock::new().now();

        assert!(
            clock.now().since(plain) < Duration::from_secs(10)
                && plain.since(clock.now()) < Duration::from_secs(10)
        );
        assert!(clock.is_steady());
        assert!(clock.readings.boot() > 0);
    }
}
