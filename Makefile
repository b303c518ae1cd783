# octroi: `make demo` and `make test` work on a fresh machine with Rust; the rest is for those who change it.
CARGO ?= cargo

# What the tests run beside it: a CA, a sender of PROXY headers, a Redis, a clock that can be set.
TESTED_WITH = pebble=pebble haproxy=haproxy nginx=nginx prlimit=util-linux python3=python3 redis-server=redis-server faketime=faketime

# Any number will do.
PROPTEST_RNG_SEED ?= 1

.PHONY: setup demo test full suites bench bench-instructions image deb fuzz service

setup:
	@scripts/setup.sh cmake=cmake cc=gcc curl=curl openssl=openssl

demo: setup
	$(CARGO) build --locked --bin octroi --example demo_app
	@exec scripts/demo.sh

# What CI runs. Cold, on two cores: under 45 minutes. The cases of property tests are the same each time, so that it says the same of
# the same tree; `make full` and `make fuzz` look for new ones.
test: setup
	@scripts/setup.sh $(TESTED_WITH)
	$(CARGO) fmt --check
	scripts/deny.sh
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib
	PROPTEST_RNG_SEED=$(PROPTEST_RNG_SEED) $(CARGO) test --locked
	scripts/check-conf.sh
	scripts/check-unit.sh

# The long ones too, and an upgrade under load from the version before, which is built for that.
full: setup
	@scripts/setup.sh $(TESTED_WITH) node=nodejs npm=npm pip3=python3-pip wrk=wrk
	before=$$(CARGO=$(CARGO) scripts/build-before.sh) && OCTROI_BEFORE=$$before $(CARGO) test --locked -- --include-ignored --skip third_party_

# What others have collected, against the program and its readers: needs their suites beside the project, or at $$SUITES.
suites: setup
	scripts/suites.sh

bench: setup
	$(CARGO) bench --locked

# Instructions per request under valgrind, beside those of benches/instructions.txt: fails where something is dearer by more than 3 %.
# BLESS=1 make bench-instructions writes that file anew.
bench-instructions: setup
	scripts/bench-instructions.sh

# Every parser of bytes from outside under libFuzzer, so many seconds each: make fuzz SECONDS=600
SECONDS ?= 60
fuzz: setup
	scripts/fuzz.sh $(SECONDS)

# A Debian package, judged by lintian. PROFILE=dev is faster: see the script.
deb:
	scripts/deb.sh

# The package and its unit under a real systemd, in a container that systemd-nspawn boots; as root. SUITE=trixie: another Debian.
service:
	scripts/try-service.sh

# A container image, with buildah on a debootstrap base; as root. PROFILE=dev or BINARY=PATH is faster: see the script.
image:
	scripts/image.sh
