# What one does with this repository. `make run` and `make test` need nothing but cargo and a C compiler.

.PHONY: run test soak fuzz bench package

# Builds, and serves on 127.0.0.1:4593 with the plug-ins of this repository; `make run LISTEN=address:port` elsewhere.
run:
	@scripts/run.sh $(LISTEN)

# Everything that CI checks. As root on Debian it installs what is missing; otherwise it says what it leaves out.
test:
	@scripts/test.sh

# The tests that repeat things, as often as a release deserves.
soak:
	PORTH_TEST_SCALE=full cargo test --workspace -- --nocapture
	scripts/check-openapi.sh 200

# Every fuzzer for a minute, or as many seconds as SECONDS says; needs a nightly compiler and cargo-fuzz.
fuzz:
	@scripts/fuzz.sh $(SECONDS)

# The Debian package; needs cargo-deb.
package:
	@scripts/package.sh

# What a plug-in's endpoint costs, beside the same handler compiled in, nginx and Glewlwyd; in minutes.
bench:
	@scripts/bench.sh
