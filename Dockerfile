# octroi in a container: one program, a user without rights, a root that is never written.
#
#   BASE      what octroi runs on: a Debian 12 root with ca-certificates
#   BUILDER   what it is built in: the same with Rust 1.95, or BASE with Rust mounted (scripts/image.sh does that)
#   PROGRAM   `build` compiles it here; `prebuilt` takes the file `octroi` of the build context
#   PROFILE   cargo's: release (fat LTO: minutes, and 3 GiB of memory), or dev
#
# Run it with a read-only root; only the state directory is written:
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -v ./octroi:/etc/octroi:ro -v octroi-state:/var/lib/octroi -p 443:8443 octroi
ARG BASE=debian:bookworm-slim
ARG BUILDER=rust:1.95-bookworm
ARG PROGRAM=build

FROM ${BUILDER} AS build
ARG PROFILE=release
RUN command -v cmake >/dev/null && command -v cc >/dev/null && exit 0; \
    apt-get update -q && apt-get install -y -q --no-install-recommends cmake gcc g++ libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN export PATH="$PATH:/usr/local/cargo/bin:/usr/local/rust/bin" CARGO_HOME=/usr/local/cargo CARGO_TARGET_DIR=/build && \
    cargo build --locked --profile "$PROFILE" --bin octroi && \
    cp "/build/$(if [ "$PROFILE" = dev ]; then echo debug; else echo "$PROFILE"; fi)/octroi" /octroi && \
    strip --strip-debug /octroi && rm -rf /build

FROM scratch AS prebuilt
COPY octroi /octroi

FROM ${PROGRAM} AS program

FROM ${BASE}
RUN mkdir -p /etc/octroi /var/lib/octroi && chown 65532:65532 /var/lib/octroi && chmod 0700 /var/lib/octroi
COPY --from=program --chown=0:0 --chmod=0755 /octroi /usr/local/bin/octroi
USER 65532:65532
WORKDIR /var/lib/octroi
VOLUME /var/lib/octroi
# Ports over 1023, so that no capability is needed; metrics (9902) and admin (9901) stay inside.
EXPOSE 8443 8080
STOPSIGNAL SIGTERM
# There is no curl here, and none is needed: exit 0 is ready, 1 is draining, 69 is no answer.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["octroi", "health"]
ENTRYPOINT ["octroi"]
CMD ["run"]
