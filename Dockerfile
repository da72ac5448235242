# docker build .                       the router
# docker build --target simulators .   the JIRA, Splunk and Slack simulators that localstack/compose.yaml uses

ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
# aws-lc, the cryptography under rustls, is C: the compiler of this image at build time, nothing at run time.
WORKDIR /source
COPY . .
# Registry and target folder stay in the builder's cache, so a second build compiles only what changed. Line numbers, three
# quarters of the file, stay there; the names of a backtrace's functions come along.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin findings-router --bin simulators --package findings-router --package simulators && \
    install -D -t /out target/release/findings-router target/release/simulators && \
    strip --strip-debug /out/findings-router /out/simulators && \
    install -d -o 65532 -g 65532 /out/state

# Distroless "cc": glibc, CA certificates, time zones, and no shell or package manager to attack or to patch.
# Hence no HEALTHCHECK either: nothing in here could run it, so the orchestrator asks /healthz over HTTP.
FROM gcr.io/distroless/cc-debian12:nonroot AS simulators
COPY --from=build /out/simulators /usr/local/bin/simulators
EXPOSE 8081 8088 8082
ENTRYPOINT ["/usr/local/bin/simulators"]

FROM gcr.io/distroless/cc-debian12:nonroot AS router
COPY --from=build /out/findings-router /usr/local/bin/findings-router
# A new volume mounted here takes over the owner, so that the non-root user can write to it.
COPY --from=build --chown=nonroot:nonroot /out/state /var/lib/findings-router
WORKDIR /etc/findings-router
ENV FINDINGS_ROUTER_CONFIG=/etc/findings-router/router.yaml
# The base image's own, said again: as a number, which Kubernetes needs to see that it is not root.
USER 65532:65532
EXPOSE 9110
VOLUME /var/lib/findings-router
# SIGTERM hands back to the queue what is not yet durable, and ends within `grace_period` and 15 s: give it more than 35 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/findings-router"]
CMD ["run"]
